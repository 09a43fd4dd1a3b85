//! World: one writer, any number of readers.
//!
//! [`Writer`] is not `Clone` and lives in one task; what it learns becomes the next World, which readers see as a
//! whole or not at all. Those who act on changes hold a [`Changes`], which names what to look at again and says nothing
//! of what happened: the look is at World. Those to whom each event counts get a feed of their own ([`Happened`]).

mod apply;
mod changes;
mod observation;
mod writer;

use std::sync::Arc;

use arc_swap::ArcSwap;
use longshore_model::World;
use tokio::sync::watch;

pub use changes::{Change, Changes, Subscribers};
pub use observation::Observation;
pub use writer::{Happened, PortSeen, Writer};

/// Reads World. Cheap to clone; a snapshot costs no lock.
#[derive(Clone, Debug, Default)]
pub struct Reader(Arc<ArcSwap<World>>);

impl Reader {
    /// World as it is at this moment.
    pub fn snapshot(&self) -> Arc<World> {
        self.0.load_full()
    }
}

/// Whether Docker is there: nothing, or why not.
pub type DockerState = watch::Receiver<Option<String>>;
