//! Containers without a network, connected to Open vSwitch while they run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use longshore_model::{
    Change, Container, ContainerId, Host, OpenVswitchJob, Problem, RunState, Subject, World,
};
use longshore_plan::openvswitch::{Action, Decision, Mark, OpenVswitchPlan, concerns};
use longshore_runtime::{Begins, Ended, Follower, Passed, Pauses, Reached, StepError, Steps};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::{FollowerParts, HandlerFollower};
use crate::act::openvswitch as act;

/// How often all ports are checked without a change: someone may have removed one.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// How many containers are connected at once.
const MAX_CONCURRENT: usize = 4;
/// How long a container that could not be connected waits for a retry.
const PAUSES: Pauses =
    Pauses { first: Duration::from_millis(200), max: Duration::from_secs(15), calm: Duration::from_secs(10) };

/// One run of a container; `None` where there is no such container.
type Run = Option<(RunState, i64)>;

/// Keeps one handler's containers connected.
#[derive(Debug)]
pub(crate) struct OpenVswitch {
    plan: OpenVswitchPlan,
    act: act::OpenVswitch,
    /// Docker's host, if it is not this one.
    elsewhere: Option<String>,
    next_look: Instant,
    /// Containers that may have one of our ports.
    connected: BTreeSet<ContainerId>,
    /// Problems in the containers' labels.
    problems: BTreeMap<ContainerId, Vec<Problem>>,
    /// Why they could not be connected.
    failures: BTreeMap<ContainerId, String>,
    steps: Steps<ContainerId, (), (), String>,
    turns: Arc<Semaphore>,
    /// The run of a container that the work was done for.
    runs: BTreeMap<ContainerId, Run>,
    /// Containers to check again as soon as no step is running for them.
    outdated: BTreeSet<ContainerId>,
    /// Containers to retry, and when.
    retries: BTreeMap<ContainerId, Instant>,
}

impl OpenVswitch {
    fn new(parts: &FollowerParts<'_>, job: OpenVswitchJob) -> Self {
        let (handler, docker) = (parts.handler.to_owned(), parts.docker.settings());
        let owner = act::Owner {
            node: parts.context.node.clone(),
            handler: handler.clone(),
            all: parts.siblings.clone(),
        };
        Self {
            plan: OpenVswitchPlan { handler, job },
            act: act::OpenVswitch::new(owner, docker),
            elsewhere: docker.remote().map(str::to_owned),
            next_look: Instant::now(),
            connected: BTreeSet::new(),
            problems: BTreeMap::new(),
            failures: BTreeMap::new(),
            steps: Steps::new(usize::MAX, PAUSES),
            turns: Arc::new(Semaphore::new(MAX_CONCURRENT)),
            runs: BTreeMap::new(),
            outdated: BTreeSet::new(),
            retries: BTreeMap::new(),
        }
    }

    /// Takes over the steps that finished since the last pass. A container that has changed since is checked
    /// again anyway, and its end may explain the failure.
    fn absorb(&mut self, host: &Host, now: Instant) {
        for Ended { key, outcome } in self.steps.take(now) {
            let run = self.runs.remove(&key);
            self.failures.remove(&key);
            let Err(error) = outcome else { continue };
            self.connected.insert(key.clone());
            self.retries.insert(key.clone(), self.steps.paused_until(&key).unwrap_or(now));
            let is_current = run == Some(run_of(host.containers.get(&key).map(AsRef::as_ref)));
            if is_current || matches!(error, StepError::Panicked(_)) {
                self.failures.insert(key, error.to_string());
            }
        }
    }

    /// Returns which of the changed containers to check; `None` for all.
    fn due(
        &mut self,
        host: &Host,
        changed: Option<BTreeSet<ContainerId>>,
        now: Instant,
    ) -> Option<BTreeSet<ContainerId>> {
        let mut due = changed.filter(|_| now < self.next_look)?;
        due.retain(|id| host.containers.get(id).is_some_and(|c| concerns(c)) || self.connected.contains(id));
        due.append(&mut self.outdated);
        due.extend(self.retries.iter().filter(|(_, at)| **at <= now).map(|(id, _)| id.clone()));
        // A container must not be observed while a step for it is running.
        self.outdated = due.extract_if(.., |id| self.steps.is_busy(id)).collect();
        Some(due)
    }

    /// Converges the ports of these containers, or of all.
    async fn make(
        &mut self,
        host: &Host,
        only: Option<BTreeSet<ContainerId>>,
        now: Instant,
    ) -> Result<(), String> {
        let one = only.as_ref().and_then(|ids| ids.first().filter(|_| ids.len() == 1));
        let mut listing = match self.act.list(one).await {
            Ok(listing) => listing,
            Err(error) => {
                self.outdated.extend(only.into_iter().flatten());
                return Err(error);
            }
        };
        let ids = only.unwrap_or_else(|| {
            self.next_look = now + LOOK_INTERVAL;
            let wanted = host.containers.values().filter(|container| concerns(container));
            let wanted = wanted.map(|container| container.id.clone());
            let ids = wanted.chain(listing.ports.keys().cloned()).chain(listing.unfinished.keys().cloned());
            let ids: BTreeSet<ContainerId> = ids.collect();
            self.problems.clear();
            self.connected.clear();
            self.outdated.clear();
            self.retries.clear();
            self.failures.retain(|id, _| ids.contains(id));
            ids
        });
        for id in ids {
            if self.steps.is_busy(&id) {
                self.connected.insert(id.clone());
                self.outdated.insert(id);
                continue;
            }
            let container = host.containers.get(&id).map(AsRef::as_ref);
            let ports = listing.ports.remove(&id).unwrap_or_default();
            let decision = self.plan.decide(container, &ports, &listing.bridges);
            let unfinished = listing.unfinished.remove(&id).unwrap_or_default();
            self.problems.remove(&id);
            self.connected.remove(&id);
            self.retries.remove(&id);
            if !decision.problems.is_empty() {
                self.problems.insert(id.clone(), decision.problems.clone());
            }
            let is_done = decision.actions.is_empty();
            if ports.iter().any(|port| port.mark != Mark::Others) || !is_done {
                self.connected.insert(id.clone());
            }
            if is_done && unfinished.is_empty() {
                self.failures.remove(&id);
                continue;
            }
            let begins = self.steps.begin(id.clone(), (), now, || {
                let (act, turns, id) = (self.act.clone(), Arc::clone(&self.turns), id.clone());
                async move {
                    let _turn = turns.acquire().await;
                    carry_out(&act, &id, &decision, unfinished).await
                }
            });
            match begins {
                Begins::Now => drop(self.runs.insert(id, run_of(container))),
                Begins::At(at) => drop(self.retries.insert(id, at)),
                Begins::AfterAnother => drop(self.outdated.insert(id)),
            }
        }
        Ok(())
    }

    /// Returns the problem of a container that could not be connected.
    fn failure(&self, host: &Host, id: &ContainerId, why: &str) -> Problem {
        let (subject, message) = match host.containers.get(id) {
            Some(container) => {
                ((&**container).into(), format!("not connected to Open vSwitch as configured: {why}"))
            }
            None => {
                let subject = Subject::Handler { name: self.plan.handler.clone() };
                (subject, format!("cannot remove an unused Open vSwitch port: {why}"))
            }
        };
        Problem { subject, key: None, message, hint: Some("retrying".to_owned()) }
    }

    fn of_handler(&self, message: String, hint: &str) -> Problem {
        let subject = Subject::Handler { name: self.plan.handler.clone() };
        Problem { subject, key: None, message, hint: Some(hint.to_owned()) }
    }
}

fn run_of(container: Option<&Container>) -> Run {
    container.map(|container| (container.state, container.started))
}

async fn carry_out(
    act: &act::OpenVswitch,
    id: &ContainerId,
    decision: &Decision,
    mut unfinished: BTreeSet<String>,
) -> Result<(), String> {
    for action in &decision.actions {
        match action {
            Action::Remove(port) => act.remove(port).await?,
            Action::Add(attachment) => {
                act.add(id, attachment).await?;
                unfinished.remove(&attachment.interface);
            }
        }
    }
    for interface in &unfinished {
        act.settle(id, interface).await?;
    }
    Ok(())
}

impl HandlerFollower for OpenVswitch {
    type Settings = OpenVswitchJob;

    fn of_handler(parts: &FollowerParts<'_>, settings: &OpenVswitchJob) -> Self {
        Self::new(parts, settings.clone())
    }

    async fn withdraw(mut self) {
        while !self.steps.is_idle() {
            self.steps.wait().await;
            self.steps.take(Instant::now());
        }
        if self.elsewhere.is_some() {
            return;
        }
        let handler = self.plan.handler.clone();
        let failed = |error: String| tracing::warn!(handler, "cannot remove an Open vSwitch port: {error}");
        let listing = match self.act.list(None).await {
            Ok(listing) => listing,
            Err(error) => return failed(error),
        };
        for port in listing.ports.values().flatten().filter(|port| port.mark != Mark::Others) {
            if let Err(error) = self.act.remove(&port.name).await {
                failed(error);
            }
        }
        for (id, interfaces) in &listing.unfinished {
            for interface in interfaces {
                if let Err(error) = self.act.settle(id, interface).await {
                    failed(error);
                }
            }
        }
    }
}

impl Follower for OpenVswitch {
    const NAME: &'static str = "openvswitch";

    async fn pass(&mut self, world: &World, changed: &BTreeSet<Change>) -> Passed {
        if let Some(elsewhere) = &self.elsewhere {
            let message =
                format!("the containers are on {elsewhere}, which Open vSwitch of this host cannot reach");
            let problem = self.of_handler(message, "run an agent on that host, or remove the handler");
            return Passed { problems: vec![problem], ..Passed::default() };
        }
        let (host, now) = (world.own(), Instant::now());
        self.absorb(host, now);
        let due = self.due(host, Change::containers_of(changed, world.me()), now);
        let is_idle = due.as_ref().is_some_and(BTreeSet::is_empty);
        let made = if is_idle { Ok(()) } else { self.make(host, due, now).await };
        let mut problems: Vec<Problem> = self.problems.values().flatten().cloned().collect();
        problems.extend(self.failures.iter().map(|(id, why)| self.failure(host, id, why)));
        let reached = match made {
            Ok(()) => Reached::All,
            Err(error) => {
                let message = format!("cannot list the ports of Open vSwitch: {error}");
                problems.push(self.of_handler(message, "retrying"));
                Reached::Nothing
            }
        };
        let due = self.retries.values().copied().chain([self.next_look]).min();
        Passed { problems, reached, due, busy: !self.steps.is_idle() }
    }

    async fn disturbed(&mut self) -> BTreeSet<Change> {
        self.steps.wait().await;
        BTreeSet::new()
    }
}
