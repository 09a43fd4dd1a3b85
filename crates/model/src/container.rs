//! A container, reduced to what its surroundings depend on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Docker's id of a container: 64 hexadecimal digits. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContainerId(Arc<str>);

impl ContainerId {
    /// Wraps an id as Docker writes it.
    pub fn new(id: impl AsRef<str>) -> Self {
        Self(Arc::from(id.as_ref()))
    }

    /// Returns the full id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the first twelve characters, as `docker ps` shows them.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

impl fmt::Debug for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

/// What the container's process is doing, as Docker reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Created and never started.
    Created,
    /// Running.
    Running,
    /// Frozen: it keeps its address but does not respond.
    Paused,
    /// Exited, and Docker is about to start it again.
    Restarting,
    /// Exited.
    Exited,
    /// Being removed.
    Removing,
    /// Docker could not remove it.
    Dead,
}

impl RunState {
    /// Returns whether a process exists: the container is running or paused.
    pub fn is_alive(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
            Self::Removing => "removing",
            Self::Dead => "dead",
        })
    }
}

/// The result of the container's own health check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// It has no health check.
    #[default]
    None,
    /// It has a health check that has not passed yet.
    Starting,
    /// The last check passed.
    Healthy,
    /// Docker reports it as unhealthy.
    Unhealthy,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        })
    }
}

/// The transport protocol of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// The result of the last check of a container's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PortState {
    /// It has not accepted a connection in this run of the container.
    NotOpen,
    /// It accepts connections.
    Open,
    /// It accepted connections in this run of the container, but no longer does.
    Closed,
}

/// A container's endpoint in one network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The network's id, a key of [`crate::Host::networks`].
    pub network_id: String,
    /// IPv4 address, absent until the container runs.
    pub ipv4: Option<IpAddr>,
    /// IPv6 address, where the network has one.
    pub ipv6: Option<IpAddr>,
}

/// A port of the container that is published on its host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Published {
    /// The port inside the container.
    pub container_port: u16,
    /// The transport protocol.
    pub transport: Transport,
    /// The host address it listens on; unspecified (`0.0.0.0`, `::`) means all of them.
    pub host_ip: IpAddr,
    /// The port on the host.
    pub host_port: u16,
}

/// One container of one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Docker's id.
    pub id: ContainerId,
    /// Docker's name, without the leading slash.
    pub name: String,
    /// The image name given when the container was created.
    pub image: String,
    /// Labels, including the image's.
    pub labels: BTreeMap<String, String>,
    /// Sidecar labels that come from the image: the image's author is not always trusted by the operator.
    pub image_labels: BTreeSet<String>,
    /// The state of its process.
    pub state: RunState,
    /// The exit code of its last run; absent while it runs, before its first run, and until it was inspected.
    pub exit_code: Option<i64>,
    /// The result of its health check.
    pub health: Health,
    /// It was sent its stop signal and has not exited yet: it takes no new traffic.
    pub stopping: bool,
    /// When it was created, in nanoseconds since 1970; the older of two claims wins.
    pub created: i64,
    /// When it was last started, in nanoseconds since 1970; zero if never. Distinguishes one run from the
    /// next.
    pub started: i64,
    /// `host`, `none`, `container:<id>`, or the name of its first network.
    pub network_mode: String,
    /// Networks by name.
    pub networks: BTreeMap<String, Endpoint>,
    /// Published ports, sorted.
    pub published: Vec<Published>,
    /// Ports exposed by the image or the user, sorted.
    pub exposed: Vec<(u16, Transport)>,
    /// The number of the stop signal, if the image or the user sets one; otherwise SIGTERM.
    pub stop_signal: Option<u32>,
    /// The state of its TCP ports as its own host sees them, by the port inside the container. A port that its host
    /// has not checked in this run has no entry.
    pub ports: BTreeMap<u16, PortState>,
}

impl Container {
    /// Creates a container that was never started, on the default bridge, with all else empty.
    pub fn new(id: ContainerId, name: impl Into<String>, image: impl Into<String>) -> Self {
        Self {
            id,
            name: name.into(),
            image: image.into(),
            labels: BTreeMap::new(),
            image_labels: BTreeSet::new(),
            state: RunState::Created,
            health: Health::None,
            stopping: false,
            created: 0,
            started: 0,
            network_mode: "bridge".to_owned(),
            networks: BTreeMap::new(),
            published: Vec::new(),
            exposed: Vec::new(),
            exit_code: None,
            stop_signal: None,
            ports: BTreeMap::new(),
        }
    }
}
