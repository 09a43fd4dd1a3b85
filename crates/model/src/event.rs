//! Container and network events as Docker reports them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ContainerId;

/// The kind of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// Created, not started.
    Create,
    /// Started.
    Start,
    /// A signal was sent to it, by number.
    Kill(Option<u32>),
    /// Its process exited.
    Die,
    /// Paused.
    Pause,
    /// Unpaused.
    Unpause,
    /// Renamed.
    Rename,
    /// Its health status changed.
    Health,
    /// It joined a network.
    Connect,
    /// It left a network.
    Disconnect,
    /// Removed.
    Destroy,
    /// Anything else, by Docker's name.
    Other(String),
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Start => "start",
            Self::Kill(_) => "kill",
            Self::Die => "die",
            Self::Pause => "pause",
            Self::Unpause => "unpause",
            Self::Rename => "rename",
            Self::Health => "health_status",
            Self::Connect => "connect",
            Self::Disconnect => "disconnect",
            Self::Destroy => "destroy",
            Self::Other(name) => name,
        })
    }
}

/// One event of one container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerEvent {
    /// The container.
    pub container: ContainerId,
    /// The container's name from the event; empty if the event has none.
    pub name: String,
    /// What happened.
    pub kind: EventKind,
    /// When it happened, in nanoseconds since 1970, by Docker's clock.
    pub at: i64,
    /// Docker's other attributes, including the container's image and labels.
    pub attributes: BTreeMap<String, String>,
}

/// An event of a container, as far as readers of the API and other hosts are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventSummary {
    /// The container.
    pub container: ContainerId,
    /// Its name; empty if nobody knows it.
    pub name: String,
    /// What happened, as Docker names it: `start`.
    pub action: String,
    /// When it happened, in nanoseconds since 1970, by the clock of its host.
    pub at: i64,
}

impl From<&ContainerEvent> for EventSummary {
    fn from(event: &ContainerEvent) -> Self {
        Self {
            container: event.container.clone(),
            name: event.name.clone(),
            action: event.kind.to_string(),
            at: event.at,
        }
    }
}

/// One event of one network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkEvent {
    /// Docker's id of the network.
    pub network: String,
    /// Its name.
    pub name: String,
    /// What happened, as Docker names it: `create`, `destroy`, `remove`.
    pub action: String,
    /// When it happened, in nanoseconds since 1970, by Docker's clock.
    pub at: i64,
}
