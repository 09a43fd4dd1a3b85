//! The owner's facts, kept up to date from World and read by any number of peers.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use longshore_model::HostId;
use longshore_runtime::state::Reader;
use longshore_wire::facts::{EncodedFact, FactRow};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::log::{Cursor, LOAD_INTERVAL, Log};

/// How many bytes of lines are put together.
const BLOCK: usize = 64 << 10;

/// This agent's own facts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct OwnFacts {
    log: Arc<Mutex<Log>>,
    revision: watch::Sender<u64>,
}

impl OwnFacts {
    /// Creates the facts of one run of this host's agent. No later run has the same epoch.
    pub fn new(host: HostId, epoch: u64) -> Self {
        Self { log: Arc::new(Mutex::new(Log::new(host, epoch))), revision: watch::Sender::new(0) }
    }

    /// Keeps the facts up to date with World, indefinitely.
    pub async fn follow(self, world: Reader) {
        let mut changes = world.subscribe();
        // Nobody is woken for a load.
        let mut load = interval(LOAD_INTERVAL);
        load.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let changes = tokio::select! {
                changes = changes.next() => changes,
                _ = load.tick() => BTreeSet::new(),
            };
            let Some(world) = world.snapshot() else { continue };
            let revision = {
                let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
                log.take(&world, &changes, Instant::now().into_std());
                log.revision()
            };
            self.revision.send_if_modified(|known| std::mem::replace(known, revision) != revision);
        }
    }

    /// Begins a stream of lines for a peer.
    pub fn lines(&self, asked: Option<Cursor>) -> FactLines {
        let revision = self.revision.subscribe();
        FactLines {
            log: Arc::clone(&self.log),
            revision,
            asked,
            begun: None,
            pending: VecDeque::new(),
            number: 0,
        }
    }
}

/// A stream of lines for one peer.
#[derive(Debug)]
pub struct FactLines {
    log: Arc<Mutex<Log>>,
    revision: watch::Receiver<u64>,
    asked: Option<Cursor>,
    /// The revision that the peer has after what is pending; `None` before the first line.
    begun: Option<u64>,
    /// What was not returned yet.
    pending: VecDeque<Arc<EncodedFact>>,
    /// The number of the last line.
    number: u64,
}

impl FactLines {
    /// Waits for the next lines. `None` if the stream must end: the peer fell behind what is remembered, or the agent
    /// ends. May be dropped at any await.
    pub async fn next(&mut self) -> Option<Bytes> {
        while self.pending.is_empty() {
            // Marked as seen before the log is read: a change after that is noticed by the next wait.
            self.revision.borrow_and_update();
            let feed = {
                let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
                match self.begun {
                    None => log.begin(self.asked),
                    Some(revision) => Some(log.after(revision)?),
                }
            };
            match feed {
                Some(feed) if !feed.facts.is_empty() => {
                    self.begun = Some(feed.revision);
                    self.pending = feed.facts.into();
                }
                _ => self.revision.changed().await.ok()?,
            }
        }
        let mut block = Vec::new();
        while block.len() < BLOCK
            && let Some(fact) = self.pending.pop_front()
        {
            block.append(&mut self.line(&fact));
        }
        Some(block.into())
    }

    /// Returns a line that says that the host is still there; `None` before the first line.
    pub fn beat(&mut self) -> Option<Bytes> {
        self.begun.map(|_| self.line(&FactRow::Beat.encode()).into())
    }

    fn line(&mut self, fact: &EncodedFact) -> Vec<u8> {
        self.number += 1;
        fact.line(self.number)
    }
}
