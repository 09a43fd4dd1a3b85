//! Containers of several hosts: which way leads to each, what leads to them from elsewhere, and their names.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as expected")]

mod worlds;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use longshore_model::{
    Change, Container, ContainerRef, Health, Host, HostId, HostInfo, Peer, PeerAgent, PeerState, PortState,
    Published, RelayRefusal, RunState, Transport, World,
};
use longshore_plan::{
    Asker, BalancerLocation, NamePlan, NameSettings, Readiness, RoutePlan, RouteSettings, relay,
};
use worlds::{ME, container, empty, named, world};

const FAR: HostId = HostId::from_u128(2);
const AGENT: PeerAgent =
    PeerAgent { address: SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), 7052), run: 1 };
const LABEL: &[(&str, &str)] = &[("longshore.http.80.host", "a.b")];

fn settings() -> RouteSettings {
    RouteSettings {
        location: BalancerLocation::Host(ME),
        reserved: BTreeMap::new(),
        readiness: Readiness::Awaited,
    }
}

/// Returns a container whose host sees its port 80 as open.
fn open(n: u8) -> Container {
    Container { ports: BTreeMap::from([(80, PortState::Open)]), ..container(n, LABEL) }
}

fn published(mut container: Container, host_ip: [u8; 4], host_port: u16) -> Container {
    container.published.push(Published {
        container_port: 80,
        transport: Transport::Tcp,
        host_ip: host_ip.into(),
        host_port,
    });
    container
}

/// Returns a world with another host at 10.0.0.2 that has these containers.
fn with_far(containers: impl IntoIterator<Item = Container>, state: PeerState) -> World {
    let mut world = world([], &[]);
    let info =
        HostInfo { name: "far".to_owned(), addresses: vec![[10, 0, 0, 2].into()], ..HostInfo::default() };
    world.put_host(FAR, Host { info: Arc::new(info), ..Host::default() });
    for container in containers {
        world.put_container(FAR, Arc::new(container));
    }
    world.peers.insert_mut(FAR, Peer { agent: AGENT, state });
    world
}

/// Returns the upstreams of all routes, then what waits and why.
fn shown(world: &World) -> String {
    let plan = RoutePlan::of(world, settings());
    let mut parts = Vec::new();
    for route in plan.table().iter() {
        parts.extend(route.upstreams.iter().map(|upstream| format!("{}@{}", upstream.name, upstream.way)));
        parts.extend(route.waiting.iter().map(|waiting| format!("({}: {:?})", waiting.name, waiting.reason)));
    }
    assert_eq!(plan.problems().count(), 0, "its own host reports them");
    parts.join(" ")
}

/// Records what this host sees of a port that the other one publishes.
fn seen(mut world: World, container: &Container, address: &str, state: PortState) -> World {
    let id = ContainerRef::new(FAR, container.id.clone());
    world.ports.insert_mut((id, address.parse().unwrap()), state);
    world
}

#[test]
fn without_a_published_port_the_way_leads_through_the_agent() {
    assert_eq!(shown(&with_far([open(1)], PeerState::Alive)), "c1@agent:10.0.0.2:7052");
    let elsewhere = [[127, 0, 0, 1], [10, 9, 9, 9], [172, 17, 0, 1]];
    for ip in elsewhere {
        let one = published(open(1), ip, 8080);
        assert_eq!(shown(&with_far([one], PeerState::Alive)), "c1@agent:10.0.0.2:7052", "{ip:?}");
    }
}

#[test]
fn a_published_port_is_preferred_unless_it_does_not_answer_from_here() {
    let one = published(open(1), [0, 0, 0, 0], 8080);
    let world = || with_far([one.clone()], PeerState::Alive);
    assert_eq!(shown(&world()), "(c1: PortNotOpen)", "it is being checked");
    assert_eq!(shown(&seen(world(), &one, "10.0.0.2:8080", PortState::Open)), "c1@10.0.0.2:8080");
    for state in [PortState::NotOpen, PortState::Closed] {
        assert_eq!(
            shown(&seen(world(), &one, "10.0.0.2:8080", state)),
            "c1@agent:10.0.0.2:7052",
            "{state:?}"
        );
    }
    let at_its_address = published(open(1), [10, 0, 0, 2], 8081);
    let world = seen(
        with_far([at_its_address.clone()], PeerState::Alive),
        &at_its_address,
        "10.0.0.2:8081",
        PortState::Open,
    );
    assert_eq!(shown(&world), "c1@10.0.0.2:8081");
}

#[test]
fn what_the_owner_sees_of_a_container_counts() {
    let with = |ports: &[(u16, PortState)], health| {
        let ports = ports.iter().copied().collect();
        shown(&with_far([Container { ports, health, ..container(1, LABEL) }], PeerState::Alive))
    };
    assert_eq!(with(&[(80, PortState::Closed)], Health::None), "(c1: PortClosed)");
    assert_eq!(with(&[(80, PortState::NotOpen)], Health::None), "(c1: PortNotOpen)");
    assert_eq!(with(&[], Health::None), "(c1: PortNotOpen)");
    assert_eq!(with(&[], Health::Healthy), "c1@agent:10.0.0.2:7052");
    assert_eq!(with(&[(80, PortState::Open)], Health::Unhealthy), "(c1: Unhealthy)");
    // Even if the port that its host publishes answers: Docker listens there.
    let one = published(container(1, LABEL), [0, 0, 0, 0], 8080);
    let world = seen(with_far([one.clone()], PeerState::Alive), &one, "10.0.0.2:8080", PortState::Open);
    assert_eq!(shown(&world), "(c1: PortNotOpen)");
}

#[test]
fn a_host_that_does_not_answer_takes_traffic_only_if_nobody_else_does() {
    for (state, reason) in [(PeerState::Suspect, "HostSuspect"), (PeerState::Unreachable, "HostUnreachable")]
    {
        let mut world = with_far([open(1)], state);
        assert_eq!(shown(&world), "c1@agent:10.0.0.2:7052", "{state:?}: nobody else does");
        let near = container(2, LABEL);
        world.ports.insert_mut((named(&near), "172.17.0.2:80".parse().unwrap()), PortState::Open);
        world.put_container(ME, Arc::new(near.clone()));
        assert_eq!(shown(&world), format!("c2@172.17.0.2:80 (c1: {reason})"));
        let stopping = Container { stopping: true, ..near };
        world.put_container(ME, Arc::new(stopping));
        assert_eq!(shown(&world), "c1@agent:10.0.0.2:7052 (c2: Stopping)", "{state:?}");
    }
}

#[test]
fn while_an_agent_restarts_its_published_ports_serve() {
    let one = published(open(1), [0, 0, 0, 0], 8080);
    let world = with_far([one.clone(), open(2)], PeerState::Restarting);
    let world = seen(world, &one, "10.0.0.2:8080", PortState::Open);
    assert_eq!(shown(&world), "c1@10.0.0.2:8080 (c2: AgentRestarting)");
}

#[test]
fn a_plan_follows_the_state_of_a_host_as_a_fresh_one_would() {
    let mut world = with_far([open(1)], PeerState::Alive);
    let near = container(2, LABEL);
    world.ports.insert_mut((named(&near), "172.17.0.2:80".parse().unwrap()), PortState::Open);
    world.put_container(ME, Arc::new(near));
    let mut plan = RoutePlan::of(&world, settings());
    for state in [PeerState::Suspect, PeerState::Alive, PeerState::Unreachable, PeerState::Restarting] {
        world.peers.insert_mut(FAR, Peer { agent: AGENT, state });
        let decided = plan.update(&world, &Change::Host(FAR));
        assert_eq!(decided.routes.len(), 1, "{state:?}");
        assert_eq!(*plan.table(), *RoutePlan::of(&world, settings()).table(), "{state:?}");
    }
}

#[test]
fn an_agent_leads_only_where_a_route_or_a_name_does() {
    let mut service = container(2, &[("longshore.service", "db")]);
    service.exposed = vec![(5432, Transport::Tcp)];
    let stopped = Container { state: RunState::Exited, ..container(3, LABEL) };
    let mut world = world([container(1, LABEL), service, stopped, container(4, &[])], &[80]);
    let far = container(9, LABEL);
    world.put_host(FAR, Host::default());
    world.put_container(FAR, Arc::new(far));
    let ask = |n: u8, port, transport| {
        relay(&world, &BalancerLocation::Host(ME), &container(n, &[]).id, port, transport)
    };
    let at = |text: &str| Ok(vec![text.parse::<SocketAddr>().unwrap()]);
    assert_eq!(ask(1, 80, Transport::Tcp), at("172.17.0.1:80"));
    assert_eq!(ask(1, 80, Transport::Udp), Err(RelayRefusal::NoRoute));
    assert_eq!(ask(1, 22, Transport::Tcp), Err(RelayRefusal::NoRoute));
    assert_eq!(ask(2, 5432, Transport::Tcp), at("172.17.0.2:5432"));
    assert_eq!(ask(2, 22, Transport::Tcp), Err(RelayRefusal::NoRoute));
    assert_eq!(ask(3, 80, Transport::Tcp), Err(RelayRefusal::NoContainer));
    assert_eq!(ask(4, 80, Transport::Tcp), Err(RelayRefusal::NoRoute));
    assert_eq!(ask(9, 80, Transport::Tcp), Err(RelayRefusal::NoContainer), "of another host");
}

/// Returns each name with its addresses, and each port with the one at which it is reached.
fn names(world: &World, asker: Asker) -> String {
    let settings = NameSettings {
        domain: "l.test".parse().unwrap(),
        node: "near".parse().ok(),
        host: vec![IpAddr::from([10, 0, 0, 1])],
        asker,
    };
    let plan = NamePlan::of(world, settings);
    let mut lines = Vec::new();
    for (key, entry) in plan.table().iter() {
        let mut parts = Vec::new();
        for container in entry.containers() {
            parts.extend(container.addresses.iter().map(ToString::to_string));
            parts.extend(container.ports.iter().map(|port| format!("{}:{}", port.port, port.reached_at)));
        }
        lines.push(format!("{} -> {}", key.relative(), parts.join(" ")));
    }
    lines.join("\n")
}

#[test]
fn a_name_has_the_addresses_that_the_asker_reaches() {
    let service = |container: Container| {
        let mut labels = container.labels.clone();
        labels.insert("longshore.service".to_owned(), "shop".to_owned());
        Container { labels, ..container }
    };
    let far = service(published(open(1), [0, 0, 0, 0], 8080));
    let mut world = with_far([far, service(open(2))], PeerState::Alive);
    let mut own = world.own().clone();
    own.info = Arc::new(HostInfo { addresses: vec![[10, 0, 0, 1].into()], ..HostInfo::default() });
    world.put_host(ME, own);
    world.put_container(ME, Arc::new(service(published(container(3, LABEL), [0, 0, 0, 0], 9090))));
    world.put_container(ME, Arc::new(service(container(4, LABEL))));
    assert_eq!(
        names(&world, Asker::Here),
        "c1.far -> 10.0.0.2 80:8080\nc3.near -> 172.17.0.3 80:80\nc4.near -> 172.17.0.4 80:80\n\
         shop -> 172.17.0.3 80:80 172.17.0.4 80:80 10.0.0.2 80:8080"
    );
    assert_eq!(
        names(&world, Asker::Elsewhere),
        "c1.far -> 10.0.0.2 80:8080\nc3.near -> 10.0.0.1 80:9090\nshop -> 10.0.0.1 80:9090 10.0.0.2 80:8080"
    );
    for state in [PeerState::Suspect, PeerState::Unreachable] {
        world.peers.insert_mut(FAR, Peer { agent: AGENT, state });
        assert!(!names(&world, Asker::Here).contains("10.0.0.2"), "{state:?}");
    }
    assert!(names(&empty(), Asker::Here).is_empty());
}
