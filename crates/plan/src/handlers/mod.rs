//! Handlers' definitions: text in, a checked [`Handler`](longshore_model::Handler) or problems out.
//!
//! ```text
//! an INI file ─► read_ini ─┐
//!                          ├─► Definition ─► define ─► Handler, problems
//! [[handler]] of the TOML ─┘                    ▲
//!                                   where a script lies (an argument)
//! ```
//!
//! Both spellings become one [`Definition`] first, so that one set of checks holds for both. [`wants`] decides which
//! events a handler is told of, [`attention`] what Docker must be asked for.
//!
//! Deliberately absent: files, folders and their order (`longshore-daemon`'s), and what a handler does with an event.

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
pub use definition::{Definition, FoundScript, Said, Value};
pub use filter::{attention, is_event, nearest_event, wants};
pub use follower::FollowerClass;
pub use ini::read_ini;
pub use written::written;
