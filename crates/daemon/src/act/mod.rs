//! What carries decisions out: engines for the routes, etcd's keys, and the ports of Open vSwitch.
//!
//! An engine is told the whole table and which routes may differ from the last time, and reports the frontends that it
//! could not open. The built-in one carries everything, or, beside HAProxy, the UDP that HAProxy does not relay.

mod engine;
pub(crate) mod etcd;
pub(crate) mod openvswitch;
mod traffic;

pub use engine::EngineError;
pub(crate) use engine::{Engine, Notice};
pub(crate) use traffic::Traffic;
