use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Something that the agent keeps like the containers: routes, sidecars, DNS names, published keys, ports of Open vSwitch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Follower {
    /// What it keeps: `routes`, `sidecars`, `dns`, `publisher`, `openvswitch`.
    pub name: String,
    /// The handler that asks for it; absent where the settings do.
    pub handler: Option<String>,
    /// The pass that is being made.
    pub current: Option<CurrentPass>,
    /// The pass that ended last.
    pub last: Option<LastPass>,
    /// The pass that is due even if nothing changes.
    pub next: Option<NextPass>,
    /// How many passes have ended.
    pub passes: u64,
}

/// A pass that is being made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CurrentPass {
    /// When it began, as RFC 3339 in UTC.
    #[schema(format = DateTime)]
    pub at: String,
    /// Why.
    pub cause: PassCause,
}

/// A pass that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LastPass {
    /// When it began, as RFC 3339 in UTC.
    #[schema(format = DateTime)]
    pub at: String,
    /// Why.
    pub cause: PassCause,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// How far it came.
    pub reached: PassReached,
    /// How many problems it found.
    pub problems: usize,
}

/// A pass that is due even if nothing changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NextPass {
    /// When, as RFC 3339 in UTC.
    #[schema(format = DateTime)]
    pub at: String,
    /// Why: `retry` or `due`.
    pub cause: PassCause,
}

/// Why a pass is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PassCause {
    /// It is the first one, over all containers.
    First,
    /// A container, a network or a host changed.
    Changes,
    /// An earlier pass failed, and its back-off is over.
    Retry,
    /// It was asked for at this time.
    Due,
    /// Something outside was disturbed, and all of it is looked at again.
    Disturbed,
}

/// How far a pass came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PassReached {
    /// Everything that can converge has.
    All,
    /// A part failed, and is retried.
    Part,
    /// Nothing could be done: what is kept cannot be reached.
    Nothing,
}
