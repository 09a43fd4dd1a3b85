//! The owner's facts, kept up to date from World and read by any number of peers.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use longshore_model::{EventSummary, HostId};
use longshore_runtime::state::Reader;
use longshore_wire::facts::{EncodedFact, FactRow};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::events::{EventCursor, EventLog};
use super::log::{Cursor, LOAD_INTERVAL, Log};

/// How many bytes of lines are put together.
const BLOCK: usize = 64 << 10;

/// This agent's own facts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct OwnFacts {
    epoch: u64,
    log: Arc<Mutex<Log>>,
    revision: watch::Sender<u64>,
    events: Arc<Mutex<EventLog>>,
    event: watch::Sender<u64>,
}

impl OwnFacts {
    /// Creates the facts of one run of this host's agent. No later run has the same epoch.
    pub fn new(host: HostId, epoch: u64) -> Self {
        Self {
            epoch,
            log: Arc::new(Mutex::new(Log::new(host, epoch))),
            revision: watch::Sender::new(0),
            events: Arc::default(),
            event: watch::Sender::new(0),
        }
    }

    /// Tells the peers what happened to a container of this host.
    pub fn tell(&self, event: &EventSummary) {
        self.add(|events| events.push(event));
    }

    /// Tells the peers that so many events are not known.
    pub fn tell_missed(&self, missed: u64) {
        self.add(|events| events.skip(missed));
    }

    fn add(&self, add: impl FnOnce(&mut EventLog)) {
        let last = {
            let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
            add(&mut events);
            events.last()
        };
        self.event.send_replace(last);
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

    /// Begins a stream of lines for a peer that has this already.
    pub fn lines(&self, asked: Asked) -> FactLines {
        let revision = self.revision.subscribe();
        let event = self.event.subscribe();
        let events = Arc::clone(&self.events);
        let after = events.lock().unwrap_or_else(PoisonError::into_inner).begin(self.epoch, asked.events);
        FactLines {
            log: Arc::clone(&self.log),
            revision,
            events,
            event,
            after,
            asked: asked.facts,
            begun: None,
            pending: VecDeque::new(),
            number: 0,
        }
    }
}

/// What a peer has already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// How far it has followed the facts.
    pub facts: Option<Cursor>,
    /// How far it has followed the events.
    pub events: Option<EventCursor>,
}

/// A stream of lines for one peer.
#[derive(Debug)]
pub struct FactLines {
    log: Arc<Mutex<Log>>,
    revision: watch::Receiver<u64>,
    events: Arc<Mutex<EventLog>>,
    event: watch::Receiver<u64>,
    /// The event that the peer has after what is pending.
    after: u64,
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
            self.event.borrow_and_update();
            let is_first = self.begun.is_none();
            let feed = {
                let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
                match self.begun {
                    None => log.begin(self.asked),
                    Some(revision) => Some(log.after(revision)?),
                }
            };
            if let Some(feed) = feed.filter(|feed| !feed.facts.is_empty()) {
                self.begun = Some(feed.revision);
                self.pending = feed.facts.into();
                if is_first {
                    self.pending.push_back(Arc::new(FactRow::Events { after: self.after }.encode()));
                }
            }
            if self.begun.is_some() {
                let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
                self.pending.extend(events.after(self.after));
                self.after = events.last();
            }
            if self.pending.is_empty() {
                tokio::select! {
                    changed = self.revision.changed() => changed.ok()?,
                    changed = self.event.changed() => changed.ok()?,
                }
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
