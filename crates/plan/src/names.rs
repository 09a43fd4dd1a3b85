//! The names of containers and services, kept as containers come and go.
//!
//! Like the routes: `update` processes one container, and the resulting table equals that of a fresh
//! [`NamePlan`] of the same World, whatever the order of changes. A property test checks this.
//!
//! Docker's names are case-sensitive and DNS names are not: if two containers' names differ only in case, the
//! older one wins.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use longshore_model::{
    Change, Container, ContainerRef, DomainName, Health, Host, HostId, NameKey, NameTable, NamedContainer,
    NamedPort, Problem, Protocol, Replica, RunState, Subject, World,
};

use crate::claim::{claims, quoted};
use crate::reach;

/// The label that names a container's service.
pub(crate) const SERVICE: &str = "longshore.service";

/// The most ports of one container that its name lists, which bounds its share of an answer.
pub(crate) const MAX_PORTS: usize = 256;

/// What the names depend on in addition to World.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameSettings {
    /// The domain that all names are below.
    pub domain: DomainName,
    /// The host's name within the domain; without one, containers have no names.
    pub node: Option<DomainName>,
    /// The host's own addresses, shared by containers on its network.
    pub host: Vec<IpAddr>,
    /// Whose questions are answered.
    pub asker: Asker,
}

/// Where those who ask are, which decides at which addresses they reach a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asker {
    /// On this host, or nobody knows where: they reach this host's containers at their own addresses, and those of
    /// other hosts at the ports that they publish.
    #[default]
    Here,
    /// On another host of the cluster: they reach all containers at published ports.
    Elsewhere,
}

/// The names and data of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
struct NameClaim {
    key: NameKey,
    container: Arc<NamedContainer>,
    created: i64,
    /// The service that it belongs to, and whether queries for the service return it.
    service: Option<(NameKey, bool)>,
}

/// What is known about a container.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ContainerEntry {
    claim: Option<NameClaim>,
    problems: Vec<Problem>,
    /// The container whose network it uses.
    network_owner: Option<ContainerRef>,
}

/// Names derived from the containers seen so far.
#[derive(Clone, Debug)]
pub struct NamePlan {
    settings: NameSettings,
    table: NameTable,
    containers: BTreeMap<ContainerRef, ContainerEntry>,
    /// The containers that claim a name, the oldest first.
    claimants: BTreeMap<NameKey, BTreeSet<(i64, ContainerRef)>>,
    /// Containers that use another's network, keyed by its owner.
    network_sharers: BTreeMap<ContainerRef, BTreeSet<ContainerRef>>,
    /// Containers whose name belongs to an older one.
    losers: BTreeMap<ContainerRef, Problem>,
    /// This agent's own host, once World was seen.
    me: Option<HostId>,
}

impl NamePlan {
    /// Creates an empty plan.
    pub fn new(settings: NameSettings) -> Self {
        Self {
            settings,
            table: NameTable::default(),
            containers: BTreeMap::new(),
            claimants: BTreeMap::new(),
            network_sharers: BTreeMap::new(),
            losers: BTreeMap::new(),
            me: None,
        }
    }

    /// Creates a plan of a whole World.
    pub fn of(world: &World, settings: NameSettings) -> Self {
        let mut plan = Self::new(settings);
        plan.update(world, &Change::All);
        plan
    }

    /// Returns the settings it was created with.
    pub fn settings(&self) -> &NameSettings {
        &self.settings
    }

    /// Returns the names.
    pub fn table(&self) -> &NameTable {
        &self.table
    }

    /// Returns the problem of every container of this host that did not get the names it claims, in order of the
    /// containers. Every other host reports its own.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        let is_own = |id: &ContainerRef| self.me.is_none_or(|me| me == id.host);
        let entries = self.containers.iter().filter(move |(id, _)| is_own(id));
        let losers = self.losers.iter().filter(move |(id, _)| is_own(id));
        entries.flat_map(|(_, entry)| &entry.problems).chain(losers.map(|(_, problem)| problem))
    }

    /// Updates what changed, and the containers that share the network of one that did. Returns whether a
    /// name changed.
    pub fn update(&mut self, world: &World, change: &Change) -> bool {
        self.me = Some(world.me());
        self.look_at(world, reach::concerned(world, change, self.containers.keys()))
    }

    fn look_at(&mut self, world: &World, mut queue: Vec<ContainerRef>) -> bool {
        let mut looked_at = BTreeSet::new();
        let mut touched = BTreeSet::new();
        while let Some(id) = queue.pop() {
            if !looked_at.insert(id.clone()) {
                continue;
            }
            queue.extend(self.network_sharers.get(&id).into_iter().flatten().cloned());
            let entry = see(&self.settings, world, &id);
            if self.containers.get(&id) != entry.as_ref() {
                self.forget(&id, &mut touched);
                if let Some(entry) = entry {
                    self.keep(id, entry, &mut touched);
                }
            }
        }
        for key in &touched {
            self.decide(key);
        }
        !touched.is_empty()
    }

    fn forget(&mut self, id: &ContainerRef, touched: &mut BTreeSet<NameKey>) {
        let Some(ContainerEntry { claim, network_owner, .. }) = self.containers.remove(id) else { return };
        if let Some(network_owner) = network_owner
            && let Some(others) = self.network_sharers.get_mut(&network_owner)
        {
            others.remove(id);
            if others.is_empty() {
                self.network_sharers.remove(&network_owner);
            }
        }
        let Some(claim) = claim else { return };
        self.losers.remove(id);
        if let Some((service, _)) = &claim.service {
            self.table.leave(service, id);
        }
        if let Some(claimants) = self.claimants.get_mut(&claim.key) {
            claimants.remove(&(claim.created, id.clone()));
            if claimants.is_empty() {
                self.claimants.remove(&claim.key);
            }
        }
        touched.insert(claim.key);
    }

    fn keep(&mut self, id: ContainerRef, entry: ContainerEntry, touched: &mut BTreeSet<NameKey>) {
        if let Some(network_owner) = &entry.network_owner {
            self.network_sharers.entry(network_owner.clone()).or_default().insert(id.clone());
        }
        if let Some(claim) = &entry.claim {
            self.claimants.entry(claim.key.clone()).or_default().insert((claim.created, id.clone()));
            touched.insert(claim.key.clone());
        }
        self.containers.insert(id, entry);
    }

    /// Gives a name to the oldest of its claimants.
    fn decide(&mut self, key: &NameKey) {
        let Some(claimants) = self.claimants.get(key) else {
            self.table.remove(key);
            return;
        };
        for (place, (_, id)) in claimants.iter().enumerate() {
            let Some(claim) = self.containers.get(id).and_then(|entry| entry.claim.as_ref()) else {
                continue;
            };
            if place == 0 {
                self.losers.remove(id);
                self.table.insert(key.clone(), claim.container.clone());
            } else {
                let message =
                    format!("an older container already has the name {}", claim.container.name.as_str());
                let name = self.name_of(claim);
                self.losers.insert(id.clone(), nameless(id, &name, None, &message));
            }
            let Some((service, ready)) = &claim.service else { continue };
            if place == 0 {
                self.table
                    .join(service.clone(), Replica { container: claim.container.clone(), ready: *ready });
            } else {
                self.table.leave(service, id);
            }
        }
    }

    /// Returns a container's name in DNS form.
    fn name_of(&self, claim: &NameClaim) -> String {
        let whole = claim.container.name.as_str();
        let node = self.settings.node.as_ref().map_or("", DomainName::as_str);
        let end = format!(".{node}.{}", self.settings.domain.as_str());
        // The names of other hosts' containers are for nobody to read here.
        whole.strip_suffix(&end).unwrap_or(whole).to_owned()
    }
}

/// Returns what one container claims; only containers that are running and not stopping have names.
fn see(settings: &NameSettings, world: &World, id: &ContainerRef) -> Option<ContainerEntry> {
    let host = world.host(id.host)?;
    let container = host.containers.get(&id.id)?;
    let network_owner = reach::network_owner(id.host, container);
    let is_own = id.host == world.me();
    let lives = container.state.is_alive() && !container.stopping;
    let node = if is_own { settings.node.clone() } else { host.info.name.parse().ok() };
    let mut problems = Vec::new();
    let reached = lives.then(|| match (is_own, settings.asker) {
        (true, Asker::Here) => Some((addresses(settings, host, container), ports(container, &mut problems))),
        _ => published(world, id.host, container),
    });
    let (Some(node), Some((addresses, ports))) = (node, reached.flatten()) else {
        // Others may use its network, which belongs to another container.
        return network_owner.map(|network_owner| ContainerEntry {
            claim: None,
            problems: Vec::new(),
            network_owner: Some(network_owner),
        });
    };
    let domain = settings.domain.as_str();
    let whole = format!("{}.{}.{domain}", container.name, node.as_str());
    let claim = match whole.parse::<DomainName>() {
        Ok(name) => {
            let lower = container.name.to_ascii_lowercase();
            let key = NameKey::new(lower.split('.').chain(node.as_str().split('.')));
            let service = service(settings, container, &mut problems);
            let named = NamedContainer { id: id.clone(), name, addresses, ports };
            Some(NameClaim { key, container: Arc::new(named), created: container.created, service })
        }
        Err(error) => {
            let hint = "give it a name of letters, digits and hyphens: docker rename";
            let message = format!("its name is not valid in DNS: {error}");
            problems.push(nameless(id, &container.name, Some(hint), &message));
            None
        }
    };
    Some(ContainerEntry { claim, problems, network_owner })
}

/// Returns whether queries for its service return the container.
pub(crate) fn is_ready(container: &Container) -> bool {
    container.state == RunState::Running && matches!(container.health, Health::None | Health::Healthy)
}

fn service(
    settings: &NameSettings,
    container: &Container,
    problems: &mut Vec<Problem>,
) -> Option<(NameKey, bool)> {
    let value = container.labels.get(SERVICE)?;
    let whole = format!("{value}.{}", settings.domain.as_str());
    if value.contains('.') || whole.parse::<DomainName>().is_err() {
        problems.push(Problem {
            subject: container.into(),
            key: Some(SERVICE.to_owned()),
            message: format!("invalid service name {}: the container belongs to no service", quoted(value)),
            hint: Some("expected up to 63 letters, digits and hyphens".to_owned()),
        });
        return None;
    }
    let lower = value.to_ascii_lowercase();
    Some((NameKey::new(std::iter::once(lower.as_str())), is_ready(container)))
}

/// Returns the addresses at which others on this host or its networks reach a container.
fn addresses(settings: &NameSettings, host: &Host, container: &Container) -> Vec<IpAddr> {
    let Some(holder) = reach::holder(host, container) else { return Vec::new() };
    if holder.network_mode == "host" {
        return settings.host.clone();
    }
    let reachable = holder.networks.values().filter(|e| reach::is_of_the_host(host, &e.network_id));
    let addresses: BTreeSet<IpAddr> = reachable.flat_map(|e| [e.ipv4, e.ipv6]).flatten().collect();
    addresses.into_iter().collect()
}

/// Returns the addresses and ports at which others than its own host reach a container; `None` if they do not, or if
/// its host does not answer.
fn published(world: &World, host: HostId, container: &Container) -> Option<(Vec<IpAddr>, Vec<NamedPort>)> {
    let known = world.host(host)?;
    if reach::doubt(world, host, None).is_some() {
        return None;
    }
    let holder = reach::holder(known, container)?;
    let own_ports = ports(container, &mut Vec::new());
    if holder.network_mode == "host" {
        return (!known.info.addresses.is_empty()).then(|| (known.info.addresses.clone(), own_ports));
    }
    let mut addresses = BTreeSet::new();
    let mut found = Vec::new();
    for port in own_ports {
        let of_it = holder.published.iter().filter(|published| {
            (published.container_port, published.transport) == (port.port, port.transport)
        });
        let reached = of_it.filter_map(|published| {
            Some((reach::published_at(&known.info.addresses, published.host_ip)?, published.host_port))
        });
        let reached: Vec<(IpAddr, u16)> = reached.collect();
        addresses.extend(reached.iter().map(|(address, _)| *address));
        found.extend(reached.first().map(|(_, reached_at)| NamedPort { reached_at: *reached_at, ..port }));
    }
    (!found.is_empty()).then(|| (addresses.into_iter().collect(), found))
}

/// Returns its exposed ports and those that its labels route to.
fn ports(container: &Container, problems: &mut Vec<Problem>) -> Vec<NamedPort> {
    let (claims, _) = claims(container);
    let mut ports: BTreeMap<_, bool> = container.exposed.iter().map(|port| (*port, false)).collect();
    for claim in claims {
        let protocol = claim.key.frontend.protocol;
        *ports.entry((claim.port, protocol.transport())).or_default() |= protocol == Protocol::Http;
    }
    if ports.len() > MAX_PORTS {
        problems.push(Problem {
            subject: container.into(),
            key: None,
            message: format!("it has {} ports: only the first {MAX_PORTS} have SRV records", ports.len()),
            hint: None,
        });
    }
    let named = |((port, transport), http)| NamedPort { port, transport, http, reached_at: port };
    ports.into_iter().take(MAX_PORTS).map(named).collect()
}

fn nameless(id: &ContainerRef, name: &str, hint: Option<&str>, why: &str) -> Problem {
    let hint = Some(hint.unwrap_or("give it another name: docker rename").to_owned());
    let message = format!("{why}: it has no DNS name, and its service's name does not resolve to it");
    let subject = Subject::Container { id: id.id.clone(), name: name.to_owned() };
    Problem { subject, key: None, message, hint }
}
