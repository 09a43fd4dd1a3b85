//! A container among those of all hosts.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{ContainerId, HostId};

/// A container of one of the hosts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContainerRef {
    /// The host that it is on.
    pub host: HostId,
    /// Docker's id of it there.
    pub id: ContainerId,
}

impl ContainerRef {
    /// Names a container of a host.
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
