//! Arbitrary labels: none may panic, and the output must not contain anything that could break a configuration, a log
//! line or a terminal.
#![no_main]

use std::collections::BTreeMap;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use longshore_model::{Container, ContainerId, Endpoint, Health, Host, HostId, RunState, World};
use longshore_plan::{BalancerLocation, Readiness, RoutePlan, RouteSettings, explain};

const ME: HostId = HostId::from_u128(1);

fuzz_target!(|text: &str| {
    // One label per line, key and value separated by a tab; a line with `---` begins the next container.
    let mut world = World::new(ME, Host::default());
    for (n, part) in text.split("\n---\n").enumerate().take(8) {
        let pairs = part.split('\n').filter_map(|line| line.split_once('\t'));
        let labels = pairs.map(|(key, value)| (key.replace('\u{b}', "\n"), value.replace('\u{b}', "\n")));
        let container = container(n as u8 + 1, labels.collect());
        world.put_container(ME, Arc::new(container));
    }
    let settings = RouteSettings {
        location: BalancerLocation::Host(ME),
        reserved: BTreeMap::new(),
        readiness: Readiness::Awaited,
    };
    let plan = RoutePlan::of(&world, settings);
    for route in plan.table().iter() {
        let written = format!("{}{}", route.key.host, route.key.prefix);
        let safe = |c: char| c.is_ascii_graphic() && !"\"\\{}`#<>|^".contains(c);
        assert!(written.chars().all(safe), "{written:?}");
        assert!(!route.upstreams.is_empty());
    }
    for problem in plan.problems() {
        let line = problem.to_string();
        assert!(!line.contains(['\n', '\r', '\u{1b}']), "{line:?}");
        assert!(line.len() < 4096, "{}", line.len());
    }
    if let Some(route) = plan.table().iter().next() {
        explain(&world, plan.table(), route.key.frontend, "a.b", "/");
    }
});

fn container(n: u8, labels: BTreeMap<String, String>) -> Container {
    let ipv4 = Some([172, 17, 0, n].into());
    let endpoint = Endpoint { network_id: "bridge".to_owned(), ipv4, ipv6: None };
    Container {
        labels,
        state: RunState::Running,
        health: Health::Healthy,
        created: i64::from(n),
        networks: BTreeMap::from([("bridge".to_owned(), endpoint)]),
        ..Container::new(ContainerId::new(format!("{n:064x}")), format!("c{n}"), "image")
    }
}
