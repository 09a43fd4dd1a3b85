//! Applies decisions: engines for the routes, etcd's keys, and the ports of Open vSwitch.
//!
//! An engine receives the whole table and the routes that may have changed since the last call, and reports the
//! frontends that it could not open. The built-in one carries everything, or, next to HAProxy, the UDP that
//! HAProxy does not relay.

mod engine;
pub(crate) mod etcd;
mod gateways;
pub(crate) mod openvswitch;
mod traffic;

use gateways::Gateways;

pub use engine::EngineError;
pub(crate) use engine::{Engine, Notice};
pub(crate) use traffic::Traffic;
