//! What a follower must provide so that a handler's file can request it.

use std::collections::BTreeSet;
use std::path::Path;

use longshore_docker::DockerClient;
use longshore_runtime::{Follower, FollowerContext};
use tokio::sync::watch;

use crate::config::DnsSettings;

/// What followers of handlers are built from.
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

/// A follower that a handler's file may request.
pub(crate) trait HandlerFollower: Follower + Sized {
    /// Its settings in the file, as its class reads them.
    type Settings: 'static;

    /// Creates the follower of a handler.
    fn of_handler(parts: &FollowerParts<'_>, settings: &Self::Settings) -> Self;

    /// Removes what it created: the handler is gone.
    fn withdraw(self) -> impl Future<Output = ()> + Send;
}
