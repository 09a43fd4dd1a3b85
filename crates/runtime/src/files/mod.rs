//! Files that people write for the agent: read within limits, with their permissions checked, and reread when they
//! may have changed. And the agent's own: written whole or not at all.

mod bounded;
mod read;
mod watched;
mod write;

pub use bounded::{FILE_TIMEOUT, soon, within_time};
pub use read::{Guard, ReadError, read, read_soon, read_within_time};
pub use watched::{Watched, unwatched};
pub use write::{create_new, private_folder, replace};
