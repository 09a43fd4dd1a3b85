use std::collections::BTreeMap;

use longshore_model::NetworkScope;

use super::*;

const ME: HostId = HostId::from_u128(1);

fn container(state: RunState, started: i64) -> Container {
    Container {
        state,
        started,
        stop_signal: Some(3),
        ..Container::new(ContainerId::new("ab"), "wp1", "wordpress")
    }
}

fn named(id: &str) -> ContainerRef {
    ContainerRef::new(ME, ContainerId::new(id))
}

/// Returns the changes that the state reports for one Docker observation.
fn changes(state: &mut State, observation: DockerObservation) -> BTreeSet<Change> {
    let effects = state.take(Observation::Docker(ME, observation));
    let publish = effects.into_iter().find_map(|effect| match effect {
        Effect::Publish(changes) => Some(changes),
        Effect::Tell(_) | Effect::Repaired(_) | Effect::Docker(_) => None,
    });
    publish.unwrap_or_default()
}

fn event(state: &mut State, kind: EventKind, at: i64) -> BTreeSet<Change> {
    let attributes = BTreeMap::new();
    let event =
        ContainerEvent { container: ContainerId::new("ab"), name: "wp1".to_owned(), kind, at, attributes };
    changes(state, DockerObservation::Event { event, past: false })
}

fn inspected(state: &mut State, container: Container) -> BTreeSet<Change> {
    let id = container.id.clone();
    changes(state, DockerObservation::Inspected { id, container: Some(Box::new(container)), resync: false })
}

fn listed(state: &mut State, containers: Vec<Container>) -> BTreeSet<Change> {
    changes(state, DockerObservation::Listed { containers, networks: Vec::new() })
}

fn port(state: &mut State, found: PortState) -> Vec<Effect> {
    let address = ([172, 17, 0, 2], 80).into();
    state.take(Observation::Port { container: named("ab"), address, state: found })
}

fn running() -> State {
    let mut state = State::new(ME, HostInfo::default());
    listed(&mut state, vec![container(RunState::Running, 10)]);
    port(&mut state, PortState::Open);
    state
}

fn seen(state: &State) -> &Container {
    state.world().unwrap().container(&named("ab")).unwrap()
}

#[test]
fn nobody_sees_a_world_before_its_host_is_listed() {
    let mut state = State::new(ME, HostInfo::default());
    assert_eq!(inspected(&mut state, container(RunState::Running, 10)), BTreeSet::new());
    assert!(state.world().is_none());
    assert_eq!(listed(&mut state, Vec::new()), BTreeSet::from([Change::All]));
    assert_eq!(state.world().unwrap().containers().count(), 0);
}

#[test]
fn an_event_is_told_even_before_the_host_is_listed() {
    let mut state = State::new(ME, HostInfo::default());
    let event = longshore_model::NetworkEvent {
        network: "id".to_owned(),
        name: "zoo".to_owned(),
        action: "create".to_owned(),
        at: 1,
    };
    let effects = state.take(Observation::Docker(ME, DockerObservation::NetworkEvent(event.clone())));
    assert_eq!(effects, [Effect::Tell(DockerEvent::Network(event))]);
}

#[test]
fn a_stop_signal_marks_the_container_before_it_ends_and_an_inspection_keeps_the_mark() {
    for signal in [15, 9, 3] {
        let mut state = running();
        assert!(!event(&mut state, EventKind::Kill(Some(signal)), 20).is_empty());
        assert!(seen(&state).stopping, "signal {signal}");
        inspected(&mut state, container(RunState::Running, 10));
        assert!(seen(&state).stopping);
        inspected(&mut state, container(RunState::Running, 30));
        assert!(!seen(&state).stopping, "another run knows nothing of it");
    }
}

#[test]
fn a_container_that_is_about_to_be_stopped_is_marked_until_its_run_ends_or_it_is_not() {
    let mut state = running();
    let id = named("ab").id;
    let mark = |state: &mut State, stopping| {
        state.take(Observation::Docker(ME, DockerObservation::Stopping { id: id.clone(), stopping }))
    };
    assert!(!mark(&mut state, true).is_empty());
    assert_eq!(inspected(&mut state, container(RunState::Running, 10)), BTreeSet::new());
    assert!(seen(&state).stopping);
    assert!(!mark(&mut state, false).is_empty());
    assert!(!seen(&state).stopping);
    mark(&mut state, true);
    event(&mut state, EventKind::Die, 20);
    assert!(!seen(&state).stopping);
    assert_eq!(mark(&mut state, true), [], "it does not run");
}

#[test]
fn a_container_that_ends_slowly_stays_out_until_it_ends() {
    let mut state = running();
    event(&mut state, EventKind::Kill(Some(15)), 20);
    for _ in 0..3 {
        // What a resync and a list find while it drains.
        assert_eq!(inspected(&mut state, container(RunState::Running, 10)), BTreeSet::new());
        assert_eq!(listed(&mut state, vec![container(RunState::Running, 10)]), BTreeSet::new());
    }
    assert!(seen(&state).stopping);
    event(&mut state, EventKind::Die, 130_000_000_000);
    assert!(!seen(&state).stopping && seen(&state).state == RunState::Exited);
}

#[test]
fn a_reload_signal_leaves_the_container_where_it_is() {
    let mut state = running();
    assert_eq!(event(&mut state, EventKind::Kill(Some(1)), 20), BTreeSet::new());
    assert!(!seen(&state).stopping);
}

#[test]
fn an_event_of_an_earlier_run_is_not_heard() {
    let mut state = running();
    assert_eq!(event(&mut state, EventKind::Die, 9), BTreeSet::new());
    assert_eq!(seen(&state).state, RunState::Running);
}

#[test]
fn a_death_takes_its_ports_with_it() {
    let mut state = running();
    event(&mut state, EventKind::Die, 20);
    assert_eq!((seen(&state).state, state.world().unwrap().ports.size()), (RunState::Exited, 0));
    assert_eq!(port(&mut state, PortState::Open), []);
}

#[test]
fn a_list_is_swapped_whole() {
    let mut state = running();
    let other = Container { id: ContainerId::new("cd"), ..container(RunState::Running, 5) };
    let changes = listed(&mut state, vec![other]);
    assert_eq!(changes, ["ab", "cd"].map(|id| Change::Container(named(id))).into());
    assert_eq!(state.world().unwrap().containers().count(), 1);
}

#[test]
fn nothing_is_reported_where_nothing_changed() {
    let mut state = running();
    assert_eq!(listed(&mut state, vec![container(RunState::Running, 10)]), BTreeSet::new());
    let bridge = Network { name: "bridge".to_owned(), scope: NetworkScope::Host };
    let networks = || DockerObservation::Networks(vec![("id".to_owned(), bridge.clone())]);
    assert_eq!(changes(&mut state, networks()), BTreeSet::from([Change::Networks(ME)]));
    assert_eq!(changes(&mut state, networks()), BTreeSet::new());
}

#[test]
fn what_a_resync_repairs_is_said_and_what_it_confirms_is_not() {
    let mut state = running();
    let found = |started| DockerObservation::Inspected {
        id: ContainerId::new("ab"),
        container: Some(Box::new(container(RunState::Running, started))),
        resync: true,
    };
    assert_eq!(state.take(Observation::Docker(ME, found(10))), []);
    let effects = state.take(Observation::Docker(ME, found(30)));
    assert_eq!(effects.first(), Some(&Effect::Repaired(ContainerId::new("ab"))));
}

#[test]
fn a_container_shows_what_its_host_sees_of_its_ports_in_this_run() {
    let mut state = running();
    let ports =
        |state: &State| seen(state).ports.iter().map(|(port, state)| (*port, *state)).collect::<Vec<_>>();
    assert_eq!(ports(&state), [(80, PortState::Open)]);
    // One that answers at one of its addresses answers.
    let v6 = "[fd00::2]:80".parse().unwrap();
    state.take(Observation::Port { container: named("ab"), address: v6, state: PortState::NotOpen });
    assert_eq!(ports(&state), [(80, PortState::Open)]);
    inspected(&mut state, container(RunState::Running, 10));
    assert_eq!(ports(&state), [(80, PortState::Open)], "an inspection knows nothing of it");
    port(&mut state, PortState::Closed);
    assert_eq!(ports(&state), [(80, PortState::Closed)]);
    inspected(&mut state, container(RunState::Running, 30));
    assert_eq!(ports(&state), [], "another run");
    port(&mut state, PortState::Open);
    event(&mut state, EventKind::Die, 40);
    assert_eq!(ports(&state), []);
}

#[test]
fn a_published_port_stands_for_the_one_inside() {
    let published = longshore_model::Published {
        container_port: 80,
        transport: Transport::Tcp,
        host_ip: [0, 0, 0, 0].into(),
        host_port: 8080,
    };
    let one = Container { published: vec![published], ..container(RunState::Running, 10) };
    assert_eq!(container_port(&one, "127.0.0.1:8080".parse().unwrap()), 80);
    assert_eq!(container_port(&one, "127.0.0.1:8081".parse().unwrap()), 8081);
    let on_the_host = Container { network_mode: "host".to_owned(), ..one };
    assert_eq!(container_port(&on_the_host, "127.0.0.1:8080".parse().unwrap()), 8080);
}
