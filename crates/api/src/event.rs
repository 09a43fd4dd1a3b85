use longshore_model as model;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Route;

/// One line of `/v1/events`; the stream's event name is the value of `type`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// Docker told of a container.
    Container(ContainerEvent),
    /// A route is not what it was.
    Route(RouteEvent),
    /// The reader was too slow, and this many events are lost for it.
    Lagged {
        /// How many.
        missed: u64,
    },
}

/// What happened to a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ContainerEvent {
    /// The container's id.
    pub container: String,
    /// Its name, as Docker told it.
    pub name: String,
    /// Docker's word: `create`, `start`, `kill`, `die`, `pause`, `unpause`, `rename`, `health_status`,
    /// `destroy`, `connect`, `disconnect`, …
    pub action: String,
    /// When, in nanoseconds since 1970 by Docker's clock.
    pub at: i64,
}

/// What became of a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RouteEvent {
    /// Its frontend, host and prefix: `http:80 wp1.example.com/`.
    pub key: String,
    /// The route as it is, or nothing if it is gone.
    pub route: Option<Route>,
}

impl From<&model::ContainerEvent> for ContainerEvent {
    fn from(event: &model::ContainerEvent) -> Self {
        Self {
            container: event.container.as_str().to_owned(),
            name: event.name.clone(),
            action: event.kind.to_string(),
            at: event.at,
        }
    }
}
