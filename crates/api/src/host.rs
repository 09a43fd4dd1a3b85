use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One Docker host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Host {
    /// Its id, which it keeps across restarts.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The address at which other machines reach it, if it has one.
    pub address: Option<String>,
    /// `alive`, `suspect`, `dead` or `left`.
    pub state: String,
    /// What it has to offer; absent until Docker has answered.
    pub capacity: Option<HostCapacity>,
    /// How much of it is in use; absent where its Docker is on another machine than its agent.
    pub load: Option<HostLoad>,
    /// Longshore's version.
    pub version: String,
    /// Docker's version, once it has answered.
    pub docker_version: Option<String>,
    /// How many containers it has, running or not.
    pub containers: usize,
    /// How many of them run.
    pub running: usize,
}

/// What a host has to offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostCapacity {
    /// The number of its CPUs.
    pub cpus: u32,
    /// Its memory, in bytes.
    pub memory: u64,
}

/// How much of a host is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostLoad {
    /// CPU time in use, in thousandths of one CPU.
    pub millicpus: u32,
    /// Memory in use, in bytes.
    pub memory: u64,
}
