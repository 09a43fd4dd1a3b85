//! What may differ between two Worlds.

use std::collections::BTreeSet;

use crate::{ContainerId, ContainerRef, HostId};

/// What must be checked again. It does not say what happened; the current state is read from World.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// This container.
    Container(ContainerRef),
    /// A host's networks, which determine how its containers are reached.
    Networks(HostId),
    /// A whole host: it became known or is no longer, or something other than its load changed.
    Host(HostId),
    /// All of World.
    All,
}

impl Change {
    /// Returns the containers of one host that `changes` name, or `None` if all of them must be checked.
    pub fn containers_of(changes: &BTreeSet<Self>, host: HostId) -> Option<BTreeSet<ContainerId>> {
        let mut containers = BTreeSet::new();
        for change in changes {
            match change {
                Self::Container(container) if container.host == host => {
                    containers.insert(container.id.clone());
                }
                Self::Container(_) => {}
                Self::Networks(of) | Self::Host(of) if *of != host => {}
                Self::Networks(_) | Self::Host(_) | Self::All => return None,
            }
        }
        Some(containers)
    }
}
