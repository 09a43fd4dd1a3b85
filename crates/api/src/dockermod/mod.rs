//! DockerMod's API: one JSON object in, one out.
//!
//! [`Request::parse`] reads what its users send, and [`Reply`] builds what they read. Both are the old tool's
//! formats, to the letter; carrying a request out is the agent's.

mod reply;
mod request;

pub use reply::{Reply, Unanswered};
pub use request::{Action, Create, Order, Request, RequestError, Resource, Source};
