//! The task that owns all deliveries: it waits for input, has the dispatcher decide what to do, and does it.
//!
//! It never blocks on anything else: writing, delivering and inspecting are futures that it polls.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt, StreamExt};
use longshore_model::{ContainerId, Handler, HandlerSet, Problem, Subject};
use longshore_runtime::state::{Changes, DockerEvent};
use longshore_runtime::{Examine, FollowerContext, Inspect, Source};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::attempt::{Attempt, Failure};
use crate::deliverer::Deliverer;
use crate::dispatcher::{AttemptOrder, Dispatcher, Effect, Finished, Happening, Moment};
use crate::inspections::{self, InspectionCell, InspectionCells};
use crate::journal::{Batch, Journal, JournalState};
use crate::{Command, Opened, Outcome, Parts, options};

/// Maximum number of events taken at once, into one write.
const MAX_EVENTS: usize = 512;
/// How long deliveries may take to end at shutdown. The next agent repeats those that do not.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// All deliveries, with what carries them out.
pub(crate) struct Delivery {
    pub(crate) context: FollowerContext,
    pub(crate) inspector: Arc<dyn Inspect>,
    examiner: Arc<dyn Examine>,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) handlers: watch::Receiver<Arc<HandlerSet>>,
    pub(crate) deliverers: BTreeMap<String, Arc<Deliverer>>,
    data_dir: PathBuf,
    docker_host: String,
    events: mpsc::UnboundedReceiver<DockerEvent>,
    commands: mpsc::UnboundedReceiver<Command>,
    changes: Changes,
    journal: Option<Journal>,
    journal_state: watch::Receiver<JournalState>,
    /// How often the journal had lost its contents at the last check.
    losses: u32,
    /// Writes under way, by batch number.
    writes: FuturesOrdered<BoxFuture<'static, u64>>,
    attempts: JoinSet<Finished>,
    /// Questions to Docker under way.
    questions: JoinSet<Happening>,
    cells: InspectionCells,
}

impl Delivery {
    pub(crate) fn new(parts: Parts, opened: Opened) -> Self {
        let Opened { journal, remembered, since } = opened;
        Self {
            dispatcher: Dispatcher::resume(remembered, since, Instant::now().into_std()),
            handlers: parts.handlers,
            deliverers: BTreeMap::new(),
            data_dir: parts.data_dir,
            docker_host: parts.docker_host,
            events: parts.events,
            commands: parts.commands,
            changes: parts.context.world.subscribe(),
            inspector: parts.inspector,
            examiner: parts.examiner,
            context: parts.context,
            journal_state: journal
                .as_ref()
                .map_or_else(|| watch::channel(JournalState::default()).1, Journal::state),
            losses: 0,
            journal,
            writes: FuturesOrdered::new(),
            attempts: JoinSet::new(),
            questions: JoinSet::new(),
            cells: InspectionCells::default(),
        }
    }

    /// Delivers until stopped.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Outcome {
        self.take_handlers();
        let mut events = Vec::new();
        loop {
            let wake = self.dispatcher.wake().map(Instant::from_std);
            let happening = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(command) = self.commands.recv() => match self.command(command) {
                    Some(happening) => happening,
                    None => continue,
                },
                Some(finished) = self.attempts.join_next() => match finished {
                    Ok(finished) => Happening::Finished(finished),
                    Err(_) => continue,
                },
                Some(number) = self.writes.next() => Happening::Written(number),
                Ok(()) = self.journal_state.changed() => match self.journal_changed() {
                    Some(happening) => happening,
                    None => continue,
                },
                Some(answer) = self.questions.join_next() => match answer {
                    Ok(happening) => happening,
                    Err(_) => continue,
                },
                count = self.events.recv_many(&mut events, MAX_EVENTS) => {
                    if count == 0 {
                        break;
                    }
                    Happening::Events(std::mem::take(&mut events))
                }
                changes = self.changes.next() => Happening::Changed(changes),
                Ok(()) = self.handlers.changed() => {
                    self.take_handlers();
                    continue;
                }
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => Happening::Time,
            };
            self.take(happening);
        }
        self.end().await;
        Vec::new()
    }

    /// Delivers the dummy event to the handlers that want it, unless stopped earlier.
    pub(crate) async fn once(mut self, stop: CancellationToken) -> Outcome {
        self.take_handlers();
        let mut outcome: BTreeMap<String, Option<String>> = BTreeMap::new();
        loop {
            let due = self.dispatcher.next_retry().map(Instant::from_std);
            if self.attempts.is_empty() && due.is_none() {
                break;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(finished) = self.attempts.join_next() => {
                    let Ok(finished) = finished else { continue };
                    outcome.insert(finished.name.clone(), finished.outcome.as_ref().err().map(|error| error.why.clone()));
                    self.take(Happening::Finished(finished));
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.take(Happening::Time),
            }
        }
        self.end().await;
        outcome.into_iter().collect()
    }

    /// Lets attempts under way finish, writes everything, and closes the journal.
    async fn end(mut self) {
        let last = Instant::now() + SHUTDOWN_TIMEOUT;
        // What has not begun is left to the next agent.
        while !self.attempts.is_empty() {
            tokio::select! {
                Some(finished) = self.attempts.join_next() => {
                    let Ok(finished) = finished else { continue };
                    for effect in self.dispatch(Happening::Finished(finished)) {
                        if let Effect::Write { batch, .. } = effect {
                            self.write(0, batch);
                        }
                    }
                }
                () = sleep_until(last) => break,
            }
        }
        self.attempts.abort_all();
        let stops = self.deliverers.values().map(|deliverer| deliverer.stop());
        futures_util::future::join_all(stops).await;
        if let Some(journal) = self.journal {
            journal.close().await;
        }
    }

    fn take_handlers(&mut self) {
        let set = self.handlers.borrow_and_update().clone();
        self.take(Happening::Handlers(set));
    }

    fn dispatch(&mut self, happening: Happening) -> Vec<Effect> {
        let world = self.context.world.snapshot();
        let moment = Moment { now: Instant::now().into_std(), at: now(), world: world.as_deref() };
        self.dispatcher.take(happening, &moment)
    }

    fn take(&mut self, happening: Happening) {
        for effect in self.dispatch(happening) {
            match effect {
                Effect::Write { number, batch } => self.write(number, batch),
                Effect::Attempt(order) => self.attempt(order),
                Effect::Inspect { container, number, seq } => self.inspect(container, number, seq),
                Effect::Ask { containers } => {
                    let examiner = self.examiner.clone();
                    let ask = async move { examiner.examine(&containers).await };
                    self.questions.spawn(ask.map(Happening::Evidence));
                }
                Effect::Deliverer { name, handler } => self.replace(name, handler),
                Effect::Problem { name, problem } => {
                    self.context.problems.set(Source::Handler(name), problem);
                }
                Effect::Release(seq) => self.cells.remove(seq),
            }
        }
    }

    fn write(&mut self, number: u64, batch: Batch) {
        let written = self.journal.as_ref().map(|journal| journal.write(batch));
        self.writes.push_back(Box::pin(async move {
            if let Some(written) = written {
                written.await;
            }
            number
        }));
    }

    fn attempt(&mut self, order: AttemptOrder) {
        let Some(deliverer) = self.deliverers.get(&order.name) else { return };
        self.attempts.spawn(attempt(Begun {
            inspector: self.inspector.clone(),
            node: self.context.node.clone(),
            deliverer: deliverer.clone(),
            cell: self.cells.of(order.entry.seq),
            order,
        }));
    }

    /// Inspects a container: handlers receive this inspection from then on.
    fn inspect(&mut self, container: ContainerId, number: u64, seq: Option<u64>) {
        let inspector = self.inspector.clone();
        let cell: InspectionCell = seq.map(|seq| self.cells.of(seq)).unwrap_or_default();
        self.questions.spawn(async move {
            // If this fails, each delivery inspects the container itself.
            let look = async || inspector.inspect(&container).await.map(Some).ok_or(());
            let text = cell.get_or_try_init(look).await.ok().cloned().flatten();
            Happening::Inspected { container, number, text }
        });
    }

    /// Recreates the deliverer of a handler. Attempts under way on the old one end with it, or are aborted and
    /// repeated on the new one.
    fn replace(&mut self, name: String, handler: Option<Arc<Handler>>) {
        let deliverer = handler.and_then(|handler| {
            let handler = options::with_file(&handler, &self.data_dir);
            let context = &self.context;
            Deliverer::new(&handler, &context.node, &self.docker_host, &self.data_dir, &context.problems)
        });
        let old = match deliverer {
            Some(deliverer) => self.deliverers.insert(name, Arc::new(deliverer)),
            None => self.deliverers.remove(&name),
        };
        if let Some(old) = old {
            tokio::spawn(async move { old.stop().await });
        }
    }

    fn journal_changed(&mut self) -> Option<Happening> {
        let state = self.journal_state.borrow_and_update().clone();
        self.context.problems.set(Source::Journal, journal_problems(&state));
        let lost = state.losses > self.losses;
        self.losses = state.losses;
        lost.then_some(Happening::JournalLost)
    }

    fn command(&mut self, command: Command) -> Option<Happening> {
        // If nobody waits for the answer any more, that is not an error.
        match command {
            Command::List(answer) => {
                let _ = answer.send(self.dispatcher.list());
                None
            }
            Command::Failed(answer) => {
                let _ = answer.send(self.dispatcher.failed());
                None
            }
            Command::Replay(id, answer) => {
                let found = self.dispatcher.find_failed(id.as_deref());
                let _ = answer.send(found.len());
                Some(Happening::Replay(found))
            }
            Command::Forget(id, answer) => {
                let found = self.dispatcher.find_failed(id.as_deref());
                let _ = answer.send(found.len());
                Some(Happening::Forget(found))
            }
            Command::Test(name, test, answer) => {
                self.test(&name, test, answer);
                None
            }
        }
    }
}

/// Returns the journal's problems.
pub(crate) fn journal_problems(state: &JournalState) -> Vec<Problem> {
    let problem = |message, hint: &str| Problem {
        subject: Subject::File { path: "journal.redb".to_owned(), line: None },
        key: None,
        message,
        hint: Some(hint.to_owned()),
    };
    let trouble = state.trouble.as_ref().map(|why| {
        let message = format!(
            "events are delivered but cannot be written to the journal, so a restart loses them: {why}"
        );
        problem(message, "retrying every second; check the disk of --data-dir")
    });
    let aside = state.put_aside.as_ref().map(|why| match state.losses {
        0 => {
            let message =
                format!("the journal cannot be read, so its pending deliveries are not made: {why}");
            problem(message, "check the disk; remove the file once you have looked at it")
        }
        _ => {
            let message = format!("the journal was damaged while the agent ran, and was rewritten: {why}");
            problem(message, "nothing but the agent may write to --data-dir; check the disk")
        }
    });
    trouble.into_iter().chain(aside).collect()
}

/// What an attempt needs.
struct Begun {
    inspector: Arc<dyn Inspect>,
    node: String,
    deliverer: Arc<Deliverer>,
    cell: InspectionCell,
    order: AttemptOrder,
}

async fn attempt(begun: Begun) -> Finished {
    let Begun { inspector, node, deliverer, cell, order } = begun;
    let AttemptOrder { name, handler, event, lane, entry, known } = order;
    let started = Instant::now();
    let inspection = cell.get_or_init(async || {
        let facts = event.container()?;
        let fresh = match event.event.as_str() {
            "destroy" => None,
            _ => inspector.inspect(&facts.id).await,
        };
        fresh.or(known).or_else(|| inspections::outline(facts))
    });
    let inspection = inspection.await.clone();
    let attempt = Attempt {
        node: &node,
        handler: &handler,
        event: &event,
        inspection: inspection.as_deref(),
        number: entry.attempts + 1,
        redelivered: entry.redelivered,
    };
    // A bug in one delivery must not block its container forever.
    let outcome = AssertUnwindSafe(deliverer.deliver(&attempt)).catch_unwind().await;
    let outcome = outcome.unwrap_or_else(|_| Err(Failure::passing("Longshore itself failed; see its log")));
    Finished { name, lane, entry, outcome, took: started.elapsed() }
}

/// Returns the current time in nanoseconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
