//! A worker's time: read once a sweep, so that a request reads a number and no clock.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// Milliseconds since the worker started, as of the last sweep.
#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
    now: Cell<u64>,
}

impl Clock {
    /// Returns a clock that begins at 0.
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), now: Cell::new(0) }
    }

    /// Reads the system's time, and returns it.
    pub(crate) fn advance(&self) -> u64 {
        self.now.set(milliseconds(self.started.elapsed()));
        self.now.get()
    }

    /// Returns the time.
    pub(crate) fn now(&self) -> u64 {
        self.now.get()
    }

    /// Returns when a wait that begins now is over.
    pub(crate) fn after(&self, wait: Duration) -> u64 {
        self.now().saturating_add(milliseconds(wait))
    }
}

/// Returns whole milliseconds.
pub(crate) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
