//! A connection to a peer, which many calls share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::sync::watch;

use crate::peer::{Body, PeerClient};

/// How many calls share a connection: fewer than the peer accepts, so that none waits for another to end.
const AT_ONCE: usize = 128;

/// A connection, and how many calls it has.
#[derive(Debug)]
pub(super) struct Connection {
    client: PeerClient,
    calls: AtomicUsize,
}

impl Connection {
    /// Creates a connection that has one call, the [first](OnConnection::first).
    pub(super) fn new(client: PeerClient) -> Self {
        Self { client, calls: AtomicUsize::new(1) }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }
}

/// A call on a connection, until it is dropped.
#[derive(Debug)]
pub(super) struct OnConnection(Arc<Connection>);

impl OnConnection {
    /// Takes a place on a connection, if it has one.
    pub(super) fn new(connection: &Arc<Connection>) -> Option<Self> {
        let is_open = !connection.client.is_closed() && connection.calls.load(Relaxed) < AT_ONCE;
        is_open.then(|| {
            connection.calls.fetch_add(1, Relaxed);
            Self(Arc::clone(connection))
        })
    }

    /// Takes the place that a new connection has for its first call.
    pub(super) fn first(connection: Arc<Connection>) -> Self {
        Self(connection)
    }

    /// Sends the call.
    pub(super) async fn call(&self, call: Request<Body>) -> Result<Response<Incoming>, hyper::Error> {
        self.0.client.call(call).await
    }
}

impl Drop for OnConnection {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Relaxed);
    }
}

/// Waits until a peer's calls must end; returns why.
pub(super) async fn ended(watched: &mut watch::Receiver<Option<String>>) -> String {
    match watched.wait_for(Option::is_some).await {
        Ok(why) => why.clone().unwrap_or_default(),
        Err(_) => "this host left the cluster".to_owned(),
    }
}
