use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Something that the agent keeps in step with the containers, such as routes, sidecars or DNS names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Follower {
    /// What it manages: `routes`, `sidecars`, `dns`, `publisher` or `openvswitch`.
    pub name: String,
    /// The handler that configures it; absent if the settings do.
    pub handler: Option<String>,
    /// The pass in progress.
    pub current: Option<CurrentPass>,
    /// The last finished pass.
    pub last: Option<LastPass>,
    /// The next pass that is scheduled, whether or not anything changes.
    pub next: Option<NextPass>,
    /// How many passes have finished.
    pub passes: u64,
}

/// A pass in progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CurrentPass {
    /// When it started, as RFC 3339 in UTC.
    #[schema(format = DateTime)]
    pub at: String,
    /// Why it started.
    pub cause: PassCause,
}

/// A finished pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LastPass {
    /// When it started, as RFC 3339 in UTC.
    #[schema(format = DateTime)]
    pub at: String,
    /// Why it started.
    pub cause: PassCause,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// How much of it succeeded.
    pub reached: PassReached,
    /// How many problems it found.
    pub problems: usize,
}

/// A pass that is scheduled, whether or not anything changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NextPass {
    /// When it is due, as RFC 3339 in UTC.
    #[schema(format = DateTime)]
    pub at: String,
    /// Why: `retry` or `due`.
    pub cause: PassCause,
}

/// Why a pass runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PassCause {
    /// It is the first pass, over all containers.
    First,
    /// A container, a network or a host changed.
    Changes,
    /// An earlier pass failed, and its back-off has elapsed.
    Retry,
    /// An earlier pass scheduled it for this time.
    Due,
    /// Something outside was disturbed, so everything is checked again.
    Disturbed,
}

/// How much of a pass succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PassReached {
    /// Everything that can converge has converged.
    All,
    /// Part of it failed, and is retried.
    Part,
    /// Nothing could be done: what it manages cannot be reached.
    Nothing,
}
