//! Sidecars: containers that run exactly while another container, their main, runs.
//!
//! ```text
//! file ──(a template, once a main)──┐
//!                                   ├─► Definition ──(main, networks)──► Sidecar ──(World)──► Order
//! labels of the main ───────────────┘
//! ```
//!
//! The file and labels are parsed into the same tree and by the same rules, which are compose's. Existing
//! containers are identified only by their ownership labels. The difference is a list of orders, each of
//! which can be carried out now: a sidecar that must wait gets its order once World shows what it waits for.
//!
//! Deliberately absent: time. The caller decides when to retry a failed order.

mod definition;
mod env_file;
mod file;
mod health;
mod inventory;
mod labels;
mod mounts;
mod orders;
mod plan;
mod ports;
mod read;
mod reader;
mod sidecar;
mod time;
mod wanted;
mod yaml;

pub use definition::{Attachment, Condition, Definition, HealthCheck, Link, Mode, Restart};
pub use env_file::EnvText;
pub use file::SidecarFile;
pub use inventory::SidecarKey;
pub use mounts::Volume;
pub use orders::{Order, Step};
pub use plan::SidecarPlan;
pub use ports::Port;
pub use sidecar::{Joined, MAIN, OWNER, OWNER_VALUE, SIDECAR, SPEC, Sidecar};
