use std::collections::BTreeMap;
use std::net::IpAddr;

use longshore_model::{Availability, Capacity, HostInfo, Load};
use serde::{Deserialize, Serialize};

/// A host without its containers and networks. Its run is in the stream's first line; early development builds sent it
/// here as well, as `epoch`, which is ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRow {
    name: String,
    #[serde(default)]
    addresses: Vec<IpAddr>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    cpus: u32,
    #[serde(default)]
    memory: u64,
    #[serde(default)]
    load: LoadRow,
    #[serde(default)]
    docker_version: String,
    #[serde(default)]
    version: String,
    #[serde(default, skip_serializing_if = "AvailabilityRow::is_active")]
    availability: AvailabilityRow,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum AvailabilityRow {
    #[default]
    Active,
    /// Also a later release's: whatever it means, it is not the usual.
    #[serde(other)]
    Cordoned,
}

impl AvailabilityRow {
    fn is_active(&self) -> bool {
        *self == Self::Active
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct LoadRow {
    #[serde(default)]
    millicpus: u32,
    #[serde(default)]
    memory: u64,
}

impl From<&HostInfo> for HostRow {
    fn from(info: &HostInfo) -> Self {
        Self {
            name: info.name.clone(),
            addresses: info.addresses.clone(),
            labels: info.labels.clone(),
            cpus: info.capacity.cpus,
            memory: info.capacity.memory,
            load: LoadRow { millicpus: info.load.millicpus, memory: info.load.memory },
            docker_version: info.docker_version.clone(),
            version: info.version.clone(),
            availability: match info.availability {
                Availability::Active => AvailabilityRow::Active,
                Availability::Cordoned => AvailabilityRow::Cordoned,
            },
        }
    }
}

impl From<HostRow> for HostInfo {
    fn from(row: HostRow) -> Self {
        Self {
            name: row.name,
            addresses: row.addresses,
            labels: row.labels,
            capacity: Capacity { cpus: row.cpus, memory: row.memory },
            load: Load { millicpus: row.load.millicpus, memory: row.load.memory },
            docker_version: row.docker_version,
            version: row.version,
            availability: match row.availability {
                AvailabilityRow::Active => Availability::Active,
                AvailabilityRow::Cordoned => Availability::Cordoned,
            },
        }
    }
}
