use std::collections::BTreeMap;

use longshore_model::{
    Availability, Capacity, Container, ContainerId, Endpoint, Health, HostInfo, Load, Network, NetworkScope,
    Published, RunState, Transport,
};
use proptest::prelude::*;

use super::*;

/// A stream as the first release wrote it.
const FIRST: &str = include_str!("first.jsonl");

fn host() -> HostInfo {
    HostInfo {
        name: "h1".to_owned(),
        addresses: vec![[10, 0, 0, 1].into(), "fd00::1".parse().unwrap()],
        labels: BTreeMap::from([("zone".to_owned(), "a".to_owned())]),
        capacity: Capacity { cpus: 4, memory: 8 << 30 },
        load: Load { millicpus: 1500, memory: 1 << 30 },
        docker_version: "29.1.0".to_owned(),
        version: "0.1.0".to_owned(),
        availability: Availability::Active,
    }
}

#[test]
fn a_host_that_takes_nothing_says_so_and_what_a_later_release_says_is_not_taken_for_the_usual() {
    let cordoned = HostInfo { availability: Availability::Cordoned, ..host() };
    let text = serde_json::to_string(&HostRow::from(&cordoned)).unwrap();
    for availability in ["cordoned", "draining"] {
        let row: HostRow = serde_json::from_str(&text.replace("cordoned", availability)).unwrap();
        assert_eq!(HostInfo::from(row), cordoned);
    }
}

fn container() -> Container {
    let text = |text: &str| text.to_owned();
    Container {
        labels: BTreeMap::from([(text("longshore.http.80"), text("host=a.example"))]),
        image_labels: [text("longshore.sidecars")].into(),
        state: RunState::Running,
        exit_code: Some(137),
        health: Health::Healthy,
        stopping: true,
        created: 1_700_000_000_000_000_000,
        started: 1_700_000_000_000_000_001,
        network_mode: text("zoo"),
        networks: BTreeMap::from([(
            text("zoo"),
            Endpoint {
                network_id: text("n1"),
                ipv4: Some([172, 18, 0, 2].into()),
                ipv6: Some("fd00::2".parse().unwrap()),
            },
        )]),
        published: vec![Published {
            container_port: 80,
            transport: Transport::Tcp,
            host_ip: [0, 0, 0, 0].into(),
            host_port: 32768,
        }],
        exposed: vec![(53, Transport::Udp), (80, Transport::Tcp)],
        stop_signal: Some(3),
        ..Container::new(ContainerId::new("c0ffee"), "web", "nginx:1")
    }
}

fn networks() -> Vec<(String, Network)> {
    let network = |name: &str, scope| Network { name: name.to_owned(), scope };
    vec![
        ("n1".to_owned(), network("zoo", NetworkScope::Host)),
        ("n2".to_owned(), network("sea", NetworkScope::Elsewhere)),
    ]
}

fn stream() -> Vec<FactRow> {
    let id = "01900000-0000-7000-8000-000000000001".to_owned();
    vec![
        FactRow::Hello { format: FORMAT, host: id, epoch: 7, whole: true },
        FactRow::Host { revision: 3, host: Box::new((&host()).into()) },
        FactRow::Networks {
            revision: 2,
            networks: networks().iter().map(|(id, network)| (id, network).into()).collect(),
        },
        FactRow::Container { revision: 9, container: Box::new((&container()).into()) },
        FactRow::Listed { revision: 9 },
        FactRow::Gone { revision: 10, container: "c0ffee".to_owned() },
        FactRow::Beat,
    ]
}

#[test]
fn a_stream_of_the_first_release_is_read_and_written_as_it_was() {
    let written: Vec<u8> =
        (1..).zip(stream()).flat_map(|(number, fact)| fact.encode().line(number)).collect();
    assert_eq!(String::from_utf8(written).unwrap(), FIRST);
    let read: Vec<_> = FIRST.lines().map(|line| Line::read(line.as_bytes()).unwrap()).collect();
    assert_eq!(read.iter().map(|line| line.number).collect::<Vec<_>>(), (1..=7).collect::<Vec<_>>());
    for line in read {
        match line.fact {
            FactRow::Host { host: row, .. } => assert_eq!(HostInfo::from(*row), host()),
            FactRow::Container { container: row, .. } => {
                assert_eq!(Container::try_from(*row).unwrap(), container());
            }
            FactRow::Networks { networks: rows, .. } => {
                let read: Vec<(String, Network)> = rows.into_iter().map(Into::into).collect();
                assert_eq!(read, networks());
            }
            FactRow::Unknown => panic!("a line of this release is known"),
            FactRow::Hello { .. } | FactRow::Gone { .. } | FactRow::Listed { .. } | FactRow::Beat => {}
            FactRow::Events { .. } | FactRow::Event { .. } => {}
        }
    }
}

#[test]
fn what_a_later_release_adds_is_ignored_and_what_it_leaves_out_has_a_default() {
    let read = |text: &str| Line::read(text.as_bytes()).unwrap().fact;
    assert_eq!(read(r#"{"line":1,"type":"weather","revision":3,"sky":{"blue":true}}"#), FactRow::Unknown);
    assert_eq!(read(r#"{"line":1,"type":"beat","colour":"red"}"#), FactRow::Beat);
    let host = read(r#"{"line":2,"type":"host","revision":1,"host":{"name":"h2","colour":"red"}}"#);
    let FactRow::Host { host, .. } = host else { panic!("a host") };
    assert_eq!(HostInfo::from(*host), HostInfo { name: "h2".to_owned(), ..HostInfo::default() });
    let container = read(
        r#"{"line":3,"type":"container","revision":1,"container":{"id":"a","name":"n","image":"i",
            "state":"hibernating","health":"tired","exposed":[{"port":1,"transport":"sctp"}],
            "published":[{"container_port":1,"transport":"sctp","host_ip":"::","host_port":1}]}}"#,
    );
    let FactRow::Container { container, .. } = container else { panic!("a container") };
    let container = Container::try_from(*container).unwrap();
    assert!(!container.state.is_alive() && container.health == Health::Unhealthy);
    assert!(container.exposed.is_empty() && container.published.is_empty());
}

#[test]
fn an_id_that_docker_would_not_write_is_refused() {
    let long = "a".repeat(129);
    for id in ["", "a b", "a\n", "../a", &long] {
        let row = ContainerRow::from(&Container::new(ContainerId::new(id), "n", "i"));
        assert_eq!(Container::try_from(row), Err(BadContainerId), "{id:?}");
    }
}

#[test]
fn a_container_whose_labels_do_not_fit_goes_without() {
    let labels = BTreeMap::from([("big".to_owned(), "x".repeat(MAX_LINE))]);
    let row = ContainerRow::from(&Container { labels, ..container() });
    let encode = |row| FactRow::Container { revision: 1, container: Box::new(row) }.encode();
    assert!(encode(row.clone()).is_too_long() && !encode(row.without_labels()).is_too_long());
}

proptest! {
    #[test]
    fn every_container_survives_the_way(
        (name, image, mode) in (any::<String>(), any::<String>(), any::<String>()),
        labels in prop::collection::btree_map(any::<String>(), any::<String>(), 0..4),
        (created, exit_code, stop_signal) in (any::<i64>(), any::<Option<i64>>(), any::<Option<u32>>()),
    ) {
        let sent = Container { name, image, network_mode: mode, labels, created, exit_code, stop_signal, ..container() };
        let fact = FactRow::Container { revision: u64::MAX, container: Box::new((&sent).into()) };
        let line = fact.encode().line(u64::MAX);
        prop_assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        let read = Line::read(&line).unwrap();
        prop_assert_eq!(&read.fact, &fact);
        let FactRow::Container { container, .. } = read.fact else { panic!("a container") };
        prop_assert_eq!(Container::try_from(*container).unwrap(), sent);
    }

    #[test]
    fn no_bytes_are_more_than_a_line_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Line::read(&bytes);
    }
}
