//! Sidecars, kept like the plan says: each step in a task of its own, so that none waits for another.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use longshore_docker::steps::{Outcome, SidecarError, carry_out};
use longshore_docker::{DockerClient, InspectionError};
use longshore_model::{Change, ContainerId, Host, Problem, Subject, World};
use longshore_plan::sidecars::{EnvText, Order, SidecarFile, SidecarKey, SidecarPlan, Step};
use longshore_runtime::files::{Guard, Watched, read_soon, unwatched};
use longshore_runtime::{Follower, Passed, Reached, chain};
use tokio::sync::{Semaphore, watch as signal};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::config::{ReloadableSettings, SidecarSettings};

/// How long finding out what to watch may take: a file system of another machine may answer nothing.
const AIM: Duration = Duration::from_secs(5);
/// Longest file that is read, in bytes; the plan refuses what is longer.
pub(crate) const MAX_FILE_LENGTH: u64 = 2 * 1024 * 1024;
/// Longest file of variables, in bytes: Linux gives a process no more.
pub(crate) const MAX_ENV_LENGTH: u64 = 2 * 1024 * 1024;
/// How long World may take to show what was done.
const SEEN: Duration = Duration::from_secs(5);
/// The pause after a first failure, doubled by each that follows, and the longest one.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A sidecar that ran for so long is well: its next end is the first.
const WELL: Duration = Duration::from_secs(10);
/// When a sidecar ended so often in a row, it is a problem.
const TOO_OFTEN: u32 = 3;

/// How one sidecar's attempts follow each other.
#[derive(Debug)]
struct Pace {
    main_name: String,
    attempts: u32,
    /// How many of them were because it had ended by itself.
    ends: u32,
    /// Whether they are to remove it: who could not be started is removed without a pause.
    removes: bool,
    next: Instant,
}

/// What a step came to that World is to show, so that it is not made twice before.
#[derive(Debug)]
struct Settling {
    outcome: Outcome,
    /// When the container was started before the step, in nanoseconds since 1970.
    last: i64,
    until: Instant,
}

/// What a task came to.
enum Done {
    Step { order: Box<Order>, outcome: Result<Outcome, SidecarError> },
    Inspected { id: ContainerId, outcome: Result<Option<serde_json::Value>, InspectionError> },
    EnvRead { path: String, text: EnvText },
}

/// Keeps the sidecars of this host.
pub(crate) struct SidecarFollower {
    plan: SidecarPlan,
    docker: DockerClient,
    path: Option<PathBuf>,
    text: Option<String>,
    file_problems: Vec<Problem>,
    unwatched: Option<Problem>,
    reread: bool,
    files: Watched,
    live: signal::Receiver<ReloadableSettings>,
    permits: Arc<Semaphore>,
    tasks: JoinSet<Done>,
    done: Vec<Done>,
    busy: BTreeSet<SidecarKey>,
    settling: BTreeMap<SidecarKey, Settling>,
    paces: BTreeMap<SidecarKey, Pace>,
    failures: BTreeMap<SidecarKey, Problem>,
    inspecting: BTreeSet<ContainerId>,
    inspect_again: BTreeMap<ContainerId, Instant>,
    reading: BTreeSet<String>,
    settled: signal::Sender<bool>,
}

impl SidecarFollower {
    /// `live` changes whenever the agent is told to read its settings again: the file is read again then, too.
    /// `settled` is told whether there is nothing to do but what failed.
    pub(crate) fn new(
        settings: &SidecarSettings,
        docker: DockerClient,
        live: signal::Receiver<ReloadableSettings>,
        settled: signal::Sender<bool>,
    ) -> Self {
        let path = settings.file.as_deref().map(|path| std::path::absolute(path).unwrap_or(path.to_owned()));
        Self {
            plan: SidecarPlan::new(),
            docker,
            reread: path.is_some(),
            path,
            text: None,
            file_problems: Vec::new(),
            unwatched: None,
            files: Watched::default(),
            live,
            permits: Arc::new(Semaphore::new(settings.at_once.max(1))),
            tasks: JoinSet::new(),
            done: Vec::new(),
            busy: BTreeSet::new(),
            settling: BTreeMap::new(),
            paces: BTreeMap::new(),
            failures: BTreeMap::new(),
            inspecting: BTreeSet::new(),
            inspect_again: BTreeMap::new(),
            reading: BTreeSet::new(),
            settled,
        }
    }

    /// Watches the file and the files of variables, before any of them is read; gives the latter.
    async fn watch(&mut self) -> BTreeSet<String> {
        let variables = self.plan.env_files();
        if let Some(path) = &self.path {
            let paths = variables.iter().map(PathBuf::from).chain([path.clone()]).collect();
            // What cannot be found out in time is read as often as ever.
            if let Ok(error) = timeout(AIM, self.files.aim(paths)).await {
                self.unwatched =
                    error.map(|error| unwatched(&path.display().to_string(), "sidecars", &error));
            }
        }
        variables
    }

    /// Reads the file if it says something else than before. While it cannot be read, what it said goes on to count.
    async fn read(&mut self) {
        let Some(path) = self.path.clone() else { return };
        let text = match read_soon(&path, MAX_FILE_LENGTH, Guard::Writers).await {
            Ok(text) => text,
            Err(error) => return self.unread(&path, &error.to_string()),
        };
        if self.text.as_ref() == Some(&text) {
            return;
        }
        let own = std::env::vars_os();
        let own = own.filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
        match SidecarFile::read(&path, &text, own.collect()) {
            Ok((file, problems)) => {
                tracing::info!(file = %path.display(), "sidecars read");
                self.plan.file_read(file);
                self.file_problems = problems;
            }
            Err(mut problem) => {
                problem.hint = Some("what it said before goes on to count".to_owned());
                self.plan.file_unread();
                self.file_problems = vec![problem];
            }
        }
        self.text = Some(text);
    }

    fn unread(&mut self, path: &Path, why: &str) {
        self.plan.file_unread();
        self.text = None;
        self.file_problems = vec![Problem {
            subject: Subject::File { path: path.display().to_string(), line: None },
            key: None,
            message: format!("it cannot be read: {why}"),
            hint: Some("what it said before goes on to count; write the file".to_owned()),
        }];
    }

    /// Takes over what the tasks came to.
    fn absorb(&mut self, now: Instant) {
        while let Some(done) = self.tasks.try_join_next() {
            self.done.extend(done);
        }
        for done in std::mem::take(&mut self.done) {
            match done {
                Done::Step { order, outcome } => self.stepped(&order, outcome, now),
                Done::EnvRead { path, text } => {
                    self.reading.remove(&path);
                    self.plan.env_read(path, text);
                }
                Done::Inspected { id, outcome } => {
                    self.inspecting.remove(&id);
                    match outcome {
                        Ok(Some(inspection)) => self.plan.inspected(&id, &inspection),
                        // It is gone, which World is about to say.
                        Ok(None) => {}
                        Err(_) => {
                            self.inspect_again.insert(id, now + Duration::from_secs(1));
                        }
                    }
                }
            }
        }
    }

    fn stepped(&mut self, order: &Order, outcome: Result<Outcome, SidecarError>, now: Instant) {
        let key = order.key.clone();
        self.busy.remove(&key);
        let (name, last) = match &order.step {
            Step::Create(sidecar) => (&sidecar.name, 0),
            Step::Start { name, last, .. } => (name, *last),
            Step::Remove { name, .. } => (name, 0),
        };
        match outcome {
            Ok(Outcome::Pulled) => {
                tracing::info!(sidecar = name, main = order.main_name, "its image was pulled");
                self.slow_down(order, now);
            }
            Ok(outcome) => {
                let did = match &order.step {
                    Step::Create(_) => "made",
                    Step::Start { .. } => "started",
                    Step::Remove { .. } => "removed",
                };
                tracing::info!(sidecar = name, main = order.main_name, "sidecar {did}");
                self.failures.remove(&key);
                self.settling.insert(key, Settling { outcome, last, until: now + SEEN });
            }
            Err(error) => {
                let problem = Problem {
                    subject: Subject::Container { id: key.main.clone(), name: order.main_name.clone() },
                    key: Some(format!("sidecar {}", key.sidecar)),
                    message: format!("{name}: {}", one_line(&chain(&error))),
                    hint: Some("it is tried again".to_owned()),
                };
                self.failures.insert(key, problem);
                self.slow_down(order, now);
            }
        }
    }

    /// Lets the next attempt wait.
    fn slow_down(&mut self, order: &Order, now: Instant) -> &mut Pace {
        let removes = matches!(order.step, Step::Remove { .. });
        let begin = || Pace { main_name: order.main_name.clone(), attempts: 0, ends: 0, removes, next: now };
        let pace = self.paces.entry(order.key.clone()).or_insert_with(begin);
        if now.saturating_duration_since(pace.next) > WELL || pace.removes != removes {
            *pace = begin();
        }
        pace.next = now + pause(pace.attempts);
        pace.attempts += 1;
        pace
    }

    /// Forgets what World shows by now.
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

    /// Begins the steps that may be made now, and says when the next one may.
    fn begin(&mut self, orders: Vec<Order>, now: Instant) -> Option<Instant> {
        let mut due: Option<Instant> = None;
        let mut soonest = |at: Instant| due = Some(due.map_or(at, |due| due.min(at)));
        let wanted: BTreeSet<SidecarKey> = orders.iter().map(|order| order.key.clone()).collect();
        self.failures.retain(|key, _| wanted.contains(key) || self.busy.contains(key));
        self.paces.retain(|key, pace| wanted.contains(key) || pace.next + WELL + LONGEST_PAUSE > now);
        for order in orders {
            let key = order.key.clone();
            if self.busy.contains(&key) {
                continue;
            }
            if let Some(settling) = self.settling.get(&key) {
                soonest(settling.until);
                continue;
            }
            let removes = matches!(order.step, Step::Remove { .. });
            let pace = self.paces.get(&key).filter(|pace| pace.removes == removes && pace.next > now);
            if let Some(pace) = pace {
                soonest(pace.next);
                continue;
            }
            // Who gets no permit comes again as soon as another step ends.
            let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else { continue };
            if matches!(order.step, Step::Start { last, .. } if last != 0) {
                self.slow_down(&order, now).ends += 1;
            }
            self.busy.insert(key);
            let docker = self.docker.clone();
            self.tasks.spawn(async move {
                let outcome = match docker.ready().await {
                    Ok(docker) => carry_out(&docker, &order.step).await,
                    Err(error) => Err(SidecarError::Unreachable(error)),
                };
                drop(permit);
                Done::Step { order: Box::new(order), outcome }
            });
        }
        due
    }

    /// Asks Docker for the mains that the file is to be rendered for.
    fn inspect(&mut self, now: Instant) {
        let again = self.inspect_again.iter().filter(|(_, at)| **at <= now).map(|(id, _)| id.clone());
        let again: BTreeSet<ContainerId> = again.collect();
        self.inspect_again.retain(|id, _| !again.contains(id));
        for id in self.plan.uninspected().union(&again) {
            if !self.inspecting.insert(id.clone()) {
                // What runs may be older than what asks: it is done again.
                self.inspect_again.insert(id.clone(), now + PAUSE);
                continue;
            }
            let (docker, id) = (self.docker.clone(), id.clone());
            self.tasks.spawn(async move {
                let outcome = docker.inspections().get(&id).await;
                let outcome = outcome.map(|json| serde_json::from_str(json?.get()).ok());
                Done::Inspected { id, outcome }
            });
        }
    }

    /// Reads files of variables.
    fn read_variables(&mut self, paths: BTreeSet<String>) {
        for path in paths {
            if !self.reading.insert(path.clone()) {
                continue;
            }
            self.tasks.spawn(async move {
                let text = match read_soon(Path::new(&path), MAX_ENV_LENGTH, Guard::Writers).await {
                    Ok(text) => EnvText::Text(text),
                    Err(error) if error.is_absence() => EnvText::Missing,
                    Err(error) => EnvText::Unread(error.to_string()),
                };
                Done::EnvRead { path, text }
            });
        }
    }

    /// Sidecars that end again and again.
    fn restless(&self, host: &Host, now: Instant) -> impl Iterator<Item = Problem> {
        let restless = self.paces.iter().filter(move |(key, pace)| {
            let main = host.containers.get(&key.main);
            pace.ends >= TOO_OFTEN
                && pace.next + WELL > now
                && !self.failures.contains_key(*key)
                && main.is_some_and(|main| main.state.is_alive())
        });
        restless.map(|(key, pace)| Problem {
            subject: Subject::Container { id: key.main.clone(), name: pace.main_name.clone() },
            key: Some(format!("sidecar {}", key.sidecar)),
            message: format!(
                "it ends again and again, and is started again after pauses of up to {} s",
                LONGEST_PAUSE.as_secs()
            ),
            hint: Some("docker logs says why".to_owned()),
        })
    }
}

impl Follower for SidecarFollower {
    const NAME: &'static str = "sidecars";

    async fn pass(&mut self, world: &World, changed: &BTreeSet<Change>) -> Passed {
        let now = Instant::now();
        if std::mem::take(&mut self.reread) {
            let variables = self.watch().await;
            self.read().await;
            self.read_variables(variables);
        }
        self.absorb(now);
        let host = world.own();
        self.plan.update(host, Change::containers_of(changed, world.me()).as_ref());
        self.settle(host, now);
        let orders = self.plan.orders(host);
        self.inspect(now);
        let variables = self.plan.env_unread();
        if !variables.is_empty() {
            self.watch().await;
            self.read_variables(variables);
        }
        let failing = orders.iter().all(|order| self.failures.contains_key(&order.key));
        let mut due = self.begin(orders, now);
        let idle = self.busy.is_empty() && self.settling.is_empty();
        let idle = idle && self.inspecting.is_empty() && self.reading.is_empty();
        self.settled.send_if_modified(|settled| {
            let is_new = !*settled && idle && failing;
            *settled |= is_new;
            is_new
        });
        let mut problems = self.file_problems.clone();
        problems.extend(self.unwatched.clone());
        problems.extend(self.plan.problems().cloned());
        problems.extend(self.failures.values().cloned());
        problems.extend(self.restless(host, now));
        let again = self.inspect_again.values().copied();
        let wells = self.paces.values().filter(|pace| pace.ends >= TOO_OFTEN).map(|pace| pace.next + WELL);
        due = again.chain(wells.filter(|at| *at > now)).chain(due).min();
        Passed { problems, reached: Reached::All, due }
    }

    async fn disturbed(&mut self) {
        tokio::select! {
            Some(Ok(done)) = self.tasks.join_next(), if !self.tasks.is_empty() => self.done.push(done),
            () = self.files.changed(), if self.path.is_some() => self.reread = true,
            Ok(()) = self.live.changed() => self.reread = true,
        }
    }
}

fn pause(attempts: u32) -> Duration {
    LONGEST_PAUSE.min(PAUSE.saturating_mul(2_u32.saturating_pow(attempts.min(16))))
}

/// Docker's words, fit for a line.
fn one_line(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(400).collect();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_half_a_minute() {
        let pauses: Vec<u128> = (0..10).map(|n| pause(n).as_millis()).collect();
        assert_eq!(pauses, [200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000]);
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }
}
