//! Docker: the only room that knows how the engine speaks.
//!
//! [`watch`] turns its events, lists and inspections into observations for World's writer; [`steps`] carries orders out on
//! containers; [`InspectionCache`] shows a container whole.
//!
//! Deliberately absent: what any of it means (`longshore-plan`), and when a step is made (`longshore-daemon`).

mod client;
mod credentials;
mod deafness;
mod examiner;
mod inspections;
mod settings;
pub mod steps;
mod watch;

pub use client::DockerClient;
pub use inspections::{InspectionCache, InspectionError};
pub use settings::{DockerAddress, DockerAddressError, DockerSettings};
pub use watch::{Attention, Watched, session, summary, watch};
