//! One handler with its deliveries.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use longshore_model::{Handler, HandlerEvent, Problem, Subject};
use longshore_wire::journal::FailureRow;

use crate::queue::Queue;

const FIRST_RETRY: Duration = Duration::from_millis(500);
const MAX_RETRY: Duration = Duration::from_secs(60);

/// A delivery that failed permanently.
#[derive(Clone, Debug)]
pub(crate) struct FailedDelivery {
    pub(crate) attempts: u32,
    pub(crate) failure: FailureRow,
}

/// A handler with its pending events.
#[derive(Debug)]
pub(crate) struct HandlerQueue {
    pub(crate) handler: Arc<Handler>,
    pub(crate) queue: Queue,
    pub(crate) failed: BTreeMap<u64, FailedDelivery>,
    pub(crate) delivered: u64,
    /// Why the last attempt failed, if it did.
    pub(crate) trouble: Option<String>,
}

impl HandlerQueue {
    pub(crate) fn new(handler: Arc<Handler>) -> Self {
        Self { handler, queue: Queue::default(), failed: BTreeMap::new(), delivered: 0, trouble: None }
    }

    /// Returns whether the handler is to receive an event.
    pub(crate) fn wants(&self, event: &HandlerEvent) -> bool {
        self.handler.enabled && longshore_plan::handlers::wants(&self.handler.filter, event)
    }

    /// Returns whether another delivery may begin.
    pub(crate) fn has_room(&self) -> bool {
        self.handler.enabled && self.queue.running() < self.handler.delivery.parallel
    }

    /// Drops a permanently failed delivery that a person dealt with. Once none is left, the handler is fine.
    pub(crate) fn forget(&mut self, seq: u64) {
        self.failed.remove(&seq);
        if self.failed.is_empty() && self.queue.len() == 0 {
            self.trouble = None;
        }
    }

    /// Returns the handler's problem, if any.
    pub(crate) fn problem(&self) -> Option<Problem> {
        let (_, last) = self.failed.last_key_value()?;
        Some(Problem {
            subject: Subject::Handler { name: self.handler.name.clone() },
            key: None,
            // Without a count: otherwise each failure would be another problem, and another log line.
            message: format!("deliveries failed permanently; last error: {}", last.failure.why),
            hint: Some("see `longshore handler failures`, retry with `longshore handler replay`".to_owned()),
        })
    }
}

/// Returns how long to wait after this attempt failed, counted from 1. Jitter derives from the event's number, so
/// that handlers and hosts do not retry all at once.
pub(crate) fn retry_delay(attempt: u32, seq: u64) -> Duration {
    let mut delays = ExponentialBuilder::default()
        .with_min_delay(FIRST_RETRY)
        .with_max_delay(MAX_RETRY)
        .with_factor(2.0)
        .with_jitter()
        .with_jitter_seed(seq ^ u64::from(attempt) << 32)
        .without_max_times()
        .build();
    delays.nth(attempt.saturating_sub(1).min(16) as usize).unwrap_or(MAX_RETRY)
}
