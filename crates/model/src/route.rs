//! Routes: which container gets which traffic.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{ContainerRef, Health, HostPattern, PathPrefix, PeerAgent, Transport};

/// The protocol that a frontend speaks with its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1 and HTTP/2, routed by host and path.
    Http,
    /// Bytes over TCP, connection by connection.
    Tcp,
    /// Datagrams, session by session.
    Udp,
}

impl Protocol {
    /// Returns the transport whose port space it uses.
    pub fn transport(self) -> Transport {
        match self {
            Self::Http | Self::Tcp => Transport::Tcp,
            Self::Udp => Transport::Udp,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A port that the balancer listens on, with its protocol. Written `http:80`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frontend {
    /// The port, never 0.
    pub port: u16,
    /// The protocol spoken there.
    pub protocol: Protocol,
}

impl fmt::Display for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.protocol, self.port)
    }
}

/// The text is not `http:`, `tcp:` or `udp:` followed by a port from 1 to 65535.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid frontend {0:?}: expected http:, tcp: or udp: and a port of 1–65535")]
pub struct FrontendError(String);

impl FromStr for Frontend {
    type Err = FrontendError;

    fn from_str(text: &str) -> Result<Self, FrontendError> {
        let bad = || FrontendError(text.to_owned());
        let (protocol, port) = text.split_once(':').ok_or_else(bad)?;
        let protocol = match protocol {
            "http" => Protocol::Http,
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return Err(bad()),
        };
        let port = port.parse().ok().filter(|&p| p > 0).ok_or_else(bad)?;
        Ok(Self { port, protocol })
    }
}

/// The identity of a route: no two routes of a table have the same key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKey {
    /// The frontend that accepts its traffic.
    pub frontend: Frontend,
    /// The hosts it matches; [`HostPattern::Any`] unless the frontend speaks HTTP.
    pub host: HostPattern,
    /// The paths it matches; empty unless the frontend speaks HTTP.
    pub prefix: PathPrefix,
}

impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.frontend.protocol {
            Protocol::Http => write!(f, "{} {}{}", self.frontend, self.host, self.prefix),
            Protocol::Tcp | Protocol::Udp => write!(f, "{}", self.frontend),
        }
    }
}

/// An upstream's share of a route's traffic, relative to the others': 0 to 256, HAProxy's range. With 0, it
/// takes no traffic while another upstream has more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Weight(u16);

impl Weight {
    /// The largest weight.
    pub const MAX: u16 = 256;

    /// Returns the number.
    pub fn get(self) -> u16 {
        self.0
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self(100)
    }
}

/// The text is not a whole number from 0 to 256.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid weight {0:?}: expected 0–256")]
pub struct WeightError(String);

impl FromStr for Weight {
    type Err = WeightError;

    fn from_str(text: &str) -> Result<Self, WeightError> {
        let bad = || WeightError(text.to_owned());
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let number = text.parse().ok().filter(|&n| digits && n <= Self::MAX).ok_or_else(bad)?;
        Ok(Self(number))
    }
}

/// How the balancer reaches an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// Straight to this address: in a network of its host, or a port that its host publishes.
    Direct(SocketAddr),
    /// Through the agent of its host, which connects to the port inside the container.
    Agent(PeerAgent),
}

impl Way {
    /// Returns the address to connect to, unless the way leads through an agent.
    pub fn direct(self) -> Option<SocketAddr> {
        match self {
            Self::Direct(address) => Some(address),
            Self::Agent(_) => None,
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct(address) => address.fmt(f),
            Self::Agent(agent) => write!(f, "agent:{}", agent.address),
        }
    }
}

/// A container that takes a route's traffic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Upstream {
    /// The container that has the address.
    pub container: ContainerRef,
    /// That container's name.
    pub name: String,
    /// The port inside the container.
    pub port: u16,
    /// How the balancer reaches it.
    pub way: Way,
    /// Its share of the traffic.
    pub weight: Weight,
}

/// Why a container that claims a route currently takes none of its traffic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitingReason {
    /// Its health check has not passed yet.
    HealthStarting,
    /// Its health check failed.
    Unhealthy,
    /// Its port has not accepted a connection yet.
    PortNotOpen,
    /// Its port accepted connections before, but no longer does.
    PortClosed,
    /// It is paused.
    Paused,
    /// It was sent its stop signal.
    Stopping,
    /// None of its addresses can be reached from this balancer.
    NoAddress,
    /// Its host is suspect: it takes traffic only if nobody else does.
    HostSuspect,
    /// Its host answers others, but not this one: it takes traffic only if nobody else does.
    HostUnreachable,
    /// It can only be reached through its host's agent, which restarts.
    AgentRestarting,
}

impl WaitingReason {
    /// Returns the reason that follows from the health check, if any.
    pub fn of_health(health: Health) -> Option<Self> {
        match health {
            Health::None | Health::Healthy => None,
            Health::Starting => Some(Self::HealthStarting),
            Health::Unhealthy => Some(Self::Unhealthy),
        }
    }
}

impl fmt::Display for WaitingReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HealthStarting => "its health check has not passed yet",
            Self::Unhealthy => "its health check fails",
            Self::PortNotOpen => "its port has not accepted a connection yet",
            Self::PortClosed => "its port no longer accepts connections",
            Self::Paused => "it is paused",
            Self::Stopping => "it is stopping",
            Self::NoAddress => "it has no address that the balancer can reach",
            Self::HostSuspect => "its host does not answer",
            Self::HostUnreachable => "its host does not answer this one",
            Self::AgentRestarting => "it publishes no port, and its host's agent restarts",
        })
    }
}

/// A container that claims a route and currently takes none of its traffic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waiting {
    /// The container.
    pub container: ContainerRef,
    /// Its name.
    pub name: String,
    /// The port inside the container.
    pub port: u16,
    /// How the balancer would reach it, if it could.
    pub way: Option<Way>,
    /// Why it waits.
    pub reason: WaitingReason,
}

/// One route: a key, and the containers behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its identity.
    pub key: RouteKey,
    /// Whether the prefix is removed from the path before the upstream sees it.
    pub strip_prefix: bool,
    /// Containers that take its traffic, in order of their ids. With none, the balancer answers
    /// 503 (HTTP) or closes (TCP).
    pub upstreams: Vec<Upstream>,
    /// Containers that claim it but take no traffic yet, in order of their ids.
    pub waiting: Vec<Waiting>,
}

/// All routes, by key. A clone is cheap and shares whatever did not change with the original.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteTable(rpds::RedBlackTreeMapSync<RouteKey, Arc<Route>>);

impl RouteTable {
    /// Returns the route with this key.
    pub fn get(&self, key: &RouteKey) -> Option<&Arc<Route>> {
        self.0.get(key)
    }

    /// Returns the route that a request takes: of the frontend's routes that match host and path, the one
    /// with the most specific host, then the longest prefix. Checks every route: the data planes use their
    /// own indexes, which are tested against this rule.
    pub fn find(&self, frontend: Frontend, host: &str, path: &str) -> Option<&Arc<Route>> {
        self.iter()
            .filter(|route| route.key.frontend == frontend)
            .filter(|route| route.key.host.covers(host) && route.key.prefix.covers(path))
            .max_by_key(|route| (route.key.host.precedence(), route.key.prefix.as_str().len()))
    }

    /// Returns all routes in order of their keys: port, protocol, host, prefix.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.0.values()
    }

    /// Returns the number of routes.
    pub fn len(&self) -> usize {
        self.0.size()
    }

    /// Returns whether the table is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Inserts a route, replacing the one with its key.
    pub fn insert(&mut self, route: Arc<Route>) {
        self.0.insert_mut(route.key.clone(), route);
    }

    /// Removes the route with this key and returns whether there was one.
    pub fn remove(&mut self, key: &RouteKey) -> bool {
        self.0.remove_mut(key)
    }
}

impl FromIterator<Route> for RouteTable {
    fn from_iter<I: IntoIterator<Item = Route>>(routes: I) -> Self {
        let mut table = Self::default();
        routes.into_iter().for_each(|route| table.insert(Arc::new(route)));
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_a_whole_number_up_to_256() {
        assert_eq!("0".parse::<Weight>().unwrap().get(), 0);
        assert_eq!("256".parse::<Weight>().unwrap().get(), 256);
        for bad in ["", "-1", "+1", "257", "1.5", "ten", " 1", "99999999999"] {
            assert!(bad.parse::<Weight>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_frontend_is_read_as_it_is_written() {
        let frontend = Frontend { port: 53, protocol: Protocol::Udp };
        assert_eq!(frontend.to_string().parse::<Frontend>().unwrap(), frontend);
        assert!("http:0".parse::<Frontend>().is_err());
        assert!("https:443".parse::<Frontend>().is_err());
    }
}
