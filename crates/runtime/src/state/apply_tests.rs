use longshore_model::NetworkScope;

use super::*;

fn container(state: RunState, started: i64) -> Container {
    let stop_signal = Some("SIGQUIT".to_owned());
    Container { state, started, stop_signal, ..Container::new(ContainerId::new("ab"), "wp1", "wordpress") }
}

fn event(kind: EventKind, at: i64) -> ContainerEvent {
    let container = ContainerId::new("ab");
    ContainerEvent { container, name: "wp1".to_owned(), kind, at, attributes: BTreeMap::new() }
}

fn running() -> State {
    let mut state = State::default();
    state.listed(vec![container(RunState::Running, 10)], Vec::new());
    let port = ([172, 17, 0, 2], 80).into();
    state.port(&ContainerId::new("ab"), port, PortState::Open);
    state
}

fn seen(state: &State) -> &Container {
    state.world.containers.get(&ContainerId::new("ab")).unwrap()
}

#[test]
fn a_stop_signal_marks_the_container_before_it_ends_and_an_inspection_keeps_the_mark() {
    let now = Instant::now();
    for signal in [15, 9, 3] {
        let mut state = running();
        assert!(!state.heard(&event(EventKind::Kill(Some(signal)), 20), now).containers.is_empty());
        assert!(seen(&state).stopping, "signal {signal}");
        state.inspected(container(RunState::Running, 10));
        assert!(seen(&state).stopping);
        state.inspected(container(RunState::Running, 30));
        assert!(!seen(&state).stopping, "another run knows nothing of it");
    }
}

#[test]
fn a_reload_signal_leaves_the_container_where_it_is() {
    let mut state = running();
    assert_eq!(state.heard(&event(EventKind::Kill(Some(1)), 20), Instant::now()), Applied::default());
    assert!(!seen(&state).stopping);
}

#[test]
fn a_container_that_outlives_its_stop_signal_comes_back_and_must_prove_its_port_anew() {
    let mut state = running();
    let now = Instant::now();
    state.heard(&event(EventKind::Kill(Some(15)), 20), now);
    assert_eq!(state.tick(now + STOPPING / 2), Applied::default());
    assert!(!state.tick(now + STOPPING).containers.is_empty());
    assert!(!seen(&state).stopping);
    assert_eq!(state.world.ports.size(), 0);
}

#[test]
fn an_event_of_an_earlier_run_is_not_heard() {
    let mut state = running();
    assert_eq!(state.heard(&event(EventKind::Die, 9), Instant::now()), Applied::default());
    assert_eq!(seen(&state).state, RunState::Running);
}

#[test]
fn a_death_takes_its_ports_with_it() {
    let mut state = running();
    state.heard(&event(EventKind::Die, 20), Instant::now());
    assert_eq!((seen(&state).state, state.world.ports.size()), (RunState::Exited, 0));
    let late = state.port(&ContainerId::new("ab"), ([172, 17, 0, 2], 80).into(), PortState::Open);
    assert_eq!(late, Applied::default());
}

#[test]
fn a_list_is_swapped_whole() {
    let mut state = running();
    let other = Container { id: ContainerId::new("cd"), ..container(RunState::Running, 5) };
    let applied = state.listed(vec![other], Vec::new());
    assert_eq!(applied.containers, BTreeSet::from([ContainerId::new("ab"), ContainerId::new("cd")]));
    assert_eq!(state.world.containers.size(), 1);
    assert!(!applied.everything);
}

#[test]
fn nothing_is_reported_where_nothing_changed() {
    let mut state = running();
    let same = vec![container(RunState::Running, 10)];
    assert_eq!(state.listed(same, Vec::new()), Applied::default());
    let bridge = Network { name: "bridge".to_owned(), scope: NetworkScope::Host };
    assert!(state.networks(vec![("id".to_owned(), bridge.clone())]).everything);
    assert!(!state.networks(vec![("id".to_owned(), bridge)]).everything);
}
