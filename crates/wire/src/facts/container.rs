use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use longshore_model::{
    Container, ContainerId, Endpoint, Health, Network, NetworkScope, PortState, Published, RunState,
    Transport,
};
use serde::{Deserialize, Serialize};

/// The longest id of a container that is accepted. Docker's have 64 characters.
const MAX_ID: usize = 128;

/// A text is not the id of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid container id")]
pub struct BadContainerId;

/// Checks the id of a container that a peer sent.
///
/// # Errors
/// Docker would not write such an id.
pub fn container_id(text: &str) -> Result<ContainerId, BadContainerId> {
    let is_id = !text.is_empty() && text.len() <= MAX_ID && text.bytes().all(|b| b.is_ascii_alphanumeric());
    if is_id { Ok(ContainerId::new(text)) } else { Err(BadContainerId) }
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRow {
    id: String,
    name: String,
    image: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    image_labels: BTreeSet<String>,
    state: StateRow,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exit_code: Option<i64>,
    #[serde(default)]
    health: HealthRow,
    #[serde(default)]
    stopping: bool,
    #[serde(default)]
    created: i64,
    #[serde(default)]
    started: i64,
    #[serde(default)]
    network_mode: String,
    #[serde(default)]
    networks: BTreeMap<String, EndpointRow>,
    #[serde(default)]
    published: Vec<PublishedRow>,
    #[serde(default)]
    exposed: Vec<ExposedRow>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stop_signal: Option<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ports: Vec<PortRow>,
}

impl ContainerRow {
    /// Returns the row without labels, for a container whose labels do not fit into a line.
    #[must_use]
    pub fn without_labels(self) -> Self {
        Self { labels: BTreeMap::new(), image_labels: BTreeSet::new(), ..self }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StateRow {
    Created,
    Running,
    Paused,
    Restarting,
    Exited,
    Removing,
    Dead,
    /// A later release's, of which this one can only say that it must not take traffic.
    #[serde(other)]
    Unknown,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum HealthRow {
    #[default]
    None,
    Starting,
    Healthy,
    Unhealthy,
    /// A later release's, which is not known to be healthy.
    #[serde(other)]
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum TransportRow {
    Tcp,
    Udp,
    /// A later release's. Its ports are ignored.
    #[serde(other)]
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct EndpointRow {
    network_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ipv4: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ipv6: Option<IpAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PublishedRow {
    container_port: u16,
    transport: TransportRow,
    host_ip: IpAddr,
    host_port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ExposedRow {
    port: u16,
    transport: TransportRow,
}

/// What the owner sees of one TCP port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PortRow {
    port: u16,
    state: PortStateRow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PortStateRow {
    NotOpen,
    Open,
    Closed,
    /// A later release's, which is not known to be open.
    #[serde(other)]
    Unknown,
}

impl From<PortState> for PortStateRow {
    fn from(state: PortState) -> Self {
        match state {
            PortState::NotOpen => Self::NotOpen,
            PortState::Open => Self::Open,
            PortState::Closed => Self::Closed,
        }
    }
}

impl From<PortStateRow> for PortState {
    fn from(row: PortStateRow) -> Self {
        match row {
            PortStateRow::Open => Self::Open,
            PortStateRow::Closed => Self::Closed,
            PortStateRow::NotOpen | PortStateRow::Unknown => Self::NotOpen,
        }
    }
}

/// A network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRow {
    id: String,
    name: String,
    scope: ScopeRow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ScopeRow {
    Host,
    Elsewhere,
    /// A later release's, whose addresses are not known to be reachable.
    #[serde(other)]
    Unknown,
}

impl From<RunState> for StateRow {
    fn from(state: RunState) -> Self {
        match state {
            RunState::Created => Self::Created,
            RunState::Running => Self::Running,
            RunState::Paused => Self::Paused,
            RunState::Restarting => Self::Restarting,
            RunState::Exited => Self::Exited,
            RunState::Removing => Self::Removing,
            RunState::Dead => Self::Dead,
        }
    }
}

impl From<StateRow> for RunState {
    fn from(row: StateRow) -> Self {
        match row {
            StateRow::Created => Self::Created,
            StateRow::Running => Self::Running,
            StateRow::Paused => Self::Paused,
            StateRow::Restarting => Self::Restarting,
            StateRow::Exited => Self::Exited,
            StateRow::Removing => Self::Removing,
            StateRow::Dead | StateRow::Unknown => Self::Dead,
        }
    }
}

impl From<Health> for HealthRow {
    fn from(health: Health) -> Self {
        match health {
            Health::None => Self::None,
            Health::Starting => Self::Starting,
            Health::Healthy => Self::Healthy,
            Health::Unhealthy => Self::Unhealthy,
        }
    }
}

impl From<HealthRow> for Health {
    fn from(row: HealthRow) -> Self {
        match row {
            HealthRow::None => Self::None,
            HealthRow::Starting => Self::Starting,
            HealthRow::Healthy => Self::Healthy,
            HealthRow::Unhealthy | HealthRow::Unknown => Self::Unhealthy,
        }
    }
}

impl From<Transport> for TransportRow {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Tcp => Self::Tcp,
            Transport::Udp => Self::Udp,
        }
    }
}

impl TransportRow {
    fn known(self) -> Option<Transport> {
        match self {
            Self::Tcp => Some(Transport::Tcp),
            Self::Udp => Some(Transport::Udp),
            Self::Unknown => None,
        }
    }
}

impl From<&Container> for ContainerRow {
    fn from(container: &Container) -> Self {
        let endpoint = |(name, at): (&String, &Endpoint)| {
            let row = EndpointRow { network_id: at.network_id.clone(), ipv4: at.ipv4, ipv6: at.ipv6 };
            (name.clone(), row)
        };
        let published = |port: &Published| PublishedRow {
            container_port: port.container_port,
            transport: port.transport.into(),
            host_ip: port.host_ip,
            host_port: port.host_port,
        };
        let exposed =
            |(port, transport): &(u16, Transport)| ExposedRow { port: *port, transport: (*transport).into() };
        Self {
            id: container.id.as_str().to_owned(),
            name: container.name.clone(),
            image: container.image.clone(),
            labels: container.labels.clone(),
            image_labels: container.image_labels.clone(),
            state: container.state.into(),
            exit_code: container.exit_code,
            health: container.health.into(),
            stopping: container.stopping,
            created: container.created,
            started: container.started,
            network_mode: container.network_mode.clone(),
            networks: container.networks.iter().map(endpoint).collect(),
            published: container.published.iter().map(published).collect(),
            exposed: container.exposed.iter().map(exposed).collect(),
            stop_signal: container.stop_signal,
            ports: container
                .ports
                .iter()
                .map(|(port, state)| PortRow { port: *port, state: (*state).into() })
                .collect(),
        }
    }
}

impl TryFrom<ContainerRow> for Container {
    type Error = BadContainerId;

    fn try_from(row: ContainerRow) -> Result<Self, BadContainerId> {
        let endpoint = |(name, at): (String, EndpointRow)| {
            (name, Endpoint { network_id: at.network_id, ipv4: at.ipv4, ipv6: at.ipv6 })
        };
        let published = |port: PublishedRow| {
            Some(Published {
                container_port: port.container_port,
                transport: port.transport.known()?,
                host_ip: port.host_ip,
                host_port: port.host_port,
            })
        };
        Ok(Self {
            id: container_id(&row.id)?,
            name: row.name,
            image: row.image,
            labels: row.labels,
            image_labels: row.image_labels,
            state: row.state.into(),
            exit_code: row.exit_code,
            health: row.health.into(),
            stopping: row.stopping,
            created: row.created,
            started: row.started,
            network_mode: row.network_mode,
            networks: row.networks.into_iter().map(endpoint).collect(),
            published: row.published.into_iter().filter_map(published).collect(),
            exposed: row.exposed.into_iter().filter_map(|e| Some((e.port, e.transport.known()?))).collect(),
            stop_signal: row.stop_signal,
            ports: row.ports.into_iter().map(|row| (row.port, row.state.into())).collect(),
        })
    }
}

impl From<(&String, &Network)> for NetworkRow {
    fn from((id, network): (&String, &Network)) -> Self {
        let scope = match network.scope {
            NetworkScope::Host => ScopeRow::Host,
            NetworkScope::Elsewhere => ScopeRow::Elsewhere,
        };
        Self { id: id.clone(), name: network.name.clone(), scope }
    }
}

impl From<NetworkRow> for (String, Network) {
    fn from(row: NetworkRow) -> Self {
        let scope = match row.scope {
            ScopeRow::Host => NetworkScope::Host,
            ScopeRow::Elsewhere | ScopeRow::Unknown => NetworkScope::Elsewhere,
        };
        (row.id, Network { name: row.name, scope })
    }
}
