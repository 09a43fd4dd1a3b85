use std::net::IpAddr;

use clap::{Args, ValueEnum};
use longshore_daemon::config::IpNet;

use crate::cli::values;

/// The balancer, whichever engine it is.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Balancer")]
pub(crate) struct BalancerFlags {
    /// Balancer [default: built-in; haproxy if a balancer handler is enabled].
    #[arg(long, value_enum)]
    pub(crate) balancer: Option<EngineName>,
    /// Address that frontends listen on; repeatable [default: all].
    #[arg(long, value_name = "IP", action = clap::ArgAction::Append, value_parser = values::ip)]
    pub(crate) bind: Vec<IpAddr>,
    /// Address or network of a proxy in front of this one, whose forwarding headers are trusted; repeatable.
    #[arg(long, value_name = "NETWORK", action = clap::ArgAction::Append, value_parser = values::network)]
    pub(crate) trusted_proxy: Vec<IpNet>,
    /// Threads of the built-in balancer [default: one per core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) workers: Option<u16>,
    /// Interval between port checks of containers without a health check.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = values::duration)]
    pub(crate) check_interval: humantime::Duration,
    /// Time that open requests get to finish at shutdown.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = values::duration)]
    pub(crate) grace: humantime::Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineName {
    /// No balancer; routing labels are ignored.
    None,
    /// The agent's own data plane, with nothing to install.
    BuiltIn,
    /// HAProxy, started by the agent, or one that is already running (see --haproxy-config).
    Haproxy,
}
