//! The route table, kept as containers come and go.
//!
//! `update` processes one container, replaces its claims, and recomputes only the routes that it claimed
//! before or claims now. The resulting table equals that of a fresh [`RoutePlan`] of the same World, whatever
//! the order of changes: a property test checks this.
//!
//! If two claims conflict (HTTP against TCP on one port, a stripped prefix against a kept one), the older
//! container's wins: a newcomer takes nothing away.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use longshore_model::{
    Change, Container, ContainerRef, Health, HostId, PortState, Problem, Protocol, Route, RouteKey,
    RouteTable, RunState, Subject, Transport, Upstream, Waiting, WaitingReason, Way, World,
};

use crate::claim::{Claim, claims};
use crate::reach::{self, BalancerLocation, Ways};

/// What the route plan depends on in addition to World.
#[derive(Clone, Debug)]
pub struct RouteSettings {
    /// Where the balancer runs.
    pub location: BalancerLocation,
    /// Ports that no frontend may use, with their users.
    pub reserved: BTreeMap<(Transport, u16), String>,
    /// Whether containers must be ready before they take traffic.
    pub readiness: Readiness,
}

/// How a container that has just been started is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It takes traffic once its port accepts connections, or its health check passes.
    Awaited,
    /// It takes traffic at once, unless its health check has failed: the balancer does its own checks.
    Assumed,
}

/// The result of an update.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decided {
    /// The routes that changed.
    pub routes: BTreeSet<RouteKey>,
    /// The containers that were processed; [`RoutePlan::checks`] of others are unchanged.
    pub containers: BTreeSet<ContainerRef>,
}

/// A claim with its rank.
#[derive(Clone, Debug)]
struct RankedClaim {
    claim: Claim,
    way: Option<Way>,
    waiting: Option<WaitingReason>,
    /// Why it takes no traffic as long as others do.
    doubt: Option<WaitingReason>,
}

/// What is known about a container with claims.
#[derive(Clone, Debug)]
struct Holding {
    name: String,
    created: i64,
    held: Vec<RankedClaim>,
    /// Addresses to check before they take traffic.
    checks: BTreeSet<SocketAddr>,
    /// The container whose network it uses.
    network_owner: Option<ContainerRef>,
}

/// A claim's rank among those for its port: by age, then id, then container port.
type Rank = (i64, ContainerRef, u16);
type PortClaims = BTreeMap<RouteKey, BTreeSet<Rank>>;

/// Routes derived from the containers seen so far.
#[derive(Clone, Debug)]
pub struct RoutePlan {
    settings: RouteSettings,
    table: RouteTable,
    holdings: BTreeMap<ContainerRef, Holding>,
    by_port: BTreeMap<(Transport, u16), PortClaims>,
    /// Containers that use another's network, keyed by its owner.
    network_sharers: BTreeMap<ContainerRef, BTreeSet<ContainerRef>>,
    /// Labels that cannot be met, by container.
    label_problems: BTreeMap<ContainerRef, Vec<Problem>>,
    /// Claims that lost against an older one, by route, with the hosts of their containers.
    conflicts: BTreeMap<RouteKey, Vec<(HostId, Problem)>>,
    /// This agent's own host, once World was seen.
    me: Option<HostId>,
}

impl RoutePlan {
    /// Creates an empty plan.
    pub fn new(settings: RouteSettings) -> Self {
        Self {
            settings,
            table: RouteTable::default(),
            holdings: BTreeMap::new(),
            by_port: BTreeMap::new(),
            network_sharers: BTreeMap::new(),
            label_problems: BTreeMap::new(),
            conflicts: BTreeMap::new(),
            me: None,
        }
    }

    /// Creates a plan of a whole World.
    pub fn of(world: &World, settings: RouteSettings) -> Self {
        let mut plan = Self::new(settings);
        plan.update(world, &Change::All);
        plan
    }

    /// Returns the routes.
    pub fn table(&self) -> &RouteTable {
        &self.table
    }

    /// Returns a problem for every claim of this host's containers that is invalid or in conflict, in order of the
    /// containers, then of the routes. Every other host reports its own.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        let is_own = |host: HostId| self.me.is_none_or(|me| me == host);
        let labels = self.label_problems.iter().filter(move |(id, _)| is_own(id.host));
        let conflicts = self.conflicts.values().flatten().filter(move |(host, _)| is_own(*host));
        labels.flat_map(|(_, problems)| problems).chain(conflicts.map(|(_, problem)| problem))
    }

    /// Returns the addresses of a container that must accept connections before they take traffic.
    pub fn checks(&self, container: &ContainerRef) -> impl Iterator<Item = SocketAddr> {
        self.holdings.get(container).into_iter().flat_map(|holding| holding.checks.iter().copied())
    }

    /// Returns whether every port that affects a route has been checked.
    pub fn is_settled(&self, world: &World) -> bool {
        let looked_at = |id: &ContainerRef, address| world.ports.contains_key(&(id.clone(), address));
        self.holdings.iter().all(|(id, holding)| holding.checks.iter().all(|check| looked_at(id, *check)))
    }

    /// Updates what changed, and the containers that share the network of one that did.
    pub fn update(&mut self, world: &World, change: &Change) -> Decided {
        self.me = Some(world.me());
        let own_host = match (&self.settings.location, change) {
            // What the balancer's own container can reach affects all others on its host.
            (BalancerLocation::Container(own), Change::Container(changed)) if own == changed => {
                Some(Change::Host(own.host))
            }
            _ => None,
        };
        let change = own_host.as_ref().unwrap_or(change);
        self.look_at(world, reach::concerned(world, change, self.holdings.keys()))
    }

    fn look_at(&mut self, world: &World, mut queue: Vec<ContainerRef>) -> Decided {
        let mut touched = BTreeSet::new();
        let mut containers = BTreeSet::new();
        while let Some(id) = queue.pop() {
            if containers.insert(id.clone()) {
                self.release(&id, &mut touched);
                self.hold(world, &id, &mut touched);
                queue.extend(self.network_sharers.get(&id).into_iter().flatten().cloned());
            }
        }
        Decided { routes: self.decide(touched), containers }
    }

    fn release(&mut self, id: &ContainerRef, touched: &mut BTreeSet<RouteKey>) {
        self.label_problems.remove(id);
        let Some(holding) = self.holdings.remove(id) else { return };
        if let Some(network_owner) = &holding.network_owner
            && let Some(others) = self.network_sharers.get_mut(network_owner)
        {
            others.remove(id);
            if others.is_empty() {
                self.network_sharers.remove(network_owner);
            }
        }
        for held in holding.held {
            let key = held.claim.key;
            let space = (key.frontend.protocol.transport(), key.frontend.port);
            if let Some(claims) = self.by_port.get_mut(&space) {
                if let Some(ranks) = claims.get_mut(&key) {
                    ranks.remove(&(holding.created, id.clone(), held.claim.port));
                    if ranks.is_empty() {
                        claims.remove(&key);
                    }
                }
                if claims.is_empty() {
                    self.by_port.remove(&space);
                }
            }
            touched.insert(key);
        }
    }

    fn hold(&mut self, world: &World, id: &ContainerRef, touched: &mut BTreeSet<RouteKey>) {
        let Some(container) = world.container(id) else { return };
        let (claims, mut problems) = claims(container);
        let mut holding = Holding {
            name: container.name.clone(),
            created: container.created,
            held: Vec::new(),
            checks: BTreeSet::new(),
            network_owner: reach::network_owner(id.host, container),
        };
        if claims.is_empty() && problems.is_empty() {
            return;
        }
        if let Some(network_owner) = &holding.network_owner {
            self.network_sharers.entry(network_owner.clone()).or_default().insert(id.clone());
        }
        if container.state.is_alive() {
            for claim in claims {
                let frontend = claim.key.frontend;
                let transport = frontend.protocol.transport();
                match self.settings.reserved.get(&(transport, frontend.port)) {
                    Some(owner) => {
                        let message =
                            format!("{transport} port {} is taken by {owner}: no route", frontend.port);
                        problems.push(problem_of(
                            container,
                            &claim,
                            message,
                            "choose another with longshore.<protocol>.<port>.listen",
                        ));
                    }
                    None => self.take(world, id, container, claim, &mut holding, touched),
                }
            }
        }
        let unmet = holding.held.iter().filter(|held| held.way.is_none());
        let unmet: BTreeSet<u16> = unmet.map(|held| held.claim.port).collect();
        problems.extend(reach::problems(world, &self.settings.location, id, &unmet));
        if !problems.is_empty() {
            self.label_problems.insert(id.clone(), problems);
        }
        self.holdings.insert(id.clone(), holding);
    }

    fn take(
        &mut self,
        world: &World,
        id: &ContainerRef,
        container: &Container,
        claim: Claim,
        holding: &mut Holding,
        touched: &mut BTreeSet<RouteKey>,
    ) {
        let transport = claim.key.frontend.protocol.transport();
        let Ways { direct: addresses, agent } =
            reach::ways(world, &self.settings.location, id, claim.port, transport);
        let address = answering(world, id, &addresses);
        let readiness = self.settings.readiness;
        let awaited = readiness == Readiness::Awaited && transport == Transport::Tcp;
        let is_elsewhere = id.host != world.me();
        // The health check of a container on another host says nothing of the way there.
        let checked = awaited && (container.health == Health::None || is_elsewhere);
        // With a health check, the port check only finds out which of two families it listens on.
        let ambiguous =
            awaited && addresses.len() > 1 && WaitingReason::of_health(container.health).is_none();
        if container.state == RunState::Running && (checked || ambiguous) {
            match address.filter(|address| port_state(world, id, *address) == Some(PortState::Open)) {
                Some(open) => holding.checks.extend([open]),
                None => holding.checks.extend(addresses),
            }
        }
        let is_shut = |address| {
            let state = port_state(world, id, address);
            matches!(state, Some(PortState::NotOpen | PortState::Closed))
        };
        let way = match address.map(Way::Direct) {
            Some(Way::Direct(address)) if checked && is_shut(address) => agent.or(Some(Way::Direct(address))),
            direct => direct.or(agent),
        };
        let own_view = is_elsewhere && awaited && container.health == Health::None;
        let waiting = waiting(world, id, container, way, checked)
            .or_else(|| if own_view { at_its_host(container, claim.port) } else { None })
            .filter(|reason| *reason != WaitingReason::HealthStarting || readiness == Readiness::Awaited);
        let doubt = reach::doubt(world, id.host, way);
        self.by_port
            .entry((transport, claim.key.frontend.port))
            .or_default()
            .entry(claim.key.clone())
            .or_default()
            .insert((container.created, id.clone(), claim.port));
        touched.insert(claim.key.clone());
        holding.held.push(RankedClaim { claim, way, waiting, doubt });
    }

    /// Recomputes the touched routes, and all others of their port if its protocol changes.
    fn decide(&mut self, mut touched: BTreeSet<RouteKey>) -> BTreeSet<RouteKey> {
        let ports: BTreeSet<(Transport, u16)> =
            touched.iter().map(|key| (key.frontend.protocol.transport(), key.frontend.port)).collect();
        for space in ports {
            let Some(claims) = self.by_port.get(&space) else { continue };
            let protocols: BTreeSet<Protocol> = claims.keys().map(|key| key.frontend.protocol).collect();
            if protocols.len() > 1 || self.conflicts.keys().any(|key| space_of(key) == space) {
                touched.extend(claims.keys().cloned());
            }
        }
        touched.into_iter().filter(|key| self.decide_one(key)).collect()
    }

    /// Recomputes the route with this key and returns whether it changed.
    fn decide_one(&mut self, key: &RouteKey) -> bool {
        self.conflicts.remove(key);
        let claims = self.by_port.get(&space_of(key));
        let Some((claims, ranks)) = claims.and_then(|claims| Some((claims, claims.get(key)?))) else {
            return self.table.remove(key);
        };
        let oldest = claims.iter().filter_map(|(key, ranks)| Some((ranks.first()?, key))).min();
        let winner = oldest.map_or(key.frontend.protocol, |(_, key)| key.frontend.protocol);
        let mut conflicts = Vec::new();
        let mut route =
            Route { key: key.clone(), strip_prefix: false, upstreams: Vec::new(), waiting: Vec::new() };
        let mut first = None;
        let mut doubtful = Vec::new();
        for (_, id, port) in ranks {
            let Some(holding) = self.holdings.get(id) else { continue };
            let of_port = |held: &&RankedClaim| held.claim.key == *key && held.claim.port == *port;
            let Some(held) = holding.held.iter().find(of_port) else { continue };
            if winner != key.frontend.protocol {
                let message = format!(
                    "port {} already speaks {winner} for an older container: no route",
                    key.frontend.port
                );
                conflicts.push((
                    id.host,
                    problem_of_held(
                        id,
                        holding,
                        &held.claim.listen_label,
                        message,
                        "choose another port with longshore.<protocol>.<port>.listen",
                    ),
                ));
                continue;
            }
            let decider = *first.get_or_insert(held.claim.strip_prefix);
            if held.claim.strip_prefix != decider {
                let done = if decider { "stripped" } else { "kept" };
                let message = format!(
                    "route {key}: the prefix is {done} for an older container: this container is left out"
                );
                conflicts.push((
                    id.host,
                    problem_of_held(
                        id,
                        holding,
                        &held.claim.label,
                        message,
                        "set the same strip-prefix on all containers of a route",
                    ),
                ));
                continue;
            }
            route.strip_prefix = decider;
            match held.doubt.clone().filter(|_| held.waiting.is_none() && held.way.is_some()) {
                Some(doubt) => doubtful.push((id, holding, held, doubt)),
                None => place(&mut route, id, holding, held, None),
            }
        }
        // A host that does not answer may still carry what nobody else does.
        let has_others = !route.upstreams.is_empty();
        for (id, holding, held, doubt) in doubtful {
            place(&mut route, id, holding, held, has_others.then_some(doubt));
        }
        if !conflicts.is_empty() {
            self.conflicts.insert(key.clone(), conflicts);
        }
        if first.is_none() {
            return self.table.remove(key);
        }
        route.upstreams.sort();
        route.waiting.sort();
        if self.table.get(key).is_some_and(|old| **old == route) {
            return false;
        }
        self.table.insert(Arc::new(route));
        true
    }
}

/// Adds a container to a route: to those that take traffic, unless it waits for a reason of its own, or for `doubt`.
fn place(
    route: &mut Route,
    id: &ContainerRef,
    holding: &Holding,
    held: &RankedClaim,
    doubt: Option<WaitingReason>,
) {
    let (container, name, port) = (id.clone(), holding.name.clone(), held.claim.port);
    match (held.waiting.clone().or(doubt), held.way) {
        (None, Some(way)) => {
            route.upstreams.push(Upstream { container, name, port, way, weight: held.claim.weight });
        }
        (reason, way) => {
            let reason = reason.unwrap_or(WaitingReason::NoAddress);
            route.waiting.push(Waiting { container, name, port, way, reason });
        }
    }
}

/// Returns why a container of another host waits, as that host sees its port.
fn at_its_host(container: &Container, port: u16) -> Option<WaitingReason> {
    match container.ports.get(&port) {
        Some(PortState::Open) => None,
        Some(PortState::Closed) => Some(WaitingReason::PortClosed),
        Some(PortState::NotOpen) | None => Some(WaitingReason::PortNotOpen),
    }
}

fn waiting(
    world: &World,
    id: &ContainerRef,
    container: &Container,
    way: Option<Way>,
    checked: bool,
) -> Option<WaitingReason> {
    if container.state == RunState::Paused {
        return Some(WaitingReason::Paused);
    }
    if container.stopping {
        return Some(WaitingReason::Stopping);
    }
    if let Some(reason) = WaitingReason::of_health(container.health) {
        return Some(reason);
    }
    match way {
        None => Some(WaitingReason::NoAddress),
        // What leads through the agent is checked by the agent.
        Some(Way::Agent(_)) => None,
        Some(Way::Direct(_)) if !checked => None,
        Some(Way::Direct(address)) => match port_state(world, id, address) {
            Some(PortState::Open) => None,
            Some(PortState::Closed) => Some(WaitingReason::PortClosed),
            Some(PortState::NotOpen) | None => Some(WaitingReason::PortNotOpen),
        },
    }
}

fn port_state(world: &World, id: &ContainerRef, address: SocketAddr) -> Option<PortState> {
    world.ports.get(&(id.clone(), address)).copied()
}

/// Returns the first address at which the port is open; else the first at which it was, or the first of all.
fn answering(world: &World, id: &ContainerRef, addresses: &[SocketAddr]) -> Option<SocketAddr> {
    let rank = |address: &SocketAddr| match port_state(world, id, *address) {
        Some(PortState::Open) => 0,
        Some(PortState::Closed) => 1,
        Some(PortState::NotOpen) | None => 2,
    };
    addresses.iter().copied().min_by_key(rank)
}

fn space_of(key: &RouteKey) -> (Transport, u16) {
    (key.frontend.protocol.transport(), key.frontend.port)
}

/// Returns the problem of a port that a container does not get.
fn problem_of(container: &Container, claim: &Claim, message: String, hint: &str) -> Problem {
    let subject = container.into();
    Problem { subject, key: Some(claim.listen_label.clone()), message, hint: Some(hint.to_owned()) }
}

fn problem_of_held(
    id: &ContainerRef,
    holding: &Holding,
    label: &str,
    message: String,
    hint: &str,
) -> Problem {
    let subject = Subject::Container { id: id.id.clone(), name: holding.name.clone() };
    Problem { subject, key: Some(label.to_owned()), message, hint: Some(hint.to_owned()) }
}
