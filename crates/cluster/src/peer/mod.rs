//! Hosts ask each other: HTTP/2 over the connections of [`crate::identity`].
//!
//! `GET /peer/facts` streams a host's facts, as lines of JSON: with `?epoch=E&after=R`, what changed after revision R of
//! run E, and with `&events=E-N` the events after number N of it. All other calls, and connections to containers, are passed on to a [`PeerHandler`].

mod client;
mod follow;
mod lines;
mod server;
mod severed;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};

pub use client::{PeerClient, connect};
pub use follow::{LinkState, Links, Member, Members, OnEvent, follow};
pub use server::{PeerHandler, serve};

/// The path of the facts.
const FACTS: &str = "/peer/facts";

/// How often a host says that nothing changed.
const BEAT: Duration = Duration::from_secs(5);

/// A stream that says nothing for this long is broken.
const SILENCE_LIMIT: Duration = Duration::from_secs(15);

/// How long a connection may take to become secure.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);

/// The longest head of a call or a reply, in bytes.
const MAX_HEADERS: u32 = 16 << 10;

/// How many calls one connection may have under way.
const MAX_STREAMS: u32 = 256;

/// How much of one stream may be on its way before its reader has taken it, in bytes. A connection may have that for each
/// of its streams: one that nobody reads holds up no other.
const STREAM_WINDOW: u32 = 256 << 10;

/// The body of a call to a peer or of a reply to one.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// A body ended early.
#[derive(Debug)]
pub struct BodyError(Box<dyn std::error::Error + Send + Sync>);

impl BodyError {
    /// Wraps what ended it.
    pub fn new(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(source.into())
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body ended early")
    }
}

impl std::error::Error for BodyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.0)
    }
}

/// Returns a body without content.
pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

#[cfg(test)]
mod tests;
