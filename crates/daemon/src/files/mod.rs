//! Files that people write for the agent: read within limits, guarded, and read again when they may have changed.

mod read;
mod watched;

pub use read::{Guard, ReadError, read};

pub(crate) use read::read_soon;
pub(crate) use watched::{Watched, unwatched};
