//! Sidecars, kept as planned: each step runs in its own task, so that none waits for another.

mod source;

pub(crate) use self::source::MAX_FILE;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use longshore_docker::steps::{Outcome, SidecarError, carry_out};
use longshore_docker::{DockerClient, InspectionError};
use longshore_model::{Change, ContainerId, Host, Problem, Subject, World};
use longshore_plan::sidecars::{EnvText, Order, SidecarKey, SidecarPlan, Step};
use longshore_runtime::files::{Guard, read_soon};
use longshore_runtime::{Begins, Ended, Follower, Passed, Pauses, Reached, StepError, Steps, chain};
use tokio::sync::watch as signal;
use tokio::time::Instant;

use self::source::Source;
use crate::config::{ReloadableSettings, SidecarSettings};

/// Longest environment file, in bytes: Linux gives a process no more.
pub(crate) const MAX_ENV_FILE: u64 = 2 * 1024 * 1024;
/// How many containers are inspected, and how many environment files read, at once.
const MAX_LOOKS: usize = 16;
/// How long World may take to show the result of a step.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a sidecar's steps wait after failures. With jitter, at most half a minute.
const PAUSES: Pauses =
    Pauses { first: Duration::from_millis(200), max: Duration::from_secs(15), calm: Duration::from_secs(10) };
/// How many ends in a row make a sidecar a problem.
const MANY_ENDS: u32 = 3;

/// What a step does to a container. One that could not be started is removed without a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StepKind {
    Run,
    Remove,
}

impl StepKind {
    fn of(step: &Step) -> Self {
        match step {
            Step::Create(_) | Step::Start { .. } => Self::Run,
            Step::Remove { .. } => Self::Remove,
        }
    }
}

/// A step's outcome that World does not show yet; the step is not repeated before it does.
#[derive(Debug)]
struct Settling {
    outcome: Outcome,
    /// When the container was last started before the step, in nanoseconds since 1970.
    last: i64,
    until: Instant,
}

/// How often a sidecar has ended by itself in quick succession.
#[derive(Debug)]
struct Ends {
    main_name: String,
    count: u32,
    /// If it runs until then, the next end counts as the first.
    until: Instant,
}

/// Keeps the sidecars of this host.
pub(crate) struct SidecarFollower {
    plan: SidecarPlan,
    docker: DockerClient,
    source: Source,
    steps: Steps<SidecarKey, StepKind, Outcome, SidecarError>,
    /// Orders in progress.
    orders: BTreeMap<SidecarKey, Order>,
    settling: BTreeMap<SidecarKey, Settling>,
    ends: BTreeMap<SidecarKey, Ends>,
    failures: BTreeMap<SidecarKey, Problem>,
    /// Mains to inspect for rendering the file.
    uninspected: BTreeSet<ContainerId>,
    inspections: Steps<ContainerId, (), Option<serde_json::Value>, InspectionError>,
    /// Environment files to read.
    unread: BTreeSet<String>,
    readings: Steps<String, (), EnvText, Infallible>,
}

impl SidecarFollower {
    /// Creates the follower. `reloads` changes whenever the agent reloads its settings; the file is then read
    /// again, too.
    pub(crate) fn new(
        settings: &SidecarSettings,
        docker: DockerClient,
        reloads: signal::Receiver<ReloadableSettings>,
    ) -> Self {
        Self {
            plan: SidecarPlan::new(),
            docker,
            source: Source::new(settings.file.as_deref(), reloads),
            steps: Steps::new(settings.at_once, PAUSES),
            orders: BTreeMap::new(),
            settling: BTreeMap::new(),
            ends: BTreeMap::new(),
            failures: BTreeMap::new(),
            uninspected: BTreeSet::new(),
            inspections: Steps::new(MAX_LOOKS, PAUSES),
            unread: BTreeSet::new(),
            readings: Steps::new(MAX_LOOKS, PAUSES),
        }
    }

    /// Takes over the steps that finished since the last pass.
    fn absorb(&mut self, now: Instant) {
        for Ended { key, outcome } in self.readings.take(now) {
            match outcome {
                Ok(text) => self.plan.env_read(key, text),
                Err(_) => drop(self.unread.insert(key)),
            }
        }
        for Ended { key, outcome } in self.inspections.take(now) {
            match outcome {
                Ok(Some(inspection)) => self.plan.inspected(&key, &inspection),
                // It is gone, as World is about to show.
                Ok(None) => {}
                Err(_) => drop(self.uninspected.insert(key)),
            }
        }
        for Ended { key, outcome } in self.steps.take(now) {
            if let Some(order) = self.orders.remove(&key) {
                self.stepped(&order, outcome, now);
            }
        }
    }

    fn stepped(&mut self, order: &Order, outcome: Result<Outcome, StepError<SidecarError>>, now: Instant) {
        let key = order.key.clone();
        let (name, last) = match &order.step {
            Step::Create(sidecar) => (&sidecar.name, 0),
            Step::Start { name, last, .. } => (name, *last),
            Step::Remove { name, .. } => (name, 0),
        };
        match outcome {
            Ok(Outcome::Pulled) => {
                tracing::info!(sidecar = name, main = order.main_name, "image pulled");
                self.steps.delay(key, StepKind::Run, now);
            }
            Ok(outcome) => {
                let did = match &order.step {
                    Step::Create(_) => "created",
                    Step::Start { .. } => "started",
                    Step::Remove { .. } => "removed",
                };
                tracing::info!(sidecar = name, main = order.main_name, "sidecar {did}");
                self.failures.remove(&key);
                self.settling.insert(key, Settling { outcome, last, until: now + SETTLE_TIMEOUT });
            }
            Err(error) => {
                let problem = Problem {
                    subject: Subject::Container { id: key.main.clone(), name: order.main_name.clone() },
                    key: Some(format!("sidecar {}", key.sidecar)),
                    message: format!("{name}: {}", one_line(&chain(&error))),
                    hint: Some("retrying".to_owned()),
                };
                self.failures.insert(key, problem);
            }
        }
    }

    /// Forgets outcomes that World now shows.
    fn settle(&mut self, host: &Host, now: Instant) {
        self.settling.retain(|_, Settling { outcome, last, until }| {
            let seen = match outcome {
                Outcome::Pulled => true,
                Outcome::Gone(id) => !host.containers.contains_key(id),
                Outcome::Runs(id) => host.containers.get(id).is_some_and(|c| c.started != *last),
            };
            !seen && *until > now
        });
    }

    /// Starts the steps that may run now. Returns when the next one may.
    fn begin(&mut self, orders: Vec<Order>, now: Instant) -> Option<Instant> {
        let mut due: Option<Instant> = None;
        let mut soonest = |at: Instant| due = Some(due.map_or(at, |due| due.min(at)));
        let wanted: BTreeSet<SidecarKey> = orders.iter().map(|order| order.key.clone()).collect();
        self.failures.retain(|key, _| wanted.contains(key) || self.steps.is_busy(key));
        self.ends.retain(|_, ends| ends.until > now);
        for order in orders {
            let (key, kind) = (order.key.clone(), StepKind::of(&order.step));
            if let Some(settling) = self.settling.get(&key) {
                soonest(settling.until);
                continue;
            }
            let begins = self.steps.begin(key.clone(), kind, now, || {
                let (docker, step) = (self.docker.clone(), order.step.clone());
                async move {
                    let docker = docker.ready().await.map_err(SidecarError::Unreachable)?;
                    carry_out(&docker, &step).await
                }
            });
            match begins {
                Begins::Now => {
                    if matches!(order.step, Step::Start { last, .. } if last != 0) {
                        self.ended_by_itself(&order, now);
                    }
                    self.orders.insert(key, order);
                }
                Begins::At(at) => soonest(at),
                Begins::AfterAnother => {}
            }
        }
        due
    }

    /// Delays the next start of a sidecar that restarts.
    fn ended_by_itself(&mut self, order: &Order, now: Instant) {
        self.steps.delay(order.key.clone(), StepKind::Run, now);
        let until = self.steps.paused_until(&order.key).unwrap_or(now) + PAUSES.calm;
        let first = || Ends { main_name: order.main_name.clone(), count: 0, until };
        let ends = self.ends.entry(order.key.clone()).or_insert_with(first);
        ends.count += 1;
        ends.until = until;
    }

    /// Inspects the mains that the file is rendered for, and reads environment files. Returns when those that
    /// failed may be retried.
    fn look(&mut self, now: Instant) -> Option<Instant> {
        let (mut later, mut due) = (BTreeSet::new(), Vec::new());
        for id in std::mem::take(&mut self.uninspected) {
            let begins = self.inspections.begin(id.clone(), (), now, || {
                let (docker, id) = (self.docker.clone(), id.clone());
                async move {
                    let inspected = docker.inspections().get(&id).await?;
                    Ok(inspected.and_then(|json| serde_json::from_str(json.get()).ok()))
                }
            });
            if begins != Begins::Now {
                // The running inspection may predate the request.
                later.insert(id);
            }
            due.extend(at(begins));
        }
        self.uninspected = later;
        let mut later = BTreeSet::new();
        for path in std::mem::take(&mut self.unread) {
            let begins = self.readings.begin(path.clone(), (), now, || {
                let path = path.clone();
                async move {
                    Ok(match read_soon(Path::new(&path), MAX_ENV_FILE, Guard::Writers).await {
                        Ok(text) => EnvText::Text(text),
                        Err(error) if error.is_absence() => EnvText::Missing,
                        Err(error) => EnvText::Unread(error.to_string()),
                    })
                }
            });
            if begins != Begins::Now {
                later.insert(path);
            }
            due.extend(at(begins));
        }
        self.unread = later;
        due.into_iter().min()
    }

    /// Returns the problems of sidecars that keep ending.
    fn restless(&self, host: &Host) -> impl Iterator<Item = Problem> {
        let restless = self.ends.iter().filter(|(key, ends)| {
            let main = host.containers.get(&key.main);
            ends.count >= MANY_ENDS
                && !self.failures.contains_key(*key)
                && main.is_some_and(|main| main.state.is_alive())
        });
        restless.map(|(key, ends)| Problem {
            subject: Subject::Container { id: key.main.clone(), name: ends.main_name.clone() },
            key: Some(format!("sidecar {}", key.sidecar)),
            message: format!(
                "it keeps exiting, and is restarted after pauses of up to {} s",
                PAUSES.max.as_secs() * 2
            ),
            hint: Some("see docker logs".to_owned()),
        })
    }

    /// Returns true if nothing runs. Steps that wait after a failure have converged as far as possible.
    fn is_idle(&self) -> bool {
        let looked = self.inspections.is_idle() && self.readings.is_idle();
        looked && self.steps.is_idle() && self.settling.is_empty()
    }
}

impl Follower for SidecarFollower {
    const NAME: &'static str = "sidecars";

    async fn pass(&mut self, world: &World, changed: &BTreeSet<Change>) -> Passed {
        let now = Instant::now();
        let variables = self.source.refresh(&mut self.plan).await;
        self.unread.extend(variables);
        self.absorb(now);
        let host = world.own();
        self.plan.update(host, Change::containers_of(changed, world.me()).as_ref());
        self.settle(host, now);
        let orders = self.plan.orders(host);
        self.uninspected.extend(self.plan.uninspected());
        let variables = self.plan.env_unread();
        if !variables.is_empty() {
            self.source.watch(&mut self.plan).await;
            self.unread.extend(variables);
        }
        let looks = self.look(now);
        let failing = orders.iter().all(|order| self.failures.contains_key(&order.key));
        let begins = self.begin(orders, now);
        let many = self.ends.values().filter(|ends| ends.count >= MANY_ENDS).map(|ends| ends.until);
        let due = many.chain(looks).chain(begins).min();
        let mut problems: Vec<Problem> = self.source.problems().cloned().collect();
        problems.extend(self.plan.problems().cloned());
        problems.extend(self.failures.values().cloned());
        problems.extend(self.restless(host));
        Passed { problems, reached: Reached::All, due, busy: !(self.is_idle() && failing) }
    }

    async fn disturbed(&mut self) -> BTreeSet<Change> {
        tokio::select! {
            () = self.steps.wait() => {}
            () = self.inspections.wait() => {}
            () = self.readings.wait() => {}
            () = self.source.outdated() => {}
        }
        BTreeSet::new()
    }
}

fn at(begins: Begins) -> Option<Instant> {
    match begins {
        Begins::At(at) => Some(at),
        Begins::Now | Begins::AfterAnother => None,
    }
}

/// Formats Docker's message as one line.
fn one_line(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(400).collect();
    text.trim().to_owned()
}
