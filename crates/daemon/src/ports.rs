//! Open ports that an agent leaves to its successor.

use std::net::TcpListener;

use longshore_dns::DnsPorts;

/// Ports that stay open while one agent takes over from another. What comes to them waits.
#[derive(Debug, Default)]
pub struct Ports {
    /// Those of the DNS server.
    pub dns: Option<DnsPorts>,
    /// The one at which the other hosts of the cluster connect to this one.
    pub peers: Option<TcpListener>,
}
