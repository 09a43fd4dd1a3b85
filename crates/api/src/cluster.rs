use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The cluster, as the host that was asked and the others see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Cluster {
    /// Its name; absent for a cluster of one.
    pub name: Option<String>,
    /// The hosts, by id.
    pub hosts: Vec<ClusterHost>,
}

/// A host of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterHost {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where its agent listens to the others.
    pub address: String,
    /// `alive`, `suspect`, `restarting`, `dead` or `left`.
    pub state: String,
    /// How long it has been in this state, as seen from the host that was asked, in seconds.
    pub since_seconds: u64,
    /// Whether it answered the question how it sees the cluster; without an answer, the next three are unknown.
    pub answered: bool,
    /// The fingerprints of the secrets that it accepts; it uses the first.
    pub secrets: Vec<String>,
    /// The file of its secret, if its operator keeps it and not its agent.
    pub secret_file: Option<String>,
    /// The names of hosts that are alive, but do not answer it.
    pub unreachable: Vec<String>,
    /// How many seconds its clock is ahead of that of the host that was asked; 0 if less than five.
    pub clock_ahead_seconds: i64,
}

/// How the cluster's secret is replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotationRequest {
    /// Go on without hosts that do not answer: they cannot come back with the old secret.
    #[serde(default)]
    pub leave_out_absent: bool,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rotation {
    /// The fingerprint of the new secret.
    pub fingerprint: String,
    /// The hosts that use it.
    pub hosts: Vec<RotatedHost>,
    /// The names of hosts that were left out.
    pub left_out: Vec<String>,
}

/// A host that has the new secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RotatedHost {
    /// Its name.
    pub name: String,
    /// The file that its operator has to update; absent where the agent keeps the secret itself.
    pub secret_file: Option<String>,
}

/// A host that gave up its place in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostLeft {
    /// Its name.
    pub host: String,
}

/// Labels of a host: the new values by their keys; `null` removes a label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LabelChanges(pub BTreeMap<String, Option<String>>);

/// All labels of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostLabels {
    /// The values by their keys.
    pub labels: BTreeMap<String, String>,
}
