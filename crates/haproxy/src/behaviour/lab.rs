//! An engine with its own HAProxy, upstreams and a client, all minimal.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use longshore_model::{RouteKey, RouteTable};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::fixture::{at, route};
use crate::{Applied, Haproxy, HaproxyError, Mode, Settings};

/// Returns a currently free port of 127.0.0.1.
pub(super) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub(super) struct Lab {
    pub(super) engine: Haproxy,
    pub(super) table: RouteTable,
    pub(super) dir: TempDir,
}

pub(super) fn settings(dir: &TempDir) -> Settings {
    let mut settings = Settings::new(Mode::Own { dir: dir.path().join("haproxy") });
    settings.bind = vec![Ipv4Addr::LOCALHOST.into()];
    settings.stats = None;
    settings.pool = 16;
    settings
}

impl Lab {
    pub(super) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(super) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = settings(&dir);
        change(&mut settings);
        Self { engine: Haproxy::start(settings).await.unwrap(), table: RouteTable::default(), dir }
    }

    /// Applies these routes: `http:PORT host/prefix` (` strip`), or `tcp:PORT`, and the upstreams with their weights.
    pub(super) async fn try_set(
        &mut self,
        routes: &[(String, Vec<(SocketAddr, u16)>)],
    ) -> Result<Applied, HaproxyError> {
        let build = |(text, upstreams): &(String, Vec<(SocketAddr, u16)>)| {
            route(text, upstreams.iter().map(|(address, weight)| at(*address, &weight.to_string())).collect())
        };
        let table: RouteTable = routes.iter().map(build).collect();
        let keys =
            |table: &RouteTable| table.iter().map(|route| route.key.clone()).collect::<BTreeSet<RouteKey>>();
        let changed = keys(&self.table).union(&keys(&table)).cloned().collect();
        self.table = table;
        self.engine.apply(&self.table, &changed).await
    }

    /// Applies them, and continues until nothing is pending.
    pub(super) async fn set(&mut self, routes: &[(String, Vec<(SocketAddr, u16)>)]) -> Applied {
        let mut applied = self.try_set(routes).await.unwrap();
        for _ in 0..20 {
            if applied.pending.is_empty() {
                return applied;
            }
            applied = self.next().await.unwrap();
        }
        panic!("still pending: {applied:?}");
    }

    /// Waits until the engine is disturbed, and applies.
    pub(super) async fn next(&mut self) -> Result<Applied, HaproxyError> {
        timeout(Duration::from_secs(15), self.engine.disturbed()).await.expect("nothing disturbs it");
        self.engine.apply(&self.table, &BTreeSet::new()).await
    }

    /// Applies again what failed or was refused, as the agent does after a while.
    pub(super) async fn retry(&mut self) -> Result<Applied, HaproxyError> {
        self.engine.retry();
        self.engine.apply(&self.table, &BTreeSet::new()).await
    }

    /// Keeps the engine up for a while, as the agent's loop does.
    pub(super) async fn run_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while timeout_at(end, self.engine.disturbed()).await.is_ok() {
            let _ = self.engine.apply(&self.table, &BTreeSet::new()).await;
        }
    }

    pub(super) fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join("haproxy").join(name)
    }

    /// Returns the process ids of the master and the worker.
    pub(super) async fn pids(&self) -> (u32, u32) {
        loop {
            // A master that has just loaded a configuration does not answer for a moment.
            if let Some(status) = crate::master::status(&self.path("master.sock")).await {
                return (status.master, status.worker.unwrap());
            }
        }
    }
}

pub(super) fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// Returns a route with upstreams of weight 100.
pub(super) fn to(text: impl Into<String>, upstreams: &[&Upstream]) -> (String, Vec<(SocketAddr, u16)>) {
    (text.into(), upstreams.iter().map(|upstream| (upstream.address, 100)).collect())
}

/// A server that answers `name path` and then the request's head. Gone when dropped, with its connections.
pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Upstream {
    pub(super) async fn new(name: &str) -> Self {
        Self::answering(name, Duration::ZERO).await
    }

    /// Creates an upstream that answers after a delay.
    pub(super) async fn answering(name: &str, after: Duration) -> Self {
        let name = name.to_owned();
        Self::speaking(move |stream| answer(stream, name.clone(), after)).await
    }

    /// Creates an upstream with custom behaviour per connection.
    pub(super) async fn speaking<F, T>(speak: F) -> Self
    where
        F: Fn(TcpStream) -> T + Send + 'static,
        T: Future<Output = std::io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                connections.spawn(speak(stream));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, task }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads a head, without its last empty line; `None` at the end of the connection.
pub(super) async fn read_head(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<String>> {
    let mut head = String::new();
    loop {
        let before = head.len();
        if stream.read_line(&mut head).await? == 0 {
            return Ok(None);
        }
        if head[before..].trim_end().is_empty() {
            return Ok(Some(head[..before].to_owned()));
        }
    }
}

async fn answer(stream: TcpStream, name: String, after: Duration) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(head) = read_head(&mut stream).await? {
        let mut body = vec![0; content_length(&head)];
        stream.read_exact(&mut body).await?;
        tokio::time::sleep(after).await;
        let path = head.split(' ').nth(1).unwrap_or_default();
        let body = format!("{name} {path}\n{head}");
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

fn content_length(head: &str) -> usize {
    let lower = head.to_ascii_lowercase();
    lower.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok()).unwrap_or(0)
}

/// A persistent connection.
pub(super) struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub(super) async fn connect(port: u16) -> std::io::Result<Self> {
        Ok(Self { stream: BufReader::new(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?) })
    }

    /// Sends a GET; returns the status and the body.
    pub(super) async fn get(&mut self, host: &str, path: &str) -> std::io::Result<(u16, String)> {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await
    }

    pub(super) async fn ask(&mut self, request: &str) -> std::io::Result<(u16, String)> {
        self.stream.write_all(request.as_bytes()).await?;
        let head = read_head(&mut self.stream).await?.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let mut body = vec![0; content_length(&head)];
        self.stream.read_exact(&mut body).await?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }
}

/// Sends a GET on its own connection; returns the status, or for 200 the first line of the body.
pub(super) async fn get(port: u16, host: &str, path: &str) -> String {
    let get = async { Client::connect(port).await?.get(host, path).await };
    match timeout(Duration::from_secs(10), get).await {
        Ok(Ok((200, body))) => body.lines().next().unwrap_or_default().to_owned(),
        Ok(Ok((status, _))) => status.to_string(),
        Ok(Err(error)) => error.kind().to_string(),
        Err(_) => "no answer".to_owned(),
    }
}

/// Returns how many of `count` requests on one connection each upstream answered.
pub(super) async fn shares(port: u16, host: &str, count: usize) -> BTreeMap<String, usize> {
    let mut client = Client::connect(port).await.unwrap();
    let mut shares = BTreeMap::new();
    for _ in 0..count {
        let (status, body) = client.get(host, "/").await.unwrap();
        let name =
            if status == 200 { body.split(' ').next().unwrap().to_owned() } else { status.to_string() };
        *shares.entry(name).or_default() += 1;
    }
    shares
}
