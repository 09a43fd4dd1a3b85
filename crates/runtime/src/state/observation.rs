//! What is observed of the hosts, by whoever observes it.

use std::net::SocketAddr;

use longshore_model::{
    Container, ContainerEvent, ContainerId, ContainerRef, HostId, Network, NetworkEvent, PortState,
};

/// Anything that may change World.
#[derive(Debug)]
pub enum Observation {
    /// What the Docker Engine of a host says.
    Docker(HostId, DockerObservation),
    /// What a look at a container's port found.
    Port {
        /// Whose port.
        container: ContainerRef,
        /// Where it was looked for.
        address: SocketAddr,
        /// What was found.
        state: PortState,
    },
}

/// What a Docker Engine says.
#[derive(Debug)]
pub enum DockerObservation {
    /// Something happened to a container.
    Event {
        /// What.
        event: ContainerEvent,
        /// Whether it happened before everything was listed: World has what came of it.
        past: bool,
    },
    /// Something happened to a network.
    NetworkEvent(NetworkEvent),
    /// A container as it is, or that it is gone.
    Inspected {
        /// Which.
        id: ContainerId,
        /// As it is; nothing if it is gone.
        container: Option<Box<Container>>,
        /// Whether the resync asked: if it tells anything, an event was missed.
        resync: bool,
    },
    /// Everything there is.
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

/// An event of Docker's, for those to whom each one counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DockerEvent {
    /// Of a container.
    Container(ContainerEvent),
    /// Of a network.
    Network(NetworkEvent),
}

impl DockerEvent {
    /// Returns when it happened, in nanoseconds since 1970, by Docker's clock.
    pub fn at(&self) -> i64 {
        match self {
            Self::Container(event) => event.at,
            Self::Network(event) => event.at,
        }
    }
}
