//! The route plan, rule by rule.

mod worlds;

use std::collections::BTreeMap;
use std::sync::Arc;

use longshore_model::{
    Container, ContainerRef, Endpoint, Frontend, Health, Host, HostId, HostInfo, Network, NetworkScope,
    PortState, Published, RunState, Transport, World,
};
use longshore_plan::{BalancerLocation, Readiness, RoutePlan, RouteSettings};
use proptest::prelude::*;
use worlds::{ME, changed, container, empty, named, put_network, world};

/// Returns the settings of a balancer on the containers' own host.
fn on_the_host() -> RouteSettings {
    RouteSettings {
        location: BalancerLocation::Host(ME),
        reserved: BTreeMap::from([
            ((Transport::Tcp, 7051), "Longshore's API".to_owned()),
            ((Transport::Tcp, 1053), "Longshore's DNS server".to_owned()),
            ((Transport::Udp, 1053), "Longshore's DNS server".to_owned()),
        ]),
        readiness: Readiness::Awaited,
    }
}

fn plan(containers: impl IntoIterator<Item = Container>) -> RoutePlan {
    RoutePlan::of(&world(containers, &[80, 8080, 5432, 53]), on_the_host())
}

/// Returns the table as text: one route per line, its upstreams, then what waits and why.
fn shown(plan: &RoutePlan) -> String {
    let mut lines = Vec::new();
    for route in plan.table().iter() {
        let strip = if route.strip_prefix { " strip" } else { "" };
        let up: Vec<String> = route
            .upstreams
            .iter()
            .map(|u| format!("{}@{}*{}", u.name, u.way, u.weight.get()))
            .chain(route.waiting.iter().map(|w| format!("({}: {})", w.name, w.reason)))
            .collect();
        lines.push(format!("{}{strip} -> {}", route.key, up.join(" ")));
    }
    lines.extend(plan.problems().map(|problem| format!("! {problem}")));
    lines.join("\n")
}

#[test]
fn the_documents_own_example_makes_its_four_routes() {
    let plan = plan([
        container(1, &[("glue_http_80_host", "wp1.example.com")]),
        container(2, &[("glue_http_80_host", "wp2.example.com")]),
        container(
            3,
            &[("glue_http_80_host", "openstack.example.com"), ("glue_http_80_prefix", "dashboard/horizon")],
        ),
        container(
            4,
            &[("glue_http_80_host", "openstack.example.com"), ("glue_http_80_prefix", "identity/keystone")],
        ),
    ]);
    insta::assert_snapshot!(shown(&plan), @r"
    http:80 openstack.example.com/dashboard/horizon -> c3@172.17.0.3:80*100
    http:80 openstack.example.com/identity/keystone -> c4@172.17.0.4:80*100
    http:80 wp1.example.com/ -> c1@172.17.0.1:80*100
    http:80 wp2.example.com/ -> c2@172.17.0.2:80*100
    ");
}

#[test]
fn both_spellings_say_the_same_and_ours_counts_where_they_differ() {
    let glue = plan([container(
        1,
        &[
            ("glue_http_80_host", "a.b"),
            ("glue_http_80_strip_prefix", "1"),
            ("glue_http_80_prefix", "p"),
            ("glue_http_80_weight", "7"),
        ],
    )]);
    let ours = plan([container(
        1,
        &[
            ("longshore.http.80.host", "a.b"),
            ("longshore.http.80.strip-prefix", "true"),
            ("longshore.http.80.prefix", "/p/"),
            ("longshore.http.80.weight", "7"),
        ],
    )]);
    assert_eq!(shown(&glue), shown(&ours));
    let both = plan([container(1, &[("glue_http_80_host", "old"), ("longshore.http.80.host", "new")])]);
    assert_eq!(shown(&both), "http:80 new/ -> c1@172.17.0.1:80*100");
}

#[test]
fn ports_are_listed_with_commas_and_each_bad_one_costs_itself() {
    let plan = plan([container(
        1,
        &[("glue_tcp_ports", "5432, x,0,70000"), ("glue_udp_ports", "53"), ("glue_tcp_5432_weight", "3")],
    )]);
    insta::assert_snapshot!(shown(&plan), @r#"
    udp:53 -> c1@172.17.0.1:53*100
    tcp:5432 -> c1@172.17.0.1:5432*3
    ! container c1 (100000000000): glue_tcp_ports: invalid port "x": expected 1–65535; no route to it
    ! container c1 (100000000000): glue_tcp_ports: invalid port "0": expected 1–65535; no route to it
    ! container c1 (100000000000): glue_tcp_ports: invalid port "70000": expected 1–65535; no route to it
    "#);
}

#[test]
fn a_list_of_http_ports_leaves_the_other_ports_out() {
    let plan = plan([container(
        1,
        &[("glue_http_ports", "8080"), ("glue_http_80_host", "a.b"), ("glue_http_8080_host", "c.d")],
    )]);
    insta::assert_snapshot!(shown(&plan), @r"
    http:8080 c.d/ -> c1@172.17.0.1:8080*100
    ! container c1 (100000000000): glue_http_80_host: no effect: glue_http_ports does not list port 80
    ");
}

#[test]
fn a_bad_label_loses_that_one_route_and_no_other() {
    let plan = plan([
        container(1, &[("longshore.http.80.host", "good.example"), ("longshore.http.8080.host", "bad host")]),
        container(2, &[("longshore.http.80.host", ""), ("longshore.tcp.5432", "")]),
        container(3, &[("longshore.http.80.weight", "1.5"), ("longshore.http.8080.strip-prefix", "maybe")]),
        container(
            4,
            &[("longshore.http.80.hots", "x"), ("longshore.htpp.80.host", "x"), ("glue_htp_80_host", "x")],
        ),
        container(
            5,
            &[("longshore.http.80.host", "a.b,{{x}},c.d"), ("longshore.http.8080.prefix", "a/../b")],
        ),
    ]);
    insta::assert_snapshot!(shown(&plan), @r#"
    http:80 a.b/ -> c5@172.17.0.5:80*100
    http:80 c.d/ -> c5@172.17.0.5:80*100
    http:80 good.example/ -> c1@172.17.0.1:80*100
    tcp:5432 -> c2@172.17.0.2:5432*100
    ! container c1 (100000000000): longshore.http.8080.host: invalid host name "bad host": contains the character ' '; no http route to port 8080 (use a name such as wp1.example.com, or *.example.com)
    ! container c2 (200000000000): longshore.http.80.host: invalid host name "": empty; no http route to port 80 (use a name such as wp1.example.com, or *.example.com)
    ! container c3 (300000000000): longshore.http.80.weight: invalid weight "1.5": expected 0–256; no http route to port 80
    ! container c3 (300000000000): longshore.http.8080.strip-prefix: invalid value "maybe": expected 1 or 0; no http route to port 8080
    ! container c4 (400000000000): glue_htp_80_host: unknown label: ignored (did you mean "glue_http"?)
    ! container c4 (400000000000): longshore.htpp.80.host: unknown label: ignored (did you mean "longshore.http"?)
    ! container c4 (400000000000): longshore.http.80.hots: unknown property: no http route to port 80 (did you mean "host"?)
    ! container c5 (500000000000): longshore.http.80.host: invalid host name "{{x}}": contains the character '{'; no http route to port 80 (use a name such as wp1.example.com, or *.example.com)
    ! container c5 (500000000000): longshore.http.8080.prefix: invalid path prefix "a/../b": contains the segment ".."; no http route to port 8080
    "#);
}

#[test]
fn a_frontend_listens_where_the_label_says() {
    let plan =
        plan([container(1, &[("longshore.http.8080.listen", "80"), ("longshore.udp.53.listen", "5353")])]);
    insta::assert_snapshot!(shown(&plan), @r"
    http:80 */ -> c1@172.17.0.1:8080*100
    udp:5353 -> c1@172.17.0.1:53*100
    ");
}

#[test]
fn a_reserved_port_is_refused() {
    let plan = plan([container(1, &[("longshore.http.80.listen", "7051")])]);
    insta::assert_snapshot!(shown(&plan), @"! container c1 (100000000000): longshore.http.80.listen: tcp port 7051 is taken by Longshore's API: no route (choose another with longshore.<protocol>.<port>.listen)");
}

#[test]
fn a_port_that_something_else_has_over_udp_is_refused_to_udp_routes_and_left_to_no_other() {
    let plan =
        plan([container(1, &[("longshore.udp.53.listen", "1053"), ("longshore.udp.80.listen", "7051")])]);
    insta::assert_snapshot!(shown(&plan), @r"
    udp:7051 -> c1@172.17.0.1:80*100
    ! container c1 (100000000000): longshore.udp.53.listen: udp port 1053 is taken by Longshore's DNS server: no route (choose another with longshore.<protocol>.<port>.listen)
    ");
}

/// Returns a container in these networks that serves port 80 and prefers a network.
fn on_networks(networks: &[(&str, &str)], preferred: &str) -> Container {
    let mut one = container(1, &[("longshore.http.80", ""), ("longshore.network", preferred)]);
    let endpoint = |(name, id): &(&str, &str)| {
        let endpoint =
            Endpoint { network_id: (*id).to_owned(), ipv4: Some([172, 17, 0, 1].into()), ipv6: None };
        ((*name).to_owned(), endpoint)
    };
    one.networks = networks.iter().map(endpoint).collect();
    one
}

#[test]
fn a_network_that_a_label_names_in_vain_is_a_problem() {
    let shown = |networks: &[(&str, &str)], preferred: &str| {
        let mut world = world([on_networks(networks, preferred)], &[80]);
        put_network(
            &mut world,
            "swarm-id",
            Network { name: "mesh".to_owned(), scope: NetworkScope::Elsewhere },
        );
        shown(&RoutePlan::of(&world, on_the_host()))
    };
    let both = [("front", "front-id"), ("mesh", "swarm-id")];
    insta::assert_snapshot!(
        [shown(&both, "nowhere"), shown(&both, "mesh"), shown(&both, "front"), shown(&both[1..], "mesh"), shown(&[], "")].join("\n\n"),
        @r#"
    http:80 */ -> c1@172.17.0.1:80*100
    ! container c1 (100000000000): longshore.network: the container is not on the network "nowhere": traffic takes another path (expected one of front)

    http:80 */ -> c1@172.17.0.1:80*100
    ! container c1 (100000000000): longshore.network: the balancer cannot reach the network "mesh": traffic takes another path (expected one of front)

    http:80 */ -> c1@172.17.0.1:80*100

    http:80 */ -> (c1: it has no address that the balancer can reach)
    ! container c1 (100000000000): the balancer cannot reach its networks (mesh), and port 80 is not published on an address that it can reach: no traffic (put it on a bridge network, or publish the port: docker run -p)

    http:80 */ -> (c1: it has no address that the balancer can reach)
    ! container c1 (100000000000): it has no network, and port 80 is not published on an address that it can reach: no traffic (put it on a bridge network, or publish the port: docker run -p)
    "#
    );
}

#[test]
fn a_problem_with_a_port_names_the_label_that_chose_it() {
    let plan =
        plan([container(1, &[("longshore.http.80.host", "a.test"), ("longshore.http.80.listen", "7051")])]);
    let keys: Vec<_> = plan.problems().map(|problem| problem.key.as_deref()).collect();
    assert_eq!(keys, [Some("longshore.http.80.listen")]);
}

#[test]
fn the_older_container_keeps_a_port_that_two_protocols_want() {
    let http = container(1, &[("longshore.http.80", "")]);
    let tcp = container(2, &[("longshore.tcp.80", "")]);
    insta::assert_snapshot!(shown(&plan([http.clone(), tcp.clone()])), @r"
    http:80 */ -> c1@172.17.0.1:80*100
    ! container c2 (200000000000): longshore.tcp.80: port 80 already speaks http for an older container: no route (choose another port with longshore.<protocol>.<port>.listen)
    ");
    let mut plan = plan([http.clone(), tcp.clone()]);
    let after = world([tcp], &[80]);
    assert_eq!(plan.update(&after, &changed(&http)).routes.len(), 2);
    assert_eq!(shown(&plan), "tcp:80 -> c2@172.17.0.2:80*100");
}

#[test]
fn the_older_container_decides_whether_a_route_is_stripped() {
    let labels = |strip| [("longshore.http.80.prefix", "p"), ("longshore.http.80.strip-prefix", strip)];
    let plan = plan([container(1, &labels("1")), container(2, &labels("0")), container(3, &labels("1"))]);
    insta::assert_snapshot!(shown(&plan), @r"
    http:80 */p strip -> c1@172.17.0.1:80*100 c3@172.17.0.3:80*100
    ! container c2 (200000000000): longshore.http.80.prefix: route http:80 */p: the prefix is stripped for an older container: this container is left out (set the same strip-prefix on all containers of a route)
    ");
}

#[test]
fn what_takes_no_traffic_keeps_its_route_and_says_why() {
    let labelled = |n| container(n, &[("longshore.http.80", "")]);
    let health = |n, health| Container { health, ..labelled(n) };
    let mut world = world(
        [
            health(1, Health::Starting),
            health(2, Health::Unhealthy),
            health(3, Health::Healthy),
            Container { state: RunState::Paused, ..labelled(4) },
            Container { stopping: true, ..labelled(5) },
            Container { network_mode: "none".to_owned(), networks: Default::default(), ..labelled(6) },
            labelled(7),
            labelled(8),
            Container { state: RunState::Exited, ..labelled(9) },
        ],
        &[80],
    );
    let seven = labelled(7);
    world.ports.remove_mut(&(named(&seven), ([172, 17, 0, 7], 80).into()));
    world.ports.insert_mut((named(&labelled(8)), ([172, 17, 0, 8], 80).into()), PortState::Closed);
    let plan = RoutePlan::of(&world, on_the_host());
    insta::assert_snapshot!(shown(&plan), @r"
    http:80 */ -> c3@172.17.0.3:80*100 (c1: its health check has not passed yet) (c2: its health check fails) (c4: it is paused) (c5: it is stopping) (c6: it has no address that the balancer can reach) (c7: its port has not accepted a connection yet) (c8: its port no longer accepts connections)
    ! container c6 (600000000000): it has no network, and port 80 is not published on an address that it can reach: no traffic (put it on a bridge network, or publish the port: docker run -p)
    ");
    assert_eq!(plan.checks(&named(&seven)).count(), 1);
    // A balancer with its own checks also gets those that may become ready after the last pass.
    let assumed = RoutePlan::of(&world, RouteSettings { readiness: Readiness::Assumed, ..on_the_host() });
    insta::assert_snapshot!(shown(&assumed), @r"
    http:80 */ -> c1@172.17.0.1:80*100 c3@172.17.0.3:80*100 c7@172.17.0.7:80*100 c8@172.17.0.8:80*100 (c2: its health check fails) (c4: it is paused) (c5: it is stopping) (c6: it has no address that the balancer can reach)
    ! container c6 (600000000000): it has no network, and port 80 is not published on an address that it can reach: no traffic (put it on a bridge network, or publish the port: docker run -p)
    ");
    assert_eq!(assumed.checks(&named(&seven)).count(), 0);
    assert_eq!(plan.checks(&named(&health(3, Health::Healthy))).count(), 0);
}

#[test]
fn a_user_defined_network_is_reached_and_the_label_picks_among_several() {
    let mut one = container(1, &[("longshore.http.80", "")]);
    let mut second = one.networks["bridge"].clone();
    second.network_id = "zoo-id".to_owned();
    second.ipv4 = Some([10, 9, 9, 9].into());
    one.networks.insert("zoo".to_owned(), second);
    let address = |c: &Container, w: &World| {
        let plan = RoutePlan::of(w, on_the_host());
        let _ = c;
        plan.table().iter().flat_map(|r| r.upstreams.clone()).map(|u| u.way.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(address(&one, &world([one.clone()], &[80])), ["172.17.0.1:80"]);
    one.labels.insert("longshore.network".to_owned(), "zoo".to_owned());
    assert_eq!(address(&one, &world([one.clone()], &[80])), ["10.9.9.9:80"]);
    let mut unreachable = world([one.clone()], &[80]);
    let macvlan = Network { name: "zoo".to_owned(), scope: NetworkScope::Elsewhere };
    put_network(&mut unreachable, "zoo-id", macvlan);
    assert_eq!(address(&one, &unreachable), ["172.17.0.1:80"]);
}

#[test]
fn from_another_host_the_published_port_is_used() {
    let mut one = Container { health: Health::Healthy, ..container(1, &[("longshore.http.80", "")]) };
    let at = |c: &Container, location: &BalancerLocation| {
        let mut world = world([c.clone()], &[80]);
        let info = HostInfo { addresses: vec![[10, 0, 0, 2].into()], ..HostInfo::default() };
        world.put_host(ME, Host { info: info.into(), ..world.own().clone() });
        let plan = RoutePlan::of(&world, RouteSettings { location: location.clone(), ..on_the_host() });
        plan.table().iter().flat_map(|r| r.upstreams.clone()).map(|u| u.way.to_string()).next()
    };
    let elsewhere = [BalancerLocation::Outside, BalancerLocation::Host(HostId::from_u128(2))];
    assert_eq!(elsewhere.each_ref().map(|location| at(&one, location)), [None, None]);
    one.published = vec![Published {
        container_port: 80,
        transport: Transport::Tcp,
        host_ip: [127, 0, 0, 1].into(),
        host_port: 1,
    }];
    let [outside, _] = &elsewhere;
    assert_eq!(at(&one, outside), None, "published on the other host's loopback only");
    one.published.push(Published {
        container_port: 80,
        transport: Transport::Tcp,
        host_ip: [0, 0, 0, 0].into(),
        host_port: 32768,
    });
    for location in &elsewhere {
        assert_eq!(at(&one, location), Some("10.0.0.2:32768".to_owned()), "{location:?}");
    }
    assert_eq!(at(&one, &BalancerLocation::Host(ME)), Some("172.17.0.1:80".to_owned()));
}

#[test]
fn from_a_container_its_own_networks_are_used_and_no_others() {
    let own = container(9, &[]);
    let near = Container { health: Health::Healthy, ..container(1, &[("longshore.http.80.host", "near")]) };
    let mut far = Container { health: Health::Healthy, ..container(2, &[("longshore.http.80.host", "far")]) };
    for endpoint in far.networks.values_mut() {
        endpoint.network_id = "other-id".to_owned();
    }
    let settings = RouteSettings { location: BalancerLocation::Container(named(&own)), ..on_the_host() };
    let mut plan = RoutePlan::of(&world([own.clone(), near.clone(), far.clone()], &[80]), settings);
    insta::assert_snapshot!(shown(&plan), @r"
    http:80 far/ -> (c2: it has no address that the balancer can reach)
    http:80 near/ -> c1@172.17.0.1:80*100
    ! container c2 (200000000000): the balancer cannot reach its networks (bridge), and port 80 is not published on an address that it can reach: no traffic (put it on a network of the container c9, which the balancer runs in)
    ");
    let on_the_hosts_network = Container { network_mode: "host".to_owned(), ..own.clone() };
    plan.update(&world([on_the_hosts_network, near, far], &[80]), &changed(&own));
    insta::assert_snapshot!(shown(&plan), @r"
    http:80 far/ -> c2@172.17.0.2:80*100
    http:80 near/ -> c1@172.17.0.1:80*100
    ");
}

#[test]
fn a_container_in_anothers_network_is_reached_by_that_ones_address_and_follows_it() {
    let lender = container(1, &[]);
    let mut borrower = container(2, &[("longshore.http.80", "")]);
    borrower.network_mode = format!("container:{}", lender.id.as_str());
    borrower.networks.clear();
    borrower.health = Health::Healthy;
    let before = world([lender.clone(), borrower.clone()], &[80]);
    let mut plan = RoutePlan::of(&before, on_the_host());
    assert_eq!(shown(&plan), "http:80 */ -> c2@172.17.0.1:80*100");
    let mut moved = lender.clone();
    if let Some(endpoint) = moved.networks.get_mut("bridge") {
        endpoint.ipv4 = Some([172, 17, 0, 99].into());
    }
    assert_eq!(plan.update(&world([moved, borrower], &[80]), &changed(&lender)).routes.len(), 1);
    assert_eq!(shown(&plan), "http:80 */ -> c2@172.17.0.99:80*100");
}

#[test]
fn a_change_that_changes_no_route_reports_none() {
    let one = container(1, &[("longshore.http.80", "")]);
    let mut plan = plan([one.clone()]);
    assert!(plan.update(&world([one.clone()], &[80]), &changed(&one)).routes.is_empty());
    let renamed = Container { name: "other".to_owned(), ..one.clone() };
    assert_eq!(plan.update(&world([renamed], &[80]), &changed(&one)).routes.len(), 1);
}

fn any_label() -> impl Strategy<Value = (String, String)> {
    let key = prop_oneof![
        (
            prop_oneof!["http", "tcp", "udp"],
            prop_oneof!["80", "81"],
            prop_oneof![".host", ".prefix", ".strip-prefix", ".weight", ".listen", ""]
        )
            .prop_map(|(protocol, port, attribute)| format!("longshore.{protocol}.{port}{attribute}")),
        (
            prop_oneof!["http", "tcp"],
            prop_oneof!["80", "81"],
            prop_oneof!["host", "prefix", "strip_prefix", "weight"]
        )
            .prop_map(|(protocol, port, attribute)| format!("glue_{protocol}_{port}_{attribute}")),
        prop_oneof!["glue_http_ports".prop_map(|s| s), "glue_tcp_ports".prop_map(|s| s)],
    ];
    (key, prop_oneof!["a.b", "\\*\\.b", "1", "0", "80", "81", "80,81", "p/q", "\\PC{0,8}"])
}

fn any_container() -> impl Strategy<Value = Container> {
    (
        1..6u8,
        prop::collection::btree_map(any_label().prop_map(|l| l.0), "a.b|1|0|80|p|80,81|\\PC{0,4}", 0..5),
        0..4u8,
        0..3u8,
        1..9i64,
    )
        .prop_map(|(n, labels, state, health, created)| Container {
            labels,
            created,
            state: match state {
                0 => RunState::Paused,
                1 => RunState::Exited,
                _ => RunState::Running,
            },
            health: match health {
                0 => Health::None,
                1 => Health::Healthy,
                _ => Health::Starting,
            },
            ..container(n, &[])
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_kept_table_is_the_fresh_one_after_every_history(history in prop::collection::vec((any_container(), any::<bool>()), 1..12)) {
        let mut world = empty();
        let mut plan = RoutePlan::new(on_the_host());
        for (container, gone) in history {
            let (id, change) = (named(&container), changed(&container));
            let before = plan.table().clone();
            if gone { world.remove_container(&id); } else { world.put_container(ME, Arc::new(container)); }
            let changed = plan.update(&world, &change).routes;
            let fresh = RoutePlan::of(&world, on_the_host());
            prop_assert_eq!(shown(&plan), shown(&fresh));
            for route in before.iter().chain(plan.table().iter()) {
                let differs = before.get(&route.key) != plan.table().get(&route.key);
                prop_assert_eq!(differs, changed.contains(&route.key), "{}", route.key);
            }
        }
    }

    #[test]
    fn no_label_makes_a_route_with_text_that_could_break_a_configuration(labels in prop::collection::vec(any_label(), 0..8)) {
        let labels: Vec<(&str, &str)> = labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        for route in plan([container(1, &labels)]).table().iter() {
            let text = format!("{}{}", route.key.host, route.key.prefix);
            prop_assert!(text.chars().all(|c| c.is_ascii_graphic() && !"\"\\{}`#<>|^".contains(c)), "{text:?}");
        }
    }
}

#[test]
fn an_explanation_names_the_container_and_the_reason() {
    let world = world(
        [
            container(1, &[("longshore.http.80.host", "a.b")]),
            container(2, &[("longshore.http.80.host", "a.b"), ("longshore.http.80.prefix", "api")]),
            Container { state: RunState::Exited, ..container(3, &[("longshore.http.80.host", "a.b")]) },
        ],
        &[80],
    );
    let plan = RoutePlan::of(&world, on_the_host());
    let frontend: Frontend = "http:80".parse().unwrap();
    let told = |host, path| {
        let e = longshore_plan::explain(&world, plan.table(), frontend, host, path);
        let lines: Vec<String> = e.candidates.iter().map(|c| format!("{} {}", c.name, c.why)).collect();
        format!("{:?} {:?}\n{}", e.verdict, e.route, lines.join("\n"))
    };
    insta::assert_snapshot!(told("a.b", "/x"), @r#"
    Routed Some("http:80 a.b/")
    c1 takes 100% at 172.17.0.1:80 (weight 100)
    c2 claims http:80 a.b/api, which does not cover /x
    c3 claims http:80 a.b/, but is exited
    "#);
    insta::assert_snapshot!(told("a.b", "/api/v1"), @r#"
    Routed Some("http:80 a.b/api")
    c2 takes 100% at 172.17.0.2:80 (weight 100)
    c1 claims http:80 a.b/, but http:80 a.b/api is more specific
    c3 claims http:80 a.b/, but is exited
    "#);
    insta::assert_snapshot!(told("nowhere", "/"), @"NoRoute None");
}

#[test]
fn an_explanation_leaves_out_bad_labels_that_have_nothing_to_do_with_the_request() {
    let world = world(
        [
            container(1, &[("longshore.http.80.host", "a.b")]),
            container(2, &[("longshore.http.80.host", "other.test"), ("longshore.http.80.weight", "heavy")]),
            container(3, &[("longshore.http.80.host", "a.b"), ("longshore.http.80.weight", "heavy")]),
            container(4, &[("longshore.http.8080.host", "a.b"), ("longshore.http.8080.weight", "heavy")]),
            container(5, &[("longshore.htpp.80.host", "a.b")]),
            container(6, &[("longshore.htpp.80.host", "other.test")]),
            container(7, &[("longshore.tcp.80.weight", "heavy")]),
            container(8, &[("glue_http_ports", "x"), ("glue_http_80_host", "other.test")]),
            container(9, &[("longshore.http.3000.listen", "80"), ("longshore.http.3000.wieght", "1")]),
        ],
        &[80],
    );
    let plan = RoutePlan::of(&world, on_the_host());
    let explained = |host| {
        let explanation =
            longshore_plan::explain(&world, plan.table(), "http:80".parse().unwrap(), host, "/");
        explanation.candidates.into_iter().map(|candidate| candidate.name).collect::<Vec<_>>()
    };
    assert_eq!(explained("a.b"), ["c1", "c3", "c5", "c9"]);
    assert_eq!(explained("nowhere.test"), ["c9"], "its label names any host");
}

/// Returns a container with both address families, and a world in which its port 80 is in these states.
#[expect(clippy::unwrap_used, reason = "the addresses are written here")]
fn dual_stack(health: Health, v4: PortState, v6: PortState) -> (World, ContainerRef) {
    let mut both = container(1, &[("longshore.http.80", "")]);
    both.health = health;
    for endpoint in both.networks.values_mut() {
        endpoint.ipv6 = Some("fd00::1".parse().unwrap());
    }
    let id = named(&both);
    let mut world = world([both], &[]);
    world.ports.insert_mut((id.clone(), "172.17.0.1:80".parse().unwrap()), v4);
    world.ports.insert_mut((id.clone(), "[fd00::1]:80".parse().unwrap()), v6);
    (world, id)
}

#[test]
fn a_server_that_listens_on_one_family_only_is_reached_by_it() {
    let cases = [
        (PortState::Open, PortState::NotOpen, "c1@172.17.0.1:80*100", 1),
        (PortState::NotOpen, PortState::Open, "c1@[fd00::1]:80*100", 1),
        (PortState::Open, PortState::Open, "c1@172.17.0.1:80*100", 1),
        (PortState::NotOpen, PortState::NotOpen, "(c1: its port has not accepted a connection yet)", 2),
        (PortState::NotOpen, PortState::Closed, "(c1: its port no longer accepts connections)", 2),
    ];
    for (v4, v6, upstream, checks) in cases {
        let (world, id) = dual_stack(Health::None, v4, v6);
        let plan = RoutePlan::of(&world, on_the_host());
        assert_eq!(shown(&plan), format!("http:80 */ -> {upstream}"), "{v4:?} {v6:?}");
        assert_eq!(plan.checks(&id).count(), checks, "{v4:?} {v6:?}");
    }
}

#[test]
fn a_healthy_server_that_listens_on_one_family_only_is_reached_by_it() {
    for (v4, v6, address) in [
        (PortState::Open, PortState::NotOpen, "172.17.0.1:80"),
        (PortState::NotOpen, PortState::Open, "[fd00::1]:80"),
        (PortState::NotOpen, PortState::NotOpen, "172.17.0.1:80"),
    ] {
        let (world, _) = dual_stack(Health::Healthy, v4, v6);
        let plan = RoutePlan::of(&world, on_the_host());
        assert_eq!(shown(&plan), format!("http:80 */ -> c1@{address}*100"), "{v4:?} {v6:?}");
    }
    let (world, id) = dual_stack(Health::Starting, PortState::NotOpen, PortState::NotOpen);
    assert_eq!(RoutePlan::of(&world, on_the_host()).checks(&id).count(), 0);
}
