//! One handler with its deliveries.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use longshore_model::{Handler, Occurrence, Problem, Subject};
use longshore_runtime::backoff;

use super::journal::FailedRow;
use super::queue::Queue;
use crate::deliverer::Deliverer;

/// A delivery that was given up.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    pub(super) attempts: u32,
    pub(super) row: FailedRow,
}

/// A handler, what carries events to it, and what it has yet to be told.
#[derive(Debug)]
pub(super) struct Runner {
    pub(super) handler: Arc<Handler>,
    pub(super) deliverer: Arc<Deliverer>,
    pub(super) queue: Queue,
    pub(super) failed: BTreeMap<u64, Failed>,
    pub(super) delivered: u64,
    /// Why the last attempt failed, if it did.
    pub(super) trouble: Option<String>,
}

impl Runner {
    pub(super) fn new(handler: Arc<Handler>, deliverer: Deliverer) -> Self {
        Self {
            handler,
            deliverer: Arc::new(deliverer),
            queue: Queue::default(),
            failed: BTreeMap::new(),
            delivered: 0,
            trouble: None,
        }
    }

    /// Whether it is to be told of something.
    pub(super) fn wants(&self, occurrence: &Occurrence) -> bool {
        self.handler.enabled && longshore_plan::handlers::wants(&self.handler.filter, occurrence)
    }

    /// Somebody knows of a delivery that was given up. Who knows of all of them knows that it failed.
    pub(super) fn forget(&mut self, seq: u64) {
        self.failed.remove(&seq);
        if self.failed.is_empty() && self.queue.len() == 0 {
            self.trouble = None;
        }
    }

    /// What a person should know.
    pub(super) fn problem(&self) -> Option<Problem> {
        let (_, last) = self.failed.last_key_value()?;
        Some(Problem {
            subject: Subject::Handler { name: self.handler.name.clone() },
            key: None,
            // Without a count: it would be another problem, and another line of the log, with each of them.
            message: format!("deliveries were given up, the last one since {}", last.row.why),
            hint: Some("see `longshore handlers failed`; `longshore handlers replay` tries again".to_owned()),
        })
    }
}

/// How long to wait after the attempt of this number failed, counted from 1.
pub(super) fn pause(attempt: u32) -> Duration {
    let mut delays =
        backoff::exponential(FIRST_PAUSE, MAX_PAUSE).skip(attempt.saturating_sub(1).min(16) as usize);
    delays.next().unwrap_or(MAX_PAUSE)
}

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const MAX_PAUSE: Duration = Duration::from_secs(60);
