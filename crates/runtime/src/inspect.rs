use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use longshore_model::{Container, ContainerId};
use serde_json::value::RawValue;

use crate::state::DockerEvent;

/// Shows a container whole, as Docker's inspection does.
pub trait Inspect: Debug + Send + Sync {
    /// Returns the container's inspection, or nothing if it is gone or Docker does not answer.
    fn inspect<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, Option<Arc<RawValue>>>;
}

/// Finds out what became of containers that no event explains.
pub trait Examine: Debug + Send + Sync {
    /// Returns what Docker says of these containers, or nothing if it does not answer.
    fn examine<'a>(&'a self, containers: &'a [ContainerId]) -> BoxFuture<'a, Option<Evidence>>;
}

/// What Docker says of some containers, with the events that may explain it.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Each container as it is; nothing if there is none of that id.
    pub containers: BTreeMap<ContainerId, Option<Container>>,
    /// The events of containers and networks that Docker remembers, oldest first. It was asked for them after the
    /// containers were inspected.
    pub events: Vec<DockerEvent>,
    /// The time up to which these are all that it remembers, in nanoseconds since 1970, by Docker's clock.
    pub until: i64,
}
