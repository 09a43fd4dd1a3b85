//! Builders of containers and worlds for the tests of this room.

#![allow(dead_code, reason = "each binary of tests uses some of these")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use longshore_model::{Container, ContainerId, Endpoint, Health, PortState, RunState, World};

/// A running container `c<n>` on the default bridge at 172.17.0.<n>, created in order of its number.
pub(crate) fn container(n: u8, labels: &[(&str, &str)]) -> Container {
    let endpoint = Endpoint {
        network_id: "bridge-id".to_owned(),
        ipv4: Some(IpAddr::from([172, 17, 0, n])),
        ipv6: None,
    };
    Container {
        id: ContainerId::new(format!("{n:064x}").chars().rev().collect::<String>()),
        name: format!("c{n}"),
        image: "testserver".to_owned(),
        labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        baked: Default::default(),
        state: RunState::Running,
        health: Health::None,
        stopping: false,
        created: i64::from(n),
        started: i64::from(n),
        network_mode: "bridge".to_owned(),
        networks: BTreeMap::from([("bridge".to_owned(), endpoint)]),
        published: Vec::new(),
        exposed: Vec::new(),
        exit_code: None,
        stop_signal: None,
    }
}

/// A world of these containers in which the given ports of each are open.
pub(crate) fn world(containers: impl IntoIterator<Item = Container>, open: &[u16]) -> World {
    let mut world = World { listed: true, ..World::default() };
    for container in containers {
        for endpoint in container.networks.values() {
            for (port, ip) in open.iter().zip(std::iter::repeat(endpoint.ipv4)) {
                if let Some(ip) = ip {
                    world.ports.insert_mut((container.id.clone(), (ip, *port).into()), PortState::Open);
                }
            }
        }
        world.containers.insert_mut(container.id.clone(), Arc::new(container));
    }
    world
}
