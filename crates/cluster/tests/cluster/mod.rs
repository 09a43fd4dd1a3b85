//! The vocabulary of the simulation: start hosts, cut links, expect states.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_cluster::members::{At, Command, Config, Core, Member, MemberState, Output, Roster, Settings};
use longshore_cluster::secret::{Keyring, Secret};
use longshore_model::HostId;

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Returns the seeds of a test: so many, or as many as the environment says.
pub fn seeds(usual: u64) -> Range<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let first = number("LONGSHORE_SIM_SEED").unwrap_or(1);
    first..first + number("LONGSHORE_SIM_RUNS").unwrap_or(usual)
}

/// What happens to a datagram on its way.
#[derive(Clone, Debug)]
pub struct Link {
    pub loss: f64,
    pub delay: Range<Duration>,
    pub doubled: f64,
}

impl Default for Link {
    fn default() -> Self {
        Self { loss: 0.0, delay: Duration::from_micros(100)..Duration::from_micros(900), doubled: 0.0 }
    }
}

struct Host {
    id: HostId,
    name: String,
    address: SocketAddr,
    secret: u8,
    cluster: String,
    /// What the data directory holds.
    saved_run: u32,
    core: Option<Core>,
    is_frozen: bool,
    has_stopped: bool,
    /// What lies unread in its socket.
    unread: Vec<(SocketAddr, Vec<u8>)>,
    /// How far its wall clock is off.
    clock: i64,
    sent: u64,
    received: u64,
    next: Instant,
}

/// As much as a socket holds.
const SOCKET: usize = 200;

type Event = (Instant, u64);

pub struct Cluster {
    hosts: Vec<Host>,
    start: Instant,
    now: Instant,
    events: BTreeMap<Event, (usize, SocketAddr, Vec<u8>)>,
    wakes: BTreeSet<(Instant, usize)>,
    added: u64,
    random: fastrand::Rng,
    seed: u64,
    link: Link,
    /// Ways that are cut, from and to.
    cut: BTreeSet<(usize, usize)>,
    alarms: Option<BTreeSet<(usize, usize)>>,
    recording: Option<Vec<(usize, SocketAddr, Vec<u8>)>>,
    joins: Vec<SocketAddr>,
}

impl Cluster {
    /// Hosts that know nothing of each other.
    pub fn new(hosts: usize, seed: u64, link: Link) -> Self {
        let start = Instant::now();
        let mut cluster = Self {
            hosts: Vec::new(),
            start,
            now: start,
            events: BTreeMap::new(),
            wakes: BTreeSet::new(),
            added: 0,
            random: fastrand::Rng::with_seed(seed),
            seed,
            link,
            cut: BTreeSet::new(),
            alarms: None,
            recording: None,
            joins: Vec::new(),
        };
        for _ in 0..hosts {
            cluster.add();
        }
        cluster.joins = vec![cluster.hosts[0].address];
        cluster
    }

    /// A cluster that has found together through its first host, and is quiet.
    pub fn whole(hosts: usize, seed: u64) -> Self {
        let mut cluster = Self::new(hosts, seed, Link::default());
        cluster.join_all();
        cluster.until(secs(10), "whole at first", Self::is_whole);
        cluster.run(secs(2));
        cluster
    }

    fn add(&mut self) -> usize {
        let index = self.hosts.len();
        let number = u16::try_from(index).unwrap();
        let [high, low] = number.to_be_bytes();
        self.hosts.push(Host {
            id: HostId::from_u128(0x1_0000 + index as u128),
            name: format!("host-{index}"),
            address: SocketAddr::from((Ipv4Addr::new(10, 0, high, low), 7052)),
            secret: 1,
            cluster: "c".to_owned(),
            saved_run: 0,
            core: None,
            is_frozen: false,
            has_stopped: false,
            unread: Vec::new(),
            clock: 0,
            sent: 0,
            received: 0,
            next: self.now,
        });
        index
    }

    pub fn join_all(&mut self) {
        for host in 0..self.hosts.len() {
            self.start(host);
        }
    }

    /// Starts the agent of a host, with a run above the last one.
    pub fn start(&mut self, host: usize) {
        let mut seed = [0; 32];
        self.random.fill(&mut seed);
        let at = self.at(host);
        let joins = self.joins.clone();
        let own = &mut self.hosts[host];
        own.saved_run += 1;
        (own.is_frozen, own.has_stopped) = (false, false);
        own.unread.clear();
        let config = Config {
            cluster: own.cluster.clone(),
            host: own.id,
            name: own.name.parse().unwrap(),
            address: own.address,
            run: own.saved_run,
            keyring: Keyring::new(Secret::new([own.secret; 32])),
            remembered: Vec::new(),
            settings: Settings::default(),
        };
        let mut core = Core::new(config, seed, at);
        core.command(at, Command::Join(joins));
        own.core = Some(core);
        self.work(host);
    }

    pub fn kill(&mut self, host: usize) {
        self.hosts[host].core = None;
        self.hosts[host].unread.clear();
    }

    pub fn freeze(&mut self, host: usize) {
        self.hosts[host].is_frozen = true;
    }

    pub fn thaw(&mut self, host: usize) {
        self.hosts[host].is_frozen = false;
        self.work(host);
    }

    /// Thaws a host whose socket was full, or whose machine was suspended: what was sent to it meanwhile is lost.
    pub fn thaw_deaf(&mut self, host: usize) {
        self.hosts[host].unread.clear();
        self.thaw(host);
    }

    pub fn command(&mut self, host: usize, command: Command) {
        let at = self.at(host);
        if let Some(core) = &mut self.hosts[host].core {
            core.command(at, command);
        }
        self.work(host);
    }

    pub fn add_twin_of(&mut self, host: usize) -> usize {
        let twin = self.add();
        let (id, saved_run, name) =
            (self.hosts[host].id, self.hosts[host].saved_run - 1, self.hosts[host].name.clone());
        let own = &mut self.hosts[twin];
        (own.id, own.saved_run, own.name) = (id, saved_run, name);
        self.start(twin);
        twin
    }

    pub fn add_with_secret(&mut self, secret: u8, cluster: &str) -> usize {
        let host = self.add();
        self.hosts[host].secret = secret;
        self.hosts[host].cluster = cluster.to_owned();
        self.start(host);
        host
    }

    pub fn rename(&mut self, host: usize, name: &str) {
        self.hosts[host].name = name.to_owned();
    }

    pub fn forget_runs(&mut self, host: usize) {
        self.hosts[host].saved_run = 0;
    }

    pub fn set_clock(&mut self, host: usize, seconds: i64) {
        self.hosts[host].clock = seconds;
    }

    // The network.

    pub fn set_link(&mut self, link: Link) {
        self.link = link;
    }

    pub fn cut(&mut self, one: usize, other: usize) {
        self.cut.extend([(one, other), (other, one)]);
    }

    pub fn cut_one_way(&mut self, from: usize, to: usize) {
        self.cut.insert((from, to));
    }

    pub fn mend(&mut self, one: usize, other: usize) {
        self.cut.remove(&(one, other));
        self.cut.remove(&(other, one));
    }

    pub fn isolate(&mut self, host: usize) {
        for other in 0..self.hosts.len() {
            self.cut(host, other);
        }
    }

    pub fn halve(&mut self) {
        let half = self.hosts.len() / 2;
        for (one, other) in self.pairs() {
            if (one < half) != (other < half) {
                self.cut(one, other);
            }
        }
    }

    pub fn heal(&mut self) {
        self.cut.clear();
    }

    /// Keeps every datagram from here on.
    pub fn record(&mut self) {
        self.recording = Some(Vec::new());
    }

    /// Sends all kept datagrams to all hosts once more, from an address of the attacker's.
    pub fn replay(&mut self) -> usize {
        let recorded = self.recorded();
        let span = ms(recorded.len() as u64 / 4);
        self.replay_over(&recorded, span)
    }

    /// Returns what was kept, and keeps nothing more.
    pub fn recorded(&mut self) -> Vec<(usize, SocketAddr, Vec<u8>)> {
        self.recording.take().unwrap()
    }

    /// Sends datagrams to their hosts once more, in their order and spread over this time, whatever is cut.
    pub fn replay_over(&mut self, recorded: &[(usize, SocketAddr, Vec<u8>)], span: Duration) -> usize {
        let attacker = SocketAddr::from((Ipv4Addr::new(203, 0, 113, 66), 1));
        for (index, (to, _, datagram)) in recorded.iter().enumerate() {
            let at = self.now + span.mul_f64(index as f64 / recorded.len() as f64);
            self.added += 1;
            self.events.insert((at, self.added), (*to, attacker, datagram.clone()));
        }
        recorded.len()
    }

    // Time.

    pub fn now(&self) -> Instant {
        self.now
    }

    pub fn since(&self, begin: Instant, limit: Duration) -> Duration {
        (begin + limit).saturating_duration_since(self.now)
    }

    pub fn run(&mut self, duration: Duration) {
        self.run_until(self.now + duration);
    }

    pub fn run_random(&mut self, millis: u64) {
        let duration = ms(self.random.u64(0..millis));
        self.run(duration);
    }

    pub fn run_until(&mut self, end: Instant) {
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until something holds, at most so long.
    pub fn until(&mut self, limit: Duration, what: &str, holds: impl Fn(&Self) -> bool) {
        let begin = self.now;
        let mut end = begin;
        while !holds(self) {
            assert!(
                end < begin + limit,
                "seed {}: not {what} within {limit:?}, {:?} after the start\n{}",
                self.seed,
                self.now - self.start,
                self.describe()
            );
            // To look at 500 hosts from each of them takes longer than to run them.
            end += if self.hosts.len() > 200 { ms(100) } else { ms(10) };
            self.run_until(end);
        }
    }

    /// Runs, and expects that nobody is suspected meanwhile and all that are alive agree at the end.
    pub fn assert_quiet(&mut self, duration: Duration) {
        self.watch_alarms();
        self.run(duration);
        let alarms = self.alarms();
        assert!(alarms.is_empty(), "seed {}: false alarms {alarms:?}\n{}", self.seed, self.describe());
        let views: BTreeSet<Vec<_>> = self.living().into_iter().map(|host| self.view(host)).collect();
        assert!(views.len() == 1, "seed {}: no agreement\n{}", self.seed, self.describe());
    }

    pub fn watch_alarms(&mut self) {
        self.alarms = Some(BTreeSet::new());
    }

    /// Returns who held whom for suspect since [`Cluster::watch_alarms`], though both run.
    pub fn alarms(&self) -> BTreeSet<(usize, usize)> {
        self.alarms.clone().unwrap_or_default()
    }

    pub fn alarms_of(&self, host: usize) -> Vec<usize> {
        self.alarms().into_iter().filter(|(from, _)| *from == host).map(|(_, to)| to).collect()
    }

    fn step(&mut self, end: Instant) -> bool {
        let arrival = self.events.keys().next().copied();
        let wake = self.wakes.first().copied();
        match (arrival, wake) {
            (Some(event), wake) if event.0 <= end && wake.is_none_or(|(at, _)| event.0 <= at) => {
                self.now = self.now.max(event.0);
                let Some((to, from, datagram)) = self.events.remove(&event) else { return false };
                self.deliver(to, from, datagram);
                true
            }
            (_, Some((at, host))) if at <= end => {
                self.now = self.now.max(at);
                self.wakes.pop_first();
                if self.hosts[host].next == at {
                    self.work(host);
                }
                true
            }
            _ => false,
        }
    }

    fn deliver(&mut self, to: usize, from: SocketAddr, datagram: Vec<u8>) {
        let host = &mut self.hosts[to];
        if host.core.is_none() {
            return;
        }
        host.received += 1;
        if host.unread.len() < SOCKET {
            host.unread.push((from, datagram));
        }
        self.work(to);
    }

    /// One round of a host's loop: it reads its socket, then does what is due.
    fn work(&mut self, index: usize) {
        let at = self.at(index);
        let host = &mut self.hosts[index];
        let Some(core) = host.core.as_mut().filter(|_| !host.is_frozen) else { return };
        for (from, datagram) in host.unread.drain(..) {
            core.receive(at, from, &datagram);
        }
        core.tick(at);
        let mut sends = Vec::new();
        for output in core.take_outputs() {
            match output {
                Output::Send { to, datagram } => sends.push((to, datagram)),
                Output::SaveRun(run) => host.saved_run = run,
                Output::Stopped => host.has_stopped = true,
            }
        }
        host.next = core.next_tick();
        self.wakes.insert((host.next, index));
        for (to, datagram) in sends {
            self.send(index, to, &datagram);
        }
        self.note_alarms(index);
    }

    fn send(&mut self, from: usize, to: SocketAddr, datagram: &[u8]) {
        assert!(datagram.len() <= 1_452, "a datagram fits into a frame");
        self.hosts[from].sent += datagram.len() as u64 + 28;
        let SocketAddr::V4(v4) = to else { panic!("{to}") };
        let [_, _, high, low] = v4.ip().octets();
        let index = usize::from(u16::from_be_bytes([high, low]));
        if index >= self.hosts.len() || self.hosts[index].address != to || self.cut.contains(&(from, index)) {
            return;
        }
        if let Some(recording) = &mut self.recording {
            recording.push((index, self.hosts[from].address, datagram.to_owned()));
        }
        let copies = if self.random.f64() < self.link.doubled { 2 } else { 1 };
        for _ in 0..copies {
            if self.random.f64() < self.link.loss {
                continue;
            }
            let Range { start, end } = self.link.delay;
            let micros = self.random.u64(start.as_micros() as u64..end.as_micros() as u64);
            self.added += 1;
            let at = self.now + Duration::from_micros(micros);
            self.events.insert((at, self.added), (index, self.hosts[from].address, datagram.to_owned()));
        }
    }

    fn note_alarms(&mut self, from: usize) {
        let Some(alarms) = &mut self.alarms else { return };
        let Some(core) = &self.hosts[from].core else { return };
        for member in &core.roster().members {
            if !matches!(member.state, MemberState::Suspect | MemberState::Dead) {
                continue;
            }
            let to = self.hosts.iter().position(|host| host.id == member.host && host.core.is_some());
            alarms.extend(to.map(|to| (from, to)));
        }
    }

    fn at(&self, host: usize) -> At {
        let seconds = (self.now - self.start).as_secs() as i64 + 1_700_000_000 + self.hosts[host].clock;
        At { now: self.now, unix: u32::try_from(seconds).unwrap() }
    }

    // Faults at random.

    pub fn something_happens(&mut self) {
        let (host, other) = (self.pick(), self.pick());
        match self.random.u8(0..9) {
            0 => self.kill(host),
            1 | 2 => {
                self.kill(host);
                let clock = self.random.i64(-4_000..4_000);
                self.set_clock(host, clock);
                self.start(host);
            }
            3 => self.freeze(host),
            4 => self.thaw(host),
            5 => self.isolate(host),
            6 => self.halve(),
            7 => self.cut(host, other),
            _ => {
                self.heal();
                self.link = Link { loss: self.random.f64() * 0.3, delay: ms(0)..ms(30), doubled: 0.1 };
            }
        }
    }

    pub fn everything_is_well(&mut self) {
        self.heal();
        self.link = Link::default();
        for host in 0..self.hosts.len() {
            if self.hosts[host].core.is_none() {
                self.start(host);
            }
            self.thaw(host);
        }
    }

    // What is seen.

    pub fn pick(&mut self) -> usize {
        self.random.usize(0..self.hosts.len())
    }

    pub fn others(&self, without: &[usize]) -> impl Iterator<Item = usize> + use<> {
        let without = without.to_vec();
        (0..self.hosts.len()).filter(move |host| !without.contains(host))
    }

    pub fn pairs(&self) -> Vec<(usize, usize)> {
        let hosts = self.hosts.len();
        (0..hosts)
            .flat_map(|from| (0..hosts).map(move |to| (from, to)))
            .filter(|(from, to)| from != to)
            .collect()
    }

    fn living(&self) -> Vec<usize> {
        (0..self.hosts.len()).filter(|host| self.hosts[*host].core.is_some()).collect()
    }

    pub fn id(&self, host: usize) -> HostId {
        self.hosts[host].id
    }

    pub fn roster(&self, host: usize) -> &Arc<Roster> {
        self.hosts[host].core.as_ref().unwrap().roster()
    }

    fn member(&self, from: usize, to: usize) -> Option<&Member> {
        self.roster(from).get(self.hosts[to].id)
    }

    pub fn state(&self, from: usize, to: usize) -> Option<MemberState> {
        self.member(from, to).map(|member| member.state)
    }

    pub fn is_unreachable(&self, from: usize, to: usize) -> bool {
        self.member(from, to).is_some_and(|member| member.unreachable_from_here)
    }

    pub fn run_of(&self, from: usize, to: usize) -> u32 {
        self.member(from, to).map_or(0, |member| member.epoch.run)
    }

    pub fn renewals(&self, host: usize) -> u32 {
        self.member(host, host).unwrap().epoch.renewal
    }

    pub fn saved_run(&self, host: usize) -> u32 {
        self.hosts[host].saved_run
    }

    pub fn clock_ahead(&self, from: usize, to: usize) -> i64 {
        self.member(from, to).map_or(0, |member| member.clock_ahead)
    }

    pub fn has_stopped(&self, host: usize) -> bool {
        self.hosts[host].has_stopped
    }

    pub fn sent_bytes(&self) -> u64 {
        self.hosts.iter().map(|host| host.sent).sum()
    }

    pub fn sent_to(&self, host: usize) -> u64 {
        self.hosts[host].received
    }

    fn view(&self, host: usize) -> Vec<(HostId, MemberState)> {
        let alive = |member: &&Member| member.state == MemberState::Alive;
        self.roster(host).members.iter().filter(alive).map(|member| (member.host, member.state)).collect()
    }

    /// All hosts that run hold exactly those for alive.
    pub fn is_whole(&self) -> bool {
        let living: Vec<_> =
            self.living().into_iter().map(|host| (self.hosts[host].id, MemberState::Alive)).collect();
        self.living().into_iter().all(|host| self.view(host) == living)
    }

    pub fn describe(&self) -> String {
        let mut text = String::new();
        for host in self.living().into_iter().take(12) {
            text += &format!("{host}:");
            for member in self.roster(host).members.iter().take(12) {
                text += &format!(" {}={}", member.name, member.state);
                if member.unreachable_from_here {
                    text += "(unreachable)";
                }
                text += &format!("/{}.{}", member.epoch.run, member.epoch.renewal);
            }
            text += "\n";
        }
        text
    }
}
