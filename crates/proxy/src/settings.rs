//! The settings of a balancer.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use longshore_net::IpNet;
use longshore_net::relay::Relay;

/// The addresses, limits and timeouts of a [`Balancer`](crate::Balancer). The defaults follow the
/// HAProxy template that Docker Glue shipped.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Addresses to listen on, each with every frontend's port. `::` includes IPv4, and is treated as `0.0.0.0` on a
    /// host without IPv6. Default: `::`.
    pub bind: Vec<IpAddr>,
    /// Threads that carry traffic, each with its own listeners and upstream connections.
    /// Default: one per core.
    pub workers: usize,
    /// Proxies in front of this one, whose [headers about the client](longshore_model::TRUSTED_HEADERS) are passed
    /// on. Those of all other peers are dropped. Default: none.
    pub trusted: Vec<IpNet>,
    /// How long to wait for clients and upstreams.
    pub timeouts: Timeouts,
    /// Maximum number of client connections per worker. Beyond it the kernel's queue holds them. Default: 10,000.
    pub connections: usize,
    /// Maximum number of UDP sessions per worker and frontend. Beyond it a new client's datagrams are dropped.
    /// Default: 16,384.
    pub sessions: usize,
    /// Maximum number of idle connections kept per upstream and worker. Default: 256.
    pub idle_per_upstream: usize,
    /// Whether another program may listen on the same ports at the same time, such as an agent that takes over from
    /// its predecessor. If false, such a port is reported as in use. Default: false.
    pub share_ports: bool,
    /// Connects to upstreams whose way leads through the agent of their host. Without it they cannot be reached.
    /// Default: none.
    pub relay: Option<Arc<dyn Relay>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bind: vec![IpAddr::V6(Ipv6Addr::UNSPECIFIED)],
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            trusted: Vec::new(),
            timeouts: Timeouts::default(),
            connections: 10_000,
            sessions: 16_384,
            idle_per_upstream: 256,
            share_ports: false,
            relay: None,
        }
    }
}

/// Timeouts. A sweep checks them at an eighth of the shortest of them (20 ms to 500 ms), so each may end that much
/// later.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For an upstream to accept a connection. Default: 5 s.
    pub connect: Duration,
    /// From a request's first byte (or the connection's opening) to the end of its headers.
    /// Default: 10 s.
    pub headers: Duration,
    /// For a client to begin its next request, to send more of a request's body, or to take more of a
    /// response; over HTTP/2, each stream by itself. Default: 60 s.
    pub idle: Duration,
    /// For a client that has closed its sending side and takes nothing of its response: it may have
    /// left, which looks the same. Default: 10 s.
    pub half_closed: Duration,
    /// For an upstream that has the whole request to begin its response. Default: 25 s.
    pub response: Duration,
    /// Silence on an upgraded connection or TCP relay, or in the middle of a response body.
    /// Default: 1 h.
    pub tunnel: Duration,
    /// Silence after which a UDP session is forgotten. Default: 30 s.
    pub session: Duration,
    /// How long an unused upstream connection is kept. Default: 20 s.
    pub upstream_idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            headers: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            half_closed: Duration::from_secs(10),
            response: Duration::from_secs(25),
            tunnel: Duration::from_secs(3600),
            session: Duration::from_secs(30),
            upstream_idle: Duration::from_secs(20),
        }
    }
}

impl Timeouts {
    /// Returns the time between two sweeps.
    pub(crate) fn sweep(&self) -> Duration {
        let shortest = [
            self.headers,
            self.idle,
            self.half_closed,
            self.response,
            self.tunnel,
            self.session,
            self.upstream_idle,
        ]
        .into_iter()
        .min()
        .unwrap_or_default();
        (shortest / 8).clamp(Duration::from_millis(20), Duration::from_millis(500))
    }
}
