use std::collections::BTreeMap;

use longshore_model as model;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One container of the agent's host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Container {
    /// Docker's full id.
    pub id: String,
    /// Docker's name.
    pub name: String,
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

impl From<&model::Container> for Container {
    fn from(container: &model::Container) -> Self {
        let address = |endpoint: &model::Endpoint| {
            endpoint.ipv4.or(endpoint.ipv6).map(|ip| ip.to_string()).unwrap_or_default()
        };
        Self {
            id: container.id.as_str().to_owned(),
            name: container.name.clone(),
            image: container.image.clone(),
            state: container.state.to_string(),
            health: container.health.to_string(),
            stopping: container.stopping,
            networks: container.networks.iter().map(|(name, e)| (name.clone(), address(e))).collect(),
            published: container.published.iter().map(PublishedPort::from).collect(),
            labels: container.labels.clone(),
        }
    }
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
