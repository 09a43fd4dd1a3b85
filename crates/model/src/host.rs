//! A Docker host, reduced to what its containers' surroundings depend on.

use std::collections::BTreeMap;
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

/// What a host has to offer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// The number of its CPUs.
    pub cpus: u32,
    /// Its memory, in bytes.
    pub memory: u64,
}

/// How much of a host's capacity is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// CPU time in use, in thousandths of one CPU.
    pub millicpus: u32,
    /// Memory in use, in bytes.
    pub memory: u64,
}

/// Whether a host takes new containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Availability {
    /// It does.
    #[default]
    Active,
    /// Its operator decided that it does not. What it has stays.
    Cordoned,
}

/// A host without its containers and networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostInfo {
    /// The name that people call it by.
    pub name: String,
    /// Addresses at which other machines reach its published ports, the preferred one first. Empty if no
    /// other machine needs them.
    pub addresses: Vec<IpAddr>,
    /// Labels given by its operator.
    pub labels: BTreeMap<String, String>,
    /// What it has to offer.
    pub capacity: Capacity,
    /// How much of it is in use. When only this changes, no one is woken.
    pub load: Load,
    /// Docker's version; empty until Docker has answered.
    pub docker_version: String,
    /// Longshore's version.
    pub version: String,
    /// Whether it takes new containers.
    pub availability: Availability,
}

/// One Docker host with its containers. Cheap to clone, however many there are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Host {
    /// Everything but its containers and networks.
    pub info: Arc<HostInfo>,
    /// Containers by id, running or not.
    pub containers: RedBlackTreeMapSync<ContainerId, Arc<Container>>,
    /// Networks by id.
    pub networks: RedBlackTreeMapSync<String, Network>,
}
