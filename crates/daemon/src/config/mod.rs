//! The agent's settings, resolved: every value is present and valid. The command line decides where they come
//! from (flags, environment, a file).

mod balancer;
mod cluster;
mod dockermod;
mod handlers;
mod sidecars;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use balancer::{BalancerSettings, EngineSettings};
pub use cluster::{ClusterName, ClusterSettings, ClusterTextError, HostAddress, HostLabel, JoinAddress};
pub use dockermod::DockerModSettings;
pub use handlers::{Definition, HandlerSettings, Setting, Value};
pub use longshore_dns::DnsSettings;
pub use longshore_docker::{DockerAddress, DockerAddressError, DockerSettings};
use longshore_model::{Problem, PublishJob};
pub use longshore_net::IpNet;
pub use longshore_runtime::ReloadableSettings;
pub use sidecars::SidecarSettings;

/// All settings of an agent.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This host's name, as others see it.
    pub node: String,
    /// Directory for persistent state; created if it does not exist.
    pub data_dir: PathBuf,
    /// Address of the API; `None` for commands without one.
    pub listen: Option<SocketAddr>,
    /// Path of the socket through which root on this host reaches the API without a token, if there is one.
    pub socket: Option<PathBuf>,
    /// Bearer token that the API requires, if any.
    pub token: Option<String>,
    /// Whether the API may be open to others without a token.
    pub insecure: bool,
    /// Names of this host besides its addresses, which requests without a token may use.
    pub names: Vec<String>,
    /// DockerMod's API.
    pub dockermod: DockerModSettings,
    /// The cluster; `None` for a cluster of one.
    pub cluster: Option<ClusterSettings>,
    /// The Docker Engine.
    pub docker: DockerSettings,
    /// The balancer.
    pub balancer: BalancerSettings,
    /// Where handlers are defined.
    pub handlers: HandlerSettings,
    /// Settings of the sidecars, if enabled.
    pub sidecars: Option<SidecarSettings>,
    /// Where containers are published, if enabled.
    pub publish: Option<PublishJob>,
    /// The DNS server, if one runs.
    pub dns: Option<DnsSettings>,
    /// How often all containers are listed again to repair what was missed.
    pub resync: Duration,
    /// How often a port that takes traffic is checked.
    pub check_interval: Duration,
    /// How long open requests may take to finish when the agent shuts down.
    pub grace: Duration,
    /// Problems in the settings that do not prevent a start, such as an unknown key.
    pub ignored: Vec<Problem>,
}

impl Settings {
    /// Returns the part that may change while the agent runs.
    pub(crate) fn live(&self) -> ReloadableSettings {
        ReloadableSettings { resync: self.resync, check_interval: self.check_interval }
    }
}
