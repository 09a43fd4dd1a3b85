use std::collections::BTreeMap;

use longshore_model as model;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One container of any host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Container {
    /// Docker's full id.
    pub id: String,
    /// Docker's name.
    pub name: String,
    /// The name of its host.
    pub host: String,
    /// The image as it was named when the container was created.
    pub image: String,
    /// `created`, `running`, `paused`, `restarting`, `exited`, `removing` or `dead`.
    pub state: String,
    /// `none`, `starting`, `healthy` or `unhealthy`.
    pub health: String,
    /// Whether it was sent its stop signal and is still running.
    pub stopping: bool,
    /// Its address in each of its networks.
    pub networks: BTreeMap<String, String>,
    /// Ports that are published on the host.
    pub published: Vec<PublishedPort>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// When it was created, as RFC 3339 in UTC.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When it was last started, as RFC 3339 in UTC; absent if never.
    #[schema(format = DateTime)]
    pub started_at: Option<String>,
    /// The exit code of its last run; absent while it runs, before its first run, and until it was inspected.
    pub exit_code: Option<i64>,
}

/// A port that is published on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PublishedPort {
    /// The port inside the container.
    pub container_port: u16,
    /// `tcp` or `udp`.
    pub transport: String,
    /// The address on the host; `0.0.0.0` or `::` means all.
    pub host_ip: String,
    /// The port on the host.
    pub host_port: u16,
}

impl Container {
    /// Describes a container of the host with this name.
    pub fn of(host: &str, container: &model::Container) -> Self {
        let address = |endpoint: &model::Endpoint| {
            endpoint.ipv4.or(endpoint.ipv6).map(|ip| ip.to_string()).unwrap_or_default()
        };
        Self {
            id: container.id.as_str().to_owned(),
            name: container.name.clone(),
            host: host.to_owned(),
            image: container.image.clone(),
            state: container.state.to_string(),
            health: container.health.to_string(),
            stopping: container.stopping,
            networks: container.networks.iter().map(|(name, e)| (name.clone(), address(e))).collect(),
            published: container.published.iter().map(PublishedPort::from).collect(),
            labels: container.labels.clone(),
            created_at: time(container.created),
            started_at: (container.started != 0).then(|| time(container.started)),
            exit_code: container.exit_code,
        }
    }
}

/// Writes a time in nanoseconds since 1970.
fn time(at: i64) -> String {
    jiff::Timestamp::from_nanosecond(at.into()).unwrap_or_default().to_string()
}

impl From<&model::Published> for PublishedPort {
    fn from(port: &model::Published) -> Self {
        Self {
            container_port: port.container_port,
            transport: port.transport.to_string(),
            host_ip: port.host_ip.to_string(),
            host_port: port.host_port,
        }
    }
}
