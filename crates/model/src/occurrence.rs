//! What handlers are told: an event with the facts of what it happened to.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ContainerId;

/// Tells one event from every other, also across restarts of the agent: the time in nanoseconds, the container and
/// what happened, so that the same event always has the same id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(pub String);

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What something happened to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OccurrenceSubject {
    /// Nothing: the dummy event `none`.
    Nothing,
    /// A container. Its labels may be long, and many events wait: they share what is known of it.
    Container(Arc<ContainerFacts>),
    /// A network.
    Network {
        /// Docker's id.
        id: String,
        /// Its name.
        name: String,
    },
}

/// What is known of a container even when it is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerFacts {
    /// Docker's id.
    pub id: ContainerId,
    /// Its name, without the leading slash.
    pub name: String,
    /// The image as it was named when the container was created.
    pub image: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// Something that happened, as handlers are told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occurrence {
    /// Tells it from every other.
    pub id: EventId,
    /// What happened, as Docker names it: `start`, `health_status`, `connect`; `network_create` and
    /// `network_destroy` for networks; `none` for the dummy.
    pub event: String,
    /// When, in nanoseconds since 1970, by Docker's clock.
    pub at: i64,
    /// Whether nobody heard it: it follows from what is different since the agent last looked.
    pub made_up: bool,
    /// What it happened to.
    pub subject: OccurrenceSubject,
    /// What Docker says besides: `exitCode`, `signal`, `health_status`, `execID`, `network` and the like.
    pub attributes: BTreeMap<String, String>,
}

impl Occurrence {
    /// The container, if it happened to one.
    pub fn container(&self) -> Option<&ContainerFacts> {
        match &self.subject {
            OccurrenceSubject::Container(facts) => Some(facts),
            OccurrenceSubject::Nothing | OccurrenceSubject::Network { .. } => None,
        }
    }

    /// The id of what it happened to; empty for the dummy event.
    pub fn subject_id(&self) -> &str {
        match &self.subject {
            OccurrenceSubject::Nothing => "",
            OccurrenceSubject::Container(facts) => facts.id.as_str(),
            OccurrenceSubject::Network { id, .. } => id,
        }
    }
}
