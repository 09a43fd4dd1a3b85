use longshore_model::{Container, ContainerEvent, ContainerId, Network, NetworkEvent};

/// What the watch found out.
#[derive(Debug)]
pub enum Observation {
    /// Docker told of this.
    Event {
        /// What.
        event: ContainerEvent,
        /// Whether it happened before everything was listed: World has what came of it.
        past: bool,
    },
    /// Docker told of this network.
    Network(NetworkEvent),
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
    /// Docker cannot be reached, and why. Known containers stay as they are.
    Away(String),
}
