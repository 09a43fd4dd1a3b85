//! Upgraded connections: websockets, or any other protocol, relayed as bytes.
//!
//! Such a connection stays with its upstream until either side ends it, even if the routes change.

use std::rc::Rc;

use tokio::io::AsyncWriteExt;

use super::upstream::Upgraded;
use crate::client::Client;
use crate::io::{self, ClientIo};

/// Relays until both sides have ended.
pub(super) async fn relay(mut io: ClientIo, client: &Rc<Client>, mut upstream: Upgraded) {
    client.relays();
    let relayed = async {
        io.write_all(&upstream.ahead).await?;
        io::relay(io, &mut upstream.io).await
    };
    if let Err(error) = relayed.await {
        tracing::debug!(peer = %client.peer, %error, "upgraded connection ended with an error");
    }
}
