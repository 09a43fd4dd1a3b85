use std::net::SocketAddr;
use std::time::Duration;

use longshore_model::DomainName;

/// Settings of the DNS server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsSettings {
    /// The address it listens on, over UDP and TCP.
    pub listen: SocketAddr,
    /// The domain that it answers for: `longshore.internal`.
    pub domain: DomainName,
    /// How long an answer may be cached.
    pub ttl: Duration,
    /// Servers that other questions are forwarded to; if empty, those are refused.
    pub forward: Vec<SocketAddr>,
}
