//! A sidecar's definition, from a file or labels.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use longshore_model::Transport;
use serde::Serialize;

use super::env_file::EnvFile;
use super::{Port, Volume};

/// The most sidecars of one main.
pub(super) const MAX_SIDECARS: usize = 64;

/// A sidecar's definition, in compose's terms. Its JSON is part of the fingerprint's input.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Definition {
    /// The image, as Docker takes it.
    pub image: String,
    /// The command; absent means the image's.
    pub command: Option<Vec<String>>,
    /// The entrypoint; absent means the image's.
    pub entrypoint: Option<Vec<String>>,
    /// Files with more variables; later files win. [`super::SidecarPlan`] adds them to `environment`.
    pub(super) env_files: Vec<EnvFile>,
    /// Environment variables.
    pub environment: BTreeMap<String, String>,
    /// Published ports.
    pub ports: Vec<Port>,
    /// Other ports that it exposes.
    pub expose: BTreeSet<(u16, Transport)>,
    /// Mounts.
    pub volumes: Vec<Volume>,
    /// Containers that it reaches by an alias.
    pub links: Vec<Link>,
    /// What must run or finish before it starts, by the name of a sidecar, a compose service or a container.
    pub depends_on: BTreeMap<String, Condition>,
    /// The networks, by name; absent means those of its main.
    pub networks: Option<BTreeMap<String, Attachment>>,
    /// A network mode instead of networks.
    pub network_mode: Option<Mode>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// What happens when it exits while its main runs; absent means `Always`, or `No` if another sidecar
    /// waits for its completion.
    pub restart: Option<Restart>,
    /// Its health check; absent means the image's.
    pub health_check: Option<HealthCheck>,
    /// The user that it runs as.
    pub user: Option<String>,
    /// Its working directory.
    pub working_dir: Option<String>,
    /// Its host name.
    pub hostname: Option<String>,
    /// Its stop signal.
    pub stop_signal: Option<String>,
    /// Seconds between that signal and SIGKILL; Docker's default is 10.
    pub stop_grace: Option<u32>,
    /// Whether it has root's privileges on the host.
    pub privileged: bool,
    /// Whether its root file system is read-only.
    pub read_only: bool,
    /// Whether Docker's init is its first process.
    pub init: Option<bool>,
    /// Additional capabilities.
    pub cap_add: Vec<String>,
    /// Dropped capabilities.
    pub cap_drop: Vec<String>,
    /// Lines of its hosts file, `name:address`.
    pub extra_hosts: Vec<String>,
    /// Its DNS servers.
    pub dns: Vec<String>,
}

impl Definition {
    /// Returns the sidecars and services that must be there first: its dependencies, its links, and the owner
    /// of its network.
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

/// The condition to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Condition {
    /// It runs.
    Started,
    /// It runs, and its health check passes.
    Healthy,
    /// It has exited with code 0.
    Completed,
}

/// A sidecar's settings in one network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Attachment {
    /// Names that others reach it by.
    pub aliases: Vec<String>,
    /// A fixed IPv4 address.
    pub ipv4: Option<IpAddr>,
    /// A fixed IPv6 address.
    pub ipv6: Option<IpAddr>,
}

/// A network mode instead of networks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Mode {
    /// The network namespace of its main.
    Main,
    /// The network namespace of a sidecar, a compose service or a container of this name.
    Of(String),
    /// Docker's own mode: `bridge`, `host`, `none`, or `container:` with a name.
    Docker(String),
}

/// A health check; absent settings are the image's, or else Docker's defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HealthCheck {
    /// `NONE`, or `CMD` or `CMD-SHELL` and its arguments.
    pub test: Option<Vec<String>>,
    /// The interval between two checks.
    pub interval: Option<Duration>,
    /// The time limit of one check.
    pub timeout: Option<Duration>,
    /// How many checks must fail in a row.
    pub retries: Option<u32>,
    /// How long failures after the start are ignored.
    pub start_period: Option<Duration>,
    /// The interval between two checks in that time.
    pub start_interval: Option<Duration>,
}

/// What happens when a sidecar exits while its main runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Restart {
    /// It is restarted, with back-off.
    Always,
    /// It stays stopped until its main starts again.
    No,
    /// Docker restarts it if its exit code is not 0, at most as often as the number, if given.
    OnFailure(Option<u32>),
}
