//! World: all known state, as one value.

use std::net::SocketAddr;
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

use crate::{Container, ContainerRef, Host, HostId, Peer, PortState};

/// All known state. One task writes it; all others hold a copy, which is cheap and never changes under them.
///
/// A host is present from its first list on; this agent's own is always present. If a listed host lacks a
/// container, the container does not exist.
#[derive(Clone, Debug, PartialEq)]
pub struct World {
    me: HostId,
    /// The host `me`, which is also in `hosts`.
    own: Arc<Host>,
    hosts: RedBlackTreeMapSync<HostId, Arc<Host>>,
    /// The state of the ports that routes lead to, as seen from this host; a port not checked yet has no
    /// entry.
    pub ports: RedBlackTreeMapSync<(ContainerRef, SocketAddr), PortState>,
    /// The other hosts of the cluster, as seen from this one. Dead ones and those that left are not among them, and
    /// one may be a member before it was listed.
    pub peers: RedBlackTreeMapSync<HostId, Peer>,
}

impl World {
    /// Creates a World with this agent's own host only.
    pub fn new(me: HostId, own: Host) -> Self {
        let own = Arc::new(own);
        let mut hosts = RedBlackTreeMapSync::default();
        hosts.insert_mut(me, Arc::clone(&own));
        let (ports, peers) = (RedBlackTreeMapSync::default(), RedBlackTreeMapSync::default());
        Self { me, own, hosts, ports, peers }
    }

    /// Returns the id of this agent's own host.
    pub fn me(&self) -> HostId {
        self.me
    }

    /// Returns this agent's own host.
    pub fn own(&self) -> &Host {
        &self.own
    }

    /// Returns a host by its id; `None` until it has been listed.
    pub fn host(&self, id: HostId) -> Option<&Host> {
        self.hosts.get(&id).map(|host| &**host)
    }

    /// Returns all hosts, in order of their ids.
    pub fn hosts(&self) -> impl Iterator<Item = (HostId, &Host)> {
        self.hosts.iter().map(|(id, host)| (*id, &**host))
    }

    /// Returns a container, running or not.
    pub fn container(&self, container: &ContainerRef) -> Option<&Arc<Container>> {
        self.hosts.get(&container.host)?.containers.get(&container.id)
    }

    /// Returns all containers, host by host in order of their ids.
    pub fn containers(&self) -> impl Iterator<Item = (ContainerRef, &Arc<Container>)> {
        self.hosts().flat_map(|(host, known)| {
            known
                .containers
                .iter()
                .map(move |(id, container)| (ContainerRef::new(host, id.clone()), container))
        })
    }

    /// Inserts a host, replacing the one with its id.
    pub fn put_host(&mut self, id: HostId, host: Host) {
        let host = Arc::new(host);
        if id == self.me {
            self.own = Arc::clone(&host);
        }
        self.hosts.insert_mut(id, host);
    }

    /// Removes a host and returns it. This agent's own stays.
    pub fn remove_host(&mut self, id: HostId) -> Option<Arc<Host>> {
        let known = self.hosts.get(&id).filter(|_| id != self.me).cloned()?;
        self.hosts.remove_mut(&id);
        Some(known)
    }

    /// Inserts a container, replacing the one with its id. Does nothing if the host is not known.
    pub fn put_container(&mut self, host: HostId, container: Arc<Container>) {
        if let Some(mut known) = self.host(host).cloned() {
            known.containers.insert_mut(container.id.clone(), container);
            self.put_host(host, known);
        }
    }

    /// Removes a container and returns whether there was one.
    pub fn remove_container(&mut self, container: &ContainerRef) -> bool {
        let Some(mut known) = self.host(container.host).cloned() else { return false };
        let was_known = known.containers.remove_mut(&container.id);
        if was_known {
            self.put_host(container.host, known);
        }
        was_known
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{Change, ContainerId};

    const ME: HostId = HostId::from_u128(1);
    const PEER: HostId = HostId::from_u128(2);

    fn put(world: &mut World, host: HostId, id: &str) -> ContainerRef {
        world.put_container(host, Arc::new(Container::new(ContainerId::new(id), id, "image")));
        ContainerRef::new(host, ContainerId::new(id))
    }

    #[test]
    fn a_container_belongs_to_its_host_and_an_old_copy_does_not_change() {
        let mut world = World::new(ME, Host::default());
        world.put_host(PEER, Host::default());
        let before = world.clone();
        let (own, far) = (put(&mut world, ME, "a"), put(&mut world, PEER, "b"));
        assert_eq!(world.containers().map(|(id, _)| id).collect::<Vec<_>>(), [own.clone(), far.clone()]);
        assert_eq!(world.own().containers.size(), 1);
        assert!(world.container(&ContainerRef::new(ME, far.id)).is_none());
        assert!(world.remove_container(&own) && !world.remove_container(&own));
        assert_eq!(world.own().containers.size(), 0);
        assert_eq!(before.containers().count(), 0);
    }

    #[test]
    fn a_host_that_was_not_listed_has_no_containers() {
        let mut world = World::new(ME, Host::default());
        let far = put(&mut world, PEER, "b");
        assert!(world.container(&far).is_none() && world.host(PEER).is_none());
    }

    #[test]
    fn a_host_goes_with_its_containers_and_the_own_one_never_does() {
        let mut world = World::new(ME, Host::default());
        world.put_host(PEER, Host::default());
        let (own, far) = (put(&mut world, ME, "a"), put(&mut world, PEER, "b"));
        assert!(world.remove_host(PEER).is_some() && world.remove_host(PEER).is_none());
        assert!(world.remove_host(ME).is_none() && world.container(&own).is_some());
        assert!(world.container(&far).is_none() && world.host(PEER).is_none());
    }

    #[test]
    fn changes_of_another_host_are_none_of_this_ones() {
        let own = Change::Container(ContainerRef::new(ME, ContainerId::new("a")));
        let far = Change::Container(ContainerRef::new(PEER, ContainerId::new("b")));
        let both = BTreeSet::from([own, far, Change::Networks(PEER)]);
        assert_eq!(Change::containers_of(&both, ME), Some(BTreeSet::from([ContainerId::new("a")])));
        assert_eq!(Change::containers_of(&both, PEER), None);
        assert_eq!(Change::containers_of(&BTreeSet::from([Change::All]), ME), None);
    }
}
