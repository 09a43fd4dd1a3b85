//! The names of containers and services, rule by rule.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may stop at the first thing that is not as expected"
)]

mod worlds;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use longshore_model::{Container, Endpoint, Health, NameEntry, Network, NetworkScope, RunState, Transport};
use longshore_plan::{NamePlan, NameSettings};
use proptest::prelude::*;
use worlds::{ME, changed, container, empty, put_network, world};

fn settings() -> NameSettings {
    NameSettings {
        domain: "l.test".parse().unwrap(),
        node: Some("host1".parse().unwrap()),
        host: vec![IpAddr::from([192, 0, 2, 7])],
        asker: longshore_plan::Asker::Here,
    }
}

fn plan(containers: impl IntoIterator<Item = Container>) -> NamePlan {
    NamePlan::of(&world(containers, &[]), settings())
}

/// Returns the names as text: one per line, with addresses and ports, or with containers; then the problems.
fn shown(plan: &NamePlan) -> String {
    let mut lines = Vec::new();
    for (key, entry) in plan.table().iter() {
        let stands_for = match entry {
            NameEntry::Container(container) => {
                let addresses = container.addresses.iter().map(ToString::to_string);
                let ports = container.ports.iter().map(|p| {
                    let http = if p.http { " http" } else { "" };
                    format!("{}/{:?}{http}", p.port, p.transport).to_lowercase()
                });
                addresses.chain(ports).collect::<Vec<_>>().join(", ")
            }
            NameEntry::Service(replicas) => {
                let mut names: Vec<String> = replicas
                    .values()
                    .map(|r| {
                        format!("{}{}", r.container.name.as_str(), if r.ready { "" } else { " (not ready)" })
                    })
                    .collect();
                names.sort();
                names.join(", ")
            }
        };
        lines.push(format!("{} -> {stands_for}", key.relative()));
    }
    lines.extend(plan.problems().map(|problem| format!("! {problem}")));
    lines.join("\n")
}

fn named(n: u8, name: &str) -> Container {
    Container { name: name.to_owned(), ..container(n, &[]) }
}

#[test]
fn a_container_has_its_addresses_and_ports_under_its_name() {
    let ipv6 = Endpoint {
        network_id: "six-id".to_owned(),
        ipv4: Some(IpAddr::from([10, 1, 0, 2])),
        ipv6: Some("fd00::2".parse().unwrap()),
    };
    let mut web = container(1, &[("longshore.http.8080", ""), ("longshore.udp.53", "")]);
    web.networks.insert("six".to_owned(), ipv6);
    web.exposed = vec![(80, Transport::Tcp), (8080, Transport::Tcp)];
    insta::assert_snapshot!(shown(&plan([Container { name: "Web_1".to_owned(), ..web }])), @"
    web_1.host1 -> 10.1.0.2, 172.17.0.1, fd00::2, 53/udp, 80/tcp, 8080/tcp http
    ");
}

#[test]
fn only_networks_that_the_host_reaches_count() {
    let web = container(1, &[]);
    let mut world = world([web], &[]);
    let network = |scope| Network { name: "n".to_owned(), scope };
    put_network(&mut world, "bridge-id", network(NetworkScope::Elsewhere));
    assert_eq!(shown(&NamePlan::of(&world, settings())), "c1.host1 -> ");
    put_network(&mut world, "bridge-id", network(NetworkScope::Host));
    assert_eq!(shown(&NamePlan::of(&world, settings())), "c1.host1 -> 172.17.0.1");
}

#[test]
fn a_container_of_the_hosts_network_of_none_or_of_anothers_has_what_that_has() {
    let without = |mode: &str, n| Container {
        network_mode: mode.to_owned(),
        networks: BTreeMap::new(),
        ..container(n, &[])
    };
    let lender = container(1, &[]);
    let borrower = without(&format!("container:{}", lender.id.as_str()), 4);
    insta::assert_snapshot!(shown(&plan([lender, without("host", 2), without("none", 3), borrower])), @"
    c1.host1 -> 172.17.0.1
    c2.host1 -> 192.0.2.7
    c3.host1 -> 
    c4.host1 -> 172.17.0.1
    ");
}

#[test]
fn a_service_has_all_its_containers_and_tells_of_the_healthy_ones() {
    let of = |n, health, state| Container { health, state, ..container(n, &[("longshore.service", "Shop")]) };
    let plan = plan([
        of(1, Health::None, RunState::Running),
        of(2, Health::Healthy, RunState::Running),
        of(3, Health::Starting, RunState::Running),
        of(4, Health::Unhealthy, RunState::Running),
        of(5, Health::None, RunState::Paused),
        of(6, Health::None, RunState::Exited),
        Container { stopping: true, ..of(7, Health::None, RunState::Running) },
    ]);
    let text = shown(&plan);
    let service = text.lines().find(|line| line.starts_with("shop"));
    assert_eq!(
        service,
        Some(
            "shop -> c1.host1.l.test, c2.host1.l.test, c3.host1.l.test (not ready), \
             c4.host1.l.test (not ready), c5.host1.l.test (not ready)"
        )
    );
    assert!(!text.contains("c6.") && !text.contains("c7."), "what ended or is about to has no name: {text}");
}

#[test]
fn what_dns_cannot_carry_is_a_problem_and_costs_only_itself() {
    let long = "x".repeat(64);
    let bad_service = Container { name: "ok".to_owned(), ..container(3, &[("longshore.service", "a.b\n")]) };
    insta::assert_snapshot!(shown(&plan([named(1, &long), named(2, "a..b"), bad_service])), @r#"
    ok.host1 -> 172.17.0.3
    ! container xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx (100000000000): its name is not valid in DNS: "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" is not a valid label of a host name: it has no DNS name, and its service's name does not resolve to it (give it a name of letters, digits and hyphens: docker rename)
    ! container a..b (200000000000): its name is not valid in DNS: "" is not a valid label of a host name: it has no DNS name, and its service's name does not resolve to it (give it a name of letters, digits and hyphens: docker rename)
    ! container ok (300000000000): longshore.service: invalid service name "a.b\n": the container belongs to no service (expected up to 63 letters, digits and hyphens)
    "#);
}

#[test]
fn of_two_names_that_dns_takes_for_one_the_older_container_has_it() {
    let web =
        |n, name: &str| Container { name: name.to_owned(), ..container(n, &[("longshore.service", "s")]) };
    let (old, new) = (web(1, "Web"), web(2, "web"));
    let mut plan = plan([new.clone(), old.clone()]);
    insta::assert_snapshot!(shown(&plan), @"
    web.host1 -> 172.17.0.1
    s -> web.host1.l.test
    ! container web (200000000000): an older container already has the name web.host1.l.test: it has no DNS name, and its service's name does not resolve to it (give it another name: docker rename)
    ");
    assert!(plan.update(&world([new], &[]), &changed(&old)));
    assert_eq!(shown(&plan), "web.host1 -> 172.17.0.2\ns -> web.host1.l.test");
}

#[test]
fn a_change_that_changes_no_name_says_so() {
    let web = container(1, &[]);
    let mut plan = plan([web.clone()]);
    let labelled =
        Container { labels: BTreeMap::from([("other".to_owned(), "x".to_owned())]), ..web.clone() };
    assert!(!plan.update(&world([labelled], &[]), &changed(&web)));
    assert!(plan.update(&world([], &[]), &changed(&web)));
    assert!(!plan.update(&world([], &[]), &changed(&web)));
    assert_eq!(shown(&plan), "");
}

#[test]
fn a_host_without_a_name_that_dns_carries_names_no_container() {
    let world = world([container(1, &[("longshore.service", "s")])], &[]);
    let plan = NamePlan::of(&world, NameSettings { node: None, ..settings() });
    assert_eq!(shown(&plan), "");
}

#[test]
fn so_many_ports_have_srv_records_and_no_more() {
    let many = Container { exposed: (1..=300).map(|p| (p, Transport::Tcp)).collect(), ..container(1, &[]) };
    let plan = plan([many]);
    let Some((_, NameEntry::Container(one))) = plan.table().iter().next() else { panic!("it has a name") };
    assert_eq!(one.ports.len(), 256);
    assert!(shown(&plan).contains("it has 300 ports: only the first 256 have SRV records"));
}

fn any_container() -> impl Strategy<Value = Container> {
    let name = prop_oneof!["a", "A", "b", "a\\.b", "-", "[a-z._-]{1,6}"];
    let network = prop_oneof![
        Just("bridge".to_owned()),
        Just("host".to_owned()),
        Just("none".to_owned()),
        (1..5u8).prop_map(|n| format!("container:{}", container(n, &[]).id.as_str()))
    ];
    let service = prop::option::of(prop_oneof!["s", "S", "t", "", "a\\.b", "\\PC{0,3}"]);
    (1..5u8, name, network, service, 0..5u8, 0..3u8, 1..4i64).prop_map(
        |(n, name, network_mode, service, state, health, created)| Container {
            name,
            network_mode,
            created,
            labels: service.map(|s| ("longshore.service".to_owned(), s)).into_iter().collect(),
            image_labels: Default::default(),
            state: match state {
                0 => RunState::Paused,
                1 => RunState::Exited,
                _ => RunState::Running,
            },
            stopping: state == 2,
            health: [Health::None, Health::Healthy, Health::Unhealthy][usize::from(health)],
            ..container(n, &[])
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn the_kept_names_are_the_fresh_ones_after_every_history(history in prop::collection::vec((any_container(), any::<bool>()), 1..14)) {
        let mut world = empty();
        let mut plan = NamePlan::new(settings());
        for (container, gone) in history {
            let (id, change) = (worlds::named(&container), changed(&container));
            if gone { world.remove_container(&id); } else { world.put_container(ME, Arc::new(container)); }
            let before = plan.table().clone();
            let changed = plan.update(&world, &change);
            let fresh = NamePlan::of(&world, settings());
            prop_assert_eq!(shown(&plan), shown(&fresh));
            prop_assert_eq!(plan.table(), fresh.table());
            prop_assert!(changed || before == *plan.table());
        }
    }
}
