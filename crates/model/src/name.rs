//! Names: what the DNS server knows about containers.

use std::net::IpAddr;
use std::ops::Bound;
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};

use crate::{ContainerRef, DomainName, Transport};

/// A port that a container is known to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NamedPort {
    /// The port inside the container.
    pub port: u16,
    /// The transport protocol.
    pub transport: Transport,
    /// Whether a label says that it speaks HTTP.
    pub http: bool,
    /// The port at which it is reached at the container's addresses: another one where its host publishes it.
    pub reached_at: u16,
}

/// A container with its own name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedContainer {
    /// The container.
    pub id: ContainerRef,
    /// Its full name: `web.host1.longshore.internal`.
    pub name: DomainName,
    /// Its addresses, sorted; empty for a container without a network.
    pub addresses: Vec<IpAddr>,
    /// Its ports, sorted.
    pub ports: Vec<NamedPort>,
}

/// A container of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// The container.
    pub container: Arc<NamedContainer>,
    /// Whether queries for the service return it: it is running and not unhealthy.
    pub ready: bool,
}

/// What a name refers to.
#[derive(Clone, Debug, PartialEq)]
pub enum NameEntry {
    /// One container.
    Container(Arc<NamedContainer>),
    /// All containers of a service, by id.
    Service(RedBlackTreeMapSync<ContainerRef, Replica>),
}

impl NameEntry {
    /// Returns the containers that the name currently resolves to.
    pub fn containers(&self) -> impl Iterator<Item = &Arc<NamedContainer>> {
        let (own, replicas) = match self {
            Self::Container(container) => (Some(container), None),
            Self::Service(replicas) => (None, Some(replicas)),
        };
        let ready = replicas.into_iter().flat_map(|replicas| replicas.values()).filter(|r| r.ready);
        own.into_iter().chain(ready.map(|replica| &replica.container))
    }
}

/// A name below the domain, with its parts reversed so that its subnames sort after it: the key of
/// `web.host1` is `host1.web`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameKey(String);

impl NameKey {
    /// Creates a key from the parts of a name, the outermost last, in lower case.
    pub fn new<'a>(labels: impl DoubleEndedIterator<Item = &'a str>) -> Self {
        let mut key = String::new();
        for label in labels.rev() {
            if !key.is_empty() {
                key.push('.');
            }
            key.push_str(label);
        }
        Self(key)
    }

    /// Returns whether `other` is this name or a name below it.
    pub fn covers(&self, other: &Self) -> bool {
        let rest = other.0.strip_prefix(&self.0);
        self.0.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    /// Returns the name relative to the domain: empty for the domain itself.
    pub fn relative(&self) -> String {
        self.0.rsplit('.').collect::<Vec<_>>().join(".")
    }
}

/// All names below the domain. A clone is cheap and never changes under its holder.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NameTable(RedBlackTreeMapSync<NameKey, NameEntry>);

impl NameTable {
    /// Returns the entry of a name.
    pub fn get(&self, key: &NameKey) -> Option<&NameEntry> {
        self.0.get(key)
    }

    /// Returns whether there is a name below this one.
    pub fn has_below(&self, key: &NameKey) -> bool {
        let after = Bound::Excluded(NameKey(format!("{}.", key.0)));
        let next = self.0.range((after, Bound::Unbounded)).next();
        next.is_some_and(|(next, _)| key.covers(next))
    }

    /// Returns all names, with those below one name together.
    pub fn iter(&self) -> impl Iterator<Item = (&NameKey, &NameEntry)> {
        self.0.iter()
    }

    /// Makes a name refer to a container.
    pub fn insert(&mut self, key: NameKey, container: Arc<NamedContainer>) {
        self.0.insert_mut(key, NameEntry::Container(container));
    }

    /// Removes a container's name.
    pub fn remove(&mut self, key: &NameKey) {
        self.0.remove_mut(key);
    }

    /// Adds a container to a service, or replaces its entry.
    pub fn join(&mut self, service: NameKey, replica: Replica) {
        let mut replicas = match self.0.get(&service) {
            Some(NameEntry::Service(replicas)) => replicas.clone(),
            Some(NameEntry::Container(_)) | None => RedBlackTreeMapSync::default(),
        };
        replicas.insert_mut(replica.container.id.clone(), replica);
        self.0.insert_mut(service, NameEntry::Service(replicas));
    }

    /// Removes a container from a service; a service without containers is removed.
    pub fn leave(&mut self, service: &NameKey, container: &ContainerRef) {
        let Some(NameEntry::Service(replicas)) = self.0.get(service) else { return };
        let replicas = replicas.remove(container);
        if replicas.is_empty() {
            self.0.remove_mut(service);
        } else {
            self.0.insert_mut(service.clone(), NameEntry::Service(replicas));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ContainerId, HostId};

    fn key(name: &str) -> NameKey {
        NameKey::new(name.split('.').filter(|label| !label.is_empty()))
    }

    #[test]
    fn a_name_covers_those_below_it_in_whole_parts() {
        assert!(key("host1").covers(&key("web.host1")) && key("").covers(&key("a")));
        assert!(!key("host1").covers(&key("web.host12")) && !key("web.host1").covers(&key("host1")));
        assert_eq!(key("web.host1").relative(), "web.host1");
    }

    #[test]
    fn names_below_one_are_found_whatever_sorts_between() {
        let mut table = NameTable::default();
        let named = |name: &str| {
            let id = ContainerRef::new(HostId::from_u128(1), ContainerId::new(name));
            let name = name.parse().unwrap();
            Arc::new(NamedContainer { id, name, addresses: Vec::new(), ports: Vec::new() })
        };
        for name in ["web.host1", "web.host1-a", "x.host1_b"] {
            table.insert(key(name), named(name));
        }
        for name in ["host1", "host1-a", "host1_b", ""] {
            assert!(table.has_below(&key(name)), "{name:?}");
        }
        for name in ["web.host1", "host", "host2", "web"] {
            assert!(!table.has_below(&key(name)), "{name:?}");
        }
    }
}
