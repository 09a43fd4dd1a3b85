//! A container, as far as anything around it depends on it.

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
    /// Takes an id as Docker wrote it.
    pub fn new(id: impl AsRef<str>) -> Self {
        Self(Arc::from(id.as_ref()))
    }

    /// Returns the whole id.
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

/// What Docker says that the container's process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Made and never started.
    Created,
    /// Running.
    Running,
    /// Frozen: it keeps its address and answers nothing.
    Paused,
    /// Ended, and Docker is about to start it again.
    Restarting,
    /// Ended.
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

/// What the container's own health check says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// It has no health check.
    #[default]
    None,
    /// It has one, which has not passed yet.
    Starting,
    /// The last check passed.
    Healthy,
    /// Docker counts it as failed.
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

/// How a port's traffic travels.
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

/// A container's place in one network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The network's id, by which [`crate::Host::networks`] knows its driver.
    pub network_id: String,
    /// IPv4 address, absent until the container runs.
    pub ipv4: Option<IpAddr>,
    /// IPv6 address, where the network has one.
    pub ipv6: Option<IpAddr>,
}

/// A port of the container that its host publishes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Published {
    /// The port inside the container.
    pub container_port: u16,
    /// How it travels.
    pub transport: Transport,
    /// The host's address it listens on; unspecified (`0.0.0.0`, `::`) means all of them.
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
    /// The image as it was named when the container was created.
    pub image: String,
    /// Labels, the image's among them.
    pub labels: BTreeMap<String, String>,
    /// Labels that ask for sidecars and are the image's own: who made the image is not always trusted by who runs it.
    pub image_labels: BTreeSet<String>,
    /// What its process is doing.
    pub state: RunState,
    /// With which code its last run ended; absent while it runs, before it ever did, and until its end was looked into.
    pub exit_code: Option<i64>,
    /// What its health check says.
    pub health: Health,
    /// Docker or a user sent it its stop signal and it has not ended yet: it takes no new traffic.
    pub stopping: bool,
    /// When it was created, in nanoseconds since 1970; the older of two claims wins.
    pub created: i64,
    /// When it was last started, in nanoseconds since 1970; zero if never. Tells one run from the next.
    pub started: i64,
    /// `host`, `none`, `container:<id>`, or the name of its first network.
    pub network_mode: String,
    /// Networks by name.
    pub networks: BTreeMap<String, Endpoint>,
    /// Ports that the host publishes, in order.
    pub published: Vec<Published>,
    /// Ports that the image or the user says it listens on, in order.
    pub exposed: Vec<(u16, Transport)>,
    /// The signal by which it is stopped, by number, where its image or its user names one; else it is SIGTERM.
    pub stop_signal: Option<u32>,
}

impl Container {
    /// Creates one that was made and never started, on the default bridge, of which nothing else is known.
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
        }
    }
}
