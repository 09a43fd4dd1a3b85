//! An event as handlers are told of it, with the facts of what it happened to.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::ContainerId;

/// Identifies an event among all others, also across restarts of the agent: the time in nanoseconds, the beginning of
/// the container's id and the event's name, so that the same event always has the same id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub String);

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an event happened to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventSubject {
    /// Nothing: the dummy event `none`.
    Nothing,
    /// A container. Its labels may be long, and many events may be pending: they share what is known of it.
    Container(Arc<ContainerFacts>),
    /// A network.
    Network {
        /// Docker's id.
        id: String,
        /// Its name.
        name: String,
    },
}

/// What is known of a container even after it is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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

/// An event as handlers are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerEvent {
    /// Identifies it.
    pub id: EventId,
    /// What happened, as Docker names it: `start`, `health_status`, `connect`; `network_create` and
    /// `network_destroy` for networks; `none` for the dummy.
    pub event: String,
    /// When it happened, in nanoseconds since 1970, by Docker's clock.
    pub at: i64,
    /// Whether Docker never reported it: it follows from the difference between what was reported and what is.
    pub synthetic: bool,
    /// What it happened to.
    pub subject: EventSubject,
    /// What else Docker says: `exitCode`, `signal`, `health_status`, `execID`, `network` and the like.
    pub attributes: BTreeMap<String, String>,
}

impl HandlerEvent {
    /// Returns the container, if it happened to one.
    pub fn container(&self) -> Option<&ContainerFacts> {
        match &self.subject {
            EventSubject::Container(facts) => Some(facts),
            EventSubject::Nothing | EventSubject::Network { .. } => None,
        }
    }

    /// Returns the id of what it happened to; empty for the dummy event.
    pub fn subject_id(&self) -> &str {
        match &self.subject {
            EventSubject::Nothing => "",
            EventSubject::Container(facts) => facts.id.as_str(),
            EventSubject::Network { id, .. } => id,
        }
    }
}
