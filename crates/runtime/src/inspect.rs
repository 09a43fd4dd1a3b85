use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use longshore_model::{Container, ContainerId};
use serde_json::value::RawValue;

use crate::state::DockerEvent;

/// Returns full inspections, as Docker reports them.
pub trait Inspect: Debug + Send + Sync {
    /// Returns the container's inspection; `None` if it is gone or Docker does not answer.
    fn inspect<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, Option<Arc<RawValue>>>;
}

/// Finds out what happened to containers that no event explains.
pub trait Examine: Debug + Send + Sync {
    /// Returns Docker's view of these containers; `None` if it does not answer.
    fn examine<'a>(&'a self, containers: &'a [ContainerId]) -> BoxFuture<'a, Option<Evidence>>;
}

/// Docker's view of some containers, with the events that may explain it.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Each container's current state; `None` if there is none with that id.
    pub containers: BTreeMap<ContainerId, Option<Container>>,
    /// The events of containers and networks that Docker remembers, oldest first. They were requested after the
    /// containers were inspected.
    pub events: Vec<DockerEvent>,
    /// The time up to which the events are complete, in nanoseconds since 1970, by Docker's clock.
    pub until: i64,
}
