//! Which container a text names, on any number of hosts.

#![allow(clippy::panic, reason = "a test may stop at the first thing that is not as expected")]

use std::collections::BTreeSet;
use std::sync::Arc;

use longshore_model::{Container, ContainerId, ContainerRef, Host, HostId, World};
use longshore_plan::{AddressError, address};
use proptest::prelude::*;

const ME: HostId = HostId::from_u128(1);

fn world(containers: &[(u128, &str, &str)]) -> World {
    let mut world = World::new(ME, Host::default());
    for (host, id, name) in containers {
        let host = HostId::from_u128(*host);
        if world.host(host).is_none() {
            world.put_host(host, Host::default());
        }
        world.put_container(host, Arc::new(Container::new(ContainerId::new(id), *name, "image")));
    }
    world
}

fn named(host: u128, id: &str) -> ContainerRef {
    ContainerRef::new(HostId::from_u128(host), ContainerId::new(id))
}

fn ambiguous(found: Result<ContainerRef, AddressError>) -> Vec<ContainerRef> {
    match found {
        Err(AddressError::Ambiguous { matches, .. }) => matches.into_iter().map(|(id, _)| id).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_container_of_any_host_is_found_by_its_id_its_name_or_the_beginning_of_its_id() {
    let world = world(&[(1, "abc1", "web"), (2, "abd2", "abc"), (3, "e3", "db")]);
    let found = |text: &str| address(&world, None, text);
    for (text, host, id) in [
        ("abc1", 1, "abc1"),
        ("web", 1, "abc1"),
        ("/web", 1, "abc1"),
        ("abd", 2, "abd2"),
        ("abc", 2, "abd2"),
        ("e", 3, "e3"),
    ] {
        assert_eq!(found(text), Ok(named(host, id)), "{text}");
    }
    for text in ["", "/", "x", "abc12", "WEB"] {
        assert!(matches!(found(text), Err(AddressError::Unknown(_))), "{text}");
    }
}

#[test]
fn a_name_on_two_hosts_is_ambiguous_until_a_host_is_given() {
    let world = world(&[(1, "a1", "web"), (2, "a2", "web"), (2, "b3", "db")]);
    assert_eq!(ambiguous(address(&world, None, "web")), [named(1, "a1"), named(2, "a2")]);
    assert_eq!(ambiguous(address(&world, None, "a")), [named(1, "a1"), named(2, "a2")]);
    assert_eq!(address(&world, Some(HostId::from_u128(2)), "web"), Ok(named(2, "a2")));
    assert_eq!(address(&world, Some(ME), "db"), Err(AddressError::Unknown("db".to_owned())));
}

/// Few letters, so that ids begin like each other and like names.
fn text() -> impl Strategy<Value = String> {
    "[ab]{1,4}"
}

proptest! {
    #[test]
    fn the_answer_is_what_a_search_through_all_containers_finds(
        containers in prop::collection::vec((1_u128..4, text(), text()), 0..12),
        wanted in text(),
        only in prop::option::of(1_u128..4),
    ) {
        let listed: Vec<_> = containers.iter().map(|(h, id, name)| (*h, id.as_str(), name.as_str())).collect();
        let world = world(&listed);
        let all: Vec<(ContainerRef, Arc<Container>)> =
            world.containers().map(|(id, container)| (id, Arc::clone(container))).collect();
        let only = only.map(HostId::from_u128);
        let matching = |matches: &dyn Fn(&Container) -> bool| -> BTreeSet<ContainerRef> {
            let here = all.iter().filter(|(id, _)| only.is_none_or(|host| id.host == host));
            here.filter(|(_, c)| matches(c)).map(|(id, _)| id.clone()).collect()
        };
        let rules = [
            matching(&|c| c.id.as_str() == wanted),
            matching(&|c| c.name == wanted),
            matching(&|c| c.id.as_str().starts_with(&wanted)),
        ];
        let expected = rules.into_iter().find(|found| !found.is_empty()).unwrap_or_default();
        match address(&world, only, &wanted) {
            Ok(found) => prop_assert_eq!(expected, BTreeSet::from([found])),
            Err(AddressError::Unknown(text)) => prop_assert!(expected.is_empty() && text == wanted),
            Err(AddressError::Ambiguous { matches, .. }) => {
                prop_assert!(matches.len() > 1);
                let named = |(id, name): &(ContainerRef, String)| world.container(id).is_some_and(|c| c.name == *name);
                prop_assert!(matches.iter().all(named));
                prop_assert_eq!(expected, matches.into_iter().map(|(id, _)| id).collect::<BTreeSet<_>>());
            }
        }
    }

    #[test]
    fn a_full_id_names_its_container_whatever_else_there_is(
        containers in prop::collection::vec((text(), text()), 1..12),
    ) {
        let listed: Vec<_> = containers.iter().map(|(id, name)| (1, id.as_str(), name.as_str())).collect();
        let world = world(&listed);
        for (id, _) in world.containers() {
            prop_assert_eq!(address(&world, None, id.id.as_str()), Ok(id.clone()));
        }
    }
}
