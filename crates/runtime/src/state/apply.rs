//! How each observation changes World. Pure: no clock, no IO.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use longshore_model::{
    Change, Container, ContainerEvent, ContainerId, ContainerRef, Endpoint, EventKind, Host, HostId,
    HostInfo, Network, PortState, RunState, Transport, World,
};

use super::{DockerEvent, DockerObservation, Observation};

/// An action that follows from an observation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Pass this Docker event to the consumers that need every event.
    Tell(DockerEvent),
    /// World changed: publish it to readers, and these changes to subscribers. None if only a load changed, for which
    /// nobody is woken.
    Publish(BTreeSet<Change>),
    /// The resync found a change of this container that no event had reported.
    Repaired(ContainerId),
    /// Docker answers (`None`), or why it does not.
    Docker(Option<String>),
}

/// World, as seen by its writer.
#[derive(Debug)]
pub struct State {
    pub(super) world: World,
    listed: bool,
}

impl State {
    /// Creates the initial state of an agent, from what it knows of its own host.
    pub fn new(me: HostId, own: HostInfo) -> Self {
        Self { world: World::new(me, Host { info: Arc::new(own), ..Host::default() }), listed: false }
    }

    /// Returns World, once this agent's own host was listed: before that, absence means nothing.
    pub fn world(&self) -> Option<&World> {
        self.listed.then_some(&self.world)
    }

    /// Takes in an observation. Returns the actions to take, in order.
    pub fn take(&mut self, observation: Observation) -> Vec<Effect> {
        let mut effects = Vec::new();
        let changes = match observation {
            Observation::Docker(host, observation) => any(self.docker(host, observation, &mut effects)),
            Observation::Own(info) => self.info(self.world.me(), info),
            Observation::Peer(host, _) if host == self.world.me() => None,
            Observation::Peer(host, observation) => self.peer(host, observation),
            Observation::Members(members) => any(self.members(members)),
            Observation::Port { container, address, state } => any(self.port(&container, address, state)),
        };
        effects.extend(changes.filter(|_| self.listed).map(Effect::Publish));
        effects
    }

    fn docker(
        &mut self,
        host: HostId,
        observation: DockerObservation,
        effects: &mut Vec<Effect>,
    ) -> BTreeSet<Change> {
        match observation {
            DockerObservation::Event { event, past } => {
                let changes = if past { BTreeSet::new() } else { self.event(host, &event) };
                effects.push(Effect::Tell(DockerEvent::Container(event)));
                changes
            }
            DockerObservation::NetworkEvent(event) => {
                effects.push(Effect::Tell(DockerEvent::Network(event)));
                BTreeSet::new()
            }
            DockerObservation::Inspected { id, container, resync } => {
                let changes = match container {
                    Some(container) => self.inspected(host, *container),
                    None => self.gone(&ContainerRef::new(host, id.clone())),
                };
                if resync && !changes.is_empty() {
                    effects.push(Effect::Repaired(id));
                }
                changes
            }
            DockerObservation::Stopping { id, stopping } => self.stopping(host, id, stopping),
            DockerObservation::Listed { containers, networks } => {
                effects.push(Effect::Docker(None));
                self.list(host, containers, networks)
            }
            DockerObservation::Networks(networks) => self.networks(host, networks),
            DockerObservation::Away(why) => {
                effects.push(Effect::Docker(Some(why)));
                BTreeSet::new()
            }
        }
    }

    /// Replaces everything known of a host.
    fn list(
        &mut self,
        host: HostId,
        containers: Vec<Container>,
        networks: Vec<(String, Network)>,
    ) -> BTreeSet<Change> {
        let mut changes = self.networks(host, networks);
        let present: BTreeSet<ContainerId> = containers.iter().map(|c| c.id.clone()).collect();
        let known = self.world.host(host).into_iter().flat_map(|known| known.containers.keys());
        let gone: Vec<ContainerId> = known.filter(|id| !present.contains(*id)).cloned().collect();
        for id in gone {
            changes.append(&mut self.gone(&ContainerRef::new(host, id)));
        }
        for container in containers {
            changes.append(&mut self.inspected(host, container));
        }
        if host == self.world.me() && !std::mem::replace(&mut self.listed, true) {
            changes = BTreeSet::from([Change::All]);
        }
        changes
    }

    /// Replaces all networks of a host.
    pub(super) fn networks(&mut self, host: HostId, networks: Vec<(String, Network)>) -> BTreeSet<Change> {
        let networks = networks.into_iter().collect();
        let Some(known) = self.world.host(host).filter(|known| known.networks != networks) else {
            return BTreeSet::new();
        };
        let known = Host { networks, ..known.clone() };
        self.world.put_host(host, known);
        BTreeSet::from([Change::Networks(host)])
    }

    /// Updates a container from an inspection.
    fn inspected(&mut self, host: HostId, mut container: Container) -> BTreeSet<Change> {
        let id = ContainerRef::new(host, container.id.clone());
        let known = self.world.container(&id);
        let same_run = known.is_some_and(|known| known.started == container.started);
        container.stopping =
            same_run && container.state.is_alive() && known.is_some_and(|known| known.stopping);
        container.ports = match known {
            Some(known) if same_run && container.state.is_alive() => known.ports.clone(),
            _ => BTreeMap::new(),
        };
        if !same_run || !container.state.is_alive() {
            self.forget_run(&id);
        }
        self.put(&id, Arc::new(container))
    }

    /// Marks a container that is about to be stopped, or no longer.
    fn stopping(&mut self, host: HostId, id: ContainerId, stopping: bool) -> BTreeSet<Change> {
        let id = ContainerRef::new(host, id);
        let Some(known) = self.world.container(&id) else { return BTreeSet::new() };
        let stopping = stopping && known.state.is_alive();
        let container = Container { stopping, ..Container::clone(known) };
        self.put(&id, Arc::new(container))
    }

    /// Removes a container.
    pub(super) fn gone(&mut self, id: &ContainerRef) -> BTreeSet<Change> {
        self.forget_run(id);
        if self.world.remove_container(id) { one(id) } else { BTreeSet::new() }
    }

    /// Applies what an event implies by itself, ahead of the inspection that follows: only what takes a container out
    /// of the routes, since that must not wait, and what restores an unpaused one.
    fn event(&mut self, host: HostId, event: &ContainerEvent) -> BTreeSet<Change> {
        let id = &ContainerRef::new(host, event.container.clone());
        let Some(known) = self.world.container(id) else { return BTreeSet::new() };
        // A late event of an earlier run: after a break, Docker repeats what the list already covered.
        if event.at < known.started {
            return BTreeSet::new();
        }
        let mut container = Container::clone(known);
        match event.kind {
            // Until this run ends: only the sender of the signal knows how long that may take.
            EventKind::Kill(signal) if stops(signal, container.stop_signal) => {
                container.stopping = container.state.is_alive();
            }
            EventKind::Die => {
                container.state = RunState::Exited;
                container.exit_code = None;
                container.stopping = false;
                container.ports.clear();
                self.forget_run(id);
            }
            EventKind::Pause => container.state = RunState::Paused,
            EventKind::Unpause => container.state = RunState::Running,
            EventKind::Destroy => return self.gone(id),
            // World does not model limits and policies; consumers of full inspections read them again.
            EventKind::Other(ref action) if action == "update" => return one(id),
            _ => return BTreeSet::new(),
        }
        self.put(id, Arc::new(container))
    }

    /// Applies the result of a port check. It is ignored if the container no longer runs.
    fn port(&mut self, id: &ContainerRef, address: SocketAddr, state: PortState) -> BTreeSet<Change> {
        let alive = self.world.container(id).is_some_and(|container| container.state.is_alive());
        let key = (id.clone(), address);
        if !alive || self.world.ports.get(&key) == Some(&state) {
            return BTreeSet::new();
        }
        self.world.ports.insert_mut(key, state);
        if id.host == self.world.me() {
            self.describe_ports(id);
        }
        one(id)
    }

    /// Records the state of the ports of one of this host's containers with the container itself, for other hosts.
    fn describe_ports(&mut self, id: &ContainerRef) {
        let Some(container) = self.world.container(id) else { return };
        let mut ports = BTreeMap::new();
        for (address, state) in self.ports_of(id) {
            // One that answers at one of several addresses answers.
            let best = ports.entry(container_port(container, address)).or_insert(state);
            let rank = |state: PortState| match state {
                PortState::Open => 2,
                PortState::Closed => 1,
                PortState::NotOpen => 0,
            };
            if rank(state) > rank(*best) {
                *best = state;
            }
        }
        if container.ports != ports {
            let container = Container { ports, ..Container::clone(container) };
            self.world.put_container(id.host, Arc::new(container));
        }
    }

    /// Returns the checked addresses of a container.
    fn ports_of<'a>(&'a self, id: &'a ContainerRef) -> impl Iterator<Item = (SocketAddr, PortState)> + 'a {
        let from = (id.clone(), SocketAddr::from(([0, 0, 0, 0], 0)));
        let of_it = self.world.ports.range(from..).take_while(move |((other, _), _)| other == id);
        of_it.map(|((_, address), state)| (*address, *state))
    }

    pub(super) fn put(&mut self, id: &ContainerRef, container: Arc<Container>) -> BTreeSet<Change> {
        if self.world.container(id) == Some(&container) {
            return BTreeSet::new();
        }
        self.world.put_container(id.host, container);
        one(id)
    }

    /// Forgets facts about one run of a container that do not apply to the next.
    pub(super) fn forget_run(&mut self, id: &ContainerRef) {
        for address in self.ports_of(id).map(|(address, _)| address).collect::<Vec<_>>() {
            self.world.ports.remove_mut(&(id.clone(), address));
        }
    }
}

/// Returns the port inside the container that is reached at an address: its own, unless the address is one that it
/// publishes.
fn container_port(container: &Container, address: SocketAddr) -> u16 {
    let is_own = |endpoint: &Endpoint| [endpoint.ipv4, endpoint.ipv6].contains(&Some(address.ip()));
    if container.network_mode == "host" || container.networks.values().any(is_own) {
        return address.port();
    }
    let published = container.published.iter().find(|port| {
        let is_it = port.host_ip == address.ip() || port.host_ip.is_unspecified();
        is_it && port.transport == Transport::Tcp && port.host_port == address.port()
    });
    published.map_or(address.port(), |port| port.container_port)
}

/// Returns the changes if there are any.
pub(super) fn any(changes: BTreeSet<Change>) -> Option<BTreeSet<Change>> {
    (!changes.is_empty()).then_some(changes)
}

pub(super) fn one(id: &ContainerRef) -> BTreeSet<Change> {
    BTreeSet::from([Change::Container(id.clone())])
}

/// Returns whether a signal is meant to end the container: SIGKILL, SIGTERM, or the signal that its image names.
fn stops(signal: Option<u32>, stop_signal: Option<u32>) -> bool {
    signal.is_some_and(|signal| matches!(signal, 9 | 15) || stop_signal == Some(signal))
}

#[cfg(test)]
#[path = "apply_tests.rs"]
mod tests;
