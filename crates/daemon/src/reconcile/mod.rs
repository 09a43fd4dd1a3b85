//! What keeps the outside like World: each reconciler is woken by changes and compares the whole.
//!
//! Routes have a loop of their own, for the port checks and the engine's notices; everything else is a [`longshore_runtime::Follower`].

mod checks;
mod handler;
mod openvswitch;
mod publish;
mod route_log;
mod routes;
mod sidecars;

pub(crate) use checks::Checks;
pub(crate) use handler::{FollowerParts, HandlerFollower};
pub(crate) use openvswitch::OpenVswitch;
pub(crate) use publish::Publisher;
pub(crate) use routes::{AppliedRoutes, Due, RouteReconciler, Routes};
pub(crate) use sidecars::SidecarFollower;
