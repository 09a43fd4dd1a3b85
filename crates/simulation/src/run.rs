//! One run, and many of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use fastrand::Rng;
use longshore_delivery::{Failure, Remembered};
use longshore_model::{ContainerId, Health};

use super::agent::{ALL, Agent, FEW};
use super::engine::{Engine, Faults};
use super::handlers::Handler;

/// Default number of runs: enough to find violations, in a few seconds.
const RUNS: u64 = 400;
/// How many steps each run has before it settles.
const STEPS: usize = 400;

/// What can happen next, and how likely each is.
#[derive(Clone, Copy, Debug)]
struct Odds {
    act: u32,
    read: u32,
    time: u32,
    break_stream: u32,
    restart: u32,
    kill: u32,
    change: u32,
}

struct Run {
    rng: Rng,
    engine: Engine,
    agent: Agent,
    disk: Remembered,
    handlers: BTreeMap<&'static str, Handler>,
    odds: Odds,
    lives: u32,
    /// The time from which every event must be delivered, in nanoseconds since 1970.
    since: i64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let is_tame = rng.u8(..3) == 0;
        let faults = Faults {
            buffer: if is_tame || rng.bool() { 256 } else { rng.usize(4..40) },
            lost: if is_tame || rng.bool() { 0 } else { rng.u32(..60) },
            doubled: rng.u32(..60),
            restarts: !is_tame && rng.bool(),
        };
        let rarely = |rng: &mut Rng, most| if rng.bool() { 0 } else { rng.u32(..most) };
        let odds = Odds {
            act: rng.u32(5..60),
            // A lagging agent reads little.
            read: rng.choice([2, 10, 60, 200]).unwrap_or(60),
            time: rng.u32(10..80),
            break_stream: rarely(&mut rng, 8),
            restart: if faults.restarts { rng.u32(1..6) } else { 0 },
            kill: rarely(&mut rng, 10),
            change: rarely(&mut rng, 6),
        };
        let mut engine = Engine::new(1_000_000_000_000, faults);
        (0..rng.u8(..8)).for_each(|_| engine.act(&mut rng));
        engine.clock += 1_000_000;
        let disk = Remembered::default();
        let agent = Agent::start(&disk, &engine);
        let handlers = [(ALL, Handler::default()), (FEW, Handler::default())].into();
        let since = agent.started;
        Self { rng, engine, agent, disk, handlers, odds, lives: 0, since }
    }

    /// Makes something happen. Returns whether anything could.
    fn step(&mut self) -> Result<bool, String> {
        let Odds { act, read, time, break_stream, restart, kill, change } = self.odds;
        let weights = [act, read, 60, 60, 60, 40, 40, 60, 60, time, break_stream, restart, kill, change];
        let mut pick = self.rng.u32(..weights.iter().sum::<u32>());
        let index = weights.iter().position(|weight| {
            let is_it = pick < *weight;
            pick = pick.wrapping_sub(*weight);
            is_it
        });
        match index.unwrap_or_default() {
            0 => self.engine.act(&mut self.rng),
            9 => self.pass_time(),
            10 => self.engine.stream = None,
            11 if self.engine.up => self.engine.stop(),
            11 => self.engine.restart(&mut self.rng),
            12 => self.kill()?,
            13 => self.agent.change_handler(&self.engine, &mut self.rng),
            other => return self.work(other, true),
        }
        Ok(true)
    }

    /// Lets one part of the agent work. Returns whether it had anything to do.
    fn work(&mut self, part: usize, may_fail: bool) -> Result<bool, String> {
        let Self { rng, engine, agent, disk, .. } = self;
        Ok(match part {
            1 => agent.read(engine),
            2 => agent.watch(engine, rng),
            3 => agent.observe(),
            4 => agent.hear(engine, rng),
            5 => agent.compare(engine),
            6 => agent.commit(engine, disk),
            7 => return self.finish(may_fail),
            _ => agent.ask(engine, rng),
        })
    }

    /// Ends an attempt.
    fn finish(&mut self, may_fail: bool) -> Result<bool, String> {
        if self.agent.attempts.is_empty() {
            return Ok(false);
        }
        let order = self.agent.attempts.swap_remove(self.rng.usize(..self.agent.attempts.len()));
        let outcome = match self.rng.u8(..20) {
            0..2 if may_fail => Err(Failure::passing("it failed")),
            2 if may_fail => Err(Failure::broken_off("its process was replaced", self.rng.bool())),
            _ => Ok(()),
        };
        if outcome.is_ok() {
            self.got(&order)?;
        }
        self.agent.finished(order, outcome, &self.engine);
        Ok(true)
    }

    fn got(&mut self, order: &longshore_delivery::AttemptOrder) -> Result<(), String> {
        let before = order.event.container().and_then(|facts| self.before(&facts.id));
        let Some(handler) = self.handlers.get_mut(order.name.as_str()) else { return Ok(()) };
        handler.get(order, self.lives, before, order.name == ALL)
    }

    /// Returns whether a container existed when handlers first received events: that is not an event.
    fn was_there(&self, id: &ContainerId) -> bool {
        let begun = self.agent.begun.unwrap_or(i64::MAX);
        let created = self.engine.history.iter().find(|event| event.container == *id);
        created.is_some_and(|created| created.at <= begun)
    }

    /// Returns the health that a container had when handlers first received events, if it existed then.
    fn before(&self, id: &ContainerId) -> Option<Health> {
        let health = || self.agent.begun_with.get(id).copied().unwrap_or(Health::None);
        self.was_there(id).then(health)
    }

    /// Advances time: a little, or until something is due.
    fn pass_time(&mut self) {
        let span = match (self.agent.wake(&self.engine), self.rng.u8(..3)) {
            (Some(wait), 0) => wait + 1_000,
            (_, 1) => self.rng.i64(1_000_000..1_500_000_000),
            _ => self.rng.i64(1_000_000..50_000_000),
        };
        self.engine.clock += span;
        self.agent.time(&mut self.engine);
    }

    /// Kills the agent and starts another.
    fn kill(&mut self) -> Result<(), String> {
        // The handlers may have received what was under way, and the disk what was about to be written.
        for order in std::mem::take(&mut self.agent.attempts) {
            if self.rng.bool() {
                self.got(&order)?;
            }
        }
        while self.rng.bool() && self.agent.commit_unnoticed(&mut self.disk) {}
        self.lives += 1;
        self.engine.clock += 1_000_000;
        let begun_with = std::mem::take(&mut self.agent.begun_with);
        self.agent = Agent::start(&self.disk, &self.engine);
        match self.disk.begun {
            Some(_) => self.agent.begun_with = begun_with,
            None => self.since = self.agent.started,
        }
        Ok(())
    }

    /// Lets everything settle without further events.
    fn settle(&mut self) -> Result<(), String> {
        if !self.engine.up {
            self.engine.restart(&mut self.rng);
        }
        for _ in 0..40 {
            for _ in 0..100_000 {
                let mut did_anything = false;
                for part in 1..9 {
                    did_anything |= self.work(part, false)?;
                }
                if !did_anything {
                    break;
                }
            }
            self.engine.clock += self.agent.wake(&self.engine).unwrap_or(1_000_000_000) + 1_000;
            self.agent.time(&mut self.engine);
        }
        Ok(())
    }

    /// Compares the result with the engine.
    fn check(&self) -> Result<(), String> {
        let truth: BTreeMap<_, _> = self.engine.containers.iter().collect();
        let known = self.agent.known();
        if known.iter().collect::<BTreeMap<_, _>>() != truth {
            return Err(format!("World is not what the engine says: {known:#?} and not {truth:#?}"));
        }
        if self.agent.pending() > 0 {
            return Err(format!("{} deliveries never came to an end", self.agent.pending()));
        }
        if !self.disk.deliveries.is_empty() || !self.disk.events.is_empty() {
            return Err(format!("the journal still has {:?}", self.disk.deliveries));
        }
        let all = &self.handlers[ALL];
        for (id, seen) in &all.containers {
            if let Some(why) = seen.differs(self.engine.containers.get(id)) {
                return Err(format!("the handler takes {id} for another: {why}: {}", seen.events.join(",")));
            }
        }
        for id in self.engine.containers.keys() {
            if !self.was_there(id) && !all.containers.contains_key(id) {
                return Err(format!("the handler was never told of {id}"));
            }
        }
        // If the stream stalls for long, what the engine forgot counts as lost.
        if self.engine.lossy || (self.engine.has_forgotten() && self.odds.read < 10) {
            return Ok(());
        }
        if let Some(id) = all.synthetic.first() {
            return Err(format!("nothing was lost, and {id} is synthetic"));
        }
        let told = |event: &&longshore_model::ContainerEvent| {
            let id =
                longshore_model::EventId(format!("{}-{}-{}", event.at, event.container.short(), event.kind));
            all.got.contains_key(&id)
        };
        match self.engine.history.iter().filter(|event| event.at > self.since).find(|event| !told(event)) {
            Some(event) => Err(format!("nothing was lost, and the handler was never told of {event:?}")),
            None => Ok(()),
        }
    }
}

fn run(seed: u64) -> Result<(), String> {
    let mut run = Run::new(seed);
    for _ in 0..STEPS {
        run.step()?;
    }
    run.settle()?;
    run.check()
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn whatever_happens_handlers_are_told_what_can_have_been_and_world_is_what_the_engine_says() {
    let first = setting("LONGSHORE_SIM_SEED").unwrap_or(0);
    let last = first + setting("LONGSHORE_SIM_RUNS").unwrap_or(RUNS);
    let next = AtomicU64::new(first);
    let failed = std::sync::Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= last {
                        return;
                    }
                    let outcome = std::panic::catch_unwind(|| run(seed));
                    let outcome = outcome.unwrap_or_else(|_| Err("a panic".to_owned()));
                    if let Err(why) = outcome {
                        failed.lock().unwrap().push((seed, why));
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap();
    failed.sort();
    let Some((seed, why)) = failed.first() else { return };
    for (seed, why) in &failed {
        eprintln!("{seed}: {why}");
    }
    panic!(
        "{} of {} runs failed, the first with LONGSHORE_SIM_SEED={seed} LONGSHORE_SIM_RUNS=1: {why}",
        failed.len(),
        last - first
    );
}
