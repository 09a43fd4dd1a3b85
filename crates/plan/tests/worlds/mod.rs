//! Builders of containers and worlds for the tests of this crate.

#![allow(dead_code, reason = "each binary of tests uses some of these")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use longshore_model::{
    Change, Container, ContainerId, ContainerRef, Endpoint, Host, HostId, Network, PortState, RunState, World,
};

/// The host of these worlds.
pub(crate) const ME: HostId = HostId::from_u128(1);

/// Returns a world with one host and no containers.
pub(crate) fn empty() -> World {
    World::new(ME, Host::default())
}

/// Returns the reference of a container on the host.
pub(crate) fn named(container: &Container) -> ContainerRef {
    ContainerRef::new(ME, container.id.clone())
}

/// Returns a change of this container.
pub(crate) fn changed(container: &Container) -> Change {
    Change::Container(named(container))
}

/// Adds a network to the host, replacing the one with its id.
pub(crate) fn put_network(world: &mut World, id: &str, network: Network) {
    let mut own = world.own().clone();
    own.networks.insert_mut(id.to_owned(), network);
    world.put_host(ME, own);
}

/// Returns a running container `c<n>` on the default bridge at 172.17.0.<n>, created in order of its number.
pub(crate) fn container(n: u8, labels: &[(&str, &str)]) -> Container {
    let endpoint = Endpoint {
        network_id: "bridge-id".to_owned(),
        ipv4: Some(IpAddr::from([172, 17, 0, n])),
        ipv6: None,
    };
    let id = ContainerId::new(format!("{n:064x}").chars().rev().collect::<String>());
    Container {
        labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        state: RunState::Running,
        created: i64::from(n),
        started: i64::from(n),
        networks: BTreeMap::from([("bridge".to_owned(), endpoint)]),
        ..Container::new(id, format!("c{n}"), "testserver")
    }
}

/// Returns a world of these containers in which the given ports of each are open.
pub(crate) fn world(containers: impl IntoIterator<Item = Container>, open: &[u16]) -> World {
    let mut world = empty();
    for container in containers {
        for endpoint in container.networks.values() {
            for (port, ip) in open.iter().zip(std::iter::repeat(endpoint.ipv4)) {
                if let Some(ip) = ip {
                    world.ports.insert_mut((named(&container), (ip, *port).into()), PortState::Open);
                }
            }
        }
        world.put_container(ME, Arc::new(container));
    }
    world
}
