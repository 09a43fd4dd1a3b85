//! Watching keys, from one endpoint to the next without missing a change.

use tonic::Status;
use tonic::codec::Streaming;

use crate::client::{Call, Client, Repeat};
use crate::connection::Connection;
use crate::error::Error;
use crate::key_range::KeyRange;
use crate::message::{EventType, KeyValue, WatchCreateRequest, WatchRequest, WatchResponse, WireEvent};

const ACTION: &str = "watch";
const WATCH: Call = Call { path: "/etcdserverpb.Watch/Watch", action: ACTION, repeat: Repeat::Always };

/// A watch. If its connection breaks, it resumes at the next endpoint after the last change that it returned.
#[derive(Debug)]
pub struct Watch {
    client: Client,
    range: KeyRange,
    /// The lowest revision of the next change to return.
    next: i64,
    stream: Option<Open>,
    /// True if etcd refused the watch, and a new token is being tried.
    is_refused: bool,
}

#[derive(Debug)]
struct Open {
    connection: Connection,
    answers: Streaming<WatchResponse>,
    /// True once anything has arrived on this stream.
    is_proven: bool,
}

/// Changes of one transaction, or of several in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchBatch {
    /// The revision of the last of them.
    pub revision: i64,
    /// The changes in the order in which they were made.
    pub events: Vec<Event>,
}

/// A change to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It was written.
    Put(KeyValue),
    /// It was deleted, or its lease expired.
    Delete {
        /// The key.
        key: Vec<u8>,
        /// The revision at which it was deleted.
        revision: i64,
    },
}

impl Client {
    /// Watches a key, starting at this revision.
    pub fn watch_key(&self, key: impl Into<Vec<u8>>, revision: i64) -> Watch {
        Watch::new(self, KeyRange::key(key), revision)
    }

    /// Watches all keys with this prefix, starting at this revision: the one after a [`Listing`](crate::Listing)'s.
    pub fn watch_prefix(&self, prefix: impl Into<Vec<u8>>, revision: i64) -> Watch {
        Watch::new(self, KeyRange::prefix(prefix), revision)
    }
}

impl Watch {
    fn new(client: &Client, range: KeyRange, next: i64) -> Self {
        Self { client: client.clone(), range, next, stream: None, is_refused: false }
    }

    /// Waits for the next changes. Cancel-safe: dropping it loses none.
    ///
    /// # Errors
    /// No endpoint answers: call it again after a while, and nothing is missed. [`Error::Compacted`] and
    /// [`Error::HistoryLost`] mean that changes were missed for good: list again, and start another watch. Otherwise
    /// etcd refuses.
    pub async fn next(&mut self) -> Result<WatchBatch, Error> {
        loop {
            if self.stream.is_none() {
                self.open().await?;
            }
            let Some(open) = &mut self.stream else { continue };
            let failed = match open.answers.message().await {
                Ok(Some(answer)) if !answer.canceled => {
                    open.is_proven = true;
                    self.is_refused = false;
                    match self.take(answer) {
                        Some(batch) => return Ok(batch),
                        None => continue,
                    }
                }
                Ok(Some(answer)) => Err(answer),
                Ok(None) => Ok(Status::unavailable("the stream ended")),
                Err(status) => Ok(status),
            };
            let Some(Open { connection, is_proven, .. }) = self.stream.take() else { continue };
            match failed {
                Err(answer) => self.canceled(&connection, &answer).await?,
                Ok(status) => {
                    self.client.leave_broken(&connection).await;
                    if !is_proven {
                        return Err(Error::of_status(ACTION, &connection.endpoint, &status));
                    }
                }
            }
        }
    }

    async fn open(&mut self) -> Result<(), Error> {
        let create = WatchCreateRequest {
            key: self.range.key.clone(),
            range_end: self.range.end.clone(),
            start_revision: self.next,
            progress_notify: true,
        };
        let request = WatchRequest { create_request: Some(create) };
        let opened = self.client.stream(WATCH, &request).await?;
        let first: WatchResponse = opened.first;
        if first.canceled {
            return self.canceled(&opened.connection, &first).await;
        }
        let current = first.header.map(|header| header.revision).unwrap_or_default();
        if current + 1 < self.next {
            // The member lags behind, or etcd's data is not what it was.
            let current = self.client.revision().await?;
            if current + 1 < self.next {
                return Err(Error::HistoryLost { seen: self.next - 1, current });
            }
        }
        if self.next <= 0 {
            self.next = current + 1;
        }
        self.stream = Some(Open { connection: opened.connection, answers: opened.rest, is_proven: false });
        Ok(())
    }

    /// Determines why etcd ended the watch: returns an error, or reopens it.
    async fn canceled(&mut self, connection: &Connection, answer: &WatchResponse) -> Result<(), Error> {
        if answer.compact_revision > 0 {
            return Err(Error::Compacted { wanted: self.next });
        }
        let reason = answer.cancel_reason.as_str();
        let why = reason.rsplit_once("etcdserver: ").map_or(reason, |(_, why)| why).to_owned();
        let endpoint = connection.endpoint.to_string();
        if !why.contains("permission denied") && !why.contains("auth") {
            self.client.leave_broken(connection).await;
            return Err(Error::Unavailable { action: ACTION, endpoint, why });
        }
        // An expired token is refused like a missing permission.
        self.client.disconnect(connection.serial).await;
        self.is_refused = !self.is_refused;
        if self.is_refused { Ok(()) } else { Err(Error::Refused { action: ACTION, endpoint, why }) }
    }

    /// Takes the changes out of an answer; `None` if it only reports etcd's progress.
    fn take(&mut self, answer: WatchResponse) -> Option<WatchBatch> {
        let is_delete = |kind: i32| kind == i32::from(EventType::Delete);
        let event = |event: WireEvent| {
            let kv = event.kv?;
            Some(match is_delete(event.r#type) {
                true => Event::Delete { key: kv.key, revision: kv.mod_revision },
                false => Event::Put(kv),
            })
        };
        let header = answer.header.map(|header| header.revision).unwrap_or_default();
        let events: Vec<Event> = answer.events.into_iter().filter_map(event).collect();
        let Some(last) = events.last() else {
            self.next = self.next.max(header + 1);
            return None;
        };
        let revision = last.revision();
        self.next = revision + 1;
        Some(WatchBatch { revision, events })
    }
}

impl Event {
    /// Returns the key that changed.
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Put(kv) => &kv.key,
            Self::Delete { key, .. } => key,
        }
    }

    /// Returns the revision at which it changed.
    pub fn revision(&self) -> i64 {
        match self {
            Self::Put(kv) => kv.mod_revision,
            Self::Delete { revision, .. } => *revision,
        }
    }
}
