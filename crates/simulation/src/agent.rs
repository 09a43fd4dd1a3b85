//! The agent: its real cores, with queues between them instead of tasks and channels.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use longshore_delivery::{
    AttemptOrder, Batch, Dispatcher, Effect, Failure, Finished, Happening, Moment, Remembered,
};
use longshore_model::{
    Change, Container, ContainerId, DeliveryRules, EventFilter, Filter, Handler, HandlerSet, HostId,
    HostInfo, Job, Origin, World,
};
use longshore_runtime::Evidence;
use longshore_runtime::state::{DockerEvent, Effect as StateEffect, Observation, State};
use serde_json::value::RawValue;

use super::engine::Engine;
use super::watch::Watch;

/// The handler that wants every event.
pub(crate) const ALL: &str = "all";
/// A handler that wants some events.
pub(crate) const FEW: &str = "few";

const ME: HostId = HostId::from_u128(1);

/// Questions to the engine, under way.
#[derive(Debug)]
enum Question {
    Inspect { container: ContainerId, number: u64 },
    Ask { left: Vec<ContainerId>, found: BTreeMap<ContainerId, Option<Container>> },
    Answered(Evidence),
}

pub(crate) struct Agent {
    pub(crate) watch: Watch,
    state: State,
    world: Option<Arc<World>>,
    events: VecDeque<DockerEvent>,
    changes: BTreeSet<Change>,
    dispatcher: Dispatcher,
    writes: VecDeque<(u64, Batch)>,
    pub(crate) attempts: Vec<AttemptOrder>,
    questions: Vec<Question>,
    handlers: HandlerSet,
    pub(crate) started: i64,
    /// When it recorded the containers of the first start.
    pub(crate) begun: Option<i64>,
    epoch: Instant,
}

impl Agent {
    /// Starts with what an earlier agent left on disk.
    pub(crate) fn start(disk: &Remembered, engine: &Engine) -> Self {
        let epoch = Instant::now();
        let started = disk.heard.unwrap_or(engine.clock);
        let mut agent = Self {
            watch: Watch::new(ME, started),
            state: State::new(ME, HostInfo::default()),
            world: None,
            events: VecDeque::new(),
            changes: BTreeSet::new(),
            dispatcher: Dispatcher::resume(disk.clone(), started, at(epoch, engine)),
            writes: VecDeque::new(),
            attempts: Vec::new(),
            questions: Vec::new(),
            handlers: handlers(),
            started,
            begun: disk.begun,
            epoch,
        };
        agent.take(Happening::Handlers(Arc::new(agent.handlers.clone())), engine);
        agent
    }

    fn take(&mut self, happening: Happening, engine: &Engine) {
        let moment = Moment { now: at(self.epoch, engine), at: engine.clock, world: self.world.as_deref() };
        trace(|| format!("{} {happening:?}", engine.clock));
        let effects = self.dispatcher.take(happening, &moment);
        trace(|| format!("    {effects:?}"));
        if self.begun.is_none() && self.dispatcher.has_begun() {
            self.begun = Some(engine.clock);
        }
        for effect in effects {
            match effect {
                Effect::Write { number, batch } => self.writes.push_back((number, batch)),
                Effect::Attempt(order) => self.attempts.push(order),
                Effect::Inspect { container, number, .. } => {
                    self.questions.push(Question::Inspect { container, number });
                }
                Effect::Ask { containers } => {
                    self.questions.push(Question::Ask { left: containers, found: BTreeMap::new() });
                }
                Effect::Deliverer { .. } | Effect::Problem { .. } | Effect::Release(_) => {}
            }
        }
    }

    /// Lets the writer take an observation.
    pub(crate) fn observe(&mut self) -> bool {
        let Some(observation) = self.watch.observed.pop_front() else { return false };
        for effect in self.state.take(Observation::Docker(ME, observation)) {
            match effect {
                StateEffect::Tell(event) => self.events.push_back(event),
                StateEffect::Publish(changes) => {
                    self.world = self.state.world().cloned().map(Arc::new);
                    self.changes.extend(changes);
                }
                StateEffect::Repaired(_) | StateEffect::Docker(_) => {}
            }
        }
        true
    }

    /// Lets deliveries take some of the events.
    pub(crate) fn hear(&mut self, engine: &Engine, rng: &mut Rng) -> bool {
        let count = self.events.len().min(rng.usize(1..20));
        let events: Vec<DockerEvent> = self.events.drain(..count).collect();
        if count > 0 {
            self.take(Happening::Events(events), engine);
        }
        count > 0
    }

    /// Lets deliveries process changes.
    pub(crate) fn compare(&mut self, engine: &Engine) -> bool {
        let changes = std::mem::take(&mut self.changes);
        let any = !changes.is_empty();
        if any {
            self.take(Happening::Changed(changes), engine);
        }
        any
    }

    /// Writes one more batch to disk.
    pub(crate) fn commit(&mut self, engine: &Engine, disk: &mut Remembered) -> bool {
        let Some((number, batch)) = self.writes.pop_front() else { return false };
        disk.apply(&batch);
        self.take(Happening::Written(number), engine);
        true
    }

    /// Writes one more batch to disk without the agent's noticing: it died before.
    pub(crate) fn commit_unnoticed(&mut self, disk: &mut Remembered) -> bool {
        let batch = self.writes.pop_front();
        batch.iter().for_each(|(_, batch)| disk.apply(batch));
        batch.is_some()
    }

    pub(crate) fn finished(&mut self, order: AttemptOrder, outcome: Result<(), Failure>, engine: &Engine) {
        let AttemptOrder { name, lane, entry, .. } = order;
        let finished = Finished { name, lane, entry, outcome, took: Duration::ZERO };
        self.take(Happening::Finished(finished), engine);
    }

    /// Lets the engine answer one question, or part of one.
    pub(crate) fn ask(&mut self, engine: &Engine, rng: &mut Rng) -> bool {
        if self.questions.is_empty() {
            return false;
        }
        let question = self.questions.swap_remove(rng.usize(..self.questions.len()));
        match question {
            Question::Inspect { container, number } => {
                let is_there = engine.up && engine.containers.contains_key(&container);
                let text = is_there.then(|| Arc::from(RawValue::from_string("{}".to_owned()).unwrap()));
                self.take(Happening::Inspected { container, number, text }, engine);
            }
            Question::Ask { .. } if !engine.up => self.take(Happening::Evidence(None), engine),
            Question::Ask { mut left, mut found } => match left.pop() {
                Some(id) => {
                    let is = engine.containers.get(&id).cloned();
                    found.insert(id, is);
                    self.questions.push(Question::Ask { left, found });
                }
                None => {
                    let events = engine.remembered(i64::MIN);
                    let evidence = Evidence { containers: found, events, until: engine.clock };
                    self.questions.push(Question::Answered(evidence));
                }
            },
            Question::Answered(evidence) => self.take(Happening::Evidence(Some(evidence)), engine),
        }
        true
    }

    /// Edits the handler's file.
    pub(crate) fn change_handler(&mut self, engine: &Engine, rng: &mut Rng) {
        if let Some(handler) = self.handlers.handlers.get_mut(ALL) {
            Arc::make_mut(handler).params.insert("turn".to_owned(), rng.u64(..).to_string());
        }
        self.take(Happening::Handlers(Arc::new(self.handlers.clone())), engine);
    }

    /// Lets the watch begin or end a connection, or progress with a call.
    pub(crate) fn watch(&mut self, engine: &mut Engine, rng: &mut Rng) -> bool {
        let now = at(self.epoch, engine);
        self.watch.step(engine, self.world.as_ref(), now, rng)
    }

    /// Lets the watch read an event.
    pub(crate) fn read(&mut self, engine: &mut Engine) -> bool {
        let now = at(self.epoch, engine);
        self.watch.read(engine, now)
    }

    /// Returns how long until something is due, in nanoseconds.
    pub(crate) fn wake(&self, engine: &Engine) -> Option<i64> {
        let due = self.dispatcher.wake().into_iter().chain(self.watch.due()).min()?;
        i64::try_from(due.saturating_duration_since(at(self.epoch, engine)).as_nanos()).ok()
    }

    pub(crate) fn time(&mut self, engine: &mut Engine) {
        let now = at(self.epoch, engine);
        self.watch.time(engine, now);
        self.take(Happening::Time, engine);
    }

    /// Returns World's containers.
    pub(crate) fn known(&self) -> BTreeMap<ContainerId, Container> {
        let own = self.world.iter().flat_map(|world| world.own().containers.iter());
        own.map(|(id, container)| (id.clone(), Container { stopping: false, ..Container::clone(container) }))
            .collect()
    }

    pub(crate) fn pending(&self) -> usize {
        self.dispatcher.pending()
    }
}

/// Returns the engine's time on the agent's monotonic clock.
fn at(epoch: Instant, engine: &Engine) -> Instant {
    epoch + Duration::from_nanos(engine.clock.cast_unsigned())
}

fn handlers() -> HandlerSet {
    let handler = |name: &str, events: EventFilter| {
        let handler = Handler {
            name: name.to_owned(),
            origin: Origin { file: PathBuf::from("/sim.ini"), line: None },
            enabled: true,
            triggers_none: false,
            filter: Filter { events, ..Filter::default() },
            delivery: DeliveryRules { retries: u32::MAX, ..DeliveryRules::default() },
            job: Job::Webhook { url: "http://sim/".to_owned(), secret_file: None },
            params: BTreeMap::new(),
        };
        (name.to_owned(), Arc::new(handler))
    };
    let all = EventFilter { all: true, ..EventFilter::default() };
    let few = EventFilter { named: vec!["start".to_owned(), "die".to_owned()], ..EventFilter::default() };
    HandlerSet { handlers: [handler(ALL, all), handler(FEW, few)].into(), ..HandlerSet::default() }
}

/// Prints what happens if `LONGSHORE_SIM_TRACE` is set.
pub(crate) fn trace(text: impl FnOnce() -> String) {
    static IS_ON: std::sync::LazyLock<bool> =
        std::sync::LazyLock::new(|| std::env::var_os("LONGSHORE_SIM_TRACE").is_some());
    if *IS_ON {
        eprintln!("{}", text());
    }
}
