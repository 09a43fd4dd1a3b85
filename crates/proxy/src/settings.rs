//! What a balancer is started with.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use longshore_net::IpNet;

/// How a [`Balancer`](crate::Balancer) listens, waits and bounds itself. The defaults follow the
/// HAProxy template that Docker Glue shipped.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Addresses to listen on, each with every frontend's port. `::` takes IPv4 as well, and is
    /// read as `0.0.0.0` on a host without IPv6. Default: `::`.
    pub bind: Vec<IpAddr>,
    /// Threads that carry traffic, each with its own listeners and upstream connections.
    /// Default: one a core.
    pub workers: usize,
    /// Peers whose `X-Forwarded-*`, `X-Real-IP` and `Forwarded` are kept and added to. Everyone
    /// else's are replaced. Default: none.
    pub trusted: Vec<IpNet>,
    /// How long to wait, for what.
    pub timeouts: Timeouts,
    /// Most client connections open at once, a worker. Beyond it the kernel's queue holds them.
    /// Default: 10,000.
    pub connections: usize,
    /// Most UDP sessions open at once, a worker and frontend. Beyond it a new client's datagrams
    /// are dropped. Default: 16,384.
    pub sessions: usize,
    /// Most idle connections kept to one upstream, a worker. Default: 256.
    pub idle_per_upstream: usize,
    /// Whether another program may listen on the same ports at the same time (as an agent does
    /// that takes over from its predecessor). When false, such a port is reported as in use.
    /// Default: false.
    pub share_ports: bool,
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
        }
    }
}

/// The longest waits. They are kept by a sweep that runs at an eighth of the shortest of them
/// (20 ms to 500 ms), so each may end that much later.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Until an upstream accepts a connection. Default: 5 s.
    pub connect: Duration,
    /// From a request's first byte (or the connection's opening) to the end of its headers.
    /// Default: 10 s.
    pub headers: Duration,
    /// A client connection without a request, or one whose client neither takes the response nor
    /// sends on the body it began. Default: 60 s.
    pub idle: Duration,
    /// A client that sends nothing more, while it takes nothing of the response that is due to it: it
    /// may have left, which looks the same. Default: 10 s.
    pub half_closed: Duration,
    /// Until an upstream that has the whole request begins its response. Default: 25 s.
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
    /// How often the sweep looks.
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
