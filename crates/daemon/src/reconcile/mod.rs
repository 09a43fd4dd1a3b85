//! Keeps the outside in line with World: each is a [`longshore_runtime::Follower`], woken by changes, and
//! compares the whole.

mod checks;
mod handler;
mod openvswitch;
pub(crate) mod publish;
mod route_log;
mod routes;
mod sidecars;

pub(crate) use checks::Checks;
pub(crate) use handler::{FollowerParts, HandlerFollower};
pub(crate) use openvswitch::OpenVswitch;
pub(crate) use publish::Publisher;
pub(crate) use routes::{AppliedRoutes, RouteFeeds, RouteFollower, Routes};
pub(crate) use sidecars::{MAX_ENV_FILE, MAX_FILE, SidecarFollower};
