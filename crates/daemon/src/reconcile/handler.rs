//! What a follower that a handler's file asks for has to be.

use std::collections::BTreeSet;
use std::path::Path;

use longshore_docker::DockerClient;
use longshore_runtime::{Follower, FollowerContext};
use tokio::sync::watch;

use crate::config::DnsSettings;

/// What followers of handlers are made from.
pub(crate) struct FollowerParts<'a> {
    pub(crate) context: &'a FollowerContext,
    pub(crate) docker: &'a DockerClient,
    pub(crate) data_dir: &'a Path,
    pub(crate) dns: Option<&'a DnsSettings>,
    /// The handler's name.
    pub(crate) handler: &'a str,
    /// The names of all enabled handlers of its class.
    pub(crate) siblings: watch::Receiver<BTreeSet<String>>,
}

/// A follower that a handler's file may ask for.
pub(crate) trait HandlerFollower: Follower + Sized {
    /// What the file says of it, as its class reads it.
    type Settings: 'static;

    /// Makes the follower of a handler.
    fn of_handler(parts: &FollowerParts<'_>, settings: &Self::Settings) -> Self;

    /// Takes away what it made: the handler is gone.
    fn withdraw(self) -> impl Future<Output = ()> + Send;
}
