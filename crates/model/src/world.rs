//! World: all that is known, as one value.

use std::net::SocketAddr;
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

use crate::{Container, ContainerId, Network};

/// What the last look at a port of a container said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortState {
    /// It has not accepted a connection in this run of the container.
    NotOpen,
    /// It accepts connections.
    Open,
    /// It accepted connections once in this run of the container, and does no longer.
    Closed,
}

/// All that is known. One task writes it; everyone else holds a copy, which is cheap and never
/// changes under them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct World {
    /// Whether Docker's containers have been listed once: until then, absence means nothing.
    pub listed: bool,
    /// Containers by id, running or not.
    pub containers: RedBlackTreeMapSync<ContainerId, Arc<Container>>,
    /// Networks by id.
    pub networks: RedBlackTreeMapSync<String, Network>,
    /// What is known of the ports that routes lead to; a port that was not looked at yet has no entry.
    pub ports: RedBlackTreeMapSync<(ContainerId, SocketAddr), PortState>,
}
