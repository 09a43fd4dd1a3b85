//! The flags of `longshore run`. Each is also a key of the settings file and an environment variable, so these types define
//! all three.

use std::path::PathBuf;

use clap::Args;

use crate::flags::{
    ApiFlags, BalancerFlags, ClusterFlags, DnsFlags, DockerFlags, DockerModFlags, HandlerFlags, HaproxyFlags,
    LogFlags, PublishFlags,
};

/// The agent's settings. Every group has a heading of its own, as a heading lasts until the next one.
#[derive(Clone, Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct Run {
    /// Settings file [default: /etc/longshore/longshore.toml, if it exists].
    #[arg(long, value_name = "FILE", env = "LONGSHORE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Name of this host [default: the machine's host name].
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,
    /// Directory for persistent state.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/longshore")]
    pub(crate) data_dir: PathBuf,
    /// Make one pass, then exit.
    #[arg(long)]
    pub(crate) once: bool,
    /// Print what would be done, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) docker: DockerFlags,
    #[command(flatten)]
    pub(crate) api: ApiFlags,
    #[command(flatten)]
    pub(crate) dockermod: DockerModFlags,
    #[command(flatten)]
    pub(crate) cluster: ClusterFlags,
    #[command(flatten)]
    pub(crate) balancer: BalancerFlags,
    #[command(flatten)]
    pub(crate) haproxy: HaproxyFlags,
    #[command(flatten)]
    pub(crate) handlers: HandlerFlags,
    #[command(flatten)]
    pub(crate) sidecars: SidecarFlags,
    #[command(flatten)]
    pub(crate) publish: PublishFlags,
    #[command(flatten)]
    pub(crate) dns: DnsFlags,
    #[command(flatten)]
    pub(crate) log: LogFlags,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Sidecars")]
pub(crate) struct SidecarFlags {
    /// File with sidecars, in Podder's format.
    #[arg(long, value_name = "FILE")]
    pub(crate) sidecars: Option<PathBuf>,
}
