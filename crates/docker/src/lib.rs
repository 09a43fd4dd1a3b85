//! Docker: the only crate that knows the engine's API.
//!
//! [`watch`] turns its events, lists and inspections into observations for World's writer; [`steps`] carries out
//! orders on containers; [`InspectionCache`] serves full inspections; [`DockerClient`] carries out the calls of users
//! and of other hosts.
//!
//! Deliberately absent: what any of it means (`longshore-plan`), and when a step is taken (`longshore-daemon`).

mod calls;
mod client;
mod credentials;
mod deafness;
mod drained;
mod examiner;
mod inspections;
mod settings;
pub mod steps;
mod watch;

pub use client::{DockerClient, EngineDescription};
pub use inspections::{InspectionCache, InspectionError};
pub use settings::{DockerAddress, DockerAddressError, DockerSettings};
pub use watch::{Attention, Watched, session, summary, watch};
