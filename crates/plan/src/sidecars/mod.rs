//! Sidecars: containers that run exactly while another one, their main, runs.
//!
//! ```text
//! file ──(a template, once a main)──┐
//!                                   ├─► Definition ──(main, networks)──► Sidecar ──(World)──► Order
//! labels of the main ───────────────┘
//! ```
//!
//! A file and labels are read into the same tree and by the same rules, which are compose's. What runs is compared by
//! the labels of ownership only, and the difference is a list of orders, each of which can be carried out now: whoever
//! must wait gets its order when what it waits for is seen in World.
//!
//! Deliberately absent: time. When an order that failed is tried again is the caller's business.

mod definition;
mod env_file;
mod file;
mod health;
mod labels;
mod mounts;
mod orders;
mod plan;
mod ports;
mod read;
mod reader;
mod seen;
mod sidecar;
mod time;
mod wanted;
mod yaml;

pub use definition::{Attachment, Condition, Definition, HealthCheck, Link, Mode, Restart};
pub use env_file::EnvText;
pub use file::SidecarFile;
pub use mounts::Volume;
pub use orders::{Order, Step};
pub use plan::SidecarPlan;
pub use ports::Port;
pub use seen::SidecarKey;
pub use sidecar::{Joined, MAIN, OWNER, OWNER_VALUE, SIDECAR, SPEC, Sidecar};
