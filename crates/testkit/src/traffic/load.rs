//! Loads of many requests, and counts of their results.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::request::{HttpError, RequestBuilder};

/// Whether a client reuses its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connections {
    /// Kept until the server closes it, as most clients do.
    Kept,
    /// One connection per request.
    Fresh,
}

/// Requests sent by several clients at once; each sends its next one when it has its answer.
#[derive(Clone, Debug)]
pub struct Load {
    request: RequestBuilder,
    runtime: Handle,
    requests: u64,
    clients: u32,
    connections: Connections,
    timeout: Duration,
    pause: Duration,
    back_off: Duration,
}

/// The result of a load.
#[derive(Clone, Debug, Default)]
pub struct LoadReport {
    /// Answers with a status from 200 to 299.
    pub succeeded: u64,
    /// Everything else, by kind: `status 503`, `refused`, `broken`, `timeout`.
    pub failures: BTreeMap<String, u64>,
    /// Answers by the container that the test server reported.
    pub by_container: BTreeMap<String, u64>,
    /// Time from the first request to the last answer.
    pub took: Duration,
    /// How long each successful request took, unordered.
    pub latencies: Vec<Duration>,
    /// When each successful answer arrived, counted from the first request, unordered.
    pub answered: Vec<Duration>,
}

/// Returns the quantile of the values (0.5 is the median); zero without values.
pub fn quantile<T: Copy + PartialOrd + Default>(values: &[T], share: f64) -> T {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    let last = sorted.len().saturating_sub(1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let index = (last as f64 * share.clamp(0.0, 1.0)).round() as usize;
    sorted.get(index).copied().unwrap_or_default()
}

impl LoadReport {
    /// Returns how many requests failed.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Returns the latency quantile of the successful requests (0.5 is the median); zero without any.
    pub fn quantile(&self, share: f64) -> Duration {
        quantile(&self.latencies, share)
    }

    /// Returns the longest time without any successful answer, from the first request to the last answer.
    pub fn longest_gap(&self) -> Duration {
        let mut moments = self.answered.clone();
        moments.extend([Duration::ZERO, self.took]);
        moments.sort_unstable();
        let gaps =
            moments.iter().zip(moments.iter().skip(1)).map(|(before, after)| after.saturating_sub(*before));
        gaps.max().unwrap_or_default()
    }

    fn add(&mut self, other: Self) {
        self.succeeded += other.succeeded;
        for (kind, count) in other.failures {
            *self.failures.entry(kind).or_default() += count;
        }
        for (name, count) in other.by_container {
            *self.by_container.entry(name).or_default() += count;
        }
        self.latencies.extend(other.latencies);
        self.answered.extend(other.answered);
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} succeeded, {} failed {:?}, in {:?}",
            self.succeeded,
            self.failed(),
            self.failures,
            self.took
        )
    }
}

/// A running load.
#[derive(Debug)]
pub struct Running {
    task: tokio::task::JoinHandle<LoadReport>,
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicU64>,
}

impl Running {
    /// Returns how many requests have been sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits until at least this many requests have been sent.
    pub async fn until_sent(&self, count: u64) {
        while self.sent() < count && !self.task.is_finished() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Stops sending; requests under way are finished.
    pub fn stop(&self) {
        self.stop.store(0, Ordering::Relaxed);
    }

    /// Waits for the last answer.
    ///
    /// # Errors
    /// [`HttpError::Gone`] if the host was given back before the load ended.
    pub async fn report(self) -> Result<LoadReport, HttpError> {
        self.task.await.map_err(|_| HttpError::Gone)
    }
}

impl Load {
    pub(crate) fn from(runtime: Handle, url: String) -> Self {
        Self {
            request: RequestBuilder::from(runtime.clone(), "GET", url),
            runtime,
            requests: 1_000,
            clients: 8,
            connections: Connections::Kept,
            timeout: Duration::from_secs(10),
            pause: Duration::ZERO,
            back_off: Duration::from_millis(10),
        }
    }

    /// Sets the number of requests; 1,000 by default.
    pub fn requests(mut self, count: u64) -> Self {
        self.requests = count;
        self
    }

    /// Sets the number of concurrent clients; 8 by default.
    pub fn clients(mut self, count: u32) -> Self {
        self.clients = count;
        self
    }

    /// Sets whether connections are kept; they are by default.
    pub fn connections(mut self, connections: Connections) -> Self {
        self.connections = connections;
        self
    }

    /// Sets how long a client waits between an answer and its next request; zero by default.
    pub fn pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// Sets how long a client waits after a failure; 10 milliseconds by default, as real clients do not hammer a
    /// closed port.
    pub fn back_off(mut self, back_off: Duration) -> Self {
        self.back_off = back_off;
        self
    }

    /// Sets how long a request may take before it counts as failed; 10 seconds by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Adds a header to every request.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// Sets the Host header of every request.
    pub fn host(self, name: &str) -> Self {
        self.header("host", name)
    }

    /// Sends all requests and waits for the last answer.
    ///
    /// # Errors
    /// Fails if the request is invalid.
    pub async fn run(self) -> Result<LoadReport, HttpError> {
        self.start()?.report().await
    }

    /// Starts sending.
    ///
    /// # Errors
    /// Fails if the request is invalid.
    pub fn start(self) -> Result<Running, HttpError> {
        let (address, request) = self.request.clone().build()?;
        let (sent, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(self.requests)));
        let (counter, limit) = (Arc::clone(&sent), Arc::clone(&stop));
        let task = self.runtime.clone().spawn(async move {
            let began = Instant::now();
            let mut clients = JoinSet::new();
            for _ in 0..self.clients {
                let client = Client {
                    address,
                    request: request.clone(),
                    connection: None,
                    began,
                    report: LoadReport::default(),
                };
                clients.spawn(client.work(self.clone(), Arc::clone(&counter), Arc::clone(&limit)));
            }
            let mut report = LoadReport::default();
            while let Some(done) = clients.join_next().await {
                report.add(done.unwrap_or_default());
            }
            report.took = began.elapsed();
            report
        });
        Ok(Running { task, sent, stop })
    }
}

struct Client {
    address: SocketAddr,
    request: Request<Full<Bytes>>,
    connection: Option<SendRequest<Full<Bytes>>>,
    /// When the load started.
    began: Instant,
    report: LoadReport,
}

impl Client {
    async fn work(mut self, load: Load, sent: Arc<AtomicU64>, limit: Arc<AtomicU64>) -> LoadReport {
        while sent.fetch_add(1, Ordering::Relaxed) < limit.load(Ordering::Relaxed) {
            if load.connections == Connections::Fresh {
                self.connection = None;
            }
            let began = Instant::now();
            let failure = match tokio::time::timeout(load.timeout, self.exchange()).await {
                Ok(Ok((200..300, headers))) => {
                    self.succeeded(began.elapsed(), &headers);
                    None
                }
                Ok(Ok((status, _))) => Some(format!("status {status}")),
                Ok(Err(HttpError::Connect(_))) => Some("refused".into()),
                Ok(Err(_)) => Some("broken".into()),
                Err(_) => Some("timeout".into()),
            };
            let wait = if failure.is_some() { load.pause.max(load.back_off) } else { load.pause };
            if let Some(kind) = failure {
                self.connection = None;
                *self.report.failures.entry(kind).or_default() += 1;
            }
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
        }
        self.report
    }

    fn succeeded(&mut self, took: Duration, headers: &HeaderMap) {
        self.report.succeeded += 1;
        self.report.latencies.push(took);
        self.report.answered.push(self.began.elapsed());
        if let Some(name) = headers.get("x-container").and_then(|value| value.to_str().ok()) {
            *self.report.by_container.entry(name.to_owned()).or_default() += 1;
        }
    }

    async fn exchange(&mut self) -> Result<(u16, HeaderMap), HttpError> {
        let usable = match &mut self.connection {
            Some(connection) => connection.ready().await.is_ok(),
            None => false,
        };
        if !usable {
            let stream = TcpStream::connect(self.address).await.map_err(HttpError::Connect)?;
            let (sender, connection) =
                http1::handshake(TokioIo::new(stream)).await.map_err(HttpError::Broken)?;
            tokio::spawn(connection);
            self.connection = Some(sender);
        }
        let Some(connection) = &mut self.connection else { return Err(HttpError::Gone) };
        let response = connection.send_request(self.request.clone()).await.map_err(HttpError::Broken)?;
        let (parts, body) = response.into_parts();
        body.collect().await.map_err(HttpError::Broken)?;
        Ok((parts.status.as_u16(), parts.headers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_reaches_to_both_ends() {
        let at = Duration::from_millis;
        let mut report =
            LoadReport { took: at(100), answered: vec![at(90), at(10), at(40)], ..Default::default() };
        assert_eq!(report.longest_gap(), at(50));
        report.answered.clear();
        assert_eq!(report.longest_gap(), at(100));
    }
}
