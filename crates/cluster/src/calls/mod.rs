//! Calls between hosts: `POST /peer/call` over the connections of [`crate::peer`].
//!
//! ```text
//! PeerCalls ──CallRow, InputFrame …──► CallServer ──► this host's Execute
//!           ◄──ReplyFrame …───────────
//! ```
//!
//! Streams pass through: a piece is read at the far side when the one before it has been taken at the near one, and a
//! caller that goes away ends its call. A session has a connection of its own; all other calls share a few.
//!
//! An order is the exception: once it has arrived, it is carried out to its end, and its outcome is kept for a while under
//! its key. So it can be repeated when a connection breaks.

mod connection;
mod once;
mod peer;
mod place;
mod pool;
mod reply;
mod server;

pub use place::PeerPlace;
pub use pool::PeerCalls;
pub use server::CallServer;

/// The path of calls.
const PATH: &str = "/peer/call";

#[cfg(test)]
mod tests;
