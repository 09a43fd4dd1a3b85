//! Groups of flags of `longshore run`, and the settings that they resolve to.

mod api;
mod balancer;
mod cluster;
mod dns;
mod docker;
mod dockermod;
mod handlers;
mod haproxy;
mod log;
mod publish;

pub(crate) use api::ApiFlags;
pub(crate) use balancer::{BalancerFlags, EngineName};
pub(crate) use cluster::ClusterFlags;
pub(crate) use dns::DnsFlags;
pub(crate) use docker::DockerFlags;
pub(crate) use dockermod::DockerModFlags;
pub(crate) use handlers::{HandlerFlags, folders};
pub(crate) use haproxy::HaproxyFlags;
pub(crate) use log::{LogFlags, LogFormat};
pub(crate) use publish::PublishFlags;

/// A setting with an invalid value: its key, and what is wrong with it.
pub(crate) type Invalid = (&'static str, String);
