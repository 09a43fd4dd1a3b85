//! What each input makes of World. Pure: the caller says what time it is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use longshore_model::{
    Container, ContainerEvent, ContainerId, EventKind, Network, PortState, RunState, World,
};
use tokio::time::Instant;

/// How long a container that was sent its stop signal and lives on is kept out of the routes: more than most
/// stop timeouts. Then it must prove anew that its port accepts.
const STOPPING: Duration = Duration::from_secs(30);

/// What an input changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Applied {
    /// These containers are not what they were.
    pub(super) containers: BTreeSet<ContainerId>,
    /// What concerns all of them is not what it was.
    pub(super) everything: bool,
}

/// World with the little that must be remembered to write it.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) world: World,
    stopping_since: BTreeMap<ContainerId, Instant>,
}

impl State {
    /// Everything anew.
    pub(super) fn listed(&mut self, containers: Vec<Container>, networks: Vec<(String, Network)>) -> Applied {
        let mut applied = self.networks(networks);
        applied.everything |= !self.world.listed;
        self.world.listed = true;
        let present: BTreeSet<ContainerId> = containers.iter().map(|c| c.id.clone()).collect();
        let known: Vec<ContainerId> = self.world.containers.keys().cloned().collect();
        for id in known.into_iter().filter(|id| !present.contains(id)) {
            self.gone(&id);
            applied.containers.insert(id);
        }
        for container in containers {
            applied.containers.extend(self.inspected(container).containers);
        }
        applied
    }

    /// All networks.
    pub(super) fn networks(&mut self, networks: Vec<(String, Network)>) -> Applied {
        let networks = networks.into_iter().collect();
        let everything = self.world.networks != networks;
        self.world.networks = networks;
        Applied { everything, ..Applied::default() }
    }

    /// A container as it is.
    pub(super) fn inspected(&mut self, mut container: Container) -> Applied {
        let id = container.id.clone();
        let known = self.world.containers.get(&id);
        let same_run = known.is_some_and(|known| known.started == container.started);
        container.stopping =
            same_run && container.state.is_alive() && known.is_some_and(|known| known.stopping);
        if !same_run || !container.state.is_alive() {
            self.forget_run(&id);
        }
        self.put(container)
    }

    /// A container that is no more.
    pub(super) fn gone(&mut self, id: &ContainerId) -> Applied {
        self.forget_run(id);
        if self.world.containers.remove_mut(id) { one(id) } else { Applied::default() }
    }

    /// What an event says by itself, ahead of the inspection that follows it: only what takes a container out of
    /// the routes, since that must not wait, and what puts a thawed one back.
    pub(super) fn heard(&mut self, event: &ContainerEvent, now: Instant) -> Applied {
        let id = &event.container;
        let Some(known) = self.world.containers.get(id) else { return Applied::default() };
        // Told late, of a run that is over: after a break, Docker tells again what the list already showed.
        if event.at < known.started {
            return Applied::default();
        }
        let mut container = Container::clone(known);
        match event.kind {
            EventKind::Kill(signal) if stops(signal, container.stop_signal.as_deref()) => {
                container.stopping = container.state.is_alive();
                self.stopping_since.insert(id.clone(), now);
            }
            EventKind::Die => {
                container.state = RunState::Exited;
                container.exit_code = None;
                container.stopping = false;
                self.forget_run(id);
            }
            EventKind::Pause => container.state = RunState::Paused,
            EventKind::Unpause => container.state = RunState::Running,
            EventKind::Destroy => return self.gone(id),
            // World has no word for a limit or a policy; those who show a container whole look at it again.
            EventKind::Other(ref action) if action == "update" => return one(id),
            _ => return Applied::default(),
        }
        self.put(container)
    }

    /// What a look at a port said. Of a container that does not run any more, it says nothing.
    pub(super) fn port(&mut self, id: &ContainerId, address: SocketAddr, state: PortState) -> Applied {
        let alive = self.world.containers.get(id).is_some_and(|container| container.state.is_alive());
        let key = (id.clone(), address);
        if !alive || self.world.ports.get(&key) == Some(&state) {
            return Applied::default();
        }
        self.world.ports.insert_mut(key, state);
        one(id)
    }

    /// Puts containers back that outlived their stop signal.
    pub(super) fn tick(&mut self, now: Instant) -> Applied {
        let due = |since: &Instant| now.duration_since(*since) >= STOPPING;
        let over: Vec<ContainerId> =
            self.stopping_since.iter().filter(|(_, since)| due(since)).map(|(id, _)| id.clone()).collect();
        let mut applied = Applied::default();
        for id in over {
            self.forget_run(&id);
            if let Some(known) = self.world.containers.get(&id) {
                let container = Container { stopping: false, ..Container::clone(known) };
                applied.containers.extend(self.put(container).containers);
            }
        }
        applied
    }

    fn put(&mut self, container: Container) -> Applied {
        let id = container.id.clone();
        if self.world.containers.get(&id).is_some_and(|known| **known == container) {
            return Applied::default();
        }
        self.world.containers.insert_mut(id.clone(), Arc::new(container));
        one(&id)
    }

    /// What is known of one run of a container, and means nothing for the next.
    fn forget_run(&mut self, id: &ContainerId) {
        self.stopping_since.remove(id);
        let from = (id.clone(), SocketAddr::from(([0, 0, 0, 0], 0)));
        let of_it = self.world.ports.range(from..).map(|(key, _)| key).take_while(|(other, _)| other == id);
        for key in of_it.cloned().collect::<Vec<_>>() {
            self.world.ports.remove_mut(&key);
        }
    }
}

fn one(id: &ContainerId) -> Applied {
    Applied { containers: BTreeSet::from([id.clone()]), everything: false }
}

/// Whether a signal is meant to end the container: SIGKILL, SIGTERM, or the signal that its image names.
fn stops(signal: Option<u32>, stop_signal: Option<&str>) -> bool {
    let Some(signal) = signal else { return false };
    matches!(signal, 9 | 15) || stop_signal.and_then(number) == Some(signal)
}

fn number(name: &str) -> Option<u32> {
    if let Ok(number) = name.parse() {
        return Some(number);
    }
    Some(match name.strip_prefix("SIG").unwrap_or(name) {
        "HUP" => 1,
        "INT" => 2,
        "QUIT" => 3,
        "ABRT" => 6,
        "KILL" => 9,
        "USR1" => 10,
        "USR2" => 12,
        "TERM" => 15,
        "WINCH" => 28,
        "PWR" => 30,
        _ => return name.strip_prefix("SIGRTMIN+").and_then(|n| n.parse::<u32>().ok()).map(|n| 34 + n),
    })
}

#[cfg(test)]
#[path = "apply_tests.rs"]
mod tests;
