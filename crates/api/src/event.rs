use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Route;

/// The data of one event of `/v1/events`; the event's name is the value of `type`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// Docker reported something about a container.
    Container(ContainerEvent),
    /// A route changed.
    Route(RouteEvent),
    /// Events are missing: the reader was too slow or resumed after an event of an earlier run of the agent, or a host was
    /// away for too long or restarted its agent.
    Lagged {
        /// How many, if known.
        missed: Option<u64>,
        /// The host whose events they are; absent if they may be of any.
        #[serde(default)]
        host: Option<String>,
    },
}

/// An event of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ContainerEvent {
    /// The name of its host.
    #[serde(default)]
    pub host: String,
    /// The container's id.
    pub container: String,
    /// Its name; empty if neither Docker nor the agent knows it.
    pub name: String,
    /// The event, as Docker names it: `create`, `start`, `kill`, `die`, `pause`, `unpause`, `rename`, `health_status`,
    /// `destroy`, `connect`, `disconnect`, …
    pub action: String,
    /// When it happened, by Docker's clock, as RFC 3339 in UTC: `2026-11-21T17:34:00.123456789Z`.
    #[schema(format = DateTime)]
    pub at: String,
}

/// A change of a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RouteEvent {
    /// Its frontend, host and prefix: `http:80 wp1.example.com/`.
    pub key: String,
    /// The route now, or null if it was removed.
    pub route: Option<Route>,
}
