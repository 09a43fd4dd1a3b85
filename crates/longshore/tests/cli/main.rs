//! The command line as a user types it: arguments, settings, answers, exit codes. A test's name states what it
//! shows.
//!
//! The queried agents are real ones, without a Docker to watch.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may stop at the first thing that is not as expected"
)]

mod agent;
mod answers;
mod links;
mod longshore;
mod manual;
mod output;
mod settings;
