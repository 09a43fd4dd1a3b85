//! What keeps the outside like World: each reconciler is woken by changes and compares the whole.
//!
//! Routes have a loop of their own, for the port checks and the engine's notices; everything else is a [`Follower`].

mod checks;
mod follow;
mod openvswitch;
mod publish;
mod routes;
mod sidecars;
mod status;

pub(crate) use checks::Checks;
pub(crate) use follow::{Follower, Ground, Passed, Reached};
pub(crate) use openvswitch::OpenVswitch;
pub(crate) use publish::Publisher;
pub(crate) use routes::{Due, RouteReconciler, Routes};
pub(crate) use sidecars::SidecarFollower;
pub(crate) use status::StatusBoard;
#[expect(unused_imports, reason = "the API is what asks")]
pub(crate) use status::{Cause, CurrentPass, FollowerStatus, LastPass, NextPass};
