//! The cluster that a host belongs to, and how it finds the others.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use longshore_model::DomainName;

/// The port that hosts of a cluster talk to each other on, UDP and TCP.
pub const DEFAULT_CLUSTER_PORT: u16 = 7052;

/// Maximum length of a cluster's name.
const MAX_NAME: usize = 63;
/// Maximum length of a label's key or value.
const MAX_LABEL: usize = 255;

/// Settings of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSettings {
    /// Its name: hosts of another name are none of this one's.
    pub name: ClusterName,
    /// Where the other hosts reach this one; chosen by the agent if `None`.
    pub advertise: Option<Advertise>,
    /// Hosts that are asked at the start; any one of them suffices.
    pub join: Vec<JoinAddress>,
    /// Whether hosts on the local network are found by multicast DNS.
    pub multicast: bool,
    /// File with the cluster's secret; the one in the data directory if `None`.
    pub secret_file: Option<PathBuf>,
    /// This host's labels.
    pub labels: BTreeMap<String, String>,
}

/// Why a text is none of these settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterTextError {
    /// It is not the name of a cluster.
    #[error("expected a name of at most 63 letters, digits, dots, hyphens and underscores")]
    Name,
    /// It is not a host.
    #[error("expected a host name or an IP address")]
    Host,
    /// It is not a host with a port.
    #[error("expected HOST or HOST:PORT, such as 192.0.2.10, node1.example.com:7052 or [2001:db8::10]:7052")]
    Join,
    /// It is not a label.
    #[error("expected KEY=VALUE, such as zone=a")]
    Label,
}

/// The name of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClusterName(String);

impl FromStr for ClusterName {
    type Err = ClusterTextError;

    fn from_str(text: &str) -> Result<Self, ClusterTextError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        match !text.is_empty() && text.len() <= MAX_NAME && text.chars().all(allowed) {
            true => Ok(Self(text.to_owned())),
            false => Err(ClusterTextError::Name),
        }
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where others reach this host: an address, or a name that they resolve.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Advertise {
    /// An address.
    Address(IpAddr),
    /// A name.
    Name(DomainName),
}

impl FromStr for Advertise {
    type Err = ClusterTextError;

    fn from_str(text: &str) -> Result<Self, ClusterTextError> {
        if let Ok(address) = text.trim_matches(['[', ']']).parse() {
            return Ok(Self::Address(address));
        }
        // An address with a typing error is not a name.
        let is_name = text.chars().any(|c| c.is_ascii_alphabetic());
        text.parse().ok().filter(|_| is_name).map(Self::Name).ok_or(ClusterTextError::Host)
    }
}

impl fmt::Display for Advertise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name.as_str()),
        }
    }
}

/// A host to join: a name stands for all its addresses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JoinAddress {
    /// The host.
    pub host: Advertise,
    /// Its port.
    pub port: u16,
}

impl FromStr for JoinAddress {
    type Err = ClusterTextError;

    fn from_str(text: &str) -> Result<Self, ClusterTextError> {
        // An IPv6 address has colons of its own.
        let bare = text.parse::<IpAddr>().is_ok();
        let (host, port) = match text.rsplit_once(':').filter(|_| !bare && !text.ends_with(']')) {
            Some((host, port)) => (host, port.parse().ok().filter(|port| *port != 0)),
            None => (text, Some(DEFAULT_CLUSTER_PORT)),
        };
        let host = host.parse().map_err(|_| ClusterTextError::Join)?;
        Ok(Self { host, port: port.ok_or(ClusterTextError::Join)? })
    }
}

impl fmt::Display for JoinAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Advertise::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

/// A label of a host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostLabel {
    /// Its key.
    pub key: String,
    /// Its value; may be empty.
    pub value: String,
}

impl FromStr for HostLabel {
    type Err = ClusterTextError;

    fn from_str(text: &str) -> Result<Self, ClusterTextError> {
        let (key, value) = text.split_once('=').ok_or(ClusterTextError::Label)?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/');
        let is_key = !key.is_empty() && key.len() <= MAX_LABEL && key.chars().all(allowed);
        let is_value = value.len() <= MAX_LABEL && !value.chars().any(char::is_control);
        match is_key && is_value {
            true => Ok(Self { key: key.to_owned(), value: value.to_owned() }),
            false => Err(ClusterTextError::Label),
        }
    }
}

impl fmt::Display for HostLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_has_a_name_that_needs_no_quotes() {
        for good in ["deblox", "a", "Prod-1.eu_west"] {
            assert_eq!(good.parse::<ClusterName>().unwrap().to_string(), good);
        }
        for bad in ["", "a b", "a/b", "é", &"a".repeat(64)] {
            assert_eq!(bad.parse::<ClusterName>(), Err(ClusterTextError::Name), "{bad:?}");
        }
    }

    #[test]
    fn a_host_to_join_has_the_usual_port_unless_it_names_one() {
        for (text, shown) in [
            ("192.0.2.10", "192.0.2.10:7052"),
            ("192.0.2.10:9", "192.0.2.10:9"),
            ("Node1.example.com", "node1.example.com:7052"),
            ("node1:7000", "node1:7000"),
            ("2001:db8::10", "[2001:db8::10]:7052"),
            ("[2001:db8::10]", "[2001:db8::10]:7052"),
            ("[2001:db8::10]:7000", "[2001:db8::10]:7000"),
        ] {
            let join: JoinAddress = text.parse().unwrap();
            assert_eq!(join.to_string(), shown);
            assert_eq!(shown.parse(), Ok(join), "what is shown can be read");
        }
        for bad in [
            "",
            ":7052",
            "node1:",
            "node1:x",
            "node1:0",
            "node1:70000",
            "a b",
            "10.0.0.*",
            "10.0.0",
            "[::1]x",
        ] {
            assert_eq!(bad.parse::<JoinAddress>(), Err(ClusterTextError::Join), "{bad:?}");
        }
    }

    #[test]
    fn a_host_is_advertised_by_its_name_or_address_without_a_port() {
        for good in ["192.0.2.10", "2001:db8::10", "myhostname", "node1.example.com"] {
            assert_eq!(good.parse::<Advertise>().unwrap().to_string(), good);
        }
        for bad in ["", "192.0.2.10:7052", "node1:7052", "192.0.2", "a b"] {
            assert_eq!(bad.parse::<Advertise>(), Err(ClusterTextError::Host), "{bad:?}");
        }
    }

    #[test]
    fn a_label_has_a_key_and_perhaps_an_empty_value() {
        for good in ["zone=a", "disk=", "example.com/rack=r1=b 2"] {
            assert_eq!(good.parse::<HostLabel>().unwrap().to_string(), good);
        }
        for bad in ["", "zone", "=a", "a b=c", "a=b\n"] {
            assert_eq!(bad.parse::<HostLabel>(), Err(ClusterTextError::Label), "{bad:?}");
        }
    }
}
