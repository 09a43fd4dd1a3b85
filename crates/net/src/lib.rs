//! The sockets that Longshore serves by: ports that are bound in one way everywhere, datagrams that are answered from the
//! address that they were sent to, and networks of addresses.
//!
//! Deliberately absent: what is spoken over them, and any task.

mod bind;
mod datagrams;

pub use bind::{bind, or_ipv4};
pub use datagrams::{Datagrams, LocalAddress, MAX_DATAGRAM};
pub use ipnet::IpNet;
