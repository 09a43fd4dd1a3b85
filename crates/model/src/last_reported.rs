//! What handlers last received about a container, taken together.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::{ContainerFacts, Health};

/// The state of a container that results from the events reported to handlers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastReported {
    /// Its name, image and labels.
    pub facts: Arc<ContainerFacts>,
    /// Its phase.
    pub phase: Phase,
    /// When the last reported start happened, in nanoseconds since 1970; zero if none was reported.
    pub started: i64,
    /// The state of its health check.
    pub health: Health,
    /// The networks that it is attached to while it runs.
    pub networks: BTreeSet<String>,
    /// Synthetic events cover everything up to this time, in nanoseconds since 1970 by Docker's clock: an
    /// earlier event that arrives later is already accounted for. Zero if there were none.
    pub complete_until: i64,
    /// Whether its state is still the one seen when the agent first started, with no event since: events of
    /// an earlier time may follow.
    pub as_listed: bool,
}

/// The phase of a container's life, as far as events report it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Created and never started.
    Created,
    /// Running.
    Running,
    /// Paused.
    Paused,
    /// Exited.
    Ended,
    /// Removed. Docker never reuses an id, so this is final.
    Destroyed,
}

impl Phase {
    /// Returns whether a process exists.
    pub fn is_alive(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}
