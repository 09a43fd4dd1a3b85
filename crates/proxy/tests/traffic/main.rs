//! The balancer with real sockets on both sides.

#![cfg(test)]

mod agents;
mod balancing;
mod bench;
mod framing;
mod headers;
mod lifecycle;
mod relays;
mod retries;
mod routing;
mod streams;
mod timeouts;
mod upgrades;
mod upstreams;
