//! An event as handlers receive it, with the facts of its subject.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::ContainerId;

/// A unique id of an event that is stable across restarts of the agent: the time in nanoseconds, the
/// beginning of the container's id, and the event's name.
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
    /// A container. Its labels may be long and many events may be pending, so they share its facts.
    Container(Arc<ContainerFacts>),
    /// A network.
    Network {
        /// Docker's id.
        id: String,
        /// Its name.
        name: String,
    },
}

/// The facts of a container that remain known after it is removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ContainerFacts {
    /// Docker's id.
    pub id: ContainerId,
    /// Its name, without the leading slash.
    pub name: String,
    /// The image name given when the container was created.
    pub image: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// An event as handlers receive it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerEvent {
    /// Its unique id.
    pub id: EventId,
    /// What happened, as Docker names it: `start`, `health_status`, `connect`; `network_create` and
    /// `network_destroy` for networks; `none` for the dummy.
    pub event: String,
    /// When it happened, in nanoseconds since 1970, by Docker's clock.
    pub at: i64,
    /// Whether Docker never reported it: it was derived from the last reported and the current state.
    pub synthetic: bool,
    /// The subject of the event.
    pub subject: EventSubject,
    /// Docker's other attributes: `exitCode`, `signal`, `health_status`, `execID`, `network`, ….
    pub attributes: BTreeMap<String, String>,
}

impl HandlerEvent {
    /// Returns the container, if the event is about one.
    pub fn container(&self) -> Option<&ContainerFacts> {
        match &self.subject {
            EventSubject::Container(facts) => Some(facts),
            EventSubject::Nothing | EventSubject::Network { .. } => None,
        }
    }

    /// Returns the id of the subject; empty for the dummy event.
    pub fn subject_id(&self) -> &str {
        match &self.subject {
            EventSubject::Nothing => "",
            EventSubject::Container(facts) => facts.id.as_str(),
            EventSubject::Network { id, .. } => id,
        }
    }
}
