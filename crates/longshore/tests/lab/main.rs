//! What a user sees, on real Docker hosts and with a real HAProxy. A test's name states what it shows.
//!
//! Tests of routes are written once and run with each engine; see `engines`.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may stop at the first thing that is not as expected"
)]

mod agent;
mod api;
mod authorities;
mod calls;
mod cluster;
mod cluster_names;
mod cluster_traffic;
mod containers;
mod dns;
mod docker;
mod dockermod;
mod engines;
mod glue;
mod handlers;
mod haproxy;
mod labels;
mod lifecycle;
mod members;
mod membership;
mod missed;
mod old_name;
mod openvswitch;
mod plugins;
mod program;
mod publish;
mod sidecars;
mod socket;
mod traffic;
