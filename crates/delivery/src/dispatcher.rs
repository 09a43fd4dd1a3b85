//! Every input that affects deliveries, and the resulting actions: a core without a clock, a task or a disk.
//!
//! [`Dispatcher::take`] receives what happened and returns what to do; [`crate::run`] does it, and a simulation does
//! it under a seed. Its parts: `ingest` takes events in, `doubts` finds those that Docker did not report, `handlers`
//! follows the handlers' definitions, `queue` keeps the order of each container.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_model::{
    Change, Container, ContainerId, Handler, HandlerEvent, HandlerSet, Phase, Problem, World,
};
use longshore_runtime::Evidence;
use longshore_runtime::state::DockerEvent;
use longshore_wire::journal::{DeliveryRow, FailureRow};
use serde_json::value::RawValue;

use crate::attempt::{Failure, Retry};
use crate::doubts::Doubts;
use crate::events::{LastInspection, PendingEvent};
use crate::handler_queue::{FailedDelivery, HandlerQueue, retry_delay};
use crate::intake::Intake;
use crate::journal::{Batch, Remembered};
use crate::queue::Entry;

/// Maximum number of permanently failed deliveries kept per handler.
const MAX_FAILED: usize = 10_000;
/// How long a destroyed container's facts are kept, for late deliveries.
const DESTROYED_RETENTION: Duration = Duration::from_secs(600);

/// The time and state in which something happens.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// Now.
    pub now: Instant,
    /// Now, in nanoseconds since 1970.
    pub at: i64,
    /// World as it is, once this host's containers were listed.
    pub world: Option<&'a World>,
}

impl Moment<'_> {
    /// Returns the current state of a container of this host.
    pub(crate) fn container(&self, id: &ContainerId) -> Option<&Container> {
        self.world?.own().containers.get(id).map(|container| &**container)
    }
}

/// Everything that can happen.
#[derive(Debug)]
pub enum Happening {
    /// Docker reported these events, in this order.
    Events(Vec<DockerEvent>),
    /// World changed in these respects.
    Changed(BTreeSet<Change>),
    /// The handlers that are now defined.
    Handlers(Arc<HandlerSet>),
    /// The batch with this number is on disk or cannot be written; deliveries continue either way.
    Written(u64),
    /// The journal lost its contents.
    JournalLost,
    /// An attempt ended.
    Finished(Finished),
    /// A container was inspected.
    Inspected {
        /// The container.
        container: ContainerId,
        /// The number that [`Effect::Inspect`] gave it.
        number: u64,
        /// The inspection; `None` if Docker did not return one.
        text: Option<Arc<RawValue>>,
    },
    /// The answer to [`Effect::Ask`]; `None` if Docker did not answer.
    Evidence(Option<Evidence>),
    /// Retry these permanently failed deliveries.
    Replay(Vec<(String, u64)>),
    /// Drop these permanently failed deliveries.
    Forget(Vec<(String, u64)>),
    /// The time that [`Dispatcher::wake`] returned has come.
    Time,
}

/// An action to take.
#[derive(Debug)]
pub enum Effect {
    /// Write this after everything before it, and report when done.
    Write {
        /// Counts from 1.
        number: u64,
        /// The changes.
        batch: Batch,
    },
    /// Deliver an event to a handler, and report the outcome.
    Attempt(AttemptOrder),
    /// Inspect a container, and report the result.
    Inspect {
        /// The container.
        container: ContainerId,
        /// Counts from 1.
        number: u64,
        /// The event whose handlers receive this inspection.
        seq: Option<u64>,
    },
    /// Ask Docker for the state of these containers, then for the events it remembers.
    Ask {
        /// The containers.
        containers: Vec<ContainerId>,
    },
    /// Recreate the deliverer of this handler, or stop it if the handler is gone.
    Deliverer {
        /// The handler's name.
        name: String,
        /// The handler's definition.
        handler: Option<Arc<Handler>>,
    },
    /// The handler's current problem; replaces any earlier one.
    Problem {
        /// The handler's name.
        name: String,
        /// The problem, if any.
        problem: Option<Problem>,
    },
    /// The event is no longer needed.
    Release(u64),
}

/// An attempt to make.
#[derive(Clone, Debug)]
pub struct AttemptOrder {
    /// The handler's name.
    pub name: String,
    /// The handler's definition.
    pub handler: Arc<Handler>,
    /// The event.
    pub event: Arc<HandlerEvent>,
    /// The event's subject; deliveries of one lane are in order.
    pub lane: String,
    /// The delivery.
    pub entry: Entry,
    /// The container's last inspection.
    pub known: Option<Arc<RawValue>>,
}

/// How an attempt ended.
#[derive(Debug)]
pub struct Finished {
    /// The handler's name.
    pub name: String,
    /// As in the [`AttemptOrder`].
    pub lane: String,
    /// As in the [`AttemptOrder`].
    pub entry: Entry,
    /// Success, or why it failed.
    pub outcome: Result<(), Failure>,
    /// How long it took.
    pub took: Duration,
}

/// A delivery that begins once it is on disk.
type Due = (String, String, Entry);

/// All deliveries.
#[derive(Debug)]
pub struct Dispatcher {
    /// Changes to write next.
    pub(crate) batch: Batch,
    /// Deliveries that begin once that is written.
    pub(crate) due: Vec<Due>,
    /// Deliveries that begin once earlier batches are written.
    unwritten: VecDeque<(u64, Vec<Due>)>,
    batches: u64,
    pub(crate) intake: Intake,
    pub(crate) doubts: Doubts,
    pub(crate) events: BTreeMap<u64, PendingEvent>,
    pub(crate) next: u64,
    pub(crate) handlers: BTreeMap<String, HandlerQueue>,
    /// Deliveries of handlers that are not defined yet, or whose file is broken.
    pub(crate) orphans: BTreeMap<(String, u64), DeliveryRow>,
    pub(crate) inspections: BTreeMap<ContainerId, LastInspection>,
    /// Number of inspections begun.
    pub(crate) inspected: u64,
    /// Destroyed containers, and when each was destroyed.
    pub(crate) destroyed: VecDeque<(Instant, ContainerId)>,
    /// Number of events received from Docker's stream.
    pub(crate) arrived: u64,
    /// The time from which Docker's events are received, or of the last event, in nanoseconds since 1970.
    pub(crate) heard: i64,
    /// Whether no handler receives events; then nothing is recorded either.
    pub(crate) idle: bool,
    pub(crate) effects: Vec<Effect>,
}

impl Dispatcher {
    /// Continues where an earlier agent ended. `since` is the time from which Docker's events are received, in
    /// nanoseconds since 1970.
    pub fn resume(remembered: Remembered, since: i64, now: Instant) -> Self {
        let last = remembered.ids.keys().chain(remembered.events.keys()).max().copied();
        let events = remembered.events.into_iter().map(|(seq, event)| (seq, PendingEvent::new(event)));
        let inspections = remembered.inspections.into_iter();
        let inspections = inspections.map(|(id, text)| (id, LastInspection::new(0, text.0)));
        let mut dispatcher = Self {
            batch: Batch::default(),
            due: Vec::new(),
            unwritten: VecDeque::new(),
            batches: 0,
            intake: Intake::resume(remembered.reported, remembered.ids, remembered.begun),
            doubts: Doubts::default(),
            events: events.collect(),
            next: last.map_or(1, |seq| seq + 1),
            handlers: BTreeMap::new(),
            orphans: remembered.deliveries,
            inspections: inspections.collect(),
            inspected: 0,
            destroyed: VecDeque::new(),
            arrived: 0,
            heard: since,
            idle: false,
            effects: Vec::new(),
        };
        dispatcher.batch.events.extend(remembered.unreadable.into_iter().map(|seq| (seq, None)));
        dispatcher.tidy(now);
        dispatcher
    }

    /// Reconciles what was read from disk: a delivery needs its event, and an event a delivery.
    fn tidy(&mut self, now: Instant) {
        let events = &mut self.events;
        let lost = self.orphans.extract_if(.., |(_, seq), _| match events.get_mut(seq) {
            Some(pending) => {
                pending.deliveries += 1;
                false
            }
            None => true,
        });
        let lost: Vec<(String, u64)> = lost.map(|(key, _)| key).collect();
        if !lost.is_empty() {
            tracing::warn!(count = lost.len(), "dropping deliveries whose events cannot be read");
        }
        self.batch.deliveries.extend(lost.into_iter().map(|key| (key, None)));
        let known: Vec<u64> = self.events.keys().copied().collect();
        known.into_iter().for_each(|seq| self.release(seq));
        let destroyed = |id: &&ContainerId| {
            let reported = self.intake.reported(id);
            reported.is_none_or(|reported| reported.phase == Phase::Destroyed)
        };
        let known: BTreeSet<&ContainerId> =
            self.inspections.keys().chain(self.intake.all_reported().keys()).collect();
        let destroyed: Vec<_> = known.into_iter().filter(destroyed).map(|id| (now, id.clone())).collect();
        self.destroyed.extend(destroyed);
    }

    /// Takes in what happened, and returns what to do.
    pub fn take(&mut self, happening: Happening, moment: &Moment<'_>) -> Vec<Effect> {
        match happening {
            Happening::Events(events) => {
                for event in events {
                    self.arrived += 1;
                    self.hear(event, moment);
                }
            }
            Happening::Changed(changes) => self.compare(&changes, moment),
            Happening::Handlers(set) => self.take_handlers(&set, moment),
            Happening::Written(number) => self.written(number),
            Happening::JournalLost => self.write_everything(),
            Happening::Finished(finished) => self.finished(finished, moment),
            Happening::Inspected { container, number, text } => self.inspected(container, number, text),
            Happening::Evidence(evidence) => self.judge(evidence, moment),
            Happening::Replay(deliveries) => {
                deliveries.iter().for_each(|(name, seq)| self.replay(name, *seq));
            }
            Happening::Forget(deliveries) => {
                for (name, seq) in &deliveries {
                    if let Some(handler) = self.handlers.get_mut(name) {
                        handler.forget(*seq);
                    }
                    self.over(name, *seq);
                    self.report_problem(name);
                }
            }
            Happening::Time => {}
        }
        self.forget_destroyed(moment.now);
        if let Some(containers) = self.doubts.ask(moment.now) {
            self.effects.push(Effect::Ask { containers });
        }
        self.begin_attempts(moment.now);
        self.flush();
        std::mem::take(&mut self.effects)
    }

    /// Returns when something is due without an external trigger.
    pub fn wake(&self) -> Option<Instant> {
        let waiting = self.handlers.values().filter(|handler| handler.has_room());
        waiting.filter_map(|handler| handler.queue.due()).chain(self.doubts.due()).min()
    }

    /// Returns when the next retry is due.
    pub(crate) fn next_retry(&self) -> Option<Instant> {
        self.handlers.values().filter_map(|handler| handler.queue.due()).min()
    }

    /// Returns whether the containers of the first start are known.
    pub fn has_begun(&self) -> bool {
        self.intake.begun.is_some()
    }

    /// Returns how many deliveries have neither succeeded nor failed permanently.
    pub fn pending(&self) -> usize {
        self.handlers.values().map(|handler| handler.queue.len()).sum()
    }

    /// Queues the pending changes for writing.
    fn flush(&mut self) {
        if self.batch.is_empty() && self.due.is_empty() {
            return;
        }
        self.batches += 1;
        self.unwritten.push_back((self.batches, std::mem::take(&mut self.due)));
        let batch = std::mem::take(&mut self.batch);
        self.effects.push(Effect::Write { number: self.batches, batch });
    }

    fn written(&mut self, number: u64) {
        while self.unwritten.front().is_some_and(|(first, _)| *first <= number) {
            for (name, lane, entry) in self.unwritten.pop_front().into_iter().flat_map(|(_, due)| due) {
                match self.handlers.get_mut(&name) {
                    Some(handler) => handler.queue.push(&lane, entry),
                    // The handler was removed in between.
                    None => self.over(&name, entry.seq),
                }
            }
        }
    }

    /// Fills an empty journal.
    fn write_everything(&mut self) {
        let mut all = Batch { heard: Some(self.heard), begun: self.intake.begun, ..Batch::default() };
        all.ids.extend(self.intake.ids().map(|(seq, id)| (*seq, Some(id.clone()))));
        all.events.extend(self.events.iter().map(|(seq, pending)| (*seq, Some(pending.event.clone()))));
        all.deliveries.extend(self.orphans.iter().map(|(key, row)| (key.clone(), Some(row.clone()))));
        for (name, handler) in &self.handlers {
            for entry in handler.queue.entries() {
                let row = DeliveryRow { attempts: entry.attempts, failed: None };
                all.deliveries.insert((name.clone(), entry.seq), Some(row));
            }
            for (seq, failed) in &handler.failed {
                let row = DeliveryRow { attempts: failed.attempts, failed: Some(failed.failure.clone()) };
                all.deliveries.insert((name.clone(), *seq), Some(row));
            }
        }
        for (name, _, entry) in self.unwritten.iter().flat_map(|(_, due)| due).chain(&self.due) {
            let row = DeliveryRow { attempts: entry.attempts, failed: None };
            all.deliveries.insert((name.clone(), entry.seq), Some(row));
        }
        let reported = self.intake.all_reported();
        all.reported.extend(reported.iter().map(|(id, reported)| (id.clone(), Some(reported.clone()))));
        let inspections = self.inspections.iter();
        all.inspections.extend(inspections.map(|(id, last)| (id.clone(), Some(last.text.clone()))));
        // A restart conveys the same as the dummy event, so that is not written.
        let dummies: Vec<u64> = self
            .events
            .iter()
            .filter(|(_, pending)| pending.event.event == "none")
            .map(|(seq, _)| *seq)
            .collect();
        all.events.retain(|seq, _| !dummies.contains(seq));
        all.deliveries.retain(|(_, seq), _| !dummies.contains(seq));
        self.batch.append(all);
    }

    /// Begins the attempts that can begin.
    fn begin_attempts(&mut self, now: Instant) {
        for (name, handler) in &mut self.handlers {
            if !handler.handler.enabled {
                continue;
            }
            while let Some((lane, entry)) = handler.queue.next(now, handler.handler.delivery.parallel) {
                let Some(pending) = self.events.get(&entry.seq) else {
                    handler.queue.done(&lane);
                    continue;
                };
                let last = pending.event.container().and_then(|facts| self.inspections.get(&facts.id));
                self.effects.push(Effect::Attempt(AttemptOrder {
                    name: name.clone(),
                    handler: handler.handler.clone(),
                    event: pending.event.clone(),
                    lane,
                    entry,
                    known: last.map(|last| last.text.clone()),
                }));
            }
        }
    }

    fn finished(&mut self, finished: Finished, moment: &Moment<'_>) {
        let Finished { name, lane, entry, outcome, took } = finished;
        // Its handler may have been removed in between, and even added again under the same name.
        let is_its = |handler: &&mut HandlerQueue| handler.queue.is_under_way(&lane, entry.seq);
        let Some(handler) = self.handlers.get_mut(&name).filter(is_its) else { return };
        let event = self.events.get(&entry.seq).map(|pending| pending.event.clone());
        let id = event.as_ref().map(|event| event.id.to_string()).unwrap_or_default();
        let event = event.as_ref().map_or("", |event| event.event.as_str()).to_owned();
        let word = match &outcome {
            Ok(()) => "delivered",
            Err(Failure { retry: Retry::Uncounted { .. }, .. }) => "broken_off",
            Err(_) => "failed",
        };
        metrics::counter!("longshore_deliveries_total", "handler" => name.clone(), "outcome" => word)
            .increment(1);
        metrics::histogram!("longshore_delivery_seconds", "handler" => name.clone())
            .record(took.as_secs_f64());
        let triggers = handler.handler.triggers_none && event != "none";
        match outcome {
            Ok(()) => {
                tracing::debug!(handler = name, event, id, ?took, "delivered");
                handler.trouble = None;
                handler.delivered += 1;
                handler.queue.done(&lane);
                self.over(&name, entry.seq);
            }
            Err(Failure { why, retry: Retry::Uncounted { told }, .. }) => {
                tracing::debug!(handler = name, event, id, "aborted: {why}");
                return handler.queue.broken_off(&lane, moment.now, told);
            }
            Err(failure) if failure.is_permanent() || entry.attempts >= handler.handler.delivery.retries => {
                let why = failure.why;
                tracing::error!(
                    handler = name,
                    event,
                    id,
                    attempts = entry.attempts + 1,
                    "failed permanently: {why}"
                );
                handler.trouble = Some(why.clone());
                handler.queue.done(&lane);
                self.fail(&name, &event, &entry, FailureRow { why, at: moment.at });
            }
            Err(Failure { why, not_before, .. }) => {
                let delay = retry_delay(entry.attempts + 1, entry.seq).max(not_before);
                tracing::warn!(handler = name, event, id, retry_in = ?delay, "failed, retrying: {why}");
                handler.trouble = Some(why);
                handler.queue.again(&lane, moment.now + delay);
                if event != "none" {
                    let row = DeliveryRow { attempts: entry.attempts + 1, failed: None };
                    self.batch.deliveries.insert((name, entry.seq), Some(row));
                }
                return;
            }
        }
        if triggers {
            self.accept_none(None, moment.at);
        }
    }

    fn fail(&mut self, name: &str, event: &str, entry: &Entry, failure: FailureRow) {
        if event == "none" {
            // The next one conveys the same.
            return self.over(name, entry.seq);
        }
        let Some(handler) = self.handlers.get_mut(name) else { return };
        let attempts = entry.attempts + 1;
        handler.failed.insert(entry.seq, FailedDelivery { attempts, failure: failure.clone() });
        let oldest = (handler.failed.len() > MAX_FAILED).then(|| handler.failed.pop_first()).flatten();
        let row = DeliveryRow { attempts, failed: Some(failure) };
        self.batch.deliveries.insert((name.to_owned(), entry.seq), Some(row));
        if let Some((seq, _)) = oldest {
            tracing::error!(handler = name, "dropping the oldest failed delivery: {MAX_FAILED} are kept");
            self.over(name, seq);
        }
        self.report_problem(name);
    }

    pub(crate) fn report_problem(&mut self, name: &str) {
        let problem = self.handlers.get(name).and_then(HandlerQueue::problem);
        self.effects.push(Effect::Problem { name: name.to_owned(), problem });
    }

    /// Ends a delivery that is no longer needed.
    pub(crate) fn over(&mut self, name: &str, seq: u64) {
        self.batch.deliveries.insert((name.to_owned(), seq), None);
        if let Some(pending) = self.events.get_mut(&seq) {
            pending.deliveries = pending.deliveries.saturating_sub(1);
        }
        self.release(seq);
    }

    /// Releases an event that no delivery needs.
    fn release(&mut self, seq: u64) {
        if self.events.get(&seq).is_some_and(|pending| pending.deliveries == 0) {
            self.events.remove(&seq);
            self.batch.events.insert(seq, None);
            self.effects.push(Effect::Release(seq));
        }
    }

    /// Retries a delivery that failed permanently.
    fn replay(&mut self, name: &str, seq: u64) {
        let Some(handler) = self.handlers.get_mut(name) else { return };
        let (Some(_), Some(pending)) = (handler.failed.remove(&seq), self.events.get(&seq)) else { return };
        let entry = Entry { seq, attempts: 0, redelivered: true };
        handler.queue.push(pending.event.subject_id(), entry);
        self.batch.deliveries.insert((name.to_owned(), seq), Some(DeliveryRow::default()));
        self.report_problem(name);
    }

    fn inspected(&mut self, id: ContainerId, number: u64, text: Option<Arc<RawValue>>) {
        let Some(text) = text else { return };
        let is_newer = self.inspections.get(&id).is_none_or(|known| known.number < number);
        // It may have been forgotten.
        if is_newer && self.intake.reported(&id).is_some() {
            self.batch.inspections.insert(id.clone(), Some(text.clone()));
            self.inspections.insert(id, LastInspection::new(number, text));
        }
    }

    /// Drops facts of containers destroyed long ago.
    fn forget_destroyed(&mut self, now: Instant) {
        while let Some((since, _)) = self.destroyed.front()
            && now.saturating_duration_since(*since) >= DESTROYED_RETENTION
        {
            let Some((_, id)) = self.destroyed.pop_front() else { return };
            self.inspections.remove(&id);
            self.intake.forget(&id);
            self.batch.inspections.insert(id.clone(), None);
            self.batch.reported.insert(id, None);
        }
    }
}

#[cfg(test)]
#[path = "dispatcher_tests.rs"]
mod tests;
