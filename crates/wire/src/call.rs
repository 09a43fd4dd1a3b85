//! Calls from host to host: frames for the request, for a session's input and for the reply.
//!
//! ```text
//! request  CallRow, and for a session its input: InputFrame …
//! reply    ReplyFrame::{Done | Already | Json | Failed}
//!          ReplyFrame::Opened, ReplyFrame::Output …, ReplyFrame::{Done | Failed}
//! ```
//!
//! A reply that does not end with `Done`, `Already`, `Json` or `Failed` was cut off.

mod frame;
mod input;
mod reply;
mod row;

pub use frame::{Frame, FrameError, Frames, MAX_CALL, MAX_JSON, MAX_PIECE};
pub use input::InputFrame;
pub use reply::ReplyFrame;
pub use row::{CallRow, CallRowError};
