//! What Docker tells of a container as it happens.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ContainerId;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// Made, not started.
    Create,
    /// Its process runs.
    Start,
    /// A signal was sent to it, by number.
    Kill(Option<u32>),
    /// Its process ended.
    Die,
    /// Frozen.
    Pause,
    /// Thawed.
    Unpause,
    /// Has another name.
    Rename,
    /// Its health check changed its mind.
    Health,
    /// It joined a network.
    Connect,
    /// It left a network.
    Disconnect,
    /// Gone for good.
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
    /// Whose.
    pub container: ContainerId,
    /// Its name, as the event carried it; empty where it did not.
    pub name: String,
    /// What happened.
    pub kind: EventKind,
    /// When, in nanoseconds since 1970, by Docker's clock.
    pub at: i64,
    /// What Docker says besides, the container's image and labels among it.
    pub attributes: BTreeMap<String, String>,
}

/// One event of one network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkEvent {
    /// Docker's id of it.
    pub network: String,
    /// Its name.
    pub name: String,
    /// What happened, as Docker names it: `create`, `destroy`, `remove`.
    pub action: String,
    /// When, in nanoseconds since 1970, by Docker's clock.
    pub at: i64,
}
