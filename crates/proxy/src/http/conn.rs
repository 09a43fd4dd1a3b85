//! A client connection that speaks HTTP, and what its requests need.

use std::cell::RefCell;
use std::rc::Rc;

use super::body::RequestBody;
use super::pool::Pool;
use super::upstream::Upgraded;
use crate::client::Client;
use crate::frontend::FrontendState;
use crate::shard::Shard;

/// The idle connections to a worker's upstreams.
pub(crate) type UpstreamPool = Pool<RequestBody>;

/// One client connection.
pub(super) struct ClientConn {
    pub(super) client: Rc<Client>,
    pub(super) frontend: Rc<FrontendState>,
    pub(super) shard: Rc<Shard>,
    pub(super) upstreams: Rc<UpstreamPool>,
    /// The upstream's side of an accepted upgrade.
    pub(super) upgraded: RefCell<Option<Upgraded>>,
}
