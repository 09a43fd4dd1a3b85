//! World: one writer, any number of readers.
//!
//! [`Writer`] is not `Clone` and lives in one task; what it learns becomes the next World, which readers see as a
//! whole or not at all, and not before this agent's own host was listed. Subscribers to changes hold a [`Changes`],
//! which names what to check again but not what happened: they look at World. Consumers that need every event get
//! their own feed ([`DockerEvent`]).
//!
//! [`State`], which has no clock and does no IO, decides how an observation changes World.

mod apply;
mod changes;
mod observation;
mod peer;
mod writer;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use longshore_model::World;
use tokio::sync::watch;

pub use apply::{Effect, State};
pub use changes::Changes;
use changes::Subscribers;
pub use observation::{DockerEvent, DockerObservation, Observation, PeerObservation};
pub use writer::Writer;

/// Reads World. Cheap to clone; a snapshot costs no lock.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    world: Arc<ArcSwapOption<World>>,
    subscribers: Subscribers,
}

impl Reader {
    /// Returns the current World; `None` until this agent's own host was listed.
    pub fn snapshot(&self) -> Option<Arc<World>> {
        self.world.load_full()
    }

    /// Subscribes to changes from here on, starting with all of World.
    pub fn subscribe(&self) -> Changes {
        self.subscribers.subscribe(|| self.world.load().is_some())
    }
}

/// Whether Docker is reachable: `None`, or why not.
pub type DockerState = watch::Receiver<Option<String>>;
