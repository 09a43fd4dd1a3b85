//! Asks peers.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use longshore_model::HostId;
use longshore_runtime::state::PeerObservation;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

use super::lines::{Lines, TooLong};
use super::severed::Severed;
use super::{Body, FACTS, HANDSHAKE_LIMIT, MAX_HEADERS, MAX_STREAMS, SILENCE_LIMIT, STREAM_WINDOW, empty};
use crate::facts::{Broken, PeerEvent, Replica};
use crate::identity::{Identity, PeerProtocol};

/// How long a peer may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// Why a peer's facts are not followed.
#[derive(Debug, thiserror::Error)]
pub(super) enum FollowError {
    #[error("cannot connect to {0}")]
    Connect(SocketAddr, #[source] io::Error),
    #[error("{0} did not answer in time")]
    Silent(SocketAddr),
    #[error("the connection broke")]
    Http(#[from] hyper::Error),
    #[error("the request cannot be written")]
    Request(#[from] http::Error),
    #[error("the peer answered {0}")]
    Refused(StatusCode),
    #[error(transparent)]
    Broken(#[from] Broken),
    #[error(transparent)]
    TooLong(#[from] TooLong),
    #[error("the peer ended the stream")]
    Ended,
    #[error("a key was removed from the cluster")]
    KeyRemoved,
}

/// A connection to a peer, for calls, which end with it. It does not notice a peer that falls silent: each call needs a deadline.
#[derive(Debug)]
pub struct PeerClient {
    sender: http2::SendRequest<Body>,
    _connection: AbortOnDropHandle<()>,
    _severed: DropGuard,
}

impl PeerClient {
    /// Calls the peer. The future may be dropped at any await, which cancels the call.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn call(&self, call: Request<Body>) -> Result<Response<Incoming>, hyper::Error> {
        // A clone shares the connection.
        let mut sender = self.sender.clone();
        sender.ready().await?;
        sender.send_request(call).await
    }

    /// Returns whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

/// Connects to a peer.
///
/// # Errors
/// It is not this peer that answers, it does not accept this host, or it does neither in time.
pub async fn connect(identity: &Identity, peer: HostId, address: SocketAddr) -> io::Result<PeerClient> {
    // Before the ring that proves the peer's identity can lose a key.
    let mut removals = identity.removals();
    let stream = timeout(CONNECT_LIMIT, TcpStream::connect(address)).await??;
    stream.set_nodelay(true)?;
    let secured = timeout(HANDSHAKE_LIMIT, identity.connect(stream, peer, PeerProtocol::Http2)).await??;
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEADERS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(STREAM_WINDOW * MAX_STREAMS);
    let severed = CancellationToken::new();
    let handshake = builder.handshake(TokioIo::new(Severed::by(&severed, secured.stream)));
    let (sender, connection) = timeout(HANDSHAKE_LIMIT, handshake).await?.map_err(io::Error::other)?;
    let on_removal = severed.clone();
    let run = async move {
        tokio::select! {
            ended = connection => if let Err(error) = ended {
                tracing::debug!(%error, "a connection to a peer broke");
            },
            () = removals.removed() => on_removal.cancel(),
        }
    };
    let connection = AbortOnDropHandle::new(tokio::spawn(run));
    Ok(PeerClient { sender, _connection: connection, _severed: severed.drop_guard() })
}

/// Follows a peer's facts until the stream breaks.
pub(super) async fn follow_stream(
    identity: &Identity,
    address: SocketAddr,
    peer: HostId,
    replica: &mut Replica,
    mut on_line: impl FnMut(Option<PeerObservation>, Vec<PeerEvent>),
) -> Result<Infallible, FollowError> {
    let mut removals = identity.removals();
    tokio::select! {
        ended = stream(identity, address, peer, replica, &mut on_line) => ended,
        () = removals.removed() => Err(FollowError::KeyRemoved),
    }
}

async fn stream(
    identity: &Identity,
    address: SocketAddr,
    peer: HostId,
    replica: &mut Replica,
    on_line: &mut impl FnMut(Option<PeerObservation>, Vec<PeerEvent>),
) -> Result<Infallible, FollowError> {
    let client =
        connect(identity, peer, address).await.map_err(|error| FollowError::Connect(address, error))?;
    let facts = replica.open().map(|known| format!("epoch={}&after={}", known.epoch, known.revision));
    let events = replica.events().map(|known| format!("events={}-{}", known.epoch, known.number));
    let query: Vec<String> = facts.into_iter().chain(events).collect();
    let uri = format!("https://{peer}{FACTS}?{}", query.join("&"));
    let silent = |_| FollowError::Silent(address);
    let response = client.call(Request::get(uri).body(empty())?);
    let response = timeout(SILENCE_LIMIT, response).await.map_err(silent)??;
    if response.status() != StatusCode::OK {
        return Err(FollowError::Refused(response.status()));
    }
    let (mut body, mut lines) = (response.into_body(), Lines::default());
    loop {
        let frame = timeout(SILENCE_LIMIT, body.frame()).await.map_err(silent)?;
        let Some(frame) = frame else { return Err(FollowError::Ended) };
        let Ok(bytes) = frame?.into_data() else { continue };
        lines.take(&bytes, |line| {
            let observation = replica.take(line)?;
            on_line(observation, replica.take_events());
            Ok::<_, FollowError>(())
        })?;
    }
}
