//! What the agent answers over HTTP, and a client that reads it.
//!
//! The types are the wire format: they are built from the model's nouns, carry their JSON schema, and change
//! only with care, since other people's programs read them. The command line uses [`Client`].
//!
//! Deliberately absent: the handlers (the agent serves them) and every decision.

mod call;
mod client;
mod client_error;
mod cluster;
mod cluster_client;
mod commented_json;
mod connector;
mod container;
mod container_client;
mod container_filter;
pub mod dockermod;
mod event;
mod events;
mod exec;
mod explanation;
mod failure;
mod follower;
mod handler;
mod host;
mod name;
mod problem;
mod route;
mod silent_host;
mod status;
mod target;

pub use call::{
    ContainerChange, ContainerCreated, ContainerDetails, ExecResult, ExecSize, HostImages, PullRequest,
    PullUpdate, exec_channel,
};
pub use client::Client;
pub use client_error::ClientError;
pub use cluster::{
    Cluster, ClusterHost, HostLabels, HostLeft, LabelChanges, RotatedHost, Rotation, RotationRequest,
};
pub use commented_json::from_commented_json;
pub use container::{Container, PublishedPort};
pub use container_client::{Logs, Pieces, Written};
pub use container_filter::{ContainerFilter, EventFilter};
pub use event::{ContainerEvent, Event, RouteEvent};
pub use events::Events;
pub use exec::{ExecOutput, ExecReader, ExecSession, ExecWriter};
pub use explanation::{Candidate, Explanation, Verdict};
pub use failure::Failure;
pub use follower::{CurrentPass, Follower, LastPass, NextPass, PassCause, PassReached};
pub use handler::{Affected, FailedDelivery, Handler, HandlerCall, HandlerTest, HandlerTestReport};
pub use host::{Host, HostCapacity, HostLoad};
pub use name::{Name, NamedContainer};
pub use problem::Problem;
pub use route::{Route, Upstream, Waiting};
pub use silent_host::{SILENT_HOSTS, SilentHost};
pub use status::{BalancerStatus, ClosedFrontend, Counts, DockerStatus, Status};
pub use target::{RequestTarget, RequestTargetError};

/// The default listen address of an agent.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:7051";

/// The default path of the socket through which root on the agent's host reaches it.
pub const DEFAULT_SOCKET: &str = "/run/longshore/agent.sock";
