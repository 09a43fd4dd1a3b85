use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foca::{Foca, NoCustomBroadcast, Notification, Timer};
use longshore_model::HostId;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::identity::{Epoch, Identity, Phase};
use super::interface::{At, Command, Config, Departure, Output};
use super::known::Known;
use super::member::{Member, MemberState, mark_taken_names};
use super::packet::{Introduction, PacketCodec};
use super::roster::Roster;
use super::settings::Settings;
use super::timers::{Due, Timers};
use crate::seal::{Cookie, Kind, Opened, Sealer, Standing};

/// How often foca's list is looked through: it does not tell of suspicion.
const SCAN: Duration = Duration::from_millis(50);
/// How many greetings and answers to unproven datagrams may leave between two scans.
const MAX_GREETINGS: u32 = 64;
/// How many hosts are looked for at once by a host that is alone, and by one that is not.
const CONTACTS_ALONE: usize = 16;
const CONTACTS: usize = 3;
const MAX_JOINS: usize = 256;
/// How often a host may renew its membership within [`RENEWAL_WINDOW`] before it waits for [`RENEWAL_PAUSE`].
const MAX_RENEWALS: usize = 8;
const RENEWAL_WINDOW: Duration = Duration::from_secs(5);
const RENEWAL_PAUSE: Duration = Duration::from_secs(2);
/// A data directory that was restored from a backup is overtaken once. One that was copied, again and again.
const MAX_OVERTAKEN: u32 = 3;
/// No host has been started so many times since its last backup: a higher number is an error.
const MAX_RUNS_AHEAD: u32 = 1 << 20;
const FAREWELLS: u8 = 6;
const FAREWELL_PERIOD: Duration = Duration::from_millis(40);
/// After this host has been held up, what lies in its socket tells nothing of other hosts' clocks.
const CLOCK_PAUSE: Duration = Duration::from_secs(2);

/// What foca wants done.
#[derive(Default)]
struct Effects {
    sends: Vec<(Identity, Vec<u8>)>,
    timers: Vec<(Timer<Identity>, Duration)>,
    is_defunct: bool,
    is_changed: bool,
}

impl foca::Runtime<Identity> for Effects {
    fn notify(&mut self, notification: Notification<'_, Identity>) {
        self.is_defunct |= matches!(notification, Notification::Defunct);
        self.is_changed = true;
    }

    fn send_to(&mut self, to: Identity, data: &[u8]) {
        self.sends.push((to, data.to_vec()));
    }

    fn submit_after(&mut self, event: Timer<Identity>, after: Duration) {
        self.timers.push((event, after));
    }
}

type Protocol = Foca<Identity, PacketCodec, StdRng, NoCustomBroadcast>;

/// The membership of one agent, without a clock, a socket or a thread: see the [module](super).
pub struct Core {
    settings: Settings,
    sealer: Sealer,
    random: StdRng,
    me: Identity,
    since: Instant,
    foca: Protocol,
    is_large: bool,
    timers: Timers,
    known: BTreeMap<HostId, Known>,
    /// Addresses to join through, and who answered there.
    joins: BTreeMap<SocketAddr, Option<HostId>>,
    remembered: Vec<SocketAddr>,
    /// The core's time: the system's, less what this host was held up.
    now: Instant,
    real: Instant,
    lost: Duration,
    unix: u32,
    clocks_after: Instant,
    heard: Instant,
    greetings: u32,
    renewals: VecDeque<Instant>,
    is_renewal_due: bool,
    overtaken: u32,
    outputs: Vec<Output>,
    roster: Arc<Roster>,
    is_changed: bool,
}

impl Core {
    /// Creates the core of an agent that is alone. The seed must be unpredictable: nonces and the cookie are drawn
    /// from it.
    pub fn new(config: Config, seed: [u8; 32], at: At) -> Self {
        let mut random = StdRng::from_seed(seed);
        let sealer = Sealer::new(&config.keyring, &config.cluster, config.host, config.run, &mut random);
        let me = Identity {
            host: config.host,
            epoch: Epoch { run: config.run, renewal: 0 },
            cookie: sealer.cookie(),
            phase: Phase::Running,
            address: config.address,
            name: config.name,
        };
        let foca = protocol(&me, &config.settings, 1, &mut random);
        let mut timers = Timers::default();
        timers.add(at.now, Due::Contact);
        timers.add(at.now + SCAN, Due::Scan);
        timers.add(at.now + SCAN, Due::Sweep);
        let mut core = Self {
            settings: config.settings,
            sealer,
            random,
            since: at.now,
            foca,
            is_large: false,
            timers,
            known: BTreeMap::new(),
            joins: BTreeMap::new(),
            remembered: config.remembered,
            now: at.now,
            real: at.now,
            lost: Duration::ZERO,
            unix: at.unix,
            clocks_after: at.now,
            heard: at.now,
            greetings: 0,
            renewals: VecDeque::new(),
            is_renewal_due: false,
            overtaken: 0,
            outputs: Vec::new(),
            roster: Arc::new(Roster { me: me.host, members: Vec::new(), id_in_use_elsewhere: false }),
            is_changed: false,
            me,
        };
        core.publish();
        core
    }

    /// Takes a datagram. Take all that have arrived before the next [`Core::tick`].
    pub fn receive(&mut self, at: At, from: SocketAddr, datagram: &[u8]) {
        self.advance(at);
        let Ok(opened) = self.sealer.open(datagram) else { return };
        match (opened.standing, opened.kind) {
            (Standing::Fresh, _) => self.believe(from, &opened),
            (Standing::Unproven, Kind::Hello) | (Standing::Superseded(_), Kind::Welcome) => {
                if let Some(introduction) = introduction(&opened) {
                    let kind = if opened.kind == Kind::Hello { Kind::Welcome } else { Kind::Ready };
                    self.introduce(kind, from, &introduction.identity);
                }
            }
            (Standing::Unproven | Standing::Superseded(_), _) => self.greet(from),
        }
    }

    /// Does what is due.
    pub fn tick(&mut self, at: At) {
        self.advance(at);
        while let Some(due) = self.timers.take(self.now) {
            self.fire(due);
        }
    }

    /// Obeys the agent.
    pub fn command(&mut self, at: At, command: Command) {
        self.advance(at);
        match command {
            Command::Join(addresses) => {
                let own = self.me.address;
                let addresses = addresses.into_iter().filter(|address| *address != own).take(MAX_JOINS);
                let known = std::mem::take(&mut self.joins);
                self.joins =
                    addresses.map(|address| (address, known.get(&address).copied().flatten())).collect();
                if self.is_alone() {
                    self.look_for_others();
                }
            }
            Command::Keyring(ring) => self.sealer.set_keyring(&ring),
            Command::Stop(departure) => self.depart(departure),
        }
    }

    /// Returns when [`Core::tick`] is due.
    pub fn next_tick(&self) -> Instant {
        self.timers.next().unwrap_or(self.now) + self.lost
    }

    /// Takes what is to be done.
    pub fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// Returns the hosts, as they were at the last tick.
    pub fn roster(&self) -> &Arc<Roster> {
        &self.roster
    }

    fn is_alone(&self) -> bool {
        self.foca.num_members() == 0
    }

    fn is_running(&self) -> bool {
        self.me.phase == Phase::Running
    }

    fn hosts(&self) -> usize {
        self.foca.num_members() + 1
    }

    /// Advances the core's time. A host whose timers are late doubts itself: for the core, the time stood still
    /// meanwhile, so that what others sent in the meantime is read before anybody is held for silent.
    fn advance(&mut self, at: At) {
        self.real = self.real.max(at.now);
        self.unix = at.unix;
        let mut now = self.real.checked_sub(self.lost).unwrap_or(self.real);
        if let Some(due) = self.timers.next() {
            let late = now.saturating_duration_since(due);
            if late > self.settings.lateness {
                self.lost += late;
                now = due;
                self.clocks_after = now + CLOCK_PAUSE;
            }
        }
        self.now = self.now.max(now);
    }

    fn fire(&mut self, due: Due) {
        match due {
            Due::Foca(timer) => self.with_foca(|foca, effects| foca.handle_timer(timer, effects)),
            Due::Scan => {
                self.timers.add(self.now + SCAN, Due::Scan);
                self.scan();
            }
            Due::Sweep => {
                self.timers.add(self.now + self.settings.sweep_period(self.hosts()), Due::Sweep);
                self.sweep();
            }
            Due::Contact => {
                let period = self.settings.contact_period;
                self.timers.add(self.now + if self.is_alone() { period / 2 } else { period }, Due::Contact);
                self.look_for_others();
            }
            Due::Renew => {
                self.is_renewal_due = false;
                self.renew();
            }
            Due::Farewell { left: 0 } => self.outputs.push(Output::Stopped),
            Due::Farewell { left } => {
                self.timers.add(self.now + FAREWELL_PERIOD, Due::Farewell { left: left - 1 });
                self.with_foca(|foca, effects| foca.gossip(effects));
            }
        }
    }

    // What others say.

    fn believe(&mut self, from: SocketAddr, opened: &Opened) {
        self.heard = self.now;
        let ahead = i64::from(opened.time) - i64::from(self.unix);
        let ahead = (self.now >= self.clocks_after).then_some(ahead);
        if let Some(known) = self.known.get_mut(&opened.from) {
            self.is_changed |= known.hear(self.now, ahead);
        }
        match opened.kind {
            Kind::Hello => {}
            Kind::Welcome | Kind::Ready => {
                if let Some(introduction) = introduction(opened) {
                    self.meet(opened.kind, from, &introduction);
                }
            }
            Kind::Packet => {
                // An invalid packet is its sender's loss.
                self.with_foca(|foca, effects| foca.handle_data(&opened.payload, effects));
            }
            Kind::Ping => match self.known.get(&opened.from).map(|known| known.identity.cookie) {
                Some(cookie) => self.send(Kind::Pong, from, cookie, &[]),
                None => self.greet(from),
            },
            Kind::Pong => {
                if let Some(known) = self.known.get_mut(&opened.from) {
                    self.is_changed |= known.is_unreachable();
                    known.reach.answered(self.now);
                }
            }
        }
    }

    fn meet(&mut self, kind: Kind, from: SocketAddr, introduction: &Introduction) {
        let Introduction { identity, your_run, your_cookie } = introduction;
        let known = self
            .known
            .entry(identity.host)
            .or_insert_with(|| Known::new(identity.clone(), self.now, self.real));
        self.is_changed |= known.learn(identity);
        if let Some(host) = self.joins.get_mut(&from) {
            *host = Some(identity.host);
        }
        let is_overtaken = *your_run > self.me.epoch.run
            || *your_run == self.me.epoch.run && your_cookie.0 != 0 && *your_cookie != self.me.cookie;
        if is_overtaken {
            self.overtake(*your_run);
        }
        if kind == Kind::Welcome {
            self.introduce(Kind::Ready, from, identity);
            let is_member = self.foca.iter_members().any(|member| member.id() == identity);
            if self.is_running() && identity.phase == Phase::Running && !is_member {
                let identity = identity.clone();
                self.with_foca(|foca, effects| foca.announce(identity, effects));
            }
        }
    }

    // What this host says.

    fn send(&mut self, kind: Kind, to: SocketAddr, cookie: Cookie, payload: &[u8]) {
        if let Some(datagram) = self.sealer.seal(kind, cookie, self.unix, payload, &mut self.random) {
            self.outputs.push(Output::Send { to, datagram });
        }
    }

    fn send_packet(&mut self, to: &Identity, packet: &[u8]) {
        // A restarted host is greeted before foca learns of its new run.
        let cookie = self
            .known
            .get(&to.host)
            .filter(|known| known.identity.epoch > to.epoch)
            .map_or(to.cookie, |known| known.identity.cookie);
        self.send(Kind::Packet, to.address, cookie, packet);
    }

    /// Asks whoever listens at an address for an introduction.
    fn greet(&mut self, to: SocketAddr) {
        if !self.is_running() || !self.may_greet() {
            return;
        }
        let hello =
            Introduction { identity: self.me.clone(), your_run: 0, your_cookie: Cookie::default() }.encode();
        self.send(Kind::Hello, to, Cookie::default(), &hello);
    }

    fn introduce(&mut self, kind: Kind, to: SocketAddr, addressee: &Identity) {
        if !self.is_running() || !self.may_greet() {
            return;
        }
        let proven = self.sealer.run_of(addressee.host).unwrap_or(0);
        let known =
            self.known.get(&addressee.host).map(|known| (known.identity.epoch.run, known.identity.cookie));
        let (your_run, your_cookie) = match known {
            Some((run, cookie)) if run >= proven => (run, cookie),
            _ => (proven, Cookie::default()),
        };
        let introduction = Introduction { identity: self.me.clone(), your_run, your_cookie };
        self.send(kind, to, addressee.cookie, &introduction.encode());
    }

    fn may_greet(&mut self) -> bool {
        self.greetings += 1;
        self.greetings <= MAX_GREETINGS
    }

    /// Greets those who should be members and are not.
    fn look_for_others(&mut self) {
        if !self.is_running() {
            return;
        }
        let is_here = |host: &HostId| self.known.get(host).is_some_and(Known::is_alive);
        let mut addresses: Vec<SocketAddr> = self
            .joins
            .iter()
            .filter(|(_, host)| !host.is_some_and(|host| is_here(&host)))
            .map(|(address, _)| *address)
            .collect();
        let is_missing = |known: &&Known| !known.is_alive() && known.state != Some(MemberState::Left);
        let mut missing: Vec<SocketAddr> =
            self.known.values().filter(is_missing).map(|known| known.identity.address).collect();
        let is_alone = self.is_alone();
        if is_alone {
            missing.extend(&self.remembered);
        }
        let (chosen, _) =
            missing.partial_shuffle(&mut self.random, if is_alone { CONTACTS_ALONE } else { CONTACTS });
        addresses.extend_from_slice(chosen);
        addresses.retain(|address| *address != self.me.address);
        addresses.sort_unstable();
        addresses.dedup();
        for address in addresses {
            self.greet(address);
        }
    }

    /// Pings the host that has not answered for the longest, and again those whose answers are missing.
    fn sweep(&mut self) {
        if !self.is_running() {
            return;
        }
        let (now, patience) = (self.now, self.settings.probe_period);
        let (mut chosen, mut turn) = (Vec::new(), None);
        for known in self.known.values_mut().filter(|known| known.is_alive()) {
            let was_unreachable = known.is_unreachable();
            if known.reach.check(now, patience) {
                chosen.push(known.identity.host);
            } else if let Some(last) = known.reach.turn(now)
                && turn.is_none_or(|(earliest, _)| last < earliest)
            {
                turn = Some((last, known.identity.host));
            }
            self.is_changed |= was_unreachable != known.is_unreachable();
        }
        chosen.extend(turn.map(|(_, host)| host));
        for host in chosen {
            let Some(known) = self.known.get_mut(&host) else { continue };
            known.reach.asked(now);
            let (address, cookie) = (known.identity.address, known.identity.cookie);
            self.send(Kind::Ping, address, cookie, &[]);
        }
    }

    fn depart(&mut self, departure: Departure) {
        if !self.is_running() {
            return;
        }
        self.me.phase = match departure {
            Departure::Restarting => Phase::Restarting,
            Departure::Left => Phase::Left,
        };
        self.me.epoch.renewal += 1;
        self.become_me();
        self.with_foca(|foca, effects| foca.leave_cluster(effects));
        let left = if self.is_alone() { 0 } else { FAREWELLS };
        self.timers.add(self.now, Due::Farewell { left });
        self.publish();
    }

    // What foca does.

    fn with_foca(&mut self, act: impl FnOnce(&mut Protocol, &mut Effects) -> Result<(), foca::Error>) {
        let mut effects = Effects::default();
        // foca refuses what is malformed, or meant for another; its state stays as it was.
        let _ = act(&mut self.foca, &mut effects);
        self.is_changed |= effects.is_changed;
        for (to, packet) in &effects.sends {
            self.send_packet(to, packet);
        }
        for (timer, after) in effects.timers {
            let after = match timer {
                Timer::ProbeRandomMember(_) => self.settings.probe_period(self.hosts()),
                _ => after,
            };
            self.timers.add(self.now + after, Due::Foca(timer));
        }
        if effects.is_defunct && self.is_running() {
            self.renew();
        }
    }

    /// Begins a new epoch: the others hold this host for dead, and would not believe the old one.
    fn renew(&mut self) {
        if !self.is_running() || self.is_renewal_due {
            return;
        }
        if !self.may_renew() {
            self.is_renewal_due = true;
            self.timers.add(self.now + RENEWAL_PAUSE, Due::Renew);
            return;
        }
        self.me.epoch.renewal += 1;
        self.become_me();
    }

    fn may_renew(&mut self) -> bool {
        let Self { now, renewals, .. } = self;
        renewals.retain(|at| *now < *at + RENEWAL_WINDOW);
        if renewals.len() >= MAX_RENEWALS {
            return false;
        }
        renewals.push_back(*now);
        true
    }

    /// Someone knows a later run of this host, or another agent in this run.
    fn overtake(&mut self, run: u32) {
        if run.saturating_sub(self.me.epoch.run) > MAX_RUNS_AHEAD
            || !self.is_running()
            || self.is_renewal_due
            || !self.may_renew()
        {
            return;
        }
        let next = run.saturating_add(1);
        self.overtaken += 1;
        self.is_changed = true;
        self.me.epoch = Epoch { run: next, renewal: 0 };
        self.sealer.set_run(next);
        self.outputs.push(Output::SaveRun(next));
        self.become_me();
    }

    /// Tells foca, and the others, who this host is.
    fn become_me(&mut self) {
        let me = self.me.clone();
        self.with_foca(|foca, effects| foca.change_identity(me, effects));
        // Its answer connects foca again.
        let member = self.foca.iter_members().next().map(|member| member.id().clone());
        if let Some(member) = member.filter(|_| self.is_running()) {
            self.with_foca(|foca, effects| foca.announce(member, effects));
        }
        self.is_changed = true;
        self.look_for_others();
    }

    // What is concluded.

    fn scan(&mut self) {
        self.greetings = 0;
        if self.is_running()
            && !self.is_alone()
            && self.now.saturating_duration_since(self.heard) >= self.settings.silence
        {
            self.isolate();
        }
        let is_large = self.settings.probe_period(self.hosts()) != self.settings.probe_period;
        if is_large != self.is_large {
            self.is_large = is_large;
            let _ = self.foca.set_config(self.settings.foca(self.hosts()));
        }
        self.read_foca();
        let period = self.settings.probe_period(self.hosts());
        for known in self.known.values_mut() {
            self.is_changed |= known.decide(self.now, self.real, &self.settings, period);
        }
        let (now, forget_after) = (self.now, self.settings.forget_after);
        self.known.retain(|_, known| match known.state {
            Some(MemberState::Dead | MemberState::Left) => {
                known.foca.is_some() || now < known.changed + forget_after
            }
            // It was met, and did not become a member.
            None => now < known.changed + CLOCK_PAUSE * 30,
            Some(_) => true,
        });
        if std::mem::take(&mut self.is_changed) {
            self.publish();
        }
    }

    fn read_foca(&mut self) {
        for known in self.known.values_mut() {
            known.foca = None;
        }
        for member in self.foca.iter_membership_state() {
            let identity = member.id();
            let known = self
                .known
                .entry(identity.host)
                .or_insert_with(|| Known::new(identity.clone(), self.now, self.real));
            self.is_changed |= known.learn(identity);
            known.foca = Some(member.state());
        }
    }

    /// Nobody has been heard, so it is this host that is cut off. It holds the others for suspect at once, and begins
    /// with an empty foca: else it would declare all of them down, and each of them would have to renew itself when
    /// it comes back.
    fn isolate(&mut self) {
        self.me.epoch.renewal += 1;
        self.timers.clear_foca();
        let foca = protocol(&self.me, &self.settings, 1, &mut self.random);
        self.foca = foca;
        self.is_large = false;
        self.is_changed = true;
        self.look_for_others();
    }

    fn publish(&mut self) {
        let own = Member {
            host: self.me.host,
            name: self.me.name.clone(),
            address: self.me.address,
            epoch: self.me.epoch,
            state: match self.me.phase {
                Phase::Running => MemberState::Alive,
                Phase::Restarting => MemberState::Restarting,
                Phase::Left => MemberState::Left,
            },
            since: self.since,
            unreachable_from_here: false,
            name_taken_by: None,
            clock_ahead: 0,
        };
        let mut members: Vec<Member> = self.known.values().filter_map(Known::member).chain([own]).collect();
        members.sort_unstable_by_key(|member| member.host);
        mark_taken_names(&mut members);
        let roster =
            Roster { me: self.me.host, members, id_in_use_elsewhere: self.overtaken >= MAX_OVERTAKEN };
        if *self.roster != roster {
            self.roster = Arc::new(roster);
        }
    }
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("me", &self.me).finish_non_exhaustive()
    }
}

fn protocol(me: &Identity, settings: &Settings, hosts: usize, random: &mut StdRng) -> Protocol {
    Foca::new(me.clone(), settings.foca(hosts), StdRng::from_rng(random), PacketCodec)
}

/// Returns the introduction in a datagram, if it is its sender's own.
fn introduction(opened: &Opened) -> Option<Introduction> {
    let introduction = Introduction::decode(&opened.payload)?;
    let Identity { host, epoch, .. } = &introduction.identity;
    (*host == opened.from && epoch.run == opened.run).then_some(introduction)
}

#[cfg(test)]
mod tests {
    use foca::{Codec, Header, Member as FocaMember, Message, State};

    use super::*;
    use crate::secret::{Keyring, Secret};

    fn identity(host: u128) -> Identity {
        Identity {
            host: HostId::from_u128(host),
            epoch: Epoch { run: 1, renewal: 0 },
            cookie: Cookie(host as u64),
            phase: Phase::Running,
            address: format!("10.0.0.{host}:7052").parse().unwrap(),
            name: format!("host-{host}").parse().unwrap(),
        }
    }

    fn ring() -> Keyring {
        Keyring::new(Secret::new([1; 32]))
    }

    fn core(at: At) -> Core {
        let Identity { host, name, address, .. } = identity(1);
        let config = Config {
            cluster: "c".to_owned(),
            host,
            name,
            address,
            run: 1,
            keyring: ring(),
            remembered: Vec::new(),
            settings: Settings::default(),
        };
        Core::new(config, [7; 32], at)
    }

    fn any_packet(me: &Identity, random: &mut fastrand::Rng) -> Vec<u8> {
        let about = identity(random.u128(1..9));
        let probe_number = random.u8(..);
        let message = match random.u8(..8) {
            0 => Message::Ping(probe_number),
            1 => Message::Ack(probe_number),
            2 => Message::PingReq { target: about, probe_number },
            3 => Message::IndirectAck { target: about, probe_number },
            4 => Message::ForwardedAck { origin: about, probe_number },
            5 => Message::Announce,
            6 => Message::TurnUndead,
            _ => Message::Gossip,
        };
        let header = Header {
            src: identity(random.u128(1..9)),
            src_incarnation: random.u16(..),
            dst: me.clone(),
            message,
        };
        let mut bytes = Vec::new();
        PacketCodec.encode_header(&header, &mut bytes).unwrap();
        let members = random.u16(..6);
        bytes.extend(members.to_be_bytes());
        for _ in 0..members {
            let state = [State::Alive, State::Suspect, State::Down][random.usize(..3)];
            let mut about = identity(random.u128(1..9));
            about.epoch.renewal = random.u32(..3);
            let incarnation = [0, 1, u16::MAX][random.usize(..3)];
            PacketCodec.encode_member(&FocaMember::new(about, incarnation, state), &mut bytes).unwrap();
        }
        for _ in 0..random.usize(..3) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        if random.bool() {
            bytes.truncate(random.usize(..bytes.len()));
        }
        bytes
    }

    #[test]
    fn garbage_from_a_holder_of_the_secret_stops_nothing() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut nonces = StdRng::seed_from_u64(1);
        let mut at = At { now: Instant::now(), unix: 0 };
        let mut core = core(at);
        let mut sealer = Sealer::new(&ring(), "c", HostId::from_u128(2), 1, &mut nonces);
        let from = identity(2).address;
        for _ in 0..5_000 {
            let kinds = [Kind::Hello, Kind::Welcome, Kind::Ready, Kind::Packet, Kind::Packet, Kind::Ping];
            let kind = kinds[random.usize(..kinds.len())];
            let payload = match kind {
                Kind::Packet => any_packet(&core.me, &mut random),
                _ => {
                    let your_run = [0, 1, 2, u32::MAX][random.usize(..4)];
                    let mut bytes =
                        Introduction { identity: identity(2), your_run, your_cookie: Cookie(9) }.encode();
                    let index = random.usize(..bytes.len());
                    bytes[index] = random.u8(..);
                    bytes
                }
            };
            let datagram = sealer.seal(kind, core.me.cookie, 0, &payload, &mut nonces).unwrap();
            at.now += Duration::from_millis(random.u64(..20));
            core.receive(at, from, &datagram);
            core.tick(at);
            core.take_outputs();
            assert!(core.next_tick() > at.now);
        }
        assert!(core.me.epoch.run < u32::MAX / 2, "no start is as far ahead as one of them said");
        assert!(core.roster().get(HostId::from_u128(1)).is_some());
    }

    #[test]
    fn time_stands_still_while_the_host_does() {
        let start = Instant::now();
        let at = |millis| At { now: start + Duration::from_millis(millis), unix: 0 };
        let mut core = core(at(0));
        core.tick(at(0));
        core.tick(at(50));
        let before = core.now;
        core.tick(at(9_000));
        assert!(core.now - before < Duration::from_millis(200), "{:?}", core.now - before);
        assert!(core.next_tick() > at(9_000).now, "what is due next is due after the freeze");
    }
}
