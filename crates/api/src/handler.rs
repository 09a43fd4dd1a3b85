use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A handler and the state of its deliveries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Handler {
    /// Its name.
    pub name: String,
    /// Its kind: `script`, `plugin`, `webhook`, `balancer`, `publisher` or `openvswitch`.
    pub job: String,
    /// Where it is defined: a file, with the line if the file defines several.
    pub origin: String,
    /// Whether it is enabled.
    pub enabled: bool,
    /// The events that it subscribes to, as its definition names them; empty if it follows the containers' state.
    pub events: Vec<String>,
    /// Deliveries that are waiting or running.
    pub pending: usize,
    /// Deliveries that are running.
    pub running: usize,
    /// Deliveries that succeeded since the agent started.
    pub delivered: u64,
    /// Deliveries that failed permanently and are kept.
    pub failed: usize,
    /// Why the last attempt failed, if it did.
    pub trouble: Option<String>,
    /// Why its definition is invalid, if it is. Its last valid one stays in force; if there was none, `job` is empty.
    #[serde(default)]
    pub broken: Option<String>,
}

/// A delivery that failed permanently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FailedDelivery {
    /// Its id, for `replay` and `forget`.
    pub id: String,
    /// The name of the handler.
    pub handler: String,
    /// The event's id.
    pub event_id: String,
    /// The event, as Docker names it.
    pub event: String,
    /// The container's name, if the event has one.
    pub container: Option<String>,
    /// How many attempts were made.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub why: String,
    /// When the last attempt failed, as RFC 3339 in UTC.
    #[schema(format = DateTime)]
    pub at: String,
}

/// An event to test a handler with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HandlerTest {
    /// The event, as Docker names it.
    pub event: String,
    /// The container, by its id, the beginning of its id, or its name; absent for `none`.
    pub container: Option<String>,
    /// Only report what would be run or sent.
    #[serde(default)]
    pub dry_run: bool,
}

/// The outcome of a handler's test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HandlerTestReport {
    /// Whether the handler's own filter accepts the event; the test ignores the filter.
    pub wanted: bool,
    /// What would be run or sent, for a dry run.
    pub would: Option<HandlerCall>,
    /// Why the attempt failed, if it did.
    pub failure: Option<String>,
    /// How long the attempt took, in milliseconds.
    pub took_ms: u64,
}

/// What a handler would be given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HandlerCall {
    /// The program and its arguments, or `POST` and the URL.
    pub call: Vec<String>,
    /// Variables added to the environment, or the request's headers.
    pub environment: BTreeMap<String, String>,
    /// Standard input, or the request's body.
    pub input: String,
}

/// The number of deliveries that a command affected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Affected {
    /// The number.
    pub count: usize,
}
