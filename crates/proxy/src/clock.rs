//! A worker's clock: read once per sweep, so that a request reads a number instead of the system's clock.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// Milliseconds since the worker started, as of the last sweep.
#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
    now: Cell<u64>,
}

impl Clock {
    /// Creates a clock that starts at 0.
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), now: Cell::new(0) }
    }

    /// Reads the system's clock, and returns the time.
    pub(crate) fn advance(&self) -> u64 {
        self.now.set(milliseconds(self.started.elapsed()));
        self.now.get()
    }

    /// Returns the time.
    pub(crate) fn now(&self) -> u64 {
        self.now.get()
    }

    /// Returns the end of a wait that begins now.
    pub(crate) fn after(&self, wait: Duration) -> u64 {
        self.now().saturating_add(milliseconds(wait))
    }
}

/// Converts a duration to whole milliseconds.
pub(crate) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
