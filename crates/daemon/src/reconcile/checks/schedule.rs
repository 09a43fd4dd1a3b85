//! Decides which port is checked when. Pure: no clock, no sockets.
//!
//! All checks share one budget, which containers draw on in turn: neither a container with a thousand dead
//! ports nor a thousand that boot at once delay the checks of another's port.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use longshore_model::{ContainerRef, PortState};

/// How many checks in a row must fail before an open port counts as closed, and the time between them.
const FALL: u32 = 3;
const FALL_GAP: Duration = Duration::from_millis(200);

/// Time between checks of a closed port: a two-hundredth of the time that it has been checked for, within these
/// limits. A container that took a minute to boot can wait another third of a second.
const MIN_PAUSE: Duration = Duration::from_millis(5);
const MAX_PAUSE: Duration = Duration::from_secs(2);
const PAUSE_SHARE: u32 = 200;

/// Maximum checks per second, and how many of them may come at once.
const MAX_RATE: u32 = 4_000;
const MAX_BURST: u32 = 1_000;

/// Maximum concurrent checks, in total and per container: a port that drops packets takes a whole timeout.
const MAX_RUNNING: usize = 256;
const MAX_RUNNING_EACH: usize = 32;

/// A check to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) container: ContainerRef,
    pub(super) address: SocketAddr,
    /// Distinguishes this check from one of an earlier run of the container.
    check: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// Not open since then; whether it was open before.
    NotOpen { since: Instant, was_open: bool },
    /// Open, with this many failed checks in a row.
    Open { failed: u32 },
}

/// One port.
#[derive(Debug)]
struct Check {
    id: u64,
    found: Found,
    told: Option<PortState>,
    /// When it is checked next; nothing while a check runs or is queued.
    next: Option<Instant>,
    /// The balancer could not connect since the last check began.
    is_suspect: bool,
}

/// The ports of one container.
#[derive(Debug, Default)]
struct Ports {
    checks: BTreeMap<SocketAddr, Check>,
    /// Those that are due, in order.
    line: VecDeque<SocketAddr>,
    running: usize,
}

/// All checks.
#[derive(Debug)]
pub(super) struct Schedule {
    containers: BTreeMap<ContainerRef, Ports>,
    /// When each port is due.
    times: BTreeSet<(Instant, ContainerRef, SocketAddr)>,
    /// Containers with queued ports, each once.
    turns: VecDeque<ContainerRef>,
    running: usize,
    /// The time up to which the budget is spent.
    spent: Instant,
    ids: u64,
}

impl Schedule {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            containers: BTreeMap::new(),
            times: BTreeSet::new(),
            turns: VecDeque::new(),
            running: 0,
            spent: now,
            ids: 0,
        }
    }

    /// Checks exactly these ports of a container, each with whether World has a finding for it: a check whose
    /// finding was discarded (another run of the container) starts over.
    pub(super) fn set(&mut self, container: &ContainerRef, wanted: &[(SocketAddr, bool)], now: Instant) {
        let ports = self.containers.entry(container.clone()).or_default();
        let wanted: BTreeMap<SocketAddr, bool> = wanted.iter().copied().collect();
        let times = &mut self.times;
        ports.checks.retain(|address, check| {
            let stays = wanted.get(address).is_some_and(|known| *known || check.told.is_none());
            if let Some(at) = check.next.filter(|_| !stays) {
                times.remove(&(at, container.clone(), *address));
            }
            stays
        });
        let checks = &ports.checks;
        ports.line.retain(|address| checks.contains_key(address));
        if ports.line.is_empty() {
            self.turns.retain(|id| id != container);
        }
        for address in wanted.into_keys() {
            let ids = &mut self.ids;
            ports.checks.entry(address).or_insert_with(|| {
                *ids += 1;
                times.insert((now, container.clone(), address));
                let found = Found::NotOpen { since: now, was_open: false };
                Check { id: *ids, found, told: None, next: Some(now), is_suspect: false }
            });
        }
        self.drop_idle(container);
    }

    /// Makes a port due at once: the balancer could not connect to it.
    pub(super) fn suspect(&mut self, container: &ContainerRef, address: SocketAddr, now: Instant) {
        let ports = self.containers.get_mut(container);
        let Some(check) = ports.and_then(|ports| ports.checks.get_mut(&address)) else { return };
        if !matches!(check.found, Found::Open { .. }) {
            return;
        }
        check.is_suspect = true;
        if let Some(at) = check.next {
            self.times.remove(&(at, container.clone(), address));
            check.next = Some(now);
            self.times.insert((now, container.clone(), address));
        }
    }

    /// Returns when the schedule next has something to do without an event.
    pub(super) fn due(&self) -> Option<Instant> {
        let can_begin = self.running < MAX_RUNNING && self.turns.iter().any(|id| self.can_begin(id));
        let budget = can_begin.then(|| self.spent.checked_sub(burst()).unwrap_or(self.spent));
        self.times.first().map(|(at, ..)| *at).into_iter().chain(budget).min()
    }

    /// Takes the next check to make now, if any.
    pub(super) fn begin(&mut self, now: Instant) -> Option<Look> {
        while let Some((at, ..)) = self.times.first()
            && *at <= now
            && let Some((_, container, address)) = self.times.pop_first()
        {
            self.line_up(&container, address);
        }
        if self.running >= MAX_RUNNING || self.spent > now + burst() {
            return None;
        }
        let turn = self.turns.iter().position(|id| self.can_begin(id))?;
        let container = self.turns.remove(turn)?;
        let ports = self.containers.get_mut(&container)?;
        let address = ports.line.pop_front()?;
        let check = ports.checks.get_mut(&address)?.id;
        ports.running += 1;
        self.running += 1;
        self.spent = self.spent.max(now) + Duration::from_secs(1) / MAX_RATE;
        if !ports.line.is_empty() {
            self.turns.push_back(container.clone());
        }
        Some(Look { container, address, check })
    }

    /// Records the result of a check. Returns the port's state, if it changed.
    pub(super) fn end(
        &mut self,
        look: &Look,
        accepts: bool,
        interval: Duration,
        now: Instant,
    ) -> Option<PortState> {
        self.running = self.running.saturating_sub(1);
        let ports = self.containers.get_mut(&look.container)?;
        ports.running = ports.running.saturating_sub(1);
        let said = ports.checks.get_mut(&look.address).filter(|check| check.id == look.check).map(|check| {
            let next = now + check.take(accepts, interval, now);
            check.next = Some(next);
            self.times.insert((next, look.container.clone(), look.address));
            let state = check.state();
            (check.told.replace(state) != Some(state)).then_some(state)
        });
        self.drop_idle(&look.container);
        said.flatten()
    }

    fn can_begin(&self, container: &ContainerRef) -> bool {
        self.containers.get(container).is_some_and(|ports| ports.running < MAX_RUNNING_EACH)
    }

    fn line_up(&mut self, container: &ContainerRef, address: SocketAddr) {
        let Some(ports) = self.containers.get_mut(container) else { return };
        let Some(check) = ports.checks.get_mut(&address) else { return };
        check.next = None;
        if ports.line.is_empty() {
            self.turns.push_back(container.clone());
        }
        // What the balancer found affects traffic.
        if check.is_suspect {
            ports.line.push_front(address);
        } else {
            ports.line.push_back(address);
        }
    }

    fn drop_idle(&mut self, container: &ContainerRef) {
        let Some(ports) = self.containers.get(container) else { return };
        if ports.checks.is_empty() && ports.running == 0 {
            self.containers.remove(container);
        }
    }
}

impl Check {
    /// Records a check's result. Returns the wait before the next one.
    fn take(&mut self, accepts: bool, interval: Duration, now: Instant) -> Duration {
        let is_suspect = std::mem::take(&mut self.is_suspect);
        match (&mut self.found, accepts) {
            (found, true) => {
                *found = Found::Open { failed: 0 };
                interval
            }
            (Found::NotOpen { since, .. }, false) => pause(now.duration_since(*since)),
            (Found::Open { failed }, false) => {
                // A failed connection of the balancer's own counts as a failed check.
                *failed += if is_suspect { 2 } else { 1 };
                if *failed < FALL {
                    return FALL_GAP;
                }
                self.found = Found::NotOpen { since: now, was_open: true };
                MIN_PAUSE
            }
        }
    }

    fn state(&self) -> PortState {
        match self.found {
            Found::Open { .. } => PortState::Open,
            Found::NotOpen { was_open: true, .. } => PortState::Closed,
            Found::NotOpen { was_open: false, .. } => PortState::NotOpen,
        }
    }
}

fn pause(looked_for: Duration) -> Duration {
    (looked_for / PAUSE_SHARE).clamp(MIN_PAUSE, MAX_PAUSE)
}

fn burst() -> Duration {
    Duration::from_secs(1) / MAX_RATE * MAX_BURST
}

#[cfg(test)]
mod tests {
    use longshore_model::{ContainerId, HostId};

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    fn container(n: usize) -> ContainerRef {
        ContainerRef::new(HostId::from_u128(1), ContainerId::new(format!("{n:064}")))
    }

    fn address(port: u16) -> SocketAddr {
        ([172, 17, 0, 2], port).into()
    }

    /// A schedule whose checks take no time, with a clock of its own.
    struct Bench {
        schedule: Schedule,
        now: Instant,
        looks: usize,
    }

    impl Bench {
        fn new() -> Self {
            let now = Instant::now();
            Self { schedule: Schedule::new(now), now, looks: 0 }
        }

        fn set(&mut self, n: usize, ports: &[u16], known: bool) {
            let ports: Vec<_> = ports.iter().map(|port| (address(*port), known)).collect();
            self.schedule.set(&container(n), &ports, self.now);
        }

        /// Lets time pass. Returns the reported changes and their times.
        fn pass(&mut self, time: Duration, open: impl Fn(&Look) -> bool) -> Vec<(Duration, Look, PortState)> {
            let (began, until) = (self.now, self.now + time);
            let mut said = Vec::new();
            loop {
                while let Some(look) = self.schedule.begin(self.now) {
                    self.looks += 1;
                    let state = self.schedule.end(&look, open(&look), INTERVAL, self.now);
                    said.extend(state.map(|state| (self.now - began, look, state)));
                }
                match self.schedule.due() {
                    Some(due) if due <= until => self.now = due.max(self.now + Duration::from_micros(50)),
                    _ => break,
                }
            }
            self.now = until;
            said
        }
    }

    fn states(said: &[(Duration, Look, PortState)]) -> Vec<PortState> {
        said.iter().map(|(_, _, state)| *state).collect()
    }

    #[test]
    fn a_port_is_seen_to_open_soon_and_to_close_after_three_looks() {
        let mut bench = Bench::new();
        bench.set(1, &[80], false);
        assert_eq!(states(&bench.pass(Duration::from_millis(200), |_| false)), [PortState::NotOpen]);
        let opened = bench.pass(Duration::from_secs(1), |_| true);
        assert_eq!(states(&opened), [PortState::Open]);
        assert!(opened.iter().all(|(after, ..)| *after <= MIN_PAUSE), "{opened:?}");
        let closed = bench.pass(INTERVAL + FALL_GAP * 2, |_| false);
        assert_eq!(states(&closed), [PortState::Closed]);
        assert_eq!(states(&bench.pass(Duration::from_secs(1), |_| true)), [PortState::Open]);
    }

    #[test]
    fn what_the_balancer_stumbled_over_is_looked_at_at_once_and_needs_one_look_less() {
        let mut bench = Bench::new();
        bench.set(1, &[80], false);
        bench.pass(Duration::from_millis(10), |_| true);
        bench.schedule.suspect(&container(1), address(80), bench.now);
        let closed = bench.pass(FALL_GAP, |_| false);
        assert_eq!(states(&closed), [PortState::Closed]);
    }

    #[test]
    fn another_run_of_a_container_begins_again_and_the_same_one_goes_on() {
        let mut bench = Bench::new();
        bench.set(1, &[80], false);
        bench.pass(Duration::from_millis(10), |_| true);
        bench.set(1, &[80], true);
        assert_eq!(bench.pass(Duration::from_millis(10), |_| true), []);
        bench.set(1, &[80], false);
        assert_eq!(states(&bench.pass(Duration::from_millis(10), |_| true)), [PortState::Open]);
    }

    #[test]
    fn a_look_at_an_earlier_run_says_nothing_of_this_one() {
        let mut bench = Bench::new();
        bench.set(1, &[80], false);
        bench.pass(Duration::from_millis(10), |_| true);
        bench.now += INTERVAL;
        let look = bench.schedule.begin(bench.now).unwrap();
        bench.set(1, &[80], false);
        assert_eq!(bench.schedule.end(&look, true, INTERVAL, bench.now), None);
        assert_eq!(states(&bench.pass(Duration::from_millis(10), |_| false)), [PortState::NotOpen]);
    }

    #[test]
    fn what_is_not_checked_any_more_is_not_looked_at_and_takes_no_room() {
        let mut bench = Bench::new();
        bench.set(1, &[80, 81], false);
        bench.set(1, &[81], false);
        let said = bench.pass(Duration::from_millis(10), |_| true);
        assert_eq!(said.iter().map(|(_, look, _)| look.address).collect::<Vec<_>>(), [address(81)]);
        bench.set(1, &[], false);
        assert_eq!(bench.pass(INTERVAL * 2, |_| true), []);
        assert!(bench.schedule.containers.is_empty() && bench.schedule.times.is_empty());
    }

    #[test]
    fn four_thousand_dead_ports_delay_no_other_container_and_stay_within_the_budget() {
        let mut bench = Bench::new();
        let many: Vec<u16> = (1..=1000).collect();
        (1..=4).for_each(|n| bench.set(n, &many, false));
        bench.pass(Duration::from_secs(1), |_| false);
        bench.set(5, &[80], false);
        let said = bench.pass(Duration::from_millis(200), |look| look.container == container(5));
        let opened =
            said.iter().find(|(_, look, state)| look.container == container(5) && *state == PortState::Open);
        assert!(opened.is_some_and(|(after, ..)| *after < Duration::from_millis(20)), "{opened:?}");
        let most = (1.2 * f64::from(MAX_RATE)) as usize + MAX_BURST as usize + 1;
        assert!(bench.looks <= most, "{} of {most}", bench.looks);
    }

    #[test]
    fn a_port_that_stays_dead_is_looked_at_ever_more_seldom() {
        let mut bench = Bench::new();
        bench.set(1, &[80], false);
        bench.pass(Duration::from_secs(400), |_| false);
        let before = bench.looks;
        bench.pass(Duration::from_secs(60), |_| false);
        assert_eq!(bench.looks - before, 30);
    }
}
