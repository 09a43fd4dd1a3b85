//! Observations of the hosts.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use longshore_model::{
    Container, ContainerEvent, ContainerId, ContainerRef, Host, HostId, HostInfo, Network, NetworkEvent,
    Peer, PortState,
};

/// Anything that may change World.
#[derive(Debug)]
pub enum Observation {
    /// An observation from a host's Docker Engine.
    Docker(HostId, DockerObservation),
    /// What this agent knows of its own host.
    Own(Arc<HostInfo>),
    /// A fact about another host, from that host. It is ignored if it is about this agent's own.
    Peer(HostId, PeerObservation),
    /// All other hosts of the cluster that have a place in it, as this one sees them.
    Members(BTreeMap<HostId, Peer>),
    /// The result of a port check.
    Port {
        /// The port's container.
        container: ContainerRef,
        /// The address that was checked.
        address: SocketAddr,
        /// The result.
        state: PortState,
    },
}

/// An observation from a Docker Engine.
#[derive(Debug)]
pub enum DockerObservation {
    /// Something happened to a container.
    Event {
        /// The event.
        event: ContainerEvent,
        /// Whether it happened before the list: World already includes its result.
        past: bool,
    },
    /// Something happened to a network.
    NetworkEvent(NetworkEvent),
    /// A container was inspected, or is gone.
    Inspected {
        /// The container.
        id: ContainerId,
        /// Its state; `None` if it is gone.
        container: Option<Box<Container>>,
        /// Whether the resync requested it: if it changes anything, an event was missed.
        resync: bool,
    },
    /// A container is about to be stopped, or no longer: until its run ends, it takes no new traffic.
    Stopping {
        /// The container.
        id: ContainerId,
        /// Whether it is about to be stopped.
        stopping: bool,
    },
    /// Everything was listed.
    Listed {
        /// All containers.
        containers: Vec<Container>,
        /// All networks, by id.
        networks: Vec<(String, Network)>,
    },
    /// All networks, by id.
    Networks(Vec<(String, Network)>),
    /// The engine cannot be reached, and why. Known containers stay as they are.
    Away(String),
}

/// A fact about another host. All but the first are ignored until the host was listed.
#[derive(Clone, Debug, PartialEq)]
pub enum PeerObservation {
    /// Everything: it replaces what was known of the host.
    Listed(Host),
    /// Everything but its containers and networks.
    Info(Arc<HostInfo>),
    /// All its networks, by id.
    Networks(Vec<(String, Network)>),
    /// One of its containers, as it is now.
    Container(Arc<Container>),
    /// A container is gone.
    Gone(ContainerId),
    /// The host is dead or has left, with all that it had.
    Dropped,
}

/// A Docker event, for consumers that need every one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DockerEvent {
    /// A container's.
    Container(ContainerEvent),
    /// A network's.
    Network(NetworkEvent),
}

impl DockerEvent {
    /// Returns the event's time, in nanoseconds since 1970, by Docker's clock.
    pub fn at(&self) -> i64 {
        match self {
            Self::Container(event) => event.at,
            Self::Network(event) => event.at,
        }
    }
}
