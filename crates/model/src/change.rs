//! What may differ between one World and the next.

use std::collections::BTreeSet;

use crate::{ContainerId, ContainerRef, HostId};

/// What to look at again. It says nothing of what happened: the look is at World.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// This container.
    Container(ContainerRef),
    /// A host's networks, and with them who can reach which of its containers.
    Networks(HostId),
    /// All of a host: it became known, or was listed again whole.
    Host(HostId),
    /// All of World.
    All,
}

impl Change {
    /// Returns the containers of one host that `changes` name, or `None` where all of them must be looked at.
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
