//! The names of containers and services, kept as containers come and go.
//!
//! Like the routes: `update` looks at one container, and the table so kept is the one that a fresh [`NamePlan`] makes of the
//! same World, whatever the order in which the containers came. That is a property test.
//!
//! Docker tells names by case and DNS does not: of two containers whose names differ in nothing else, the older has it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use longshore_model::{
    Change, Container, ContainerRef, DomainName, Health, Host, NameKey, NameTable, NamedContainer, NamedPort,
    Problem, Protocol, Replica, RunState, Subject, World,
};

use crate::claim::{claims, quoted};
use crate::reach;

/// The label that names a container's service.
pub(crate) const SERVICE: &str = "longshore.service";

/// Most ports of one container that its name has: a bound on what one container makes of an answer.
pub(crate) const MAX_PORTS: usize = 256;

/// What the names depend on besides World.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameSettings {
    /// The domain that all names are below.
    pub domain: DomainName,
    /// The host's name in it; without one, containers have no names.
    pub node: Option<DomainName>,
    /// The host's own addresses, which containers on its network have.
    pub host: Vec<IpAddr>,
}

/// What one container comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    key: NameKey,
    container: Arc<NamedContainer>,
    created: i64,
    /// The service that it is one of, and whether it is told to who asks for it.
    service: Option<(NameKey, bool)>,
}

/// What is known of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    held: Option<Held>,
    problems: Vec<Problem>,
    /// The container whose network it uses.
    lender: Option<ContainerRef>,
}

/// Names as they follow from the containers seen so far.
#[derive(Clone, Debug)]
pub struct NamePlan {
    settings: NameSettings,
    table: NameTable,
    seen: BTreeMap<ContainerRef, Seen>,
    /// Who asks for a name, the oldest first.
    claimants: BTreeMap<NameKey, BTreeSet<(i64, ContainerRef)>>,
    /// Containers that use another's network, by that other.
    borrowers: BTreeMap<ContainerRef, BTreeSet<ContainerRef>>,
    /// Containers whose name an older one has.
    losers: BTreeMap<ContainerRef, Problem>,
}

impl NamePlan {
    /// A plan that has seen no container.
    pub fn new(settings: NameSettings) -> Self {
        Self {
            settings,
            table: NameTable::default(),
            seen: BTreeMap::new(),
            claimants: BTreeMap::new(),
            borrowers: BTreeMap::new(),
            losers: BTreeMap::new(),
        }
    }

    /// The plan for all of World at once.
    pub fn of(world: &World, settings: NameSettings) -> Self {
        let mut plan = Self::new(settings);
        plan.update(world, &Change::All);
        plan
    }

    /// What it was made with.
    pub fn settings(&self) -> &NameSettings {
        &self.settings
    }

    /// The names.
    pub fn table(&self) -> &NameTable {
        &self.table
    }

    /// Every container that has not the names that it asks for, in order of the containers.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.seen.values().flat_map(|seen| &seen.problems).chain(self.losers.values())
    }

    /// Looks again at what changed, and at the containers that use the network of one that did. Returns whether a name
    /// changed.
    pub fn update(&mut self, world: &World, change: &Change) -> bool {
        self.look_at(world, reach::concerned(world, change, self.seen.keys()))
    }

    fn look_at(&mut self, world: &World, mut queue: Vec<ContainerRef>) -> bool {
        let mut looked_at = BTreeSet::new();
        let mut touched = BTreeSet::new();
        while let Some(id) = queue.pop() {
            if !looked_at.insert(id.clone()) {
                continue;
            }
            queue.extend(self.borrowers.get(&id).into_iter().flatten().cloned());
            let seen = see(&self.settings, world, &id);
            if self.seen.get(&id) != seen.as_ref() {
                self.forget(&id, &mut touched);
                if let Some(seen) = seen {
                    self.keep(id, seen, &mut touched);
                }
            }
        }
        for key in &touched {
            self.decide(key);
        }
        !touched.is_empty()
    }

    fn forget(&mut self, id: &ContainerRef, touched: &mut BTreeSet<NameKey>) {
        let Some(Seen { held, lender, .. }) = self.seen.remove(id) else { return };
        if let Some(lender) = lender
            && let Some(others) = self.borrowers.get_mut(&lender)
        {
            others.remove(id);
            if others.is_empty() {
                self.borrowers.remove(&lender);
            }
        }
        let Some(held) = held else { return };
        self.losers.remove(id);
        if let Some((service, _)) = &held.service {
            self.table.leave(service, id);
        }
        if let Some(claimants) = self.claimants.get_mut(&held.key) {
            claimants.remove(&(held.created, id.clone()));
            if claimants.is_empty() {
                self.claimants.remove(&held.key);
            }
        }
        touched.insert(held.key);
    }

    fn keep(&mut self, id: ContainerRef, seen: Seen, touched: &mut BTreeSet<NameKey>) {
        if let Some(lender) = &seen.lender {
            self.borrowers.entry(lender.clone()).or_default().insert(id.clone());
        }
        if let Some(held) = &seen.held {
            self.claimants.entry(held.key.clone()).or_default().insert((held.created, id.clone()));
            touched.insert(held.key.clone());
        }
        self.seen.insert(id, seen);
    }

    /// Gives a name to the oldest of those that ask for it.
    fn decide(&mut self, key: &NameKey) {
        let Some(claimants) = self.claimants.get(key) else {
            self.table.remove(key);
            return;
        };
        for (place, (_, id)) in claimants.iter().enumerate() {
            let Some(held) = self.seen.get(id).and_then(|seen| seen.held.as_ref()) else { continue };
            if place == 0 {
                self.losers.remove(id);
                self.table.insert(key.clone(), held.container.clone());
            } else {
                let message = format!("an older container is {} already", held.container.name.as_str());
                let name = self.name_of(held);
                self.losers.insert(id.clone(), nameless(id, &name, None, &message));
            }
            let Some((service, ready)) = &held.service else { continue };
            if place == 0 {
                self.table
                    .join(service.clone(), Replica { container: held.container.clone(), ready: *ready });
            } else {
                self.table.leave(service, id);
            }
        }
    }

    /// A container's name as DNS has it.
    fn name_of(&self, held: &Held) -> String {
        let whole = held.container.name.as_str();
        let node = self.settings.node.as_ref().map_or("", DomainName::as_str);
        let end = format!(".{node}.{}", self.settings.domain.as_str());
        whole.strip_suffix(&end).unwrap_or(whole).to_owned()
    }
}

/// What a container comes to by itself; only who lives and goes on living has names.
fn see(settings: &NameSettings, world: &World, id: &ContainerRef) -> Option<Seen> {
    let host = world.host(id.host)?;
    let container = host.containers.get(&id.id)?;
    let lender = reach::lender(id.host, container);
    let lives = container.state.is_alive() && !container.stopping;
    let Some(node) = settings.node.as_ref().filter(|_| lives) else {
        // Others may use its network, which is another's.
        return lender.map(|lender| Seen { held: None, problems: Vec::new(), lender: Some(lender) });
    };
    let domain = settings.domain.as_str();
    let mut problems = Vec::new();
    let whole = format!("{}.{}.{domain}", container.name, node.as_str());
    let held = match whole.parse::<DomainName>() {
        Ok(name) => {
            let lower = container.name.to_ascii_lowercase();
            let key = NameKey::new(lower.split('.').chain(node.as_str().split('.')));
            let ports = ports(container, &mut problems);
            let addresses = addresses(settings, host, container);
            let service = service(settings, container, &mut problems);
            let named = NamedContainer { id: id.clone(), name, addresses, ports };
            Some(Held { key, container: Arc::new(named), created: container.created, service })
        }
        Err(error) => {
            let hint = "give it a name of letters, digits and hyphens: docker rename";
            let message = format!("DNS cannot carry its name, as {error}");
            problems.push(nameless(id, &container.name, Some(hint), &message));
            None
        }
    };
    Some(Seen { held, problems, lender })
}

/// Whether who asks for a container's service is told of it.
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
            message: format!("{} is no name of a service: it is one of none", quoted(value)),
            hint: Some("write up to 63 letters, digits and hyphens".to_owned()),
        });
        return None;
    }
    let lower = value.to_ascii_lowercase();
    Some((NameKey::new(std::iter::once(lower.as_str())), is_ready(container)))
}

/// The addresses by which others on this host, or on its networks, reach a container.
fn addresses(settings: &NameSettings, host: &Host, container: &Container) -> Vec<IpAddr> {
    let Some(holder) = reach::holder(host, container) else { return Vec::new() };
    if holder.network_mode == "host" {
        return settings.host.clone();
    }
    let reachable = holder.networks.values().filter(|e| reach::is_of_the_host(host, &e.network_id));
    let addresses: BTreeSet<IpAddr> = reachable.flat_map(|e| [e.ipv4, e.ipv6]).flatten().collect();
    addresses.into_iter().collect()
}

/// What it exposes, and what its labels have the balancer route to.
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
            message: format!("it has {} ports, and only the first {MAX_PORTS} have SRV records", ports.len()),
            hint: None,
        });
    }
    let named = |((port, transport), http)| NamedPort { port, transport, http };
    ports.into_iter().take(MAX_PORTS).map(named).collect()
}

fn nameless(id: &ContainerRef, name: &str, hint: Option<&str>, why: &str) -> Problem {
    let hint = Some(hint.unwrap_or("give it another name: docker rename").to_owned());
    let message = format!("{why}: it has no DNS name, and is not found by its service's either");
    let subject = Subject::Container { id: id.id.clone(), name: name.to_owned() };
    Problem { subject, key: None, message, hint }
}
