use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A summary of the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The agent's version: `0.1.0`.
    pub version: String,
    /// The host's name, as others see it.
    pub node: String,
    /// The host's id, which it keeps across restarts.
    pub host: String,
    /// When the agent started, as RFC 3339 in UTC.
    #[schema(format = DateTime)]
    pub started_at: String,
    /// How long it has run, in seconds.
    pub uptime_seconds: u64,
    /// Whether Docker's containers have been listed and their routes applied.
    pub ready: bool,
    /// The Docker Engine.
    pub docker: DockerStatus,
    /// The balancer.
    pub balancer: BalancerStatus,
    /// Where the DNS server listens, if there is one: `127.0.0.1:53`.
    pub dns: Option<String>,
    /// The number of objects of each kind.
    pub counts: Counts,
}

/// The Docker Engine, as the agent sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DockerStatus {
    /// Where it listens: `unix:///var/run/docker.sock`.
    pub address: String,
    /// Whether it responds.
    pub connected: bool,
    /// Why not, if it does not; the agent keeps the last known state of its containers.
    pub error: Option<String>,
    /// Its version, `29.0.1`, once known.
    pub version: Option<String>,
}

/// The balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BalancerStatus {
    /// `built-in`, `haproxy` or `none`.
    pub engine: String,
    /// The frontends that are open: `http:80`.
    pub frontends: Vec<String>,
    /// The frontends that are not open, each with the reason.
    pub closed: Vec<ClosedFrontend>,
}

/// A frontend that could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClosedFrontend {
    /// The frontend: `http:80`.
    pub frontend: String,
    /// Why.
    pub error: String,
}

/// The number of objects of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counts {
    /// Containers of the host, running or not.
    pub containers: usize,
    /// Containers that are running.
    pub running: usize,
    /// Routes in force.
    pub routes: usize,
    /// Handlers that are enabled.
    pub handlers: usize,
    /// Names that the DNS server answers.
    pub names: usize,
    /// Current problems.
    pub problems: usize,
}
