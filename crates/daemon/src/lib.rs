//! The agent: the only layer with tasks and IO.
//!
//! ```text
//! watch ──inputs──► state::Writer ──changes──► reconcile ──► act (an engine)
//!                        ▲  │                      │
//!                        │  └─ World, read by ─────┴──► serve (API, metrics)
//!                        └──── what was seen of ports ── reconcile::checks
//! ```
//!
//! [`Agent`] is the wiring. Events only wake: the reconciler looks at World, has the pure plan decide, and
//! passes the difference to an engine, which reports what it could not do.
//!
//! Deliberately absent: arguments and files of settings (the binary's), decisions (`longshore-plan`'s), and the
//! traffic itself (`longshore-proxy`'s, or HAProxy's).

pub mod act;
pub mod config;
pub mod handlers;

mod agent;
mod calls;
mod cluster;
mod cordon;
mod data_dir;
mod dockermod;
mod dry_run;
mod host_labels;
mod identity;
mod metrics;
mod own_calls;
mod own_host;
mod peers;
mod ports;
mod reconcile;
mod relay;
mod serve;
mod services;
mod start;

pub use agent::{Agent, AgentError, Pass};
pub use cluster::ClusterError;
pub use data_dir::DataDirError;
pub use dry_run::{DryRun, PlannedAction, Verb};
pub use identity::IdentityError;
pub use longshore_dns::DnsPorts;
pub use ports::Ports;
pub use start::Start;
