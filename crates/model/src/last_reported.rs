//! What handlers were told of a container, taken together.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::{ContainerFacts, Health};

/// The state of a container that the events reported to handlers add up to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastReported {
    /// Its name, image and labels.
    pub facts: Arc<ContainerFacts>,
    /// What it is doing.
    pub phase: Phase,
    /// When the last reported start happened, in nanoseconds since 1970; zero if none was reported.
    pub started: i64,
    /// The state of its health check.
    pub health: Health,
    /// The networks that it is in while it runs.
    pub networks: BTreeSet<String>,
    /// Synthetic events stand for everything that happened up to this time, in nanoseconds since 1970 by Docker's
    /// clock: an event of an earlier time that arrives later is already accounted for. Zero where none were reported.
    pub complete_until: i64,
    /// Whether it is as it was seen when the agent first started, and no event has told since what it is doing: events
    /// of an earlier time may follow.
    pub as_listed: bool,
}

/// What a container is doing, as far as events tell.
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
    /// Removed. Docker never uses an id twice, so nothing brings it back.
    Destroyed,
}

impl Phase {
    /// Returns whether a process exists.
    pub fn is_alive(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}
