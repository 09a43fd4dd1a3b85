//! Any two hosts agree once it is quiet, whatever happened before: lines lost, repeated, moved or damaged, streams cut,
//! agents restarted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use longshore_model::{Change, Container, ContainerId, Host, HostId, HostInfo, Load, RunState, World};
use longshore_runtime::state::{DockerObservation, Effect, Observation, State};
use longshore_wire::facts::{EncodedFact, FactRow};

use super::{Cursor, Log, Replica};

const HOSTS: u128 = 3;
const SEEDS: u64 = 300;
const STEPS: usize = 400;

/// A stream from an owner to a follower.
#[derive(Default)]
struct Link {
    /// What the owner has sent last and the number of its last line; `None` if there is no stream.
    served: Option<(u64, u64)>,
    /// Lines under way.
    lines: VecDeque<Vec<u8>>,
}

/// One agent, with its host's Docker.
struct Agent {
    id: HostId,
    /// What Docker runs, whether or not the agent does.
    docker: BTreeMap<String, Container>,
    load: u32,
    epoch: u64,
    state: State,
    log: Log,
    replicas: BTreeMap<HostId, Replica>,
}

impl Agent {
    fn start(id: HostId, docker: BTreeMap<String, Container>, epoch: u64, now: Instant) -> Self {
        let info = HostInfo { name: id.to_string(), version: epoch.to_string(), ..HostInfo::default() };
        let mut agent = Self {
            id,
            docker,
            load: 0,
            epoch,
            state: State::new(id, info),
            log: Log::new(id, epoch),
            replicas: BTreeMap::new(),
        };
        let containers = agent.docker.values().cloned().collect();
        agent.docker(DockerObservation::Listed { containers, networks: Vec::new() }, now);
        agent
    }

    fn docker(&mut self, observation: DockerObservation, now: Instant) {
        self.observe(Observation::Docker(self.id, observation), now);
    }

    fn observe(&mut self, observation: Observation, now: Instant) {
        let mut changes = BTreeSet::new();
        for effect in self.state.take(observation) {
            if let Effect::Publish(more) = effect {
                changes.extend(more);
            }
        }
        self.tell(&changes, now);
    }

    fn tell(&mut self, changes: &BTreeSet<Change>, now: Instant) {
        if let Some(world) = self.state.world() {
            self.log.take(world, changes, now);
        }
    }

    fn inspect(&mut self, id: &str, now: Instant) {
        let container = self.docker.get(id).cloned().map(Box::new);
        let id = ContainerId::new(id);
        self.docker(DockerObservation::Inspected { id, container, resync: false }, now);
    }
}

struct Cluster {
    random: Rng,
    now: Instant,
    agents: BTreeMap<HostId, Agent>,
    /// By owner and follower.
    links: BTreeMap<(HostId, HostId), Link>,
    /// How many streams broke over a bad line.
    broken: usize,
    /// How many streams began with what changed since.
    resumed: usize,
}

impl Cluster {
    fn new(seed: u64) -> Self {
        let now = Instant::now();
        let ids: Vec<_> = (1..=HOSTS).map(HostId::from_u128).collect();
        let agents = ids.iter().map(|id| (*id, Agent::start(*id, BTreeMap::new(), 1, now))).collect();
        let pairs = ids.iter().flat_map(|owner| ids.iter().map(|follower| (*owner, *follower)));
        let links = pairs.filter(|(a, b)| a != b).map(|pair| (pair, Link::default())).collect();
        Self { random: Rng::with_seed(seed), now, agents, links, broken: 0, resumed: 0 }
    }

    fn any_host(&mut self) -> HostId {
        HostId::from_u128(self.random.u128(1..=HOSTS))
    }

    fn any_pair(&mut self) -> (HostId, HostId) {
        let pairs: Vec<_> = self.links.keys().copied().collect();
        pairs[self.random.usize(..pairs.len())]
    }

    fn step(&mut self) {
        self.now += Duration::from_millis(self.random.u64(0..200));
        match self.random.u32(0..100) {
            0..30 => self.change_container(),
            30..35 => self.change_load(),
            35..37 => self.restart(),
            37..40 => {
                let pair = self.any_pair();
                self.cut(pair);
            }
            40..46 => self.damage(),
            _ => {
                let pair = self.any_pair();
                self.serve(pair);
                for _ in 0..self.random.usize(0..4) {
                    self.deliver(pair);
                }
            }
        }
    }

    fn change_container(&mut self) {
        let (host, now) = (self.any_host(), self.now);
        let id = format!("c{}", self.random.u32(0..6));
        let removed = self.random.u32(0..3) == 0;
        let (started, state) = (self.random.i64(0..1000), self.random.bool());
        let Some(agent) = self.agents.get_mut(&host) else { return };
        if removed {
            agent.docker.remove(&id);
        } else {
            let state = if state { RunState::Running } else { RunState::Exited };
            let container = Container::new(ContainerId::new(&id), &id, "image");
            agent.docker.insert(id.clone(), Container { started, state, ..container });
        }
        agent.inspect(&id, now);
    }

    fn change_load(&mut self) {
        let (host, now, load) = (self.any_host(), self.now, self.random.u32(..));
        let Some(agent) = self.agents.get_mut(&host) else { return };
        agent.load = load;
        let info = HostInfo {
            name: host.to_string(),
            version: agent.epoch.to_string(),
            load: Load { millicpus: load, memory: 0 },
            ..HostInfo::default()
        };
        agent.observe(Observation::Own(Arc::new(info)), now);
    }

    /// Ends a host's agent; while it is away, its containers change unseen, and it begins with another epoch.
    fn restart(&mut self) {
        let host = self.any_host();
        for pair in self.links.keys().copied().collect::<Vec<_>>() {
            if pair.0 == host || pair.1 == host {
                self.cut(pair);
            }
        }
        let Some(agent) = self.agents.remove(&host) else { return };
        let mut docker = agent.docker;
        let keep = self.random.bool();
        docker.retain(|_, container| keep || container.state == RunState::Running);
        let started = Agent::start(host, docker, agent.epoch + 1, self.now);
        self.agents.insert(host, started);
    }

    /// Cuts a stream: what is under way arrives in part.
    fn cut(&mut self, pair: (HostId, HostId)) {
        for _ in 0..self.random.usize(0..3) {
            self.deliver(pair);
        }
        self.links.insert(pair, Link::default());
    }

    /// Loses, repeats, moves or damages a line under way.
    fn damage(&mut self) {
        let pair = self.any_pair();
        let Self { random, links, .. } = self;
        let Some(link) = links.get_mut(&pair).filter(|link| !link.lines.is_empty()) else { return };
        let at = random.usize(..link.lines.len());
        match random.u32(0..4) {
            0 => drop(link.lines.remove(at)),
            1 => link.lines.insert(at, link.lines[at].clone()),
            2 => link.lines.swap(0, at),
            _ => {
                let line = &mut link.lines[at];
                line.truncate(random.usize(..=line.len()));
            }
        }
    }

    /// The owner sends what changed; if there is no stream, the follower opens one.
    fn serve(&mut self, (owner, follower): (HostId, HostId)) {
        let Some(link) = self.links.get_mut(&(owner, follower)) else { return };
        let (feed, number) = match link.served {
            Some((revision, number)) => (self.agents[&owner].log.after(revision), number),
            None => {
                let Some(agent) = self.agents.get_mut(&follower) else { return };
                let asked = agent.replicas.entry(owner).or_insert_with(|| Replica::new(owner)).open();
                self.resumed +=
                    usize::from(asked.is_some_and(|asked| asked.epoch == self.agents[&owner].epoch));
                (self.agents[&owner].log.begin(asked), 0)
            }
        };
        let Some(feed) = feed else {
            *link = Link::default();
            return;
        };
        let beat = Arc::new(FactRow::Beat.encode());
        let facts: Vec<Arc<EncodedFact>> = if feed.facts.is_empty() { vec![beat] } else { feed.facts };
        link.served = Some((feed.revision, number + facts.len() as u64));
        link.lines.extend((number + 1..).zip(&facts).map(|(number, fact)| fact.line(number)));
    }

    /// The follower takes in the next line under way.
    fn deliver(&mut self, (owner, follower): (HostId, HostId)) {
        let Some(link) = self.links.get_mut(&(owner, follower)) else { return };
        let Some(line) = link.lines.pop_front() else { return };
        let Some(agent) = self.agents.get_mut(&follower) else { return };
        let Some(replica) = agent.replicas.get_mut(&owner) else { return };
        match replica.take(&line) {
            Ok(Some(observation)) => agent.observe(Observation::Peer(owner, observation), self.now),
            Ok(None) => {}
            Err(_) => {
                self.broken += 1;
                *link = Link::default();
            }
        }
    }

    /// Nothing changes or breaks any more, and all streams are served until nothing is under way.
    fn quiet(&mut self) {
        self.now += Duration::from_secs(1);
        for agent in self.agents.values_mut() {
            agent.tell(&BTreeSet::new(), self.now);
        }
        let pairs: Vec<_> = self.links.keys().copied().collect();
        // A line may be lost: the next beat shows it, and the stream after that brings what it said.
        for _ in 0..4 {
            for pair in &pairs {
                self.serve(*pair);
                while !self.links[pair].lines.is_empty() {
                    self.deliver(*pair);
                }
            }
        }
    }
}

fn host(world: &World, id: HostId) -> &Host {
    world.host(id).unwrap()
}

#[test]
fn all_hosts_agree_once_it_is_quiet() {
    let (mut broken, mut resumed) = (0, 0);
    for seed in 0..SEEDS {
        let mut cluster = Cluster::new(seed);
        for _ in 0..STEPS {
            cluster.step();
        }
        cluster.quiet();
        for (owner, follower) in cluster.links.keys() {
            let (owned, seen) = (&cluster.agents[owner], &cluster.agents[follower]);
            let (truth, view) = (owned.state.world().unwrap(), seen.state.world().unwrap());
            assert_eq!(host(view, *owner), host(truth, *owner), "seed {seed}: {follower} of {owner}");
            let running: Vec<_> = host(view, *owner).containers.values().map(|c| &c.name).collect();
            assert_eq!(running, owned.docker.keys().collect::<Vec<_>>(), "seed {seed}");
        }
        broken += cluster.broken;
        resumed += cluster.resumed;
    }
    assert!(broken > 1000 && resumed > 1000, "nothing was tried: {broken} broken, {resumed} resumed");
}

#[test]
fn a_follower_that_missed_a_removal_learns_of_it() {
    let mut cluster = Cluster::new(0);
    let (owner, follower) = (HostId::from_u128(1), HostId::from_u128(2));
    let now = cluster.now;
    let agent = cluster.agents.get_mut(&owner).unwrap();
    agent.docker.insert("a".to_owned(), Container::new(ContainerId::new("a"), "a", "image"));
    agent.inspect("a", now);
    cluster.quiet();
    cluster.links.insert((owner, follower), Link::default());
    let agent = cluster.agents.get_mut(&owner).unwrap();
    agent.docker.clear();
    agent.inspect("a", now);
    let asked: Option<Cursor> =
        cluster.agents.get_mut(&follower).unwrap().replicas.get_mut(&owner).unwrap().open();
    assert!(asked.is_some());
    cluster.quiet();
    let world = cluster.agents[&follower].state.world().unwrap().clone();
    assert_eq!(host(&world, owner).containers.size(), 0);
}
