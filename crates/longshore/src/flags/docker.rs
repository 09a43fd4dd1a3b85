use std::path::PathBuf;

use clap::Args;
use longshore_daemon::config::DockerAddress;

use crate::cli::values;

/// The Docker Engine.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Docker")]
pub(crate) struct DockerFlags {
    /// Docker's address: unix:///path or tcp://host:port.
    #[arg(long, value_name = "ADDRESS", default_value = "unix:///var/run/docker.sock")]
    pub(crate) docker: DockerAddress,
    /// Directory with ca.pem, cert.pem and key.pem, for Docker over TLS.
    #[arg(long, value_name = "DIR")]
    pub(crate) docker_cert_path: Option<PathBuf>,
    /// Interval between full listings, which repair what was missed.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = values::duration)]
    pub(crate) resync: humantime::Duration,
    /// Read a container's environment variables that are spelled like a label as labels.
    #[arg(long)]
    pub(crate) include_env: bool,
}
