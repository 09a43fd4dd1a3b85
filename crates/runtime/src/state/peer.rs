//! How a host's facts about itself change World.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use longshore_model::{Change, Container, ContainerId, ContainerRef, Host, HostId, HostInfo, Load, Peer};

use super::apply::{State, any, one};
use super::observation::PeerObservation;

impl State {
    /// Applies a fact about a peer. Returns what to check; `None` if World stays as it is.
    pub(super) fn peer(&mut self, host: HostId, fact: PeerObservation) -> Option<BTreeSet<Change>> {
        match fact {
            PeerObservation::Listed(listed) => self.listed_by_peer(host, listed),
            PeerObservation::Info(info) => self.info(host, info),
            PeerObservation::Networks(networks) => any(self.networks(host, networks)),
            PeerObservation::Container(container) => any(self.told(host, container)),
            PeerObservation::Gone(id) => any(self.gone(&ContainerRef::new(host, id))),
            PeerObservation::Dropped => self.dropped(host),
        }
    }

    /// Replaces the list of the other hosts. Names those that differ.
    pub(super) fn members(&mut self, members: BTreeMap<HostId, Peer>) -> BTreeSet<Change> {
        let (me, before) = (self.world.me(), std::mem::take(&mut self.world.peers));
        for (host, peer) in members.into_iter().filter(|(host, _)| *host != me) {
            self.world.peers.insert_mut(host, peer);
        }
        let hosts: BTreeSet<HostId> = before.keys().chain(self.world.peers.keys()).copied().collect();
        let differs = |host: &HostId| before.get(host) != self.world.peers.get(host);
        hosts.into_iter().filter(differs).map(Change::Host).collect()
    }

    /// Replaces what is known of a host, except for its containers and networks.
    pub(super) fn info(&mut self, host: HostId, info: Arc<HostInfo>) -> Option<BTreeSet<Change>> {
        let known = self.world.host(host).filter(|known| known.info != info)?;
        let load_aside = |info: &HostInfo| HostInfo { load: Load::default(), ..info.clone() };
        let is_only_load = load_aside(&known.info) == load_aside(&info);
        let known = Host { info, ..known.clone() };
        self.world.put_host(host, known);
        Some(if is_only_load { BTreeSet::new() } else { BTreeSet::from([Change::Host(host)]) })
    }

    /// Replaces everything known of a host. What is the same as before is not named as a change.
    fn listed_by_peer(&mut self, host: HostId, listed: Host) -> Option<BTreeSet<Change>> {
        let Some(known) = self.world.host(host).cloned() else {
            self.world.put_host(host, listed);
            return Some(BTreeSet::from([Change::Host(host)]));
        };
        let mut changed = self.info(host, Arc::clone(&listed.info));
        let mut changes = BTreeSet::new();
        if known.networks != listed.networks {
            changes.append(&mut self.networks(
                host,
                listed.networks.iter().map(|(id, network)| (id.clone(), network.clone())).collect(),
            ));
        }
        for id in known.containers.keys().filter(|id| !listed.containers.contains_key(*id)) {
            changes.append(&mut self.gone(&ContainerRef::new(host, id.clone())));
        }
        for container in listed.containers.values() {
            changes.append(&mut self.told(host, Arc::clone(container)));
        }
        if !changes.is_empty() {
            changed.get_or_insert_default().append(&mut changes);
        }
        changed
    }

    /// Puts a container as its owner described it.
    fn told(&mut self, host: HostId, mut container: Arc<Container>) -> BTreeSet<Change> {
        let id = ContainerRef::new(host, container.id.clone());
        if self.world.host(host).is_none() {
            return BTreeSet::new();
        }
        let known = self.world.container(&id).filter(|known| known.started == container.started);
        let same_run = known.is_some();
        // An agent that has just started has not checked its containers' ports yet.
        if container.ports.is_empty()
            && let Some(ports) = known.map(|known| known.ports.clone()).filter(|ports| !ports.is_empty())
        {
            Arc::make_mut(&mut container).ports = ports;
        }
        if !same_run || !container.state.is_alive() {
            self.forget_run(&id);
        }
        self.put(&id, container)
    }

    /// Removes a host with all that it had.
    fn dropped(&mut self, host: HostId) -> Option<BTreeSet<Change>> {
        let had = self.world.remove_host(host)?;
        let gone = had.containers.keys().map(|id: &ContainerId| ContainerRef::new(host, id.clone()));
        let mut changes = BTreeSet::from([Change::Host(host)]);
        for id in gone {
            self.forget_run(&id);
            changes.append(&mut one(&id));
        }
        Some(changes)
    }
}

#[cfg(test)]
#[path = "peer_tests.rs"]
mod tests;
