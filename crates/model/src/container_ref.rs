//! A reference to a container on any host.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{ContainerId, HostId};

/// A container of one of the hosts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContainerRef {
    /// Its host.
    pub host: HostId,
    /// Docker's id of the container there.
    pub id: ContainerId,
}

impl ContainerRef {
    /// Creates a reference to a container of a host.
    pub fn new(host: HostId, id: ContainerId) -> Self {
        Self { host, id }
    }
}

impl fmt::Display for ContainerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)
    }
}

impl fmt::Debug for ContainerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.id, self.host)
    }
}
