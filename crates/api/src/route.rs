use longshore_model as model;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One route of the balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Route {
    /// The frontend that receives its traffic: `http:80`, `tcp:5432`, `udp:53`.
    pub frontend: String,
    /// The host that it matches: a name, `*.domain`, or `*` for all. `*` unless the frontend speaks HTTP.
    pub host: String,
    /// The path prefix that it matches, with a leading slash. `/` unless the frontend speaks HTTP.
    pub prefix: String,
    /// Whether the container receives the path without the prefix.
    pub strip_prefix: bool,
    /// Why the frontend is not open, if it is not; the route then receives no traffic.
    pub frontend_error: Option<String>,
    /// Containers that receive its traffic.
    pub upstreams: Vec<Upstream>,
    /// Containers that claim it but receive no traffic at the moment.
    pub waiting: Vec<Waiting>,
}

/// A container that receives a route's traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Upstream {
    /// The container's id.
    pub container: String,
    /// The container's name.
    pub name: String,
    /// The port inside the container.
    pub port: u16,
    /// Where the balancer connects to: `172.17.0.2:80`, or `agent:10.0.0.2:7052` if the way leads through the agent of
    /// the container's host.
    pub address: String,
    /// Its share relative to the others', 0 to 256.
    pub weight: u16,
}

/// A container that claims a route but receives none of its traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Waiting {
    /// The container's id.
    pub container: String,
    /// The container's name.
    pub name: String,
    /// The port inside the container.
    pub port: u16,
    /// Why, as a word for programs: `health_starting`, `unhealthy`, `port_not_open`, `port_closed`,
    /// `paused`, `stopping`, `no_address`, `host_suspect`, `host_unreachable` or `agent_restarting`.
    #[schema(value_type = String)]
    pub reason: model::WaitingReason,
    /// Why, in words.
    pub why: String,
}

impl From<&model::Route> for Route {
    fn from(route: &model::Route) -> Self {
        Self {
            frontend: route.key.frontend.to_string(),
            host: route.key.host.to_string(),
            prefix: route.key.prefix.to_string(),
            strip_prefix: route.strip_prefix,
            frontend_error: None,
            upstreams: route.upstreams.iter().map(Upstream::from).collect(),
            waiting: route.waiting.iter().map(Waiting::from).collect(),
        }
    }
}

impl From<&model::Upstream> for Upstream {
    fn from(upstream: &model::Upstream) -> Self {
        Self {
            container: upstream.container.id.as_str().to_owned(),
            name: upstream.name.clone(),
            port: upstream.port,
            address: upstream.way.to_string(),
            weight: upstream.weight.get(),
        }
    }
}

impl From<&model::Waiting> for Waiting {
    fn from(waiting: &model::Waiting) -> Self {
        Self {
            container: waiting.container.id.as_str().to_owned(),
            name: waiting.name.clone(),
            port: waiting.port,
            reason: waiting.reason.clone(),
            why: waiting.reason.to_string(),
        }
    }
}
