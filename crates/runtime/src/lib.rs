//! The foundation of every reconciler: World's store, the loop of its followers, back-off, problems, process groups,
//! and the files that people write for the agent.
//!
//! ```text
//! observations ──► state::Writer ──► World ──► changes ──► Follower::pass ──► problems
//! ```
//!
//! Deliberately absent: what Docker is (`longshore-docker`), what any follower keeps, and every decision
//! (`longshore-plan`).

pub mod backoff;
mod calls;
pub mod files;
mod follow;
mod inspect;
pub mod local_addr;
mod own_thread;
mod passed;
mod problems;
mod process_group;
mod reloadable;
pub mod state;
mod status;
mod steps;

pub use calls::{CallPeers, Execute, OutputStream, Reply, Session};
pub use follow::{Follower, FollowerContext};
pub use inspect::{Evidence, Examine, Inspect};
pub use own_thread::OwnThread;
pub use passed::{Passed, Reached};
pub use problems::{Problems, Source, chain};
pub use process_group::ProcessGroup;
pub use reloadable::ReloadableSettings;
pub use status::{Cause, CurrentPass, FollowerStatus, LastPass, NextPass, StatusBoard};
pub use steps::{Begins, Ended, Pauses, StepError, Steps};
