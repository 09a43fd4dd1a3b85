//! World: one writer, any number of readers.
//!
//! [`Writer`] is not `Clone` and lives in one task; what it learns becomes the next World, which readers see as a
//! whole or not at all, and not before this agent's own host was listed. Those who act on changes hold a [`Changes`],
//! which names what to look at again and says nothing of what happened: the look is at World. Those to whom each event
//! counts get a feed of their own ([`DockerEvent`]).
//!
//! What an observation makes of World is decided in [`State`], which has no clock and does no IO.

mod apply;
mod changes;
mod observation;
mod writer;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use longshore_model::World;
use tokio::sync::watch;

pub use apply::{Effect, State};
pub use changes::Changes;
use changes::Subscribers;
pub use observation::{DockerEvent, DockerObservation, Observation};
pub use writer::Writer;

/// Reads World. Cheap to clone; a snapshot costs no lock.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    world: Arc<ArcSwapOption<World>>,
    subscribers: Subscribers,
}

impl Reader {
    /// World as it is at this moment; `None` until this agent's own host was listed.
    pub fn snapshot(&self) -> Option<Arc<World>> {
        self.world.load_full()
    }

    /// Returns what changes from here on, and all of it to begin with.
    pub fn subscribe(&self) -> Changes {
        self.subscribers.subscribe(|| self.world.load().is_some())
    }
}

/// Whether Docker is there: nothing, or why not.
pub type DockerState = watch::Receiver<Option<String>>;
