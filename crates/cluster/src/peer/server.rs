//! Answers peers.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use longshore_model::HostId;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval_at, sleep, timeout};
use tokio_rustls::TlsStream;

use super::{BEAT, Body, FACTS, HANDSHAKE_LIMIT, MAX_HEADERS, MAX_STREAMS, Members, STREAM_WINDOW, empty};
use crate::facts::{Asked, Cursor, EventCursor, FactLines, OwnFacts};
use crate::identity::{Identity, PeerProtocol, Secured};

/// How many connections of strangers may be becoming secure at once. Until then, anyone may have opened them.
const MAX_HANDSHAKES: usize = 256;

/// How many of them one address may have opened.
const MAX_HANDSHAKES_OF_ONE: usize = 32;

/// How many connections from a peer's address may be becoming secure at once: its balancer may open many to containers
/// at the same moment.
const MAX_HANDSHAKES_OF_PEER: usize = 1024;

/// How many connections for calls one peer may have. Those that it lost count until they time out here.
const MAX_CONNECTIONS: usize = 256;

/// How many connections to containers one peer may have.
const MAX_RELAYED: usize = 4096;

/// How often a peer without traffic must show that it is there.
const PING: Duration = Duration::from_secs(20);

/// How much of one reply waits for a slow peer, in bytes.
const SEND_BUFFER: usize = 256 << 10;

/// The pause after an accept that failed, as when no descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers what this room does not.
pub trait PeerHandler: Send + Sync + 'static {
    /// Answers a call of a peer.
    fn call(&self, from: HostId, call: Request<Incoming>) -> impl Future<Output = Response<Body>> + Send;

    /// Takes a peer's connection to a container. It ends when the future does.
    fn relay(&self, from: HostId, stream: TlsStream<TcpStream>) -> impl Future<Output = ()> + Send;
}

/// Answers nothing.
impl PeerHandler for () {
    async fn call(&self, _: HostId, _: Request<Incoming>) -> Response<Body> {
        status(StatusCode::NOT_FOUND)
    }

    async fn relay(&self, _: HostId, _: TlsStream<TcpStream>) {}
}

/// Answers peers on a listening socket, indefinitely. All connections end with it. Strangers at the addresses of
/// `members` cannot hold up these.
pub async fn serve<H: PeerHandler>(
    listener: TcpListener,
    identity: Identity,
    facts: OwnFacts,
    handler: H,
    members: watch::Receiver<Members>,
) {
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    let opening: Counts<IpAddr> = Counts::default();
    let server = Arc::new(Server { identity, facts, handler, connected: Counts::default() });
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a peer's connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // One who opens connections and says nothing must not keep all others out.
        let is_peer = members.borrow().values().any(|member| member.address.ip() == address.ip());
        let max = if is_peer { MAX_HANDSHAKES_OF_PEER } else { MAX_HANDSHAKES_OF_ONE };
        let Some(counted) = opening.count(address.ip(), max) else { continue };
        let handshake = match Arc::clone(&handshakes).try_acquire_owned() {
            Ok(handshake) => Some(handshake),
            Err(_) if is_peer => None,
            Err(_) => continue,
        };
        let server = Arc::clone(&server);
        connections.spawn(async move {
            // Before the ring that lets the peer in can lose a key.
            let mut removals = server.identity.removals();
            let _ = stream.set_nodelay(true);
            let secured = timeout(HANDSHAKE_LIMIT, server.identity.accept(stream)).await;
            drop((handshake, counted));
            match secured {
                Ok(Ok(secured)) => tokio::select! {
                    biased;
                    () = removals.removed() => {}
                    () = server.answer(secured) => {}
                },
                Ok(Err(error)) => tracing::debug!(%error, "a connection was refused"),
                Err(_) => tracing::debug!("a connection did not become secure in time"),
            }
        });
    }
}

struct Server<H> {
    identity: Identity,
    facts: OwnFacts,
    handler: H,
    connected: Counts<(HostId, PeerProtocol)>,
}

impl<H: PeerHandler> Server<H> {
    async fn answer(self: Arc<Self>, secured: Secured<TcpStream>) {
        let Secured { peer, protocol, stream } = secured;
        let Some(_counted) = self.connected.count((peer, protocol), max_connections(protocol)) else {
            tracing::warn!(%peer, "the peer has too many connections");
            return;
        };
        match protocol {
            PeerProtocol::Relay => self.handler.relay(peer, stream).await,
            PeerProtocol::Http2 => {
                let service = service_fn(move |call| {
                    let server = Arc::clone(&self);
                    async move { Ok::<_, Infallible>(server.call(peer, call).await) }
                });
                let served = http2::Builder::new(TokioExecutor::new())
                    .timer(TokioTimer::new())
                    .keep_alive_interval(PING)
                    .keep_alive_timeout(PING)
                    .max_concurrent_streams(MAX_STREAMS)
                    .initial_stream_window_size(STREAM_WINDOW)
                    .initial_connection_window_size(STREAM_WINDOW * MAX_STREAMS)
                    .max_header_list_size(MAX_HEADERS)
                    .max_send_buf_size(SEND_BUFFER)
                    .serve_connection(TokioIo::new(stream), service);
                if let Err(error) = served.await {
                    tracing::debug!(%peer, %error, "a peer's connection broke");
                }
            }
        }
    }

    async fn call(&self, peer: HostId, call: Request<Incoming>) -> Response<Body> {
        if call.uri().path() != FACTS {
            return self.handler.call(peer, call).await;
        }
        if call.method() != Method::GET {
            return status(StatusCode::METHOD_NOT_ALLOWED);
        }
        let Ok(asked) = asked(call.uri().query().unwrap_or_default()) else {
            return status(StatusCode::BAD_REQUEST);
        };
        let lines = self.facts.lines(asked);
        let body = stream::unfold((lines, beats()), |(mut lines, mut beat)| async move {
            let bytes = next(&mut lines, &mut beat).await?;
            Some((Ok(Frame::data(bytes)), (lines, beat)))
        });
        let mut response = Response::new(StreamBody::new(body).boxed_unsync());
        let json = http::HeaderValue::from_static("application/jsonl");
        response.headers_mut().insert(http::header::CONTENT_TYPE, json);
        response
    }
}

fn beats() -> Interval {
    let mut beats = interval_at(tokio::time::Instant::now() + BEAT, BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beats
}

/// Waits for the next lines, or for the next beat.
async fn next(lines: &mut FactLines, beat: &mut Interval) -> Option<Bytes> {
    loop {
        tokio::select! {
            bytes = lines.next() => {
                beat.reset();
                return bytes;
            }
            _ = beat.tick() => if let Some(line) = lines.beat() {
                return Some(line);
            }
        }
    }
}

/// Reads what a peer has already.
fn asked(query: &str) -> Result<Asked, std::num::ParseIntError> {
    let (mut epoch, mut revision, mut events) = (None, None, None);
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        match name {
            "epoch" => epoch = Some(value.parse()?),
            "after" => revision = Some(value.parse()?),
            "events" => {
                let (epoch, number) = value.split_once('-').unwrap_or((value, ""));
                events = Some(EventCursor { epoch: epoch.parse()?, number: number.parse()? });
            }
            // A later release's.
            _ => {}
        }
    }
    let facts = epoch.zip(revision).map(|(epoch, revision)| Cursor { epoch, revision });
    Ok(Asked { facts, events })
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = status;
    response
}

const fn max_connections(protocol: PeerProtocol) -> usize {
    match protocol {
        PeerProtocol::Http2 => MAX_CONNECTIONS,
        PeerProtocol::Relay => MAX_RELAYED,
    }
}

/// How many connections each has.
#[derive(Clone)]
struct Counts<K>(Arc<Mutex<BTreeMap<K, usize>>>);

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Ord + Copy> Counts<K> {
    /// Counts one more, until what is returned is dropped. `None` if there are `max` already.
    fn count(&self, key: K, max: usize) -> Option<Counted<K>> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(key).or_default();
        (*count < max).then(|| {
            *count += 1;
            Counted { counts: self.clone(), key }
        })
    }
}

struct Counted<K: Ord + Copy> {
    counts: Counts<K>,
    key: K,
}

impl<K: Ord + Copy> Drop for Counted<K> {
    fn drop(&mut self) {
        let mut counts = self.counts.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_has_already_is_read_from_its_question() {
        assert_eq!(asked(""), Ok(Asked::default()));
        assert_eq!(asked("epoch=7"), Ok(Asked::default()));
        let facts = Some(Cursor { epoch: 7, revision: 9 });
        assert_eq!(asked("epoch=7&after=9&colour=red"), Ok(Asked { facts, events: None }));
        let events = Some(EventCursor { epoch: 7, number: 4 });
        assert_eq!(asked("events=7-4&epoch=7&after=9"), Ok(Asked { facts, events }));
        assert!(asked("epoch=x&after=9").is_err() && asked("epoch=7&after=-1").is_err());
        assert!(asked("events=7").is_err());
    }

    #[test]
    fn one_may_have_so_many_and_no_more_and_others_are_not_counted_with_it() {
        let counts = Counts::default();
        let two = [counts.count(1, 2), counts.count(1, 2)];
        assert!(two.iter().all(Option::is_some) && counts.count(1, 2).is_none());
        assert!(counts.count(2, 2).is_some());
        drop(two);
        assert!(counts.count(1, 2).is_some() && counts.0.lock().unwrap().is_empty());
    }
}
