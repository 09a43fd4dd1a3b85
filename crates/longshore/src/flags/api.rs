use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use crate::cli::values;

/// The HTTP API.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "API")]
pub(crate) struct ApiFlags {
    /// Address of the API; addresses other than loopback need --token-file, or --insecure.
    #[arg(long, value_name = "ADDRESS", default_value = longshore_api::DEFAULT_LISTEN)]
    #[arg(value_parser = values::socket)]
    pub(crate) listen: SocketAddr,
    /// Socket through which root on this host reaches the API without a token [default: /run/longshore/agent.sock, if
    /// the agent runs as root].
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// File with the token that the API requires, readable only by its owner.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Let everyone who can reach the API use it: they can do on this host what root can.
    #[arg(long)]
    pub(crate) insecure: bool,
}
