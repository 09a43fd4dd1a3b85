//! A balancer on a free port, with a test's routes.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use longshore_model::{
    ContainerId, ContainerRef, Frontend, HostId, HostPattern, PathPrefix, Protocol, Route, RouteKey,
    RouteTable, Upstream,
};
use longshore_proxy::{Balancer, FrontendStats, Observation, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Nothing here takes longer, unless it hangs.
pub(crate) const SOON: Duration = Duration::from_secs(10);

pub(crate) struct Bench {
    pub(crate) balancer: Balancer,
    pub(crate) seen: mpsc::UnboundedReceiver<Observation>,
    pub(crate) frontend: Frontend,
    pub(crate) table: RouteTable,
}

pub(crate) fn settings() -> Settings {
    Settings { bind: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)], workers: 1, ..Settings::default() }
}

/// Returns a port of 127.0.0.1 that is free for both TCP and UDP.
pub(crate) async fn free_port() -> u16 {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = tcp.local_addr().unwrap().port();
        if UdpSocket::bind(("127.0.0.1", port)).await.is_ok() {
            return port;
        }
    }
}

pub(crate) fn upstream(address: SocketAddr, weight: u16) -> Upstream {
    Upstream {
        container: ContainerRef::new(
            HostId::from_u128(1),
            ContainerId::new(format!("container-{}", address.port())),
        ),
        name: format!("u{}", address.port()),
        port: address.port(),
        way: longshore_model::Way::Direct(address),
        weight: weight.to_string().parse().unwrap(),
    }
}

/// The log of all balancers of this process.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn lines(&self) -> Vec<String> {
        let text = self.0.lock().unwrap();
        String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the log, starting now.
pub(crate) fn log() -> Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    let begin = || {
        let log = Log::default();
        let writer = log.clone();
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
        log
    };
    LOG.get_or_init(begin).clone()
}

impl Bench {
    /// Creates a balancer with one frontend and no routes.
    pub(crate) async fn new(protocol: Protocol, settings: Settings) -> Self {
        let (balancer, seen) = Balancer::start(settings).unwrap();
        let frontend = Frontend { port: free_port().await, protocol };
        Self { balancer, seen, frontend, table: RouteTable::default() }
    }

    /// Creates an HTTP balancer with one worker and one route for everything.
    pub(crate) async fn http(upstreams: &[SocketAddr]) -> Self {
        let mut bench = Self::new(Protocol::Http, settings()).await;
        bench.balance(upstreams).await;
        bench
    }

    pub(crate) fn key(&self, host: &str, prefix: &str) -> RouteKey {
        RouteKey { frontend: self.frontend, host: host.parse().unwrap(), prefix: prefix.parse().unwrap() }
    }

    /// Routes the frontend's whole traffic to these, in equal shares.
    pub(crate) async fn balance(&mut self, upstreams: &[SocketAddr]) {
        self.weigh(&upstreams.iter().map(|&address| (address, 100)).collect::<Vec<_>>()).await;
    }

    pub(crate) async fn weigh(&mut self, upstreams: &[(SocketAddr, u16)]) {
        let upstreams = upstreams.iter().map(|&(address, weight)| upstream(address, weight)).collect();
        let key = RouteKey { frontend: self.frontend, host: HostPattern::Any, prefix: PathPrefix::default() };
        let failed = self.put(Route { key, strip_prefix: false, upstreams, waiting: Vec::new() }).await;
        assert!(failed.is_empty(), "{failed:?}");
    }

    /// Adds a route to one upstream.
    pub(crate) async fn route(&mut self, host: &str, prefix: &str, strip_prefix: bool, address: SocketAddr) {
        let key = self.key(host, prefix);
        let upstreams = vec![upstream(address, 100)];
        let failed = self.put(Route { key, strip_prefix, upstreams, waiting: Vec::new() }).await;
        assert!(failed.is_empty(), "{failed:?}");
    }

    pub(crate) async fn put(&mut self, route: Route) -> Vec<(Frontend, io::Error)> {
        let changed = BTreeSet::from([route.key.clone()]);
        self.table.insert(Arc::new(route));
        self.balancer.apply(&self.table, &changed).await
    }

    pub(crate) async fn remove(&mut self, key: RouteKey) {
        assert!(self.table.remove(&key));
        self.balancer.apply(&self.table, &BTreeSet::from([key])).await;
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.frontend.port))
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.unwrap()
    }

    pub(crate) fn stats(&self) -> FrontendStats {
        self.balancer.stats().frontends[&self.frontend]
    }

    /// Sends a GET on its own connection.
    pub(crate) async fn get(&self, host: &str, target: &str) -> Reply {
        self.ask(&format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await
    }

    /// Sends bytes on their own connection, and reads until the balancer closes it.
    pub(crate) async fn ask(&self, bytes: &str) -> Reply {
        Reply::parse(&self.ask_raw(bytes.as_bytes()).await)
    }

    pub(crate) async fn ask_raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        let mut reply = Vec::new();
        timeout(SOON, stream.read_to_end(&mut reply)).await.expect("the balancer does not close").unwrap();
        String::from_utf8_lossy(&reply).into_owned()
    }
}

/// A response, as received.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no response: {text:?}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Self {
            status: status.unwrap_or_else(|| panic!("no status: {text:?}")),
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        }
    }

    /// Returns a header of the response.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// Returns a header of the request, as received by the upstream.
    pub(crate) fn seen(&self, name: &str) -> Option<&str> {
        self.body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// Returns the request line's method and target, as received by the upstream.
    pub(crate) fn request(&self) -> &str {
        self.body.lines().find(|line| line.contains(' ')).unwrap_or_default()
    }

    /// Returns the port of the upstream that answered.
    pub(crate) fn by(&self) -> u16 {
        self.header("x-upstream").expect("no upstream answered").parse().unwrap()
    }
}

/// Reads one response with a Content-Length from a connection that stays open.
pub(crate) async fn read_reply(stream: &mut TcpStream) -> Reply {
    let mut text = Vec::new();
    let reading = async {
        loop {
            let mut byte = [0];
            if stream.read(&mut byte).await.unwrap() == 0 {
                break;
            }
            text.push(byte[0]);
            if text.ends_with(b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&text).to_ascii_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
                stream.read_exact(&mut body).await.unwrap();
                text.extend(body);
                break;
            }
        }
    };
    timeout(SOON, reading).await.expect("no response comes");
    Reply::parse(&String::from_utf8_lossy(&text))
}
