//! What is published about a container, and how the store converges to it.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as expected")]

mod worlds;

use std::collections::{BTreeMap, BTreeSet};

use longshore_model::{Container, ContainerId, Endpoint, Health, RunState, Transport};
use longshore_plan::{KeyChange, Ledger, RecordSettings, container_key, in_batches, records};
use proptest::prelude::*;
use worlds::{container, world};

fn settings() -> RecordSettings {
    RecordSettings {
        prefix: "/skydns/".to_owned(),
        domain: "longshore.internal".parse().unwrap(),
        node: "web1.example".parse().unwrap(),
        ttl: 5,
        host: vec!["192.0.2.7".parse().unwrap()],
    }
}

/// Returns a container's records and problems, one per line.
fn shown(container: &Container) -> String {
    let world = world([container.clone()], &[]);
    let (records, problems) = records(world.own(), container, &settings());
    let records = records.iter().map(|(key, value)| format!("{key} {value}"));
    records.chain(problems.iter().map(|problem| format!("! {problem}"))).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_containers_key_is_its_whole_id_below_the_prefix() {
    let container = container(1, &[]);
    let id = container.id.as_str();
    assert_eq!(
        container_key("/longshore/containers/h1", &container.id),
        format!("/longshore/containers/h1/{id}")
    );
    assert_eq!(container_key("/mine/", &container.id), format!("/mine/{id}"));
}

#[test]
fn each_address_and_port_is_a_record_under_the_containers_and_its_services_name() {
    let mut shop = container(2, &[("longshore.service", "Shop"), ("longshore.http.8080.listen", "80")]);
    shop.name = "Shop_2.blue".to_owned();
    shop.exposed = vec![(53, Transport::Udp)];
    let second = Endpoint { network_id: "b".to_owned(), ipv4: None, ipv6: Some("fd00::2".parse().unwrap()) };
    shop.networks.insert("second".to_owned(), second);
    insta::assert_snapshot!(shown(&shop), @r#"
    /skydns/internal/longshore/example/web1/blue/shop_2/tcp-8080-172-17-0-2 {"host":"172.17.0.2","port":8080,"ttl":5}
    /skydns/internal/longshore/example/web1/blue/shop_2/tcp-8080-fd00-0-0-0-0-0-0-2 {"host":"fd00::2","port":8080,"ttl":5}
    /skydns/internal/longshore/example/web1/blue/shop_2/udp-53-172-17-0-2 {"host":"172.17.0.2","port":53,"ttl":5}
    /skydns/internal/longshore/example/web1/blue/shop_2/udp-53-fd00-0-0-0-0-0-0-2 {"host":"fd00::2","port":53,"ttl":5}
    /skydns/internal/longshore/shop/200000000000/tcp-8080-172-17-0-2 {"host":"172.17.0.2","port":8080,"ttl":5}
    /skydns/internal/longshore/shop/200000000000/tcp-8080-fd00-0-0-0-0-0-0-2 {"host":"fd00::2","port":8080,"ttl":5}
    /skydns/internal/longshore/shop/200000000000/udp-53-172-17-0-2 {"host":"172.17.0.2","port":53,"ttl":5}
    /skydns/internal/longshore/shop/200000000000/udp-53-fd00-0-0-0-0-0-0-2 {"host":"fd00::2","port":53,"ttl":5}
    "#);
}

#[test]
fn without_a_port_the_address_is_the_record_and_without_an_address_there_is_none() {
    insta::assert_snapshot!(shown(&container(3, &[])), @r#"/skydns/internal/longshore/example/web1/c3/172-17-0-3 {"host":"172.17.0.3","ttl":5}"#);
    let mut none = container(4, &[]);
    none.networks.clear();
    assert_eq!(shown(&none), "");
}

#[test]
fn a_container_on_the_hosts_network_has_the_hosts_address_and_one_on_anothers_has_that_ones() {
    let mut host = container(5, &[]);
    host.network_mode = "host".to_owned();
    host.networks.clear();
    insta::assert_snapshot!(shown(&host), @r#"/skydns/internal/longshore/example/web1/c5/192-0-2-7 {"host":"192.0.2.7","ttl":5}"#);
    let lender = container(6, &[]);
    let mut guest = container(7, &[]);
    guest.network_mode = format!("container:{}", lender.id.as_str());
    guest.networks.clear();
    let (found, _) = records(world([lender, guest.clone()], &[]).own(), &guest, &settings());
    assert!(found.values().all(|value| value.contains("172.17.0.6")) && found.len() == 1, "{found:?}");
    assert_eq!(shown(&guest), "", "the other one is gone");
}

#[test]
fn a_service_has_those_that_run_and_are_not_unhealthy_and_a_name_all_that_live() {
    let of = |state, health, stopping| {
        let labels = [("longshore.service", "shop")];
        let container = Container { state, health, stopping, ..container(8, &labels) };
        let (found, _) = records(world([container.clone()], &[]).own(), &container, &settings());
        let count = |part: &str| found.keys().filter(|key| key.contains(part)).count();
        (count("/web1/"), count("/shop/"))
    };
    assert_eq!(of(RunState::Running, Health::None, false), (1, 1));
    assert_eq!(of(RunState::Running, Health::Healthy, false), (1, 1));
    assert_eq!(of(RunState::Running, Health::Starting, false), (1, 0));
    assert_eq!(of(RunState::Running, Health::Unhealthy, false), (1, 0));
    assert_eq!(of(RunState::Paused, Health::None, false), (1, 0));
    assert_eq!(of(RunState::Running, Health::None, true), (0, 0));
    assert_eq!(of(RunState::Exited, Health::None, false), (0, 0));
}

#[test]
fn a_name_that_dns_cannot_carry_costs_the_records_of_that_name_only() {
    let mut long = container(9, &[("longshore.service", "shop")]);
    long.name = "x".repeat(64);
    insta::assert_snapshot!(shown(&long), @r#"
    /skydns/internal/longshore/shop/900000000000/172-17-0-9 {"host":"172.17.0.9","ttl":5}
    ! container xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx (900000000000): no DNS records for its name, which is not valid in DNS: "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" is not a valid label of a host name
    "#);
    for service in ["a.b", "a b", "", "any", "*", "web1.example", "../x"] {
        let told = shown(&container(10, &[("longshore.service", service)]));
        assert!(
            told.contains("! container c10") && told.contains("longshore.service"),
            "{service:?}: {told}"
        );
        assert_eq!(told.lines().count(), 2, "{service:?}: {told}");
    }
    let mut any = container(11, &[]);
    any.name = "any".to_owned();
    assert!(shown(&any).starts_with("! container any"));
}

fn wanted(of: &[(u8, &[(&str, &str)])]) -> BTreeMap<ContainerId, BTreeMap<String, String>> {
    let keys = |keys: &[(&str, &str)]| keys.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
    of.iter().map(|&(n, of)| (ContainerId::new(n.to_string()), keys(of))).collect()
}

/// A store, and the ledger of its writer.
#[derive(Default)]
struct Store {
    keys: BTreeMap<String, String>,
    ledger: Ledger,
}

impl Store {
    fn make(&mut self, changes: &[KeyChange]) -> usize {
        for change in changes {
            match change {
                KeyChange::Put { key, value, .. } => drop(self.keys.insert(key.clone(), value.clone())),
                KeyChange::Delete { key } => drop(self.keys.remove(key)),
            }
            self.ledger.made(change);
        }
        changes.len()
    }

    fn want(&mut self, of: &[(u8, &[(&str, &str)])]) -> usize {
        let changes = self.ledger.changes(wanted(of));
        self.make(&changes)
    }
}

#[test]
fn what_is_there_already_is_not_written_again() {
    let mut store = Store::default();
    assert_eq!(store.want(&[(1, &[("a", "1"), ("b", "2")])]), 2);
    assert_eq!(store.want(&[(1, &[("a", "1"), ("b", "2")])]), 0);
    assert_eq!(store.want(&[(1, &[("a", "1"), ("b", "3")])]), 1);
    assert_eq!(store.want(&[(1, &[])]), 2);
    assert!(store.ledger.is_empty() && store.keys.is_empty());
}

#[test]
fn a_container_that_follows_another_under_its_name_keeps_the_key_in_either_order() {
    let mut together = Store::default();
    together.want(&[(2, &[("web", "x")])]);
    together.want(&[(1, &[("web", "x")]), (2, &[])]);
    assert_eq!(together.keys.len(), 1);
    let mut apart = Store::default();
    apart.want(&[(2, &[("web", "x")])]);
    apart.want(&[(1, &[("web", "x")])]);
    apart.want(&[(2, &[])]);
    assert_eq!(apart.keys.len(), 1);
    apart.want(&[(1, &[])]);
    assert!(apart.keys.is_empty());
}

#[test]
fn what_somebody_took_away_is_missed_and_what_nobody_here_wrote_is_surplus() {
    let mut store = Store::default();
    store.want(&[(1, &[("a", "1")]), (2, &[("b", "2")])]);
    let there = BTreeSet::from(["b".to_owned(), "c".to_owned()]);
    assert_eq!(store.ledger.missing(&there), BTreeSet::from([ContainerId::new("1")]));
    assert_eq!(store.ledger.surplus(&there), [KeyChange::Delete { key: "c".to_owned() }]);
    assert_eq!(store.want(&[(1, &[("a", "1")])]), 1, "it is written again");
}

type Step = BTreeMap<u8, BTreeMap<u8, u8>>;

proptest! {
    #[test]
    fn the_store_has_what_the_containers_want_and_no_step_names_a_key_twice(
        steps in prop::collection::vec(
            prop::collection::btree_map(0..4_u8, prop::collection::btree_map(0..6_u8, 0..3_u8, 0..4), 0..4),
            0..12,
        )
    ) {
        let mut store = Store::default();
        let mut last: Step = BTreeMap::new();
        for step in steps {
            // Each key names the container that wants it, as container keys do.
            let of = step.iter().map(|(n, keys)| {
                let keys = keys.iter().map(|(k, v)| (format!("{n}/{k}"), v.to_string())).collect();
                (ContainerId::new(n.to_string()), keys)
            });
            let changes = store.ledger.changes(of.collect());
            let keys: BTreeSet<&str> = changes.iter().map(KeyChange::key).collect();
            prop_assert_eq!(keys.len(), changes.len());
            store.make(&changes);
            last.extend(step);
            let wanted: BTreeMap<String, String> = last
                .iter()
                .flat_map(|(n, keys)| keys.iter().map(move |(k, v)| (format!("{n}/{k}"), v.to_string())))
                .collect();
            prop_assert_eq!(&store.keys, &wanted);
            prop_assert_eq!(store.ledger.len(), wanted.len());
        }
    }

    #[test]
    fn batches_are_all_changes_in_order_and_none_is_too_large(sizes in prop::collection::vec(0..40_usize, 0..40)) {
        let changes: Vec<KeyChange> = sizes.iter().map(|&size| KeyChange::Delete { key: "k".repeat(size) }).collect();
        let batches = in_batches(changes.clone(), 5, 60);
        for batch in &batches {
            let bytes: usize = batch.iter().map(|change| change.key().len()).sum();
            prop_assert!(!batch.is_empty() && batch.len() <= 5 && (bytes <= 60 || batch.len() == 1));
        }
        prop_assert_eq!(batches.concat(), changes);
    }

    #[test]
    fn no_name_or_label_makes_a_key_outside_its_place(name in "\\PC{0,80}", service in "\\PC{0,80}") {
        let mut any = container(1, &[("longshore.service", &service)]);
        any.name = name;
        let (found, _) = records(world([any.clone()], &[]).own(), &any, &settings());
        for (key, value) in found {
            prop_assert!(key.starts_with("/skydns/internal/longshore/"), "{}", key);
            prop_assert!(!key.contains("//") && !key.contains("..") && key.is_ascii(), "{}", key);
            prop_assert!(serde_json::from_str::<serde_json::Value>(&value).is_ok());
        }
    }
}
