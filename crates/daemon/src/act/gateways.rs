//! Addresses of this host that lead to containers of other hosts, for a balancer that knows no other way: each is a
//! port of the loopback network, and what connects to it goes through the agent of the container's host.
//!
//! An address follows from its container and port, so that a HAProxy that outlives its agent finds the same one open
//! when the next agent has started. Whoever runs on this host can connect to it, as to a container on a bridge.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use longshore_model::{ContainerRef, PeerAgent, Route, RouteKey, RouteTable, Transport, Upstream, Way};
use longshore_net::relay::{Relay, RelayTarget};
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

/// The ports of gateways: above those that Linux gives to clients.
const PORTS: std::ops::Range<u16> = 61_000..65_000;

/// How many addresses are tried for one gateway.
const MAX_TRIES: u32 = 16;

/// How long the way to a container may take to open.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// The pause after an accept that failed, as when no descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How many bytes are read at once in each direction.
const BUFFER: usize = 32 * 1024;

/// What a gateway leads to.
type Target = (ContainerRef, u16, PeerAgent);

/// The gateways in use.
pub(super) struct Gateways {
    relay: Arc<dyn Relay>,
    open: BTreeMap<Target, Gateway>,
    /// The routes, with gateways as addresses.
    table: RouteTable,
}

struct Gateway {
    address: SocketAddr,
    _task: AbortOnDropHandle<()>,
}

impl Gateways {
    pub(super) fn new(relay: Arc<dyn Relay>) -> Self {
        Self { relay, open: BTreeMap::new(), table: RouteTable::default() }
    }

    /// Returns the routes with an address for every upstream. Only the routes in `changed` may differ since the last
    /// call. An upstream for which no gateway can be opened is left out.
    pub(super) async fn open(&mut self, table: &RouteTable, changed: &BTreeSet<RouteKey>) -> &RouteTable {
        for key in changed {
            match table.get(key) {
                Some(route) => {
                    let route = self.with_addresses(route).await;
                    self.table.insert(route);
                }
                None => drop(self.table.remove(key)),
            }
        }
        &self.table
    }

    /// Closes the gateways that no route has. What is connected through them stays.
    pub(super) fn close_unused(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let upstreams = self.table.iter().flat_map(|route| &route.upstreams);
        let used: BTreeSet<SocketAddr> = upstreams.filter_map(|upstream| upstream.way.direct()).collect();
        self.open.retain(|_, gateway| used.contains(&gateway.address));
    }

    async fn with_addresses(&mut self, route: &Arc<Route>) -> Arc<Route> {
        if route.upstreams.iter().all(|upstream| upstream.way.direct().is_some()) {
            return Arc::clone(route);
        }
        let mut upstreams = Vec::with_capacity(route.upstreams.len());
        for upstream in &route.upstreams {
            let way = match upstream.way {
                Way::Direct(address) => Some(address),
                Way::Agent(agent) => self.gateway(upstream, agent).await,
            };
            upstreams.extend(way.map(|address| Upstream { way: Way::Direct(address), ..upstream.clone() }));
        }
        Arc::new(Route { upstreams, ..Route::clone(route) })
    }

    /// Returns the address of the gateway to an upstream, and opens it if there is none.
    async fn gateway(&mut self, upstream: &Upstream, agent: PeerAgent) -> Option<SocketAddr> {
        let target = (upstream.container.clone(), upstream.port, agent);
        if let Some(gateway) = self.open.get(&target) {
            return Some(gateway.address);
        }
        let mut last = None;
        for address in candidates(&upstream.container, upstream.port) {
            match TcpListener::bind(address).await {
                Ok(listener) => {
                    let relayed = RelayTarget {
                        container: upstream.container.clone(),
                        agent: agent.address,
                        port: upstream.port,
                        transport: Transport::Tcp,
                    };
                    let task = tokio::spawn(accept(listener, Arc::clone(&self.relay), relayed));
                    self.open.insert(target, Gateway { address, _task: AbortOnDropHandle::new(task) });
                    return Some(address);
                }
                Err(error) => last = Some(error),
            }
        }
        let error = last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into());
        tracing::error!(container = %upstream.name, %error, "cannot open a local port that leads to another host's container");
        None
    }
}

/// Returns the addresses that a gateway may have, in the order in which they are tried: the same in every run.
fn candidates(container: &ContainerRef, port: u16) -> impl Iterator<Item = SocketAddr> {
    let (host, id) = (container.host.as_u128(), container.id.as_str().to_owned());
    (0..MAX_TRIES).map(move |attempt| {
        let mut hasher = DefaultHasher::new();
        (host, &id, port, attempt).hash(&mut hasher);
        let [a, b, c, d, e, ..] = hasher.finish().to_be_bytes();
        let ip = Ipv4Addr::new(127, 128 | (a >> 1), b, c.max(1));
        let range = PORTS.end - PORTS.start;
        SocketAddr::from((ip, PORTS.start + u16::from_be_bytes([d, e]) % range))
    })
}

async fn accept(listener: TcpListener, relay: Arc<dyn Relay>, target: RelayTarget) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (relay, target) = (Arc::clone(&relay), target.clone());
                tokio::spawn(async move {
                    if let Err(error) = carry(stream, &*relay, target).await {
                        tracing::debug!(%error, "a connection to another host's container ended with an error");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection to another host's container");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn carry(mut stream: TcpStream, relay: &dyn Relay, target: RelayTarget) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut upstream = timeout(CONNECT_LIMIT, relay.connect(target)).await??;
    copy_bidirectional_with_sizes(&mut stream, &mut upstream, BUFFER, BUFFER).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use longshore_model::{ContainerId, HostId, HostPattern, PathPrefix};
    use longshore_net::relay::Connecting;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Leads to a server that greets with the port that was asked for.
    #[derive(Debug)]
    struct Greets;

    impl Relay for Greets {
        fn connect(&self, target: RelayTarget) -> Connecting {
            Box::pin(async move {
                let (near, mut far) = tokio::io::duplex(64);
                tokio::spawn(async move { far.write_all(target.port.to_string().as_bytes()).await });
                Ok(Box::new(near) as _)
            })
        }
    }

    fn route(ports: &[u16], run: u32) -> Route {
        let upstream = |port: &u16| Upstream {
            container: ContainerRef::new(HostId::from_u128(2), ContainerId::new("c0ffee")),
            name: "web".to_owned(),
            port: *port,
            way: Way::Agent(PeerAgent { address: ([192, 0, 2, 1], 7052).into(), run }),
            weight: Default::default(),
        };
        let frontend = "tcp:5432".parse().unwrap();
        let key = RouteKey { frontend, host: HostPattern::Any, prefix: PathPrefix::default() };
        Route {
            key,
            strip_prefix: false,
            upstreams: ports.iter().map(upstream).collect(),
            waiting: Vec::new(),
        }
    }

    async fn addresses(gateways: &mut Gateways, route: Route) -> Vec<SocketAddr> {
        let changed = BTreeSet::from([route.key.clone()]);
        let table: RouteTable = [route].into_iter().collect();
        let local = gateways.open(&table, &changed).await;
        local.iter().flat_map(|route| &route.upstreams).filter_map(|upstream| upstream.way.direct()).collect()
    }

    #[tokio::test]
    async fn each_upstream_has_an_address_which_leads_to_it_until_no_route_does() {
        let mut gateways = Gateways::new(Arc::new(Greets));
        let both = addresses(&mut gateways, route(&[80, 81], 1)).await;
        for (address, greeting) in both.iter().zip(["80", "81"]) {
            assert!(address.ip().is_loopback());
            let mut text = String::new();
            TcpStream::connect(address).await.unwrap().read_to_string(&mut text).await.unwrap();
            assert_eq!(text, greeting);
        }
        assert_eq!(addresses(&mut gateways, route(&[81], 1)).await, both[1..]);
        assert_eq!(gateways.open.len(), 2, "the balancer may not have taken the change yet");
        gateways.close_unused();
        tokio::task::yield_now().await;
        assert!(TcpStream::connect(both[0]).await.is_err());
        drop(gateways);
        tokio::task::yield_now().await;
        let mut next = Gateways::new(Arc::new(Greets));
        assert_eq!(addresses(&mut next, route(&[81, 80], 1)).await, [both[1], both[0]], "as before");
        // Connections through the agent's next run are others.
        let moved = addresses(&mut next, route(&[81, 80], 2)).await;
        assert!(moved.iter().all(|address| !both.contains(address)), "{moved:?}");
    }
}
