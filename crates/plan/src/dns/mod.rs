//! DNS without sockets: a request's bytes and the names in, an answer's bytes out.
//!
//! ```text
//! bytes ──question::read──► Question ──lookup::find──► Found ──reply::encode──► bytes
//!                              └─ of another domain ──► Forward, for who asks other servers
//! ```
//!
//! Deliberately absent: zone files, transfers, updates, signatures, and a cache of what other servers say.

mod lookup;
mod question;
mod reply;

use std::net::IpAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::Name;
use longshore_model::{DomainName, NameKey, NameTable, Transport};

use crate::names::{NamePlan, NameSettings};

pub use question::Forward;

/// All that an answer is made of. Made anew for each change, and never changed.
#[derive(Clone, Debug)]
pub struct Zone {
    own: DomainName,
    domain: Name,
    node: Option<NameKey>,
    names: NameTable,
    server: Vec<IpAddr>,
    ttl: u32,
    serial: u32,
    forwards: bool,
}

/// What a [`Zone`] is made of beside names.
#[derive(Clone, Debug)]
pub struct ZoneParts {
    /// The addresses of the server itself, which the domain's own name has.
    pub server: Vec<IpAddr>,
    /// How long an answer may be kept, in seconds.
    pub ttl: u32,
    /// A number that moves with every change.
    pub serial: u32,
    /// Whether questions of other domains go to other servers.
    pub forwards: bool,
}

impl Zone {
    /// Creates a zone of the names that a plan has now. The host's own is there even while it has no containers.
    pub fn new(plan: &NamePlan, parts: ZoneParts) -> Self {
        let NameSettings { domain, node, .. } = plan.settings();
        Self {
            domain: name(domain.as_str()),
            own: domain.clone(),
            node: node.as_ref().map(|node| NameKey::new(node.as_str().split('.'))),
            names: plan.table().clone(),
            server: parts.server,
            ttl: parts.ttl,
            serial: parts.serial,
            forwards: parts.forwards,
        }
    }

    /// Returns the domain that is answered for.
    pub fn domain(&self) -> &DomainName {
        &self.own
    }

    /// Returns the names in it.
    pub fn names(&self) -> &NameTable {
        &self.names
    }
}

/// An answer's bytes and what they say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The whole message, without the length that TCP puts before it.
    pub bytes: Vec<u8>,
    /// How it went.
    pub code: ResponseCode,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Reply {
    /// It is answered.
    Answer(Answer),
    /// It is for other servers; [`Forward`] makes the answer of theirs.
    Forward(Box<Forward>),
    /// It is no request: who sent it gets nothing.
    Nothing,
}

/// Answers a request as it came, without the length that TCP puts before it. `turn` says with which of several answers to
/// begin: a number that grows lets them take turns.
pub fn answer(zone: &Zone, request: &[u8], transport: Transport, turn: usize) -> Reply {
    match question::read(zone, request, transport) {
        question::Read::Nothing => Reply::Nothing,
        question::Read::Refused(reply) => Reply::Answer(reply.encode()),
        question::Read::Forward(forward) => Reply::Forward(forward),
        question::Read::Asked(mut reply) => {
            lookup::find(zone, &mut reply, turn);
            Reply::Answer(reply.encode())
        }
    }
}

/// Returns a name of ours on the wire. Every [`DomainName`] is one: its parts have 63 bytes at most, and all of it 253.
fn name(text: &str) -> Name {
    Name::from_labels(text.split('.').map(str::as_bytes)).unwrap_or_default()
}
