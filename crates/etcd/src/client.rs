//! Sends requests to the endpoint that answers.

use std::sync::Arc;

use prost::Message;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tonic::Status;
use tonic::codec::Streaming;

use crate::connection::Connection;
use crate::error::{Error, is_stale_token, is_unsent};
use crate::settings::Settings;

/// A client of one etcd. Clones share the connection, which is opened on first use.
#[derive(Clone, Debug)]
pub struct Client {
    settings: Arc<Settings>,
    current: Arc<Mutex<Current>>,
}

/// The endpoint in use.
#[derive(Debug, Default)]
struct Current {
    /// Its place in the list.
    index: usize,
    connection: Option<Connection>,
    /// How many connections have been opened.
    made: u64,
}

/// One of etcd's calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) path: &'static str,
    /// Its description, to complete "cannot …".
    pub(crate) action: &'static str,
    /// When it may be repeated.
    pub(crate) repeat: Repeat,
}

/// When a failed call may be repeated at the next endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    Always,
    /// If the first attempt cannot have changed anything.
    Unsent,
}

/// A failed attempt.
struct Failed {
    error: Error,
    /// The index of the endpoint.
    index: usize,
    /// True if etcd cannot have made a change.
    is_unsent: bool,
}

/// A stream of answers.
#[derive(Debug)]
pub(crate) struct Answers<A> {
    pub(crate) first: A,
    pub(crate) rest: Streaming<A>,
    pub(crate) connection: Connection,
}

impl Client {
    /// Creates a client that connects on first use.
    pub fn new(settings: Settings) -> Self {
        Self { settings: Arc::new(settings), current: Arc::default() }
    }

    /// Sends a request and returns the answer.
    pub(crate) async fn unary<Q, A>(&self, call: Call, question: &Q) -> Result<A, Error>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        self.ask(call, |connection| connection.unary(call.path, question.clone())).await
    }

    /// Sends a request on a stream, and returns the first answer and the stream of those that follow.
    pub(crate) async fn stream<Q, A>(&self, call: Call, question: &Q) -> Result<Answers<A>, Error>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        self.ask(call, |connection| {
            let question = question.clone();
            async move {
                let (first, rest) = connection.clone().stream(call.path, question).await?;
                Ok(Answers { first, rest, connection })
            }
        })
        .await
    }

    /// Tries the current endpoint, then each other one that may do better.
    async fn ask<T, F>(&self, call: Call, attempt: impl Fn(Connection) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let mut first = None;
        for _ in 0..self.settings.endpoints.len() {
            let Failed { error, index, is_unsent } = match self.ask_current(call, &attempt).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            if !error.is_unreachable() {
                return Err(error);
            }
            self.leave(index).await;
            if call.repeat == Repeat::Unsent && !is_unsent {
                return Err(Error::OutcomeUnknown(Box::new(error)));
            }
            first.get_or_insert(error);
        }
        Err(first.unwrap_or(Error::NoEndpoints))
    }

    /// Tries the current endpoint; once more with a new token if the current one is rejected.
    async fn ask_current<T, F>(&self, call: Call, attempt: &impl Fn(Connection) -> F) -> Result<T, Failed>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let Call { action, .. } = call;
        let limit = self.settings.timeout;
        let mut is_renewed = false;
        loop {
            let connection = self.connection().await?;
            let Connection { index, serial, .. } = connection;
            let endpoint = connection.endpoint.clone();
            let status = match timeout(limit, attempt(connection)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(status)) => status,
                Err(_) => {
                    let error = Error::TimedOut { action, endpoint: endpoint.to_string(), limit };
                    return Err(Failed { error, index, is_unsent: false });
                }
            };
            let error = Error::of_status(action, &endpoint, &status);
            if matches!(error, Error::Refused { .. }) {
                // A new password or new permissions apply from the next connection on.
                self.disconnect(serial).await;
            }
            if !is_stale_token(&status) || is_renewed {
                return Err(Failed { error, index, is_unsent: is_unsent(&status) });
            }
            is_renewed = true;
        }
    }

    /// Returns the connection to the current endpoint, and opens it if there is none.
    async fn connection(&self) -> Result<Connection, Failed> {
        let mut current = self.current.lock().await;
        if let Some(connection) = &current.connection {
            return Ok(connection.clone());
        }
        let index = current.index;
        current.made += 1;
        let opened = match self.settings.endpoints.get(index) {
            Some(endpoint) => Connection::open(&self.settings, endpoint, index, current.made).await,
            None => Err(Error::NoEndpoints),
        };
        let connection = opened.map_err(|error| Failed { error, index, is_unsent: true })?;
        current.connection = Some(connection.clone());
        Ok(connection)
    }

    /// Drops this connection, so that the next call opens another one.
    pub(crate) async fn disconnect(&self, serial: u64) {
        let mut current = self.current.lock().await;
        current.connection.take_if(|connection| connection.serial == serial);
    }

    /// Switches to the endpoint after this one, unless another call has already.
    async fn leave(&self, index: usize) {
        let mut current = self.current.lock().await;
        if current.index == index {
            current.index = (index + 1) % self.settings.endpoints.len().max(1);
            current.connection = None;
        }
    }

    /// Switches to the next endpoint, after a stream over this connection broke.
    pub(crate) async fn leave_broken(&self, connection: &Connection) {
        let is_current = {
            let current = self.current.lock().await;
            current.connection.as_ref().is_some_and(|current| current.serial == connection.serial)
        };
        if is_current {
            self.leave(connection.index).await;
        }
    }
}
