//! Files that people write for the agent: read within limits, with their permissions checked, and reread when they
//! may have changed.

mod bounded;
mod read;
mod watched;

pub use bounded::{FILE_TIMEOUT, soon, within_time};
pub use read::{Guard, ReadError, read, read_soon, read_within_time};
pub use watched::{Watched, unwatched};
