//! What carries decisions out: engines for the routes, and `deliver` for events to handlers.
//!
//! An engine is told the whole table and which routes may differ from the last time, and reports the frontends that it
//! could not open. The built-in one carries everything, or, beside HAProxy, the UDP that HAProxy does not relay.

pub(crate) mod credentials;
pub(crate) mod deliver;
pub(crate) mod dns;
mod engine;
pub(crate) mod etcd;
mod group;
pub(crate) mod openvswitch;
pub(crate) mod sidecars;
mod traffic;

pub use engine::EngineError;
pub(crate) use engine::{Engine, Notice};
pub(crate) use traffic::Traffic;
