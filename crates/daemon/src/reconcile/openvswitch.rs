//! Containers without a network, connected to Open vSwitch while they run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use longshore_docker::DockerSettings;
use longshore_model::{Change, ContainerId, Host, OpenVswitchJob, Problem, Subject, World};
use longshore_plan::openvswitch::{Action, Decision, Mark, OpenVswitchPlan, concerns};
use longshore_runtime::state::Reader;
use longshore_runtime::{Follower, FollowerContext, Passed, Reached};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::act::openvswitch as act;

/// How often all ports are looked at though nothing changed: somebody may have taken one away.
const LOOK: Duration = Duration::from_secs(60);
/// How many containers are connected at once.
const PARALLEL: usize = 4;

/// Keeps one handler's containers connected.
#[derive(Debug)]
pub(crate) struct OpenVswitch {
    plan: OpenVswitchPlan,
    act: act::OpenVswitch,
    world: Reader,
    /// Docker's host, where it is another than this one.
    elsewhere: Option<String>,
    next_look: Instant,
    /// Containers that a port of ours may lead into.
    connected: BTreeSet<ContainerId>,
    problems: BTreeMap<ContainerId, Vec<Problem>>,
    /// What is being done. It goes on when a pass is dropped, and the next one waits for it.
    running: JoinSet<Done>,
}

/// What became of one container's actions.
#[derive(Debug)]
struct Done {
    id: ContainerId,
    problems: Vec<Problem>,
    failure: Option<String>,
}

impl OpenVswitch {
    /// For the handler of this name, one of `all` that connect containers.
    pub(crate) fn new(
        context: &FollowerContext,
        docker: &DockerSettings,
        name: String,
        job: OpenVswitchJob,
        all: watch::Receiver<BTreeSet<String>>,
    ) -> Self {
        let owner = act::Owner { node: context.node.clone(), handler: name.clone(), all };
        Self {
            plan: OpenVswitchPlan { handler: name, job },
            act: act::OpenVswitch::new(owner, docker),
            world: context.world.clone(),
            elsewhere: docker.remote().map(str::to_owned),
            next_look: Instant::now(),
            connected: BTreeSet::new(),
            problems: BTreeMap::new(),
            running: JoinSet::new(),
        }
    }

    /// Takes away every port that it made: the handler is gone.
    pub(crate) async fn withdraw(mut self) {
        while self.running.join_next().await.is_some() {}
        if self.elsewhere.is_some() {
            return;
        }
        let handler = self.plan.handler.clone();
        let failed = |error: String| tracing::warn!(handler, "a port of Open vSwitch stays: {error}");
        let seen = match self.act.look(None).await {
            Ok(seen) => seen,
            Err(error) => return failed(error),
        };
        for port in seen.ports.values().flatten().filter(|port| port.mark != Mark::Others) {
            if let Err(error) = self.act.remove(&port.name).await {
                failed(error);
            }
        }
        for (id, interfaces) in &seen.unfinished {
            for interface in interfaces {
                if let Err(error) = self.act.settle(id, interface).await {
                    failed(error);
                }
            }
        }
    }

    /// Makes these containers' ports, or all that there are, as they should be; whether all of it worked.
    async fn make(&mut self, host: &Host, only: Option<BTreeSet<ContainerId>>) -> Result<bool, String> {
        let one = only.as_ref().and_then(|ids| ids.first().filter(|_| ids.len() == 1));
        let mut seen = self.act.look(one).await?;
        let ids = only.unwrap_or_else(|| {
            self.problems.clear();
            self.connected.clear();
            let wanted = host.containers.values().filter(|container| concerns(container));
            let wanted = wanted.map(|container| container.id.clone());
            wanted.chain(seen.ports.keys().cloned()).chain(seen.unfinished.keys().cloned()).collect()
        });
        let turns = Arc::new(Semaphore::new(PARALLEL));
        for id in ids {
            let container = host.containers.get(&id).map(AsRef::as_ref);
            let ports = seen.ports.remove(&id).unwrap_or_default();
            let decision = self.plan.decide(container, &ports, &seen.bridges);
            let unfinished = seen.unfinished.remove(&id).unwrap_or_default();
            self.problems.remove(&id);
            self.connected.remove(&id);
            if ports.iter().any(|port| port.mark != Mark::Others) || !decision.actions.is_empty() {
                self.connected.insert(id.clone());
            }
            let (act, turns) = (self.act.clone(), Arc::clone(&turns));
            self.running.spawn(async move {
                let _turn = turns.acquire().await;
                let failure = carry_out(&act, &id, &decision, unfinished).await.err();
                Done { id, problems: decision.problems, failure }
            });
        }
        Ok(self.wait(host).await)
    }

    /// Waits for what is being done; whether all of it worked.
    async fn wait(&mut self, host: &Host) -> bool {
        let mut worked = true;
        while let Some(done) = self.running.join_next().await {
            let Ok(Done { id, mut problems, failure }) = done else {
                // It did not say for which container: all of them are looked at again.
                self.next_look = Instant::now();
                worked = false;
                continue;
            };
            if let Some(failure) = failure {
                worked = false;
                self.connected.insert(id.clone());
                problems.extend(self.failure(host, &id, &failure));
            }
            if !problems.is_empty() {
                self.problems.insert(id, problems);
            }
        }
        worked
    }

    /// The problem of a container that could not be connected; none if it has ended since, which is why.
    fn failure(&self, host: &Host, id: &ContainerId, why: &str) -> Option<Problem> {
        let then = host.containers.get(id);
        let latest = self.world.snapshot();
        let now = latest.as_ref().and_then(|latest| latest.own().containers.get(id));
        if now.map(|now| (now.state, now.started)) != then.map(|then| (then.state, then.started)) {
            return None;
        }
        let subject = match now {
            Some(now) => Subject::Container { id: id.clone(), name: now.name.clone() },
            None => Subject::Handler { name: self.plan.handler.clone() },
        };
        let message = match now {
            Some(_) => format!("it is not connected to Open vSwitch as it should be: {why}"),
            None => format!("a port of Open vSwitch that nothing needs stays: {why}"),
        };
        let hint = Some("it is tried until it works".to_owned());
        Some(Problem { subject, key: None, message, hint })
    }

    fn of_handler(&self, message: String, hint: &str) -> Problem {
        let subject = Subject::Handler { name: self.plan.handler.clone() };
        Problem { subject, key: None, message, hint: Some(hint.to_owned()) }
    }
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

impl Follower for OpenVswitch {
    const NAME: &'static str = "openvswitch";

    async fn pass(&mut self, world: &World, changed: &BTreeSet<Change>) -> Passed {
        if let Some(host) = &self.elsewhere {
            let message =
                format!("the containers are on {host}, and Open vSwitch of this host cannot reach them");
            let problem = self.of_handler(message, "run an agent on that host, or take the handler away");
            return Passed { problems: vec![problem], ..Passed::default() };
        }
        let host = world.own();
        let resumed = self.wait(host).await;
        let named = Change::containers_of(changed, world.me());
        let is_due = !resumed || Instant::now() >= self.next_look;
        let named = named.filter(|_| !is_due);
        let all = named.is_none();
        let only = named.map(|mut named| {
            named.retain(|id| {
                let container = host.containers.get(id);
                container.is_some_and(|container| concerns(container)) || self.connected.contains(id)
            });
            named
        });
        let is_idle = only.as_ref().is_some_and(BTreeSet::is_empty);
        let made = if is_idle { Ok(true) } else { self.make(host, only).await };
        if all && made.is_ok() {
            self.next_look = Instant::now() + LOOK;
        }
        let mut problems: Vec<Problem> = self.problems.values().flatten().cloned().collect();
        let reached = match made {
            Ok(true) => Reached::All,
            Ok(false) => Reached::Part,
            Err(error) => {
                let message = format!("the ports of Open vSwitch cannot be looked at: {error}");
                problems.push(self.of_handler(message, "it is tried until it works"));
                Reached::Nothing
            }
        };
        Passed { problems, reached, due: Some(self.next_look) }
    }
}
