//! The task that owns all deliveries.

use std::collections::{BTreeMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt, StreamExt};
use longshore_model::{ContainerId, Handler, HandlerSet, Problem, Subject};
use longshore_runtime::state::{Changes, DockerEvent};
use longshore_runtime::{FollowerContext, Inspect, Source};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::held::{self, Held, Seen, Sights};
use super::intake::Intake;
use super::journal::{Batch, FailedRow, Journal, Row};
use super::queue::Entry;
use super::runner::{Failed, Runner, pause};
use super::{Command, Opened, Outcome, Parts};
use crate::attempt::{Attempt, Failure};
use crate::deliverer::Deliverer;

/// How many events are taken at once, into one write.
const TAKEN: usize = 512;
/// How long deliveries may go on once the agent was told to end. Those that do not are made again by the next agent.
const LAST: Duration = Duration::from_secs(5);
/// How many deliveries to a handler are kept that were given up.
const KEPT: usize = 10_000;

/// Where an entry is to be delivered once it is on the disk.
type Due = (String, String, Entry);

/// A write under way, and what is delivered after it.
type Writing = BoxFuture<'static, Vec<Due>>;

/// How an attempt ended.
pub(super) struct Finished {
    handler: String,
    lane: String,
    entry: Entry,
    outcome: Result<(), Failure>,
    took: Duration,
}

/// All deliveries.
pub(super) struct Delivery {
    pub(super) context: FollowerContext,
    pub(super) data_dir: PathBuf,
    pub(super) docker_host: String,
    pub(super) handlers: watch::Receiver<Arc<HandlerSet>>,
    pub(super) told: mpsc::UnboundedReceiver<DockerEvent>,
    pub(super) commands: mpsc::UnboundedReceiver<Command>,
    pub(super) changes: Changes,
    pub(super) journal: Option<Journal>,
    /// Why nothing can be written, while nothing can.
    pub(super) trouble: watch::Receiver<Option<String>>,
    /// Writes under way, with what is delivered after them.
    pub(super) writes: FuturesOrdered<Writing>,
    /// What is to be written next.
    pub(super) batch: Batch,
    pub(super) intake: Intake,
    pub(super) held: BTreeMap<u64, Held>,
    pub(super) next: u64,
    pub(super) runners: BTreeMap<String, Runner>,
    /// Deliveries of handlers that are not there yet, or whose file is broken.
    pub(super) orphans: BTreeMap<(String, u64), Row>,
    pub(super) sights: Sights,
    /// How often it was looked at a container.
    pub(super) looks: u64,
    /// Events whose inspections are kept, in the order in which they began to be.
    pub(super) inspected: VecDeque<u64>,
    /// Containers that are gone, since when: what is known of them is kept for a while.
    pub(super) gone: VecDeque<(Instant, ContainerId)>,
    pub(super) inspector: Arc<dyn Inspect>,
    pub(super) running: JoinSet<Finished>,
    pub(super) inspecting: JoinSet<(ContainerId, Option<Seen>)>,
    /// Containers that are not what was told of them, until when an event may still explain it.
    pub(super) doubts: BTreeMap<ContainerId, Instant>,
    /// Whether nobody is told of events: then nothing is written down either.
    pub(super) idle: bool,
    /// Whether the containers that there were at the first start are known.
    pub(super) begun: bool,
}

impl Delivery {
    pub(super) fn new(parts: Parts, opened: Opened) -> Self {
        let Opened { journal, remembered } = opened;
        let last = remembered.ids.keys().chain(remembered.occurrences.keys()).max().copied();
        let intake = Intake::resume(remembered.told, remembered.ids);
        let held =
            remembered.occurrences.iter().map(|(seq, occurrence)| (*seq, Held::new(occurrence.clone())));
        let sights = remembered.inspections.into_iter().map(|(id, text)| (id, Seen::new(0, text)));
        Self {
            data_dir: parts.data_dir,
            docker_host: parts.docker_host,
            handlers: parts.handlers,
            told: parts.told,
            commands: parts.commands,
            changes: parts.context.world.subscribe(),
            inspector: parts.inspector,
            context: parts.context,
            trouble: journal.as_ref().map_or_else(|| watch::channel(None).1, Journal::trouble),
            journal,
            writes: FuturesOrdered::new(),
            batch: Batch::default(),
            held: held.collect(),
            next: last.map_or(1, |seq| seq + 1),
            runners: BTreeMap::new(),
            orphans: remembered.deliveries,
            sights: sights.collect(),
            looks: 0,
            inspected: VecDeque::new(),
            gone: VecDeque::new(),
            running: JoinSet::new(),
            inspecting: JoinSet::new(),
            doubts: BTreeMap::new(),
            idle: false,
            begun: remembered.begun,
            intake,
        }
    }

    /// Delivers until told to stop.
    pub(super) async fn run(mut self, stop: CancellationToken) -> Outcome {
        for (_, seq) in self.orphans.keys() {
            if let Some(held) = self.held.get_mut(seq) {
                held.users += 1;
            }
        }
        let known: Vec<u64> = self.held.keys().copied().collect();
        known.into_iter().for_each(|seq| self.forget(seq));
        let strangers = self.sights.keys().filter(|id| self.intake.told(id).is_none());
        self.gone.extend(strangers.map(|id| (Instant::now(), id.clone())));
        self.take_handlers();
        let mut told = Vec::new();
        loop {
            let wake = self.wake();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(command) = self.commands.recv() => self.command(command),
                Some(finished) = self.running.join_next() => {
                    if let Ok(finished) = finished {
                        self.finished(finished);
                    }
                }
                Some(due) = self.writes.next() => self.written(due),
                Ok(()) = self.trouble.changed() => self.tell_of_journal(),
                Some(seen) = self.inspecting.join_next() => {
                    if let Ok((id, Some(seen))) = seen {
                        self.saw(id, seen);
                    }
                }
                count = self.told.recv_many(&mut told, TAKEN) => {
                    if count == 0 {
                        break;
                    }
                    told.drain(..).for_each(|told| self.hear(told));
                }
                changes = self.changes.next() => self.doubt(&changes),
                Ok(()) = self.handlers.changed() => self.take_handlers(),
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => self.make_up(),
            }
            self.forget_gone();
            self.dispatch();
            self.flush();
        }
        self.end().await;
        Vec::new()
    }

    /// Delivers the dummy event to those who want it, unless told to stop before that is done.
    pub(super) async fn once(mut self, stop: CancellationToken) -> Outcome {
        self.take_handlers();
        let mut outcome: BTreeMap<String, Option<String>> = BTreeMap::new();
        loop {
            self.flush();
            while let Some(due) = self.writes.next().await {
                self.written(due);
            }
            self.dispatch();
            let due = self.runners.values().filter_map(|runner| runner.queue.due()).min();
            if self.running.is_empty() && due.is_none() {
                break;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(finished) = self.running.join_next() => {
                    let Ok(finished) = finished else { continue };
                    let name = finished.handler.clone();
                    self.finished(finished);
                    let failed = self.runners.get(&name).and_then(|runner| runner.trouble.clone());
                    outcome.insert(name, failed);
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
        self.end().await;
        outcome.into_iter().collect()
    }

    /// What is under way may finish; then everything is written, and the journal closed.
    async fn end(mut self) {
        let last = Instant::now() + LAST;
        while !self.running.is_empty() {
            tokio::select! {
                Some(finished) = self.running.join_next() => {
                    if let Ok(finished) = finished {
                        self.finished(finished);
                    }
                }
                () = sleep_until(last) => break,
            }
        }
        self.flush();
        self.running.abort_all();
        let stops = self.runners.values().map(|runner| runner.deliverer.stop());
        futures_util::future::join_all(stops).await;
        if let Some(journal) = self.journal {
            journal.close().await;
        }
    }

    /// When something is due that nobody announces.
    fn wake(&self) -> Option<Instant> {
        let retries = self.runners.values().filter(|runner| has_room(runner)).filter_map(|r| r.queue.due());
        retries.chain(self.doubts.values().min().copied()).min()
    }

    /// Writes what is to be written; `due` is delivered after that.
    pub(super) fn write(&mut self, due: Vec<Due>) {
        let batch = std::mem::take(&mut self.batch);
        let written = self.journal.as_ref().map(|journal| journal.write(batch));
        self.writes.push_back(Box::pin(async move {
            if let Some(written) = written {
                written.await;
            }
            due
        }));
    }

    fn flush(&mut self) {
        if !self.batch.is_empty() {
            self.write(Vec::new());
        }
    }

    fn tell_of_journal(&mut self) {
        let problem = self.trouble.borrow_and_update().clone().map(|why| Problem {
            subject: Subject::File { path: "journal.redb".to_owned(), line: None },
            key: None,
            message: format!(
                "events are delivered but cannot be written down, so a restart loses them: {why}"
            ),
            hint: Some("it is tried every second; see to the disk of --data-dir".to_owned()),
        });
        self.context.problems.set(Source::Journal, problem);
    }

    /// What was to be written is, or could not be: it is delivered either way.
    fn written(&mut self, due: Vec<Due>) {
        for (name, lane, entry) in due {
            match self.runners.get_mut(&name) {
                Some(runner) => runner.queue.push(&lane, entry),
                None => self.over(&name, entry.seq),
            }
        }
    }

    /// Begins what can begin.
    fn dispatch(&mut self) {
        let now = Instant::now();
        let mut inspected = Vec::new();
        for (name, runner) in &mut self.runners {
            if !runner.handler.enabled {
                continue;
            }
            while let Some((lane, entry)) = runner.queue.next(now, runner.handler.delivery.parallel) {
                let Some(held) = self.held.get(&entry.seq) else {
                    runner.queue.done(&lane);
                    continue;
                };
                let known = held.occurrence.container().and_then(|facts| self.sights.get(&facts.id));
                if !held.inspection.initialized() {
                    inspected.push(entry.seq);
                }
                self.running.spawn(attempt(Begun {
                    inspector: self.inspector.clone(),
                    node: self.context.node.clone(),
                    name: name.clone(),
                    handler: runner.handler.clone(),
                    deliverer: runner.deliverer.clone(),
                    held: held.clone(),
                    known: known.cloned(),
                    lane,
                    entry,
                }));
            }
        }
        inspected.into_iter().for_each(|seq| self.keep_inspection(seq));
    }

    fn finished(&mut self, finished: Finished) {
        let Finished { handler: name, lane, entry, outcome, took } = finished;
        // It may be a handler's that went meanwhile, and even came again under the same name.
        let of_it = |runner: &&mut Runner| runner.queue.is_under_way(&lane, entry.seq);
        let Some(runner) = self.runners.get_mut(&name).filter(of_it) else { return };
        let held = self.held.get(&entry.seq).map(|held| held.occurrence.clone());
        let event = held.as_ref().map_or("", |occurrence| occurrence.event.as_str()).to_owned();
        let id = held.as_ref().map(|occurrence| occurrence.id.to_string()).unwrap_or_default();
        let word = if outcome.is_ok() { "delivered" } else { "failed" };
        metrics::counter!("longshore_deliveries_total", "handler" => name.clone(), "outcome" => word)
            .increment(1);
        metrics::histogram!("longshore_delivery_seconds", "handler" => name.clone())
            .record(took.as_secs_f64());
        let triggers = runner.handler.triggers_none && event != "none";
        match outcome {
            Ok(()) => {
                tracing::debug!(handler = name, event, id, ?took, "delivered");
                runner.trouble = None;
                runner.delivered += 1;
                runner.queue.done(&lane);
                self.over(&name, entry.seq);
            }
            Err(Failure { why, for_good, .. })
                if for_good || entry.attempts >= runner.handler.delivery.retries =>
            {
                tracing::error!(handler = name, event, id, attempts = entry.attempts + 1, "given up: {why}");
                runner.trouble = Some(why.clone());
                runner.queue.done(&lane);
                self.give_up(&name, &event, &entry, why);
            }
            Err(Failure { why, not_before, .. }) => {
                let pause = pause(entry.attempts + 1).max(not_before);
                tracing::warn!(handler = name, event, id, retry_in = ?pause, "failed: {why}");
                runner.trouble = Some(why);
                runner.queue.again(&lane, Instant::now() + pause);
                if event != "none" {
                    let row = Row { attempts: entry.attempts + 1, failed: None };
                    self.batch.deliveries.push(((name, entry.seq), Some(row)));
                }
                return;
            }
        }
        if triggers {
            self.accept_none(None);
        }
    }

    fn give_up(&mut self, name: &str, event: &str, entry: &Entry, why: String) {
        if event == "none" {
            // The next one says as much.
            return self.over(name, entry.seq);
        }
        let Some(runner) = self.runners.get_mut(name) else { return };
        let row = FailedRow { why, at: now() };
        let attempts = entry.attempts + 1;
        runner.failed.insert(entry.seq, Failed { attempts, row: row.clone() });
        let oldest = (runner.failed.len() > KEPT).then(|| runner.failed.pop_first()).flatten();
        self.batch.deliveries.push(((name.to_owned(), entry.seq), Some(Row { attempts, failed: Some(row) })));
        if let Some((seq, _)) = oldest {
            tracing::error!(handler = name, "{KEPT} failed deliveries are kept, and the oldest is forgotten");
            self.over(name, seq);
        }
        self.tell_problems(name);
    }

    pub(super) fn tell_problems(&self, name: &str) {
        let problem = self.runners.get(name).and_then(Runner::problem);
        self.context.problems.set(Source::Handler(name.to_owned()), problem);
    }

    /// A delivery is needed no more.
    pub(super) fn over(&mut self, name: &str, seq: u64) {
        self.batch.deliveries.push(((name.to_owned(), seq), None));
        if let Some(held) = self.held.get_mut(&seq) {
            held.users = held.users.saturating_sub(1);
        }
        self.forget(seq);
    }

    /// Forgets an event, if nobody needs it.
    pub(super) fn forget(&mut self, seq: u64) {
        if self.held.get(&seq).is_some_and(|held| held.users == 0) {
            self.held.remove(&seq);
            self.batch.forgotten.push(seq);
        }
    }

    /// Delivers one that was given up again.
    pub(super) fn replay(&mut self, name: &str, seq: u64) {
        let Some(runner) = self.runners.get_mut(name) else { return };
        let (Some(_), Some(held)) = (runner.failed.remove(&seq), self.held.get(&seq)) else { return };
        runner.queue.push(held.occurrence.subject_id(), Entry { seq, attempts: 0, redelivered: true });
        self.batch.deliveries.push(((name.to_owned(), seq), Some(Row::default())));
        self.tell_problems(name);
    }

    fn command(&mut self, command: Command) {
        // Nobody waiting for the answer any more is no failure.
        match command {
            Command::List(answer) => drop(answer.send(self.list())),
            Command::Failed(answer) => drop(answer.send(self.failed())),
            Command::Replay(id, answer) => {
                let found = self.find_failed(id.as_deref());
                found.iter().for_each(|(name, seq)| self.replay(name, *seq));
                let _ = answer.send(found.len());
            }
            Command::Forget(id, answer) => {
                let found = self.find_failed(id.as_deref());
                for (name, seq) in &found {
                    if let Some(runner) = self.runners.get_mut(name) {
                        runner.forget(*seq);
                    }
                    self.over(name, *seq);
                    self.tell_problems(name);
                }
                let _ = answer.send(found.len());
            }
            Command::Test(name, test, answer) => self.test(&name, test, answer),
        }
    }
}

fn has_room(runner: &Runner) -> bool {
    runner.handler.enabled && runner.queue.running() < runner.handler.delivery.parallel
}

/// What an attempt needs.
struct Begun {
    inspector: Arc<dyn Inspect>,
    node: String,
    name: String,
    handler: Arc<Handler>,
    deliverer: Arc<Deliverer>,
    held: Held,
    known: Option<Seen>,
    lane: String,
    entry: Entry,
}

async fn attempt(begun: Begun) -> Finished {
    let Begun { inspector, node, name, handler, deliverer, held, known, lane, entry } = begun;
    let started = Instant::now();
    let occurrence = &held.occurrence;
    let inspection = held.inspection.get_or_init(async || {
        let facts = occurrence.container()?;
        let fresh = match occurrence.event.as_str() {
            "destroy" => None,
            _ => inspector.inspect(&facts.id).await,
        };
        fresh.or(known.map(|seen| seen.inspection)).or_else(|| held::outline(facts))
    });
    let inspection = inspection.await.clone();
    let attempt = Attempt {
        node: &node,
        handler: &handler,
        occurrence,
        inspection: inspection.as_deref(),
        number: entry.attempts + 1,
        redelivered: entry.redelivered,
    };
    // A mistake of ours in one delivery must not hold up its container for ever.
    let outcome = AssertUnwindSafe(deliverer.deliver(&attempt)).catch_unwind().await;
    let outcome =
        outcome.unwrap_or_else(|_| Err(Failure::passing("Longshore itself failed; its log says where")));
    Finished { handler: name, lane, entry, outcome, took: started.elapsed() }
}

/// Nanoseconds since 1970.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
