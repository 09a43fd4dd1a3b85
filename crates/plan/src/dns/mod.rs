//! DNS without sockets: takes a request's bytes and the names, and returns an answer's bytes.
//!
//! ```text
//! bytes ──question::read──► Question ──lookup::find──► Found ──reply::encode──► bytes
//!                              └─ of another domain ──► Forward, for the caller to send to other servers
//! ```
//!
//! Deliberately absent: zone files, transfers, updates, signatures, and a cache of other servers' answers.

mod lookup;
mod question;
mod reply;

use std::collections::BTreeSet;
use std::net::IpAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::Name;
use longshore_model::{DomainName, NameKey, NameTable, Transport};

use crate::names::{NamePlan, NameSettings};

pub use question::Forward;

/// Everything that answers are made from. Immutable: recreated for each change.
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
    /// The names for those who ask from other hosts of the cluster, and these hosts' addresses.
    elsewhere: Option<(BTreeSet<IpAddr>, NameTable)>,
}

/// The parts of a [`Zone`] other than names.
#[derive(Clone, Debug)]
pub struct ZoneParts {
    /// The addresses of the server itself, to which the domain's own name resolves.
    pub server: Vec<IpAddr>,
    /// How long an answer may be cached, in seconds.
    pub ttl: u32,
    /// A number that increases with every change.
    pub serial: u32,
    /// Whether questions about other domains are forwarded.
    pub forwards: bool,
}

impl Zone {
    /// Creates a zone from the current names of a plan. The host's own name exists even while it has no
    /// containers.
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
            elsewhere: None,
        }
    }

    /// Adds the names for those who ask from these addresses of other hosts.
    #[must_use]
    pub fn with_elsewhere(self, hosts: BTreeSet<IpAddr>, plan: &NamePlan) -> Self {
        Self { elsewhere: Some((hosts, plan.table().clone())), ..self }
    }

    /// Returns the zone for one who asks from another host of the cluster; `None` for all others, who get this one.
    pub fn for_asker(&self, asker: IpAddr) -> Option<Self> {
        let (_, names) =
            self.elsewhere.as_ref().filter(|(hosts, _)| hosts.contains(&asker.to_canonical()))?;
        Some(Self { names: names.clone(), ..self.clone() })
    }

    /// Returns the domain that the zone answers for.
    pub fn domain(&self) -> &DomainName {
        &self.own
    }

    /// Returns the names in the zone.
    pub fn names(&self) -> &NameTable {
        &self.names
    }
}

/// An answer's bytes and its outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The whole message, without TCP's length prefix.
    pub bytes: Vec<u8>,
    /// The response code.
    pub code: ResponseCode,
}

/// How a request is handled.
#[derive(Debug)]
pub enum Reply {
    /// It is answered.
    Answer(Answer),
    /// It is for other servers; [`Forward`] turns their answer into ours.
    Forward(Box<Forward>),
    /// It is not a request: the sender gets no answer.
    Nothing,
}

/// Answers a request, given without TCP's length prefix. `turn` selects which of several answers comes first:
/// a counter makes them rotate.
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

/// Returns one of our names in wire form. Every [`DomainName`] is valid there: at most 63 bytes a part, and
/// 253 in all.
fn name(text: &str) -> Name {
    Name::from_labels(text.split('.').map(str::as_bytes)).unwrap_or_default()
}
