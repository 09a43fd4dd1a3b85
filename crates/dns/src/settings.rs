use std::net::SocketAddr;
use std::time::Duration;

use longshore_model::DomainName;

/// The DNS server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsSettings {
    /// Where it listens, over UDP and TCP.
    pub listen: SocketAddr,
    /// The domain that it answers for: `longshore.internal`.
    pub domain: DomainName,
    /// How long an answer may be kept.
    pub ttl: Duration,
    /// Servers that other questions go to; empty: they are refused.
    pub forward: Vec<SocketAddr>,
}
