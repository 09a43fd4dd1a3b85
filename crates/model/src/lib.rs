//! The nouns of Longshore, shared by all other crates.
//!
//! Values only: no IO, no clock, no decisions. External text (a label, a Docker name, a file) is parsed into
//! one of these types, and each type guarantees its invariants: a [`DomainName`] has no newline in it, a
//! [`Weight`] is in range.
//!
//! Deliberately absent: the formats of Docker and of peers (each crate that talks to one translates at its
//! boundary), and HTTP responses (`longshore-api`).

mod call;
mod change;
mod container;
mod container_ref;
mod domain;
mod event;
mod forwarded;
mod handler;
mod handler_event;
mod handler_set;
mod host;
mod image;
mod last_reported;
mod name;
mod network;
mod path;
mod peer;
mod problem;
mod relay;
mod route;
mod world;

pub use call::{
    AgentCall, Call, CallError, ContainerCall, ContainerOrder, ExecRequest, Input, LogsRequest, NewContainer,
    Output, PullPolicy, TerminalSize,
};
pub use change::Change;
pub use container::{Container, ContainerId, Endpoint, Health, PortState, Published, RunState, Transport};
pub use container_ref::ContainerRef;
pub use domain::{DomainName, HostPattern, TextError};
pub use event::{ContainerEvent, EventKind, EventSummary, NetworkEvent};
pub use forwarded::{FORBIDDEN_HEADERS, TRUSTED_HEADER_PREFIX, TRUSTED_HEADERS, is_passed_header};
pub use handler::{
    BalanceJob, DeliveryRules, EventFilter, Filter, FollowerJob, Handler, Job, OpenVswitchJob, Origin,
    PublishJob,
};
pub use handler_event::{ContainerFacts, EventId, EventSubject, HandlerEvent};
pub use handler_set::{BrokenHandler, HandlerSet};
pub use host::{Availability, Capacity, Host, HostId, HostIdError, HostInfo, Load};
pub use image::{ImageReference, ImageReferenceError};
pub use last_reported::{LastReported, Phase};
pub use name::{NameEntry, NameKey, NameTable, NamedContainer, NamedPort, Replica};
pub use network::{Network, NetworkScope};
pub use path::{BadEscape, PathPrefix, merge_slashes, normalize_path};
pub use peer::{Peer, PeerAgent, PeerState};
pub use problem::{Problem, Subject};
pub use relay::RelayRefusal;
pub use route::{
    Frontend, FrontendError, Protocol, Route, RouteKey, RouteTable, Upstream, Waiting, WaitingReason, Way,
    Weight, WeightError,
};
pub use world::World;
