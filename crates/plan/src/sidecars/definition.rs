//! What a sidecar is, as a file or labels say it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use longshore_model::Transport;
use serde::Serialize;

use super::env_file::EnvFile;
use super::{Port, Volume};

/// Most sidecars of one main.
pub(super) const MAX_SIDECARS: usize = 64;

/// A sidecar's definition, in compose's words. Its text is what the fingerprint is taken of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Definition {
    /// The image, as Docker takes it.
    pub image: String,
    /// The command; absent means the image's own.
    pub command: Option<Vec<String>>,
    /// What the command is given to; absent means the image's own.
    pub entrypoint: Option<Vec<String>>,
    /// Files with more variables, the later one counting; [`super::SidecarPlan`] makes `environment` of them.
    pub(super) env_files: Vec<EnvFile>,
    /// Environment variables.
    pub environment: BTreeMap<String, String>,
    /// Ports that the host publishes.
    pub ports: Vec<Port>,
    /// Ports that it listens on besides.
    pub expose: BTreeSet<(u16, Transport)>,
    /// What is mounted.
    pub volumes: Vec<Volume>,
    /// Containers that it reaches by an alias.
    pub links: Vec<Link>,
    /// What must be there before it starts, by the name of a sidecar, a compose service or a container.
    pub depends_on: BTreeMap<String, Condition>,
    /// The networks, by name; absent means those of its main.
    pub networks: Option<BTreeMap<String, Attachment>>,
    /// A network mode in place of networks.
    pub network_mode: Option<Mode>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// What happens when it ends while its main runs; absent means `Always`, or `No` where another sidecar waits for its
    /// end.
    pub restart: Option<Restart>,
    /// How Docker finds out whether it is well, in place of what its image says.
    pub health_check: Option<HealthCheck>,
    /// The user that it runs as.
    pub user: Option<String>,
    /// Where it starts.
    pub working_dir: Option<String>,
    /// Its host name.
    pub hostname: Option<String>,
    /// The signal by which it is stopped.
    pub stop_signal: Option<String>,
    /// Seconds between that signal and SIGKILL; Docker's default is 10.
    pub stop_grace: Option<u32>,
    /// Whether it may do on the host what root may.
    pub privileged: bool,
    /// Whether its root file system cannot be written.
    pub read_only: bool,
    /// Whether Docker's init is its first process.
    pub init: Option<bool>,
    /// Capabilities that it has besides.
    pub cap_add: Vec<String>,
    /// Capabilities that it has not.
    pub cap_drop: Vec<String>,
    /// Lines of its hosts file, `name:address`.
    pub extra_hosts: Vec<String>,
    /// Its DNS servers.
    pub dns: Vec<String>,
}

impl Definition {
    /// Returns the sidecars and services that must be there first: those it names, those it links to, and whose network it is in.
    pub fn needs(&self) -> impl Iterator<Item = (&str, Condition)> {
        let named = self.depends_on.iter().map(|(name, condition)| (name.as_str(), *condition));
        let linked = self.links.iter().map(|link| link.target.as_str());
        let shared = match &self.network_mode {
            Some(Mode::Of(name)) => Some(name.as_str()),
            Some(Mode::Main | Mode::Docker(_)) | None => None,
        };
        let others = linked.chain(shared).filter(|name| !self.depends_on.contains_key(*name));
        named.chain(others.map(|name| (name, Condition::Started)))
    }
}

/// A container that a sidecar reaches by an alias.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Link {
    /// A sidecar of the same main, a service of the main's compose project, or a container.
    pub target: String,
    /// The name by which the sidecar reaches it.
    pub alias: String,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Condition {
    /// It runs.
    Started,
    /// It runs, and its health check passes.
    Healthy,
    /// It has ended, with the exit code 0.
    Completed,
}

/// How a sidecar stands in a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Attachment {
    /// Names that others reach it by.
    pub aliases: Vec<String>,
    /// Its own address.
    pub ipv4: Option<IpAddr>,
    /// Its own IPv6 address.
    pub ipv6: Option<IpAddr>,
}

/// A network mode in place of networks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Mode {
    /// The network namespace of its main.
    Main,
    /// The network namespace of a sidecar, a compose service or a container of this name.
    Of(String),
    /// Docker's own word: `bridge`, `host`, `none`, or `container:` with a name.
    Docker(String),
}

/// A health check; what is absent is the image's, or else Docker's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HealthCheck {
    /// `NONE`, or `CMD` or `CMD-SHELL` and what follows it.
    pub test: Option<Vec<String>>,
    /// The pause between two checks.
    pub interval: Option<Duration>,
    /// How long one may take.
    pub timeout: Option<Duration>,
    /// How many must fail in a row.
    pub retries: Option<u32>,
    /// How long after its start failures do not count.
    pub start_period: Option<Duration>,
    /// The pause between two checks in that time.
    pub start_interval: Option<Duration>,
}

/// What happens when a sidecar ends while its main runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Restart {
    /// It is started again, with back-off.
    Always,
    /// It stays as it is until its main starts anew.
    No,
    /// Docker starts it again where its exit code is not 0, so often at most where a number is given.
    OnFailure(Option<u32>),
}
