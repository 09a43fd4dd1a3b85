//! What is published about a container: its own key, and the records that CoreDNS reads from etcd.
//!
//! The records use SkyDNS's layout. A name is a path, outermost part first: `web.host1.longshore.internal` is
//! `/skydns/internal/longshore/host1/web`. CoreDNS answers a name with every record below that path, so each
//! address and port of a container has its own key there. A and AAAA records give the addresses, SRV records
//! the ports, and the target of an SRV record is the key's own name, which resolves to that one address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use longshore_model::{Container, ContainerId, DomainName, Host, Problem, Transport};
use serde_json::json;

use crate::claim::claims;
use crate::names::{MAX_PORTS, SERVICE, is_ready};
use crate::reach::holder;

/// Where the DNS records go, and what they contain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordSettings {
    /// The prefix of every key: `/skydns`.
    pub prefix: String,
    /// The domain that all names are below.
    pub domain: DomainName,
    /// The host's name within the domain.
    pub node: DomainName,
    /// How long an answer may be cached, in seconds.
    pub ttl: u64,
    /// The host's own addresses, shared by containers on its network.
    pub host: Vec<IpAddr>,
}

/// Returns the key of a container with a prefix.
pub fn container_key(prefix: &str, id: &ContainerId) -> String {
    format!("{}/{}", prefix.trim_end_matches('/'), id.as_str())
}

/// Returns a container's records by key: none once it exits or was sent its stop signal. Its service's
/// records exist while it is running and not unhealthy. A name that is invalid in DNS is a problem and costs
/// only the records of that name.
pub fn records(
    host: &Host,
    container: &Container,
    settings: &RecordSettings,
) -> (BTreeMap<String, String>, Vec<Problem>) {
    let mut naming = Naming { container, settings, problems: Vec::new() };
    if !container.state.is_alive() || container.stopping {
        return (BTreeMap::new(), Vec::new());
    }
    let own = naming.own_path();
    let service = naming.service_path();
    let service = service.filter(|_| is_ready(container));
    let mut records = BTreeMap::new();
    for address in addresses(host, container, &settings.host) {
        for (port, leaf) in leaves(container, address) {
            let mut value = json!({ "host": address.to_string(), "ttl": settings.ttl });
            if let (Some(port), Some(fields)) = (port, value.as_object_mut()) {
                fields.insert("port".to_owned(), port.into());
            }
            for path in own.iter().chain(&service) {
                records.insert(format!("{path}/{leaf}"), value.to_string());
            }
        }
    }
    (records, naming.problems)
}

struct Naming<'a> {
    container: &'a Container,
    settings: &'a RecordSettings,
    problems: Vec<Problem>,
}

impl Naming<'_> {
    /// Returns `<prefix>/<domain>/<node>/<container>`.
    fn own_path(&mut self) -> Option<String> {
        let name = &self.container.name;
        match name.to_lowercase().parse::<DomainName>() {
            Ok(relative) if !is_wildcard(&relative) => {
                Some(self.path([&self.settings.domain, &self.settings.node, &relative]))
            }
            Ok(_) => {
                let why = "CoreDNS treats \"any\" as a wildcard";
                self.problem(None, format!("no DNS records for its name: {why}"));
                None
            }
            Err(why) => {
                self.problem(None, format!("no DNS records for its name, which is not valid in DNS: {why}"));
                None
            }
        }
    }

    /// Returns `<prefix>/<domain>/<service>/<container's id>`: container names are unique on one host only.
    fn service_path(&mut self) -> Option<String> {
        let text = self.container.labels.get(SERVICE)?;
        let wrong = match text.to_lowercase().parse::<DomainName>() {
            Err(why) => why.to_string(),
            Ok(name) if name.as_str().contains('.') => "it has a dot".to_owned(),
            Ok(name) if is_wildcard(&name) => "CoreDNS treats \"any\" as a wildcard".to_owned(),
            Ok(name) if name == self.settings.node => "it is the name of this host".to_owned(),
            Ok(name) => {
                let path = self.path([&self.settings.domain, &name]);
                return Some(format!("{path}/{}", self.container.id.short()));
            }
        };
        self.problem(Some(SERVICE), format!("the container is in no service's DNS records: {wrong}"));
        None
    }

    /// Returns the path of a name, the outermost part first.
    fn path<'n>(&self, names: impl IntoIterator<Item = &'n DomainName>) -> String {
        let mut path = self.settings.prefix.trim_end_matches('/').to_owned();
        for name in names {
            for label in name.as_str().rsplit('.') {
                path.push('/');
                path.push_str(label);
            }
        }
        path
    }

    fn problem(&mut self, key: Option<&str>, message: String) {
        let (subject, key) = (self.container.into(), key.map(str::to_owned));
        self.problems.push(Problem { subject, key, message, hint: None });
    }
}

/// Returns whether CoreDNS would treat the name as a wildcard.
fn is_wildcard(name: &DomainName) -> bool {
    name.as_str().split('.').any(|label| label == "any")
}

/// Returns the container's addresses in all its networks, or in those of the container whose network it
/// shares.
fn addresses(host: &Host, container: &Container, own: &[IpAddr]) -> BTreeSet<IpAddr> {
    let Some(holder) = holder(host, container) else { return BTreeSet::new() };
    if holder.network_mode == "host" {
        return own.iter().copied().collect();
    }
    holder.networks.values().flat_map(|endpoint| endpoint.ipv4.into_iter().chain(endpoint.ipv6)).collect()
}

/// Returns the last parts of an address's keys, one for each known port of the container: exposed by the
/// image, published, or named in its labels. Without any, returns one for the address alone.
fn leaves(container: &Container, address: IpAddr) -> Vec<(Option<u16>, String)> {
    // Dots and colons would be read as separators of the name.
    let label = match address {
        IpAddr::V4(ip) => ip.to_string().replace('.', "-"),
        IpAddr::V6(ip) => ip.segments().map(|part| format!("{part:x}")).join("-"),
    };
    let ports = ports(container);
    if ports.is_empty() {
        return vec![(None, label)];
    }
    let leaf = |(transport, port)| (Some(port), format!("{transport}-{port}-{label}"));
    ports.into_iter().take(MAX_PORTS).map(leaf).collect()
}

fn ports(container: &Container) -> BTreeSet<(Transport, u16)> {
    let (claims, _) = claims(container);
    let claimed = claims.iter().map(|claim| (claim.key.frontend.protocol.transport(), claim.port));
    let exposed = container.exposed.iter().map(|&(port, transport)| (transport, port));
    let published = container.published.iter().map(|port| (port.transport, port.container_port));
    claimed.chain(exposed).chain(published).collect()
}
