use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Request, StatusCode};
use longshore_model::{Change, Container, ContainerId, ContainerRef, EventSummary, Host, HostId, HostInfo};
use longshore_runtime::state::{DockerObservation, Observation, PeerObservation, Reader, State, Writer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::facts::{OwnFacts, PeerEvent};
use crate::identity::Identity;

const RING: [[u8; 32]; 1] = [[7; 32]];

/// Long enough for anything on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(20);

fn id(number: u128) -> HostId {
    HostId::from_u128(number)
}

fn spawn(task: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(task))
}

fn alive(address: SocketAddr) -> Member {
    Member { address, is_live: true }
}

/// One host's agent, as far as its peers are concerned. It ends when it is dropped.
struct Agent {
    id: HostId,
    identity: Identity,
    address: SocketAddr,
    world: Reader,
    observations: mpsc::UnboundedSender<Observation>,
    members: watch::Sender<Members>,
    links: watch::Receiver<Links>,
    facts: OwnFacts,
    happenings: mpsc::UnboundedReceiver<(HostId, PeerEvent)>,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl Agent {
    async fn start(number: u128, epoch: u64, ring: &[[u8; 32]]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (id, address) = (id(number), listener.local_addr().unwrap());
        let identity = Identity::new(id, ring).unwrap();
        let (observations, observed) = mpsc::unbounded_channel();
        let (told, _) = mpsc::unbounded_channel();
        let info = HostInfo { name: format!("h{number}"), version: epoch.to_string(), ..HostInfo::default() };
        let (writer, world, _) = Writer::new(State::new(id, info), told);
        let (members, watched) = watch::channel(Members::new());
        let (links, link_states) = watch::channel(Links::new());
        let facts = OwnFacts::new(id, epoch);
        let (told, happenings) = mpsc::unbounded_channel();
        let happened: OnEvent = Box::new(move |host, event| drop(told.send((host, event))));
        let tasks = vec![
            spawn(writer.run(observed)),
            spawn(facts.clone().follow(world.clone())),
            spawn(serve(listener, identity.clone(), facts.clone(), (), watched.clone())),
            spawn(follow(identity.clone(), watched, observations.clone(), links, happened)),
        ];
        let agent = Self {
            id,
            identity,
            address,
            world,
            observations,
            members,
            links: link_states,
            facts,
            happenings,
            _tasks: tasks,
        };
        agent.docker(DockerObservation::Listed { containers: Vec::new(), networks: Vec::new() });
        agent
    }

    fn docker(&self, observation: DockerObservation) {
        self.observations.send(Observation::Docker(self.id, observation)).unwrap();
    }

    fn tell(&self, at: i64) {
        self.facts.tell(&happened(at));
    }

    async fn hears(&mut self, from: HostId, event: PeerEvent) {
        assert_eq!(timeout(PATIENCE, self.happenings.recv()).await.unwrap(), Some((from, event)));
    }

    fn put(&self, container: &str) {
        let id = ContainerId::new(container);
        let container = Some(Box::new(Container::new(id.clone(), container, "image")));
        self.docker(DockerObservation::Inspected { id, container, resync: false });
    }

    fn remove(&self, container: &str) {
        let id = ContainerId::new(container);
        self.docker(DockerObservation::Inspected { id, container: None, resync: false });
    }

    fn knows(&self, members: &[(HostId, Member)]) {
        self.members.send_replace(members.iter().copied().collect());
    }

    /// Returns what this agent knows of a host.
    fn host(&self, id: HostId) -> Option<Host> {
        self.world.snapshot()?.host(id).cloned()
    }

    /// Waits until this agent knows of a host what that host knows of itself.
    async fn agrees_with(&self, owner: &Self) {
        let agreed = async {
            while self.host(owner.id).is_none() || self.host(owner.id) != owner.host(owner.id) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(PATIENCE, agreed).await.unwrap();
    }

    async fn learns(&self, why: &str) {
        let mut links = self.links.clone();
        let found = links.wait_for(|links| {
            links.values().any(|state| matches!(state, LinkState::Broken(found) if found.contains(why)))
        });
        timeout(PATIENCE, found).await.unwrap().unwrap();
    }
}

fn happened(at: i64) -> EventSummary {
    EventSummary { container: ContainerId::new("a"), name: "a".to_owned(), action: "start".to_owned(), at }
}

/// A way to a host that can be cut.
struct Way {
    address: SocketAddr,
    is_open: watch::Sender<bool>,
    _task: AbortOnDropHandle<()>,
}

impl Way {
    async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (is_open, open) = watch::channel(true);
        let task = spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let mut open = open.clone();
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect(target).await else { return };
                    tokio::select! {
                        _ = open.wait_for(|open| !open) => {}
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    }
                });
            }
        });
        Self { address, is_open, _task: task }
    }

    fn open(&self, open: bool) {
        self.is_open.send_replace(open);
    }
}

/// Follows one host, and returns what is observed of it.
struct Watch {
    members: watch::Sender<Members>,
    observed: mpsc::UnboundedReceiver<Observation>,
    _task: AbortOnDropHandle<()>,
}

impl Watch {
    fn of(host: HostId, member: Member) -> Self {
        let (members, watched) = watch::channel(Members::from([(host, member)]));
        let (observations, observed) = mpsc::unbounded_channel();
        let identity = Identity::new(id(99), &RING).unwrap();
        let links = watch::Sender::new(Links::new());
        Self {
            members,
            observed,
            _task: spawn(follow(identity, watched, observations, links, Box::new(|_, _| {}))),
        }
    }

    async fn next(&mut self) -> PeerObservation {
        match timeout(PATIENCE, self.observed.recv()).await.unwrap().unwrap() {
            Observation::Peer(_, observation) => observation,
            other => panic!("{other:?}"),
        }
    }
}

fn one(container: &str) -> PeerObservation {
    let id = ContainerId::new(container);
    PeerObservation::Container(Arc::new(Container::new(id, container, "image")))
}

#[tokio::test]
async fn a_change_on_one_host_is_on_all_others_within_50_milliseconds() {
    let mut agents = Vec::new();
    for number in 1..=3 {
        agents.push(Agent::start(number, 1, &RING).await);
    }
    let members: Vec<_> = agents.iter().map(|agent| (agent.id, alive(agent.address))).collect();
    agents.iter().for_each(|agent| agent.knows(&members));
    for (from, to) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
        agents[to].agrees_with(&agents[from]).await;
    }
    let mut changes: Vec<_> = agents.iter().map(|agent| agent.world.subscribe()).collect();
    for changes in &mut changes {
        assert_eq!(changes.next().await, [Change::All].into());
    }
    let mut took = Vec::new();
    for number in 0..30 {
        let (name, owner) = (format!("c{number}"), &agents[number % 3]);
        let changed = Change::Container(ContainerRef::new(owner.id, ContainerId::new(&name)));
        let began = Instant::now();
        owner.put(&name);
        for changes in &mut changes {
            let named = async { while !changes.next().await.contains(&changed) {} };
            timeout(PATIENCE, named).await.unwrap();
        }
        took.push(began.elapsed());
    }
    took.sort();
    // Not the worst of them, which is the machine's.
    assert!(took[15] < Duration::from_millis(50), "{took:?}");
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        agents[to].agrees_with(&agents[from]).await;
        assert_eq!(agents[to].host(agents[from].id).unwrap().containers.size(), 10);
    }
}

#[tokio::test]
async fn events_are_told_in_order_and_none_is_lost_while_a_host_is_away() {
    let owner = Agent::start(1, 1, &RING).await;
    let mut follower = Agent::start(2, 1, &RING).await;
    owner.tell(1);
    let way = Way::to(owner.address).await;
    follower.knows(&[(owner.id, alive(way.address))]);
    follower.agrees_with(&owner).await;
    owner.tell(2);
    follower.hears(owner.id, PeerEvent::Happened(happened(2))).await;
    way.open(false);
    owner.tell(3);
    way.open(true);
    follower.hears(owner.id, PeerEvent::Happened(happened(3))).await;
    // It was held for dead, and all that was known of it was dropped.
    follower.knows(&[]);
    owner.tell(4);
    owner.tell(5);
    timeout(PATIENCE, async {
        while follower.host(owner.id).is_some() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await
    .unwrap();
    follower.knows(&[(owner.id, alive(way.address))]);
    for at in [4, 5] {
        follower.hears(owner.id, PeerEvent::Happened(happened(at))).await;
    }
    let id = owner.id;
    drop(owner);
    let next = Agent::start(1, 2, &RING).await;
    next.tell(6);
    follower.knows(&[(id, alive(next.address))]);
    follower.hears(id, PeerEvent::Missed(None)).await;
    follower.hears(id, PeerEvent::Happened(happened(6))).await;
}

#[tokio::test]
async fn after_a_cut_only_what_changed_is_sent() {
    let owner = Agent::start(1, 1, &RING).await;
    let way = Way::to(owner.address).await;
    owner.put("a");
    let mut watch = Watch::of(owner.id, alive(way.address));
    let PeerObservation::Listed(host) = watch.next().await else { panic!("a list comes first") };
    if host.containers.size() == 0 {
        assert_eq!(watch.next().await, one("a"));
    }
    way.open(false);
    owner.put("b");
    owner.put("c");
    owner.remove("a");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(watch.observed.is_empty());
    way.open(true);
    let gone = PeerObservation::Gone(ContainerId::new("a"));
    let mut missed = vec![one("b"), one("c"), gone];
    while !missed.is_empty() {
        let observation = watch.next().await;
        assert!(missed.contains(&observation), "{observation:?}");
        missed.retain(|other| *other != observation);
    }
}

#[tokio::test]
async fn a_host_that_restarted_is_listed_again() {
    let first = Agent::start(1, 1, &RING).await;
    first.put("a");
    let mut watch = Watch::of(first.id, alive(first.address));
    assert!(matches!(watch.next().await, PeerObservation::Listed(_)));
    drop(first);
    let second = Agent::start(1, 2, &RING).await;
    watch.members.send_replace(Members::from([(second.id, alive(second.address))]));
    let listed = async {
        loop {
            if let PeerObservation::Listed(host) = watch.next().await {
                return host;
            }
        }
    };
    let (listed, own) = (listed.await, second.host(second.id).unwrap());
    assert_eq!((listed.info.version.as_str(), own.info.version.as_str()), ("2", "2"));
}

#[tokio::test]
async fn a_suspects_facts_are_kept_and_a_dead_ones_dropped() {
    let owner = Agent::start(1, 1, &RING).await;
    let mut watch = Watch::of(owner.id, alive(owner.address));
    assert!(matches!(watch.next().await, PeerObservation::Listed(_)));
    let suspect = Member { is_live: false, ..alive(owner.address) };
    watch.members.send_replace(Members::from([(owner.id, suspect)]));
    tokio::time::sleep(Duration::from_millis(50)).await;
    owner.put("a");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(watch.observed.is_empty());
    watch.members.send_replace(Members::from([(owner.id, alive(owner.address))]));
    assert_eq!(watch.next().await, one("a"), "and it goes on where it stopped");
    watch.members.send_replace(Members::new());
    assert_eq!(watch.next().await, PeerObservation::Dropped);
    watch.members.send_replace(Members::from([(owner.id, alive(owner.address))]));
    assert!(matches!(watch.next().await, PeerObservation::Listed(_)));
}

#[tokio::test]
async fn a_host_of_another_cluster_is_not_followed_and_learns_nothing() {
    let owner = Agent::start(1, 1, &RING).await;
    let stranger = Agent::start(2, 1, &[[8; 32]]).await;
    stranger.knows(&[(owner.id, alive(owner.address))]);
    owner.knows(&[(stranger.id, alive(stranger.address))]);
    stranger.learns("cannot connect").await;
    owner.learns("cannot connect").await;
    assert!(stranger.host(owner.id).is_none() && owner.host(stranger.id).is_none());
}

#[tokio::test]
async fn a_rotated_key_ends_what_it_let_in() {
    let owner = Agent::start(1, 1, &RING).await;
    let follower = Agent::start(2, 1, &RING).await;
    follower.knows(&[(owner.id, alive(owner.address))]);
    follower.agrees_with(&owner).await;
    owner.identity.set_ring(&[[8; 32]]).unwrap();
    follower.learns("cannot connect").await;
    follower.identity.set_ring(&[[8; 32]]).unwrap();
    owner.put("a");
    follower.agrees_with(&owner).await;
}

#[tokio::test]
async fn a_call_that_nobody_knows_is_answered_so() {
    let owner = Agent::start(1, 1, &RING).await;
    let identity = Identity::new(id(2), &RING).unwrap();
    let client = connect(&identity, owner.id, owner.address).await.unwrap();
    for (method, path, status) in [
        ("GET", "/peer/facts?epoch=x&after=1", StatusCode::BAD_REQUEST),
        ("POST", "/peer/facts", StatusCode::METHOD_NOT_ALLOWED),
        ("GET", "/peer/nothing", StatusCode::NOT_FOUND),
    ] {
        let call = Request::builder().method(method).uri(format!("https://host{path}"));
        let reply = client.call(call.body(empty()).unwrap()).await.unwrap();
        assert_eq!(reply.status(), status, "{method} {path}");
    }
}

#[tokio::test]
async fn one_who_connects_and_says_nothing_keeps_no_peer_out() {
    let owner = Agent::start(1, 1, &RING).await;
    let mut silent = Vec::new();
    for _ in 0..30 {
        silent.push(TcpStream::connect(owner.address).await.unwrap());
    }
    let follower = Agent::start(2, 1, &RING).await;
    follower.knows(&[(owner.id, alive(owner.address))]);
    let began = Instant::now();
    follower.agrees_with(&owner).await;
    assert!(began.elapsed() < HANDSHAKE_LIMIT);
}
