use longshore_model::{Network, NetworkScope, PeerAgent, PeerState, PortState, RunState};

use super::*;
use crate::state::{DockerObservation, Effect, Observation};

const ME: HostId = HostId::from_u128(1);
const PEER: HostId = HostId::from_u128(2);

fn started() -> State {
    let mut state = State::new(ME, HostInfo::default());
    let listed = DockerObservation::Listed { containers: Vec::new(), networks: Vec::new() };
    state.take(Observation::Docker(ME, listed));
    state
}

fn container(id: &str, started: i64) -> Arc<Container> {
    let container = Container::new(ContainerId::new(id), id, "image");
    Arc::new(Container { state: RunState::Running, started, ..container })
}

fn host(containers: &[Arc<Container>]) -> Host {
    let mut host = Host::default();
    for container in containers {
        host.containers.insert_mut(container.id.clone(), Arc::clone(container));
    }
    host
}

fn named(id: &str) -> ContainerRef {
    ContainerRef::new(PEER, ContainerId::new(id))
}

/// Returns the changes that are published; `None` if World is not published.
fn take(state: &mut State, fact: PeerObservation) -> Option<BTreeSet<Change>> {
    published(state, Observation::Peer(PEER, fact))
}

fn published(state: &mut State, observation: Observation) -> Option<BTreeSet<Change>> {
    state.take(observation).into_iter().find_map(|effect| match effect {
        Effect::Publish(changes) => Some(changes),
        Effect::Tell(_) | Effect::Repaired(_) | Effect::Docker(_) => None,
    })
}

fn changes<const N: usize>(changes: [Change; N]) -> Option<BTreeSet<Change>> {
    Some(BTreeSet::from(changes))
}

fn port(state: &mut State, id: &str) {
    let address = ([10, 0, 0, 2], 80).into();
    state.take(Observation::Port { container: named(id), address, state: PortState::Open });
}

#[test]
fn a_peer_appears_whole_and_a_second_list_names_only_what_differs() {
    let mut state = started();
    let first = host(&[container("a", 1), container("b", 1)]);
    assert_eq!(take(&mut state, PeerObservation::Listed(first.clone())), changes([Change::Host(PEER)]));
    assert_eq!(take(&mut state, PeerObservation::Listed(first)), None);
    let mut second = host(&[container("b", 1), container("c", 1)]);
    let bridge = Network { name: "bridge".to_owned(), scope: NetworkScope::Host };
    second.networks.insert_mut("id".to_owned(), bridge);
    assert_eq!(
        take(&mut state, PeerObservation::Listed(second.clone())),
        changes([Change::Container(named("a")), Change::Container(named("c")), Change::Networks(PEER),])
    );
    assert_eq!(state.world().unwrap().host(PEER), Some(&second));
}

#[test]
fn a_container_comes_changes_and_goes_by_itself() {
    let mut state = started();
    take(&mut state, PeerObservation::Listed(Host::default()));
    let one = || changes([Change::Container(named("a"))]);
    assert_eq!(take(&mut state, PeerObservation::Container(container("a", 1))), one());
    assert_eq!(take(&mut state, PeerObservation::Container(container("a", 1))), None);
    port(&mut state, "a");
    assert_eq!(state.world().unwrap().ports.size(), 1);
    assert_eq!(take(&mut state, PeerObservation::Container(container("a", 2))), one());
    assert_eq!(state.world().unwrap().ports.size(), 0, "the next run's ports are not checked yet");
    assert_eq!(take(&mut state, PeerObservation::Gone(ContainerId::new("a"))), one());
    assert_eq!(take(&mut state, PeerObservation::Gone(ContainerId::new("a"))), None);
}

#[test]
fn a_stop_that_the_owner_reports_is_kept() {
    let mut state = started();
    take(&mut state, PeerObservation::Listed(host(&[container("a", 1)])));
    let stopping = Arc::new(Container { stopping: true, ..Container::clone(&container("a", 1)) });
    take(&mut state, PeerObservation::Container(Arc::clone(&stopping)));
    assert_eq!(state.world().unwrap().container(&named("a")), Some(&stopping));
}

#[test]
fn nothing_is_known_of_a_host_before_its_list() {
    let mut state = started();
    assert_eq!(take(&mut state, PeerObservation::Container(container("a", 1))), None);
    assert_eq!(take(&mut state, PeerObservation::Info(Arc::default())), None);
    assert!(state.world().unwrap().host(PEER).is_none());
}

#[test]
fn a_load_is_published_and_wakes_nobody_and_a_new_address_does() {
    let mut state = started();
    take(&mut state, PeerObservation::Listed(Host::default()));
    let loaded = Arc::new(HostInfo { load: Load { millicpus: 500, memory: 1 }, ..HostInfo::default() });
    assert_eq!(take(&mut state, PeerObservation::Info(loaded.clone())), changes([]));
    assert_eq!(state.world().unwrap().host(PEER).unwrap().info.load.millicpus, 500);
    assert_eq!(take(&mut state, PeerObservation::Info(loaded.clone())), None);
    let moved = HostInfo { addresses: vec![[10, 0, 0, 2].into()], ..HostInfo::clone(&loaded) };
    assert_eq!(take(&mut state, PeerObservation::Info(Arc::new(moved))), changes([Change::Host(PEER)]));
    assert_eq!(published(&mut state, Observation::Own(loaded)), changes([]));
    assert_eq!(state.world().unwrap().own().info.load.memory, 1);
}

#[test]
fn a_host_that_is_dropped_takes_its_containers_and_their_ports_along() {
    let mut state = started();
    take(&mut state, PeerObservation::Listed(host(&[container("a", 1)])));
    port(&mut state, "a");
    let gone = changes([Change::Container(named("a")), Change::Host(PEER)]);
    assert_eq!(take(&mut state, PeerObservation::Dropped), gone);
    assert_eq!(take(&mut state, PeerObservation::Dropped), None);
    let world = state.world().unwrap();
    assert!(world.host(PEER).is_none() && world.ports.is_empty());
}

#[test]
fn no_peer_speaks_for_this_host() {
    let mut state = started();
    let before = state.world().cloned();
    for fact in [PeerObservation::Listed(host(&[container("a", 1)])), PeerObservation::Dropped] {
        assert_eq!(published(&mut state, Observation::Peer(ME, fact)), None);
    }
    assert_eq!(state.world().cloned(), before);
}

#[test]
fn the_list_of_members_is_swapped_whole_and_names_those_that_differ() {
    let mut state = State::new(ME, HostInfo::default());
    let listed = DockerObservation::Listed { containers: Vec::new(), networks: Vec::new() };
    state.take(Observation::Docker(ME, listed));
    let agent = PeerAgent { address: ([192, 0, 2, 1], 7052).into(), run: 1 };
    let peer = |state| Peer { agent, state };
    let mut members = |list: &[(u128, PeerState)]| {
        let list = list.iter().map(|(host, state)| (HostId::from_u128(*host), peer(*state))).collect();
        match state.take(Observation::Members(list)).as_slice() {
            [] => Vec::new(),
            [Effect::Publish(changes)] => changes.iter().cloned().collect(),
            other => panic!("{other:?}"),
        }
    };
    let host = |host| Change::Host(HostId::from_u128(host));
    let me = ME.as_u128();
    assert_eq!(
        members(&[(me, PeerState::Alive), (8, PeerState::Alive), (9, PeerState::Alive)]),
        [host(8), host(9)]
    );
    assert_eq!(members(&[(8, PeerState::Alive), (9, PeerState::Alive)]), []);
    assert_eq!(members(&[(8, PeerState::Suspect), (9, PeerState::Alive)]), [host(8)]);
    assert_eq!(members(&[(8, PeerState::Suspect)]), [host(9)]);
}

#[test]
fn an_agent_that_starts_again_has_not_checked_its_ports_yet_and_takes_nothing_back() {
    let mut state = started();
    let with_ports = |started: i64, ports: &[(u16, PortState)]| {
        let mut told = container("a", started);
        Arc::make_mut(&mut told).ports = ports.iter().copied().collect();
        told
    };
    let ports = |state: &State| state.world().unwrap().container(&named("a")).unwrap().ports.clone();
    let mut first = host(&[]);
    first.containers.insert_mut(container("a", 1).id.clone(), with_ports(1, &[(80, PortState::Open)]));
    take(&mut state, PeerObservation::Listed(first));
    assert_eq!(take(&mut state, PeerObservation::Listed(host(&[container("a", 1)]))), None);
    assert_eq!(ports(&state).get(&80), Some(&PortState::Open));
    take(&mut state, PeerObservation::Container(with_ports(1, &[(80, PortState::Closed)])));
    assert_eq!(ports(&state).get(&80), Some(&PortState::Closed));
    take(&mut state, PeerObservation::Container(container("a", 2)));
    assert!(ports(&state).is_empty(), "the next run has other ports");
}
