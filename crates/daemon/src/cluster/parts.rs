//! What a membership is made of, and why there may be none.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use longshore_cluster::identity::IdentityError;
use longshore_cluster::members::Roster;
use longshore_cluster::relay::{RelayClient, RelayServer};
use longshore_cluster::secret::KeyringError;
use longshore_cluster::service::ServiceError;
use longshore_model::{ContainerEvent, HostId, Problem, Subject, TextError};
use longshore_runtime::Problems;
use longshore_runtime::state::{Observation, Reader};
use tokio::sync::{broadcast, mpsc, watch};

use crate::calls::Caller;
use crate::config::{ClusterName, ClusterSettings, HostAddress};
use crate::host_labels::HostLabels;
use crate::serve::Feed;

/// Why a host cannot be part of its cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The cluster's secret cannot be read.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The cluster's secret cannot be created.
    #[error("cannot create a cluster secret in {}", .0.display())]
    CreateSecret(PathBuf, #[source] io::Error),
    /// The host's name is none that a cluster takes.
    #[error("invalid host name {0:?}: give this host another with --node")]
    Name(String, #[source] TextError),
    /// The name at which the others reach this host cannot be resolved.
    #[error("cannot resolve {0}, at which the other hosts are to reach this one")]
    Resolve(HostAddress, #[source] io::Error),
    /// No address is given, and this host has none that others reach.
    #[error("this host has no address that others reach: give it one with --advertise")]
    NoAddress,
    /// The port of the cluster is taken.
    #[error("cannot listen on {0}/tcp for the cluster")]
    Bind(SocketAddr, #[source] io::Error),
    /// This host's certificate cannot be issued.
    #[error("cannot prove this host's identity to others")]
    Identity(#[from] IdentityError),
    /// The membership cannot start.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// What a membership is made of, each time that this agent joins.
pub(crate) struct ClusterParts {
    pub(crate) settings: ClusterSettings,
    pub(crate) advertise: SocketAddr,
    pub(crate) host: HostId,
    pub(crate) node: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) world: Reader,
    pub(crate) observations: mpsc::UnboundedSender<Observation>,
    pub(crate) problems: Problems,
    pub(crate) labels: HostLabels,
    /// The hosts as this one sees them; `None` while it is no member.
    pub(crate) roster: watch::Sender<Option<Arc<Roster>>>,
    /// Gets the way to the other hosts.
    pub(crate) caller: Caller,
    /// Gets what happens on the other hosts.
    pub(crate) feed: Feed,
    /// What happens on this one.
    pub(crate) events: broadcast::Sender<ContainerEvent>,
    /// The port of the cluster, open from the first membership on: while an agent hands over to its successor, the other
    /// hosts' connections wait in it.
    pub(crate) port: OnceLock<TcpListener>,
    /// Leads to containers of the other hosts.
    pub(crate) relay_client: RelayClient,
    /// Leads the other hosts to this one's containers.
    pub(crate) relay_server: RelayServer,
}

/// Says that this host is in no cluster, although its settings name one.
pub(super) fn left_problem(node: &str, cluster: &ClusterName) -> Problem {
    Problem {
        subject: Subject::Host { name: node.to_owned() },
        key: None,
        message: format!("left the cluster {cluster}: this host is a cluster of one"),
        hint: Some(
            "restart the agent to join again; remove the cluster from its settings to stay out".to_owned(),
        ),
    }
}
