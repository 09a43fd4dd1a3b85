use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A handler, and how its deliveries go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Handler {
    /// Its name.
    pub name: String,
    /// What it does: `script`, `plugin`, `webhook`, `balancer`, `publisher`, `openvswitch`.
    pub job: String,
    /// Where it is defined: a file, and a line where there are several in one.
    pub origin: String,
    /// Whether it receives events at all.
    pub enabled: bool,
    /// The events that it receives, as its definition has them; empty for a job that follows the containers.
    pub events: Vec<String>,
    /// Deliveries that wait or are under way.
    pub pending: usize,
    /// Those that are under way.
    pub running: usize,
    /// Deliveries that succeeded since the agent started.
    pub delivered: u64,
    /// Deliveries that were given up and are kept.
    pub failed: usize,
    /// Why the last failed attempt failed, if the last attempt did.
    pub trouble: Option<String>,
    /// Why its definition is not valid, if it is not. It keeps its last valid one; where there was none, `job` is empty.
    #[serde(default)]
    pub broken: Option<String>,
}

/// A delivery that was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FailedDelivery {
    /// Names it to `replay` and `forget`.
    pub id: String,
    /// To whom.
    pub handler: String,
    /// The event's id.
    pub event_id: String,
    /// What happened.
    pub event: String,
    /// The container's name, if it happened to one.
    pub container: Option<String>,
    /// How often it was tried.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub why: String,
    /// When it failed for the last time, as RFC 3339 in UTC.
    #[schema(format = DateTime)]
    pub at: String,
}

/// An event to be tried on one handler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HandlerTest {
    /// What happened, as Docker names it.
    pub event: String,
    /// The container, by its id, the beginning of it, or its name; absent for `none`.
    pub container: Option<String>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// How the test of a handler went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HandlerTestReport {
    /// Whether the handler's own filter lets such an event through; the test is made all the same.
    pub wanted: bool,
    /// What is run or posted, for a dry run.
    pub would: Option<HandlerCall>,
    /// Why the attempt failed, if it did.
    pub failure: Option<String>,
    /// How long the attempt took, in milliseconds.
    pub took_ms: u64,
}

/// What a handler is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HandlerCall {
    /// The program and its arguments, or `POST` and the URL.
    pub call: Vec<String>,
    /// What the environment has besides, or the request's headers.
    pub environment: BTreeMap<String, String>,
    /// What comes on standard input, or as the request's body.
    pub input: String,
}

/// How many a command was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Affected {
    /// That many.
    pub count: usize,
}
