//! The built-in balancer's data plane: a route table in, traffic through.
//!
//! Each worker is a thread with a runtime, listeners, routes and upstream connections of its own
//! ([`Settings::workers`]). [`Balancer::apply`] changes the routes of all of them in place and returns when the
//! change is in force. A request takes no lock and shares nothing with other threads, and open connections never
//! notice a change.
//!
//! ```text
//! Balancer::apply ──► Command ──► worker ──► frontend ──► table ──► route ──► balance ──► backend
//!                                   │                                                        │
//!                                 listen ──► http | tcp | udp ───────────────────────────────┘
//! ```
//!
//! HTTP/1.1 and HTTP/2 (prior knowledge) are accepted; upstreams get HTTP/1.1. `hyper` parses and writes requests;
//! what is sent on is always re-encoded, never copied.
//!
//! Deliberately absent: Docker, health checks (an [`Observation`] reports what the traffic showed; the owner of the
//! table decides), TLS, HTTP/2 towards upstreams (so no gRPC), response caching, compression, access logs.

mod backend;
mod balance;
mod balancer;
mod client;
mod clock;
mod deadline;
mod frontend;
mod http;
mod io;
mod listen;
mod observation;
mod request;
mod route;
mod settings;
mod shard;
mod stats;
mod table;
mod tcp;
mod udp;
mod upstream;
mod worker;

pub use crate::balancer::Balancer;
pub use crate::observation::Observation;
pub use crate::settings::{Settings, Timeouts};
pub use crate::stats::{DURATION_BOUNDS, FrontendStats, Stats};
