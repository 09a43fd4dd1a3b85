//! The sockets of Longshore's servers: uniform binding of ports, datagrams answered from the address they
//! were sent to, and IP networks.
//!
//! Deliberately absent: the protocols spoken over them, and any task.

mod bind;
mod datagrams;
pub mod relay;

pub use bind::{bind, or_ipv4};
pub use datagrams::{Datagrams, LocalAddress, MAX_DATAGRAM};
pub use ipnet::IpNet;
