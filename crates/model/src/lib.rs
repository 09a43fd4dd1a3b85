//! The nouns of Longshore: what every other room speaks of.
//!
//! Values only: no IO, no clock, no decisions. Text that came from outside (a label, a Docker
//! name, a file) becomes one of these types by parsing, and whoever holds such a value may rely
//! on what its type promises: a [`DomainName`] has no newline in it, a [`Weight`] is in range.
//!
//! Deliberately absent: how Docker or a peer spells these things (each room that talks to one
//! translates at its own door), and what is answered over HTTP (`longshore-api`).

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
mod problem;
mod route;
mod world;

pub use change::Change;
pub use container::{Container, ContainerId, Endpoint, Health, Published, RunState, Transport};
pub use container_ref::ContainerRef;
pub use domain::{DomainName, HostPattern, TextError};
pub use event::{ContainerEvent, EventKind, NetworkEvent};
pub use forwarded::{FORBIDDEN_HEADERS, TRUSTED_HEADER_PREFIX, TRUSTED_HEADERS, is_passed_header};
pub use handler::{
    BalanceJob, DeliveryRules, EventFilter, Filter, FollowerJob, Handler, Job, OpenVswitchJob, Origin,
    PublishJob,
};
pub use handler_event::{ContainerFacts, EventId, EventSubject, HandlerEvent};
pub use handler_set::{BrokenHandler, HandlerSet};
pub use host::{Host, HostId, HostIdError};
pub use image::{ImageReference, ImageReferenceError};
pub use last_reported::{LastReported, Phase};
pub use name::{NameEntry, NameKey, NameTable, NamedContainer, NamedPort, Replica};
pub use network::{Network, NetworkScope};
pub use path::{BadEscape, PathPrefix, merge_slashes, normalize_path};
pub use problem::{Problem, Subject};
pub use route::{
    Frontend, FrontendError, Protocol, Route, RouteKey, RouteTable, Upstream, Waiting, WaitingReason, Weight,
    WeightError,
};
pub use world::{PortState, World};
