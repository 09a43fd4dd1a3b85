//! Calls from host to host: one JSON document for the request, frames for the reply and for a session's input.
//!
//! ```text
//! request  CallRow as JSON, and for a session its input: frames of InputFrame
//! reply    ReplyFrame::{Done | Already | Json | Failed}
//!          ReplyFrame::Opened, ReplyFrame::Output …, ReplyFrame::{Done | Failed}
//! ```
//!
//! A reply that does not end with `Done`, `Already`, `Json` or `Failed` was cut off.

mod frame;
mod input;
mod reply;
mod row;

pub use frame::{Frame, FrameError, Frames, MAX_JSON, MAX_PIECE};
pub use input::InputFrame;
pub use reply::ReplyFrame;
pub use row::{CallRow, CallRowError};
