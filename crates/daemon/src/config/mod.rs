//! The agent's settings, resolved: every value is there and means something. Where they come from (flags,
//! environment, a file) is the command line's business.

mod balancer;
mod handlers;
mod sidecars;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use balancer::{BalancerSettings, EngineSettings};
pub use handlers::{Definition, HandlerSettings, Said, Value};
pub use longshore_dns::DnsSettings;
pub use longshore_docker::{DockerAddress, DockerAddressError, DockerSettings};
use longshore_model::{Problem, PublishJob};
pub use longshore_net::IpNet;
pub use longshore_runtime::ReloadableSettings;
pub use sidecars::SidecarSettings;

/// Everything that an agent is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This host's name, as others see it.
    pub node: String,
    /// Where state that must survive a restart lies; made if it is not there.
    pub data_dir: PathBuf,
    /// Where the API listens; absent for the commands that need none.
    pub listen: Option<SocketAddr>,
    /// The bearer token that the API wants, if it wants one.
    pub token: Option<String>,
    /// The Docker Engine.
    pub docker: DockerSettings,
    /// The balancer.
    pub balancer: BalancerSettings,
    /// Where handlers are defined.
    pub handlers: HandlerSettings,
    /// The sidecars, if they are kept.
    pub sidecars: Option<SidecarSettings>,
    /// Where containers are published, if they are.
    pub publish: Option<PublishJob>,
    /// The DNS server, if one runs.
    pub dns: Option<DnsSettings>,
    /// How often all containers are listed again to repair what was missed.
    pub resync: Duration,
    /// How often a port that takes traffic is looked at.
    pub check_interval: Duration,
    /// How long open requests may go on once the agent was told to end.
    pub grace: Duration,
    /// What was said besides and does nothing.
    pub ignored: Vec<Problem>,
}

impl Settings {
    /// The part that may change while the agent runs.
    pub(crate) fn live(&self) -> ReloadableSettings {
        ReloadableSettings { resync: self.resync, check_interval: self.check_interval }
    }
}
