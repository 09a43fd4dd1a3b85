//! What each host knows of itself, and how its peers follow it.
//!
//! ```text
//! World of the owner ──► Log ──lines──► Replica ──► observations ──► World of a follower
//! ```
//!
//! Both ends are pure. The owner numbers each change with a revision; a follower that comes back asks for what
//! changed after the last one that it has, and gets the whole list if the owner no longer knows. What happens to
//! containers comes in the same stream, as events.

mod events;
mod load;
mod log;
mod replica;
mod source;

pub use events::{EventCursor, PeerEvent};
pub use load::settled;
pub use log::{Cursor, Feed, LOAD_INTERVAL, Log};
pub use replica::{Broken, Replica};
pub use source::{Asked, FactLines, OwnFacts};

#[cfg(test)]
mod simulation;
