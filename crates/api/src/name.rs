use std::collections::BTreeSet;
use std::net::IpAddr;

use longshore_model as model;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A name that the agent's DNS server answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Name {
    /// The full name: `web1.host1.longshore.internal`.
    pub name: String,
    /// What it names: `container` or `service`.
    pub kind: String,
    /// The addresses that it resolves to.
    pub addresses: Vec<String>,
    /// The ports in its SRV records: `80/tcp`.
    pub ports: Vec<String>,
    /// The containers behind it.
    pub containers: Vec<NamedContainer>,
}

/// A container behind a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NamedContainer {
    /// The container's id.
    pub container: String,
    /// The container's own DNS name.
    pub name: String,
    /// Whether the name resolves to it at the moment.
    pub ready: bool,
}

impl Name {
    /// Creates the API's form of a name in the server's domain.
    pub fn of(key: &model::NameKey, entry: &model::NameEntry, domain: &model::DomainName) -> Self {
        let behind = |container: &model::NamedContainer, ready| NamedContainer {
            container: container.id.id.as_str().to_owned(),
            name: container.name.as_str().to_owned(),
            ready,
        };
        let (kind, containers) = match entry {
            model::NameEntry::Container(container) => ("container", vec![behind(container, true)]),
            model::NameEntry::Service(replicas) => {
                ("service", replicas.values().map(|r| behind(&r.container, r.ready)).collect())
            }
        };
        let addresses: BTreeSet<IpAddr> = entry.containers().flat_map(|c| c.addresses.clone()).collect();
        let ports: BTreeSet<_> =
            entry.containers().flat_map(|c| c.ports.iter().map(|p| (p.port, p.transport))).collect();
        let port = |(port, transport)| match transport {
            model::Transport::Tcp => format!("{port}/tcp"),
            model::Transport::Udp => format!("{port}/udp"),
        };
        Self {
            name: format!("{}.{}", key.relative(), domain.as_str()),
            kind: kind.to_owned(),
            addresses: addresses.iter().map(ToString::to_string).collect(),
            ports: ports.into_iter().map(port).collect(),
            containers,
        }
    }
}
