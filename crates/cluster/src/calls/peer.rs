//! One peer, and the connections to it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame as BodyFrame, Incoming};
use longshore_model::{Call, CallError, ContainerCall, HostId, Input};
use longshore_runtime::{Reply, Session, chain};
use longshore_wire::call::{CallRow, Frame, InputFrame};
use tokio::sync::{Mutex, mpsc, watch};

use super::PATH;
use super::connection::{Connection, OnConnection, ended};
use super::place::PeerPlace;
use super::reply::{self, ReplyReader};
use crate::identity::Identity;
use crate::peer::{Body, connect};

/// How many pieces of a session's input wait for the peer to take them.
const MAX_WAITING: usize = 16;

/// A peer, as long as it stays where it is.
#[derive(Debug)]
pub(super) struct Peer {
    host: HostId,
    place: PeerPlace,
    /// Read without a lock; replaced by who holds `opening`.
    connections: ArcSwap<Vec<Arc<Connection>>>,
    opening: Mutex<()>,
    /// Why all calls to it ended.
    ended: watch::Sender<Option<String>>,
}

impl Peer {
    pub(super) fn new(host: HostId, place: PeerPlace) -> Self {
        Self {
            host,
            place,
            connections: ArcSwap::default(),
            opening: Mutex::default(),
            ended: watch::Sender::default(),
        }
    }

    pub(super) fn place(&self) -> &PeerPlace {
        &self.place
    }

    /// Ends all calls, because the peer has another place, or none.
    pub(super) fn end(&self, place: Option<&PeerPlace>) {
        let why = match place {
            None => "it left the cluster".to_owned(),
            Some(PeerPlace { lost: Some(why), .. }) => why.clone(),
            Some(now) if now.run != self.place.run => "its agent restarted".to_owned(),
            Some(PeerPlace { is_cut: true, .. }) => "it does not answer this host".to_owned(),
            Some(_) => "the connection is renewed".to_owned(),
        };
        self.ended.send_replace(Some(why));
    }

    /// Calls the peer.
    pub(super) async fn call(
        &self,
        identity: &Identity,
        call: &Call,
        row: &CallRow,
    ) -> Result<Reply, CallError> {
        if let Some(why) = &self.place.lost {
            return Err(self.unreachable(why.clone()));
        }
        let mut watched = self.ended.subscribe();
        tokio::select! {
            reply = self.exchange(identity, call, row) => reply,
            why = ended(&mut watched) => Err(self.unreachable(why)),
        }
    }

    async fn exchange(&self, identity: &Identity, call: &Call, row: &CallRow) -> Result<Reply, CallError> {
        let is_session = matches!(call, Call::Container { call: ContainerCall::Exec(_), .. });
        let (response, connection, input) = match self.send(identity, row, is_session).await {
            // A connection that was kept may have broken unnoticed. Only a command must not begin twice.
            Err((_, Sent::Maybe)) if !is_session => {
                self.send(identity, &row.repeated(self.place.run), is_session).await
            }
            Err((_, Sent::No)) => self.send(identity, row, is_session).await,
            sent => sent,
        }
        .map_err(|(error, _)| error)?;
        if response.status() != StatusCode::OK {
            let why = format!("it answered {}: is its release older?", response.status());
            return Err(self.unreachable(why));
        }
        let reader = ReplyReader::new(
            self.place.name.clone(),
            response.into_body(),
            self.ended.subscribe(),
            connection,
        );
        Ok(match (reply::begin(reader).await?, input) {
            (Reply::Stream(output), Some(input)) => Reply::Session(Session { output, input }),
            (reply, _) => reply,
        })
    }

    async fn send(&self, identity: &Identity, row: &CallRow, is_session: bool) -> Result<Exchange, Failure> {
        // Input that the command does not read would keep a shared connection from telling the peer that the session is
        // over: a session ends with its own.
        let connection = match is_session {
            true => self.open(identity).await.map(OnConnection::first),
            false => self.connection(identity).await,
        };
        let connection = connection.map_err(|error| (error, Sent::Not))?;
        let (input, body) = match is_session {
            true => {
                let (input, received) = mpsc::channel(MAX_WAITING);
                (Some(input), session_body(row.encode(), received))
            }
            false => (None, Full::new(row.encode()).map_err(|never| match never {}).boxed_unsync()),
        };
        let uri = format!("https://{}{PATH}", self.host);
        let request = Request::post(uri).body(body);
        let request = request.map_err(|error| (CallError::Invalid(error.to_string()), Sent::Not))?;
        match connection.call(request).await {
            Ok(response) => Ok((response, connection, input)),
            Err(error) => {
                let sent = if error.is_canceled() || error.is_closed() { Sent::No } else { Sent::Maybe };
                Err((self.unreachable(chain(&error)), sent))
            }
        }
    }

    /// Returns a connection with a place for one more call.
    async fn connection(&self, identity: &Identity) -> Result<OnConnection, CallError> {
        let ready = || self.connections.load().iter().find_map(OnConnection::new);
        if let Some(ready) = ready() {
            return Ok(ready);
        }
        let _opening = self.opening.lock().await;
        // Opened by another call, meanwhile.
        if let Some(ready) = ready() {
            return Ok(ready);
        }
        let connection = self.open(identity).await?;
        let mut connections = self.connections.load().to_vec();
        connections.retain(|known| !known.is_closed());
        connections.push(Arc::clone(&connection));
        self.connections.store(Arc::new(connections));
        Ok(OnConnection::first(connection))
    }

    /// Opens a connection with one call.
    async fn open(&self, identity: &Identity) -> Result<Arc<Connection>, CallError> {
        let opened = connect(identity, self.host, self.place.address).await;
        let client = opened.map_err(|error| self.unreachable(chain(&error)))?;
        Ok(Arc::new(Connection::new(client)))
    }

    fn unreachable(&self, why: String) -> CallError {
        CallError::Unreachable { host: self.place.name.clone(), why }
    }
}

type Exchange = (Response<Incoming>, OnConnection, Option<mpsc::Sender<Input>>);
type Failure = (CallError, Sent);

/// Whether the peer may have received a call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    /// There is no connection, and another attempt is no better.
    Not,
    /// It has not: the connection was closed before.
    No,
    /// It may have.
    Maybe,
}

/// Returns the body of a session's request: the call, then its input.
fn session_body(call: Bytes, received: mpsc::Receiver<Input>) -> Body {
    let frames = stream::unfold((Some(call), received), |(call, mut received)| async move {
        let bytes = match call {
            Some(call) => call,
            None => InputFrame(received.recv().await?).encode(),
        };
        Some((Ok(BodyFrame::data(bytes)), (None, received)))
    });
    StreamBody::new(frames).boxed_unsync()
}
