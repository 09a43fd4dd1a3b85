//! A Docker host, reduced to what its containers' surroundings depend on.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Container, ContainerId, Network};

/// The UUID of a host, stable for as long as its data directory exists. Cheap to copy.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HostId(Uuid);

impl HostId {
    /// Creates an id from the bits of a UUID.
    pub const fn from_u128(bits: u128) -> Self {
        Self(Uuid::from_u128(bits))
    }

    /// Returns the bits of the UUID.
    pub const fn as_u128(self) -> u128 {
        self.0.as_u128()
    }
}

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text is not a UUID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid host id: {0}")]
pub struct HostIdError(String);

impl FromStr for HostId {
    type Err = HostIdError;

    fn from_str(text: &str) -> Result<Self, HostIdError> {
        Uuid::try_parse(text).map(Self).map_err(|error| HostIdError(error.to_string()))
    }
}

/// One Docker host with its containers. Cheap to clone, however many there are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Host {
    /// Addresses at which other machines reach its published ports, the preferred one first. Empty if no
    /// other machine needs them.
    pub addresses: Vec<IpAddr>,
    /// Containers by id, running or not.
    pub containers: RedBlackTreeMapSync<ContainerId, Arc<Container>>,
    /// Networks by id.
    pub networks: RedBlackTreeMapSync<String, Network>,
}
