//! A Docker network, reduced to what determines reachability.

use serde::{Deserialize, Serialize};

/// From where a network's addresses are reachable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkScope {
    /// The host can reach the addresses of its containers (a bridge).
    Host,
    /// The host itself cannot reach them (macvlan, ipvlan, overlay, none).
    Elsewhere,
}

/// One Docker network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Docker's name of it.
    pub name: String,
    /// From where its addresses are reachable.
    pub scope: NetworkScope,
}
