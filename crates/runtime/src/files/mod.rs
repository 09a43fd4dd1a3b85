//! Files that people write for the agent: read within limits, guarded, and read again when they may have changed.

mod read;
mod watched;

pub use read::{Guard, ReadError, read, read_soon};
pub use watched::{Watched, unwatched};
