//! Handlers' definitions: turns text into a checked [`Handler`](longshore_model::Handler) or problems.
//!
//! ```text
//! an INI file ─► read_ini ─┐
//!                          ├─► Definition ─► define ─► Handler, problems
//! [[handler]] of the TOML ─┘                    ▲
//!                                   a script's location (an argument)
//! ```
//!
//! Both spellings first become a [`Definition`], and one set of checks covers both. [`wants`] decides which
//! events a handler receives, [`attention`] which events Docker must report.
//!
//! Deliberately absent: files, folders and their order (in `longshore-daemon`), and how a handler processes
//! events.

mod classes;
mod define;
mod definition;
mod filter;
mod follower;
mod ini;
pub(crate) mod reader;
pub(crate) mod url;
mod written;

pub use define::define;
pub use definition::{Definition, FoundScript, Setting, Value};
pub use filter::{attention, is_event, nearest_event, wants};
pub use follower::FollowerClass;
pub use ini::read_ini;
pub use written::written;
