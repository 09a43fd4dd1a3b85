//! The arguments, as a person types them.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use longshore_daemon::config::DockerAddress;

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  it failed
  2  wrong arguments or settings
  3  no agent answers
  4  explain: no container gets the request";

/// Watches a Docker host's containers, and makes everything around them follow.
#[derive(Debug, Parser)]
#[command(name = "longshore", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the agent on this host.
    #[command(after_help = "Example:\n  longshore run --docker unix:///var/run/docker.sock")]
    Run(Box<Run>),
    /// Configure HAProxy by container labels (docker-balancer).
    #[command(after_help = "Example:\n  longshore balancer -w --config-file /etc/haproxy/haproxy.cfg")]
    Balancer(Box<Balancer>),
    /// List the routes and who is behind them.
    #[command(after_help = "Example:\n  longshore routes --json")]
    Routes(Ask),
    /// List what is asked for and not done, and why.
    #[command(after_help = "Example:\n  longshore problems")]
    Problems(Ask),
    /// List the containers that the agent knows.
    #[command(after_help = "Example:\n  longshore containers")]
    Containers(Ask),
    /// Say why something is as it is.
    #[command(subcommand)]
    Explain(Explain),
    /// Print a completion script for a shell.
    #[command(after_help = "Example:\n  longshore completions bash > /etc/bash_completion.d/longshore")]
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Write the manual pages into a directory.
    #[command(after_help = "Example:\n  longshore man /usr/local/share/man/man1")]
    Man {
        /// Where to; made if it is not there.
        directory: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Explain {
    /// Say which container answers a request, and why, or why none does.
    #[command(after_help = "Example:\n  longshore explain route wp1.example.com/blog")]
    Route(ExplainRoute),
}

#[derive(Debug, Args)]
pub(crate) struct ExplainRoute {
    /// The request's host and path; a port names the frontend.
    #[arg(value_name = "HOST/PATH")]
    pub(crate) target: String,
    /// The frontend, where it is not HTTP on the port in HOST: http:80, tcp:5432, udp:53.
    #[arg(long)]
    pub(crate) frontend: Option<String>,
    #[command(flatten)]
    pub(crate) ask: Ask,
}

/// How a running agent is asked.
#[derive(Debug, Args)]
pub(crate) struct Ask {
    /// The agent's address.
    #[arg(long, env = "LONGSHORE_AGENT", default_value = longshore_api::DEFAULT_LISTEN)]
    pub(crate) agent: String,
    /// A file with the agent's token, where it wants one.
    #[arg(long, env = "LONGSHORE_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Print JSON in place of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineName {
    /// The agent's own data plane: nothing to install.
    BuiltIn,
    /// HAProxy, run by the agent, or one that runs already (see --haproxy-config).
    Haproxy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// The agent's settings. Each is also a key of the same name in the settings file; a flag goes before the
/// environment, which goes before the file.
#[derive(Clone, Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct Run {
    /// The settings file [default: /etc/longshore/longshore.toml, if it is there].
    #[arg(long, value_name = "FILE", env = "LONGSHORE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Where Docker listens: unix:///path or tcp://host:port.
    #[arg(long, value_name = "ADDRESS", env = "DOCKER_HOST", default_value = "unix:///var/run/docker.sock")]
    pub(crate) docker: DockerAddress,
    /// The folder with ca.pem, cert.pem and key.pem, for a Docker that speaks TLS.
    #[arg(long, value_name = "DIR", env = "DOCKER_CERT_PATH")]
    pub(crate) docker_cert_path: Option<PathBuf>,
    /// Where state that must survive a restart lies.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/longshore")]
    pub(crate) data_dir: PathBuf,
    /// This host's name, as others see it [default: the machine's].
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,
    /// Where the API listens; other than on loopback only with --token-file.
    #[arg(long, value_name = "ADDRESS", default_value = longshore_api::DEFAULT_LISTEN)]
    pub(crate) listen: SocketAddr,
    /// A file with the token that the API wants, readable by its owner only.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// What carries the routes.
    #[arg(long, value_enum, default_value = "built-in")]
    pub(crate) balancer: EngineName,
    /// An address that frontends listen on; may be repeated [default: all].
    #[arg(long, value_name = "IP", action = clap::ArgAction::Append)]
    pub(crate) bind: Vec<IpAddr>,
    /// Threads of the built-in balancer [default: one a core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) workers: Option<u16>,
    /// How often all containers are listed again, to repair what was missed.
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub(crate) resync: humantime::Duration,
    /// How often the port of a container without a health check is looked at while it takes traffic.
    #[arg(long, value_name = "TIME", default_value = "5s")]
    pub(crate) check_interval: humantime::Duration,
    /// How long open requests may go on once the agent was told to end.
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub(crate) grace: humantime::Duration,
    /// Count environment variables of a container that are spelled like a label as labels.
    #[arg(long)]
    pub(crate) include_env: bool,
    #[command(flatten)]
    pub(crate) haproxy: Haproxy,
    /// What is logged: error, warn, info, debug, trace, or a filter such as longshore_daemon=debug.
    #[arg(long, value_name = "FILTER", env = "LONGSHORE_LOG", default_value = "info")]
    pub(crate) log: String,
    /// How it is logged, on standard error.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// Make one pass, then end.
    #[arg(long)]
    pub(crate) once: bool,
    /// Print what would be done, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Only for `--balancer haproxy`.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "HAProxy")]
pub(crate) struct Haproxy {
    /// The program that the agent runs.
    #[arg(long, value_name = "FILE", default_value = "haproxy")]
    pub(crate) haproxy_binary: PathBuf,
    /// The configuration file of a HAProxy that runs already: it is driven, and none is started.
    #[arg(long, value_name = "FILE")]
    pub(crate) haproxy_config: Option<PathBuf>,
    /// That HAProxy's administration socket.
    #[arg(long, value_name = "SOCKET", default_value = "/run/haproxy/admin.sock")]
    pub(crate) haproxy_socket: PathBuf,
    /// How it is reloaded: a command, or the path of its master socket.
    #[arg(long, value_name = "COMMAND", default_value = "systemctl reload haproxy")]
    pub(crate) haproxy_reload: String,
    /// Where HAProxy shows its statistics page; `none` for nowhere.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5000")]
    pub(crate) haproxy_stats: String,
    /// Folders with templates, with colons between them.
    #[arg(long, value_name = "DIRS")]
    pub(crate) template_dir: Option<String>,
    /// The template's name in those folders.
    #[arg(long, value_name = "NAME", default_value = "haproxy.cfg.j2")]
    pub(crate) template_file: String,
}

/// docker-balancer's flags, as it had them.
#[derive(Clone, Debug, Args)]
#[command(group = clap::ArgGroup::new("mode").required(true).args(["once", "watch"]))]
pub(crate) struct Balancer {
    /// Run once.
    #[arg(short = '1', long)]
    pub(crate) once: bool,
    /// Wait for events.
    #[arg(short = 'w', long)]
    pub(crate) watch: bool,
    /// Events that matter; taken for compatibility, as routes follow everything that changes them.
    #[arg(long, value_name = "EVENTS", default_value = "die,start")]
    pub(crate) watch_set: String,
    /// Folders with templates, with colons between them; a colon at an end stands for the usual ones.
    #[arg(long, value_name = "DIRS", default_value = "")]
    pub(crate) template_dir: String,
    /// The template's name in those folders.
    #[arg(long, value_name = "NAME", default_value = "haproxy.cfg.j2")]
    pub(crate) template_file: String,
    /// HAProxy's configuration file.
    #[arg(long, value_name = "FILE", default_value = "/etc/haproxy/haproxy.cfg")]
    pub(crate) config_file: PathBuf,
    /// A file that sets OPTIONS, HAProxy's further arguments.
    #[arg(long, value_name = "FILE", default_value = "/etc/sysconfig/haproxy")]
    pub(crate) rc: PathBuf,
    /// Count environment variables of a container that are spelled like a label as labels.
    #[arg(long)]
    pub(crate) include_env: bool,
    /// Where Docker listens.
    #[arg(long, value_name = "ADDRESS", default_value = "unix:///var/run/docker.sock")]
    pub(crate) docker_url: DockerAddress,
    /// HAProxy's administration socket, for changes without a reload.
    #[arg(long, value_name = "SOCKET", default_value = "/run/haproxy/admin.sock")]
    pub(crate) socket: PathBuf,
    /// How HAProxy is reloaded: a command, or the path of its master socket.
    #[arg(long, value_name = "COMMAND", default_value = "systemctl reload haproxy")]
    pub(crate) reload: String,
    /// Where state that must survive a restart lies.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/longshore/balancer")]
    pub(crate) data_dir: PathBuf,
}

/// Called by the name of an old tool, the program does that tool's job.
pub(crate) fn by_name(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let name = arguments.first().map(Path::new).and_then(Path::file_name);
    if name.is_some_and(|name| name == "docker-balancer") {
        arguments.insert(1, "balancer".into());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_do_not_contradict_themselves() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        fn look(command: &clap::Command) {
            for sub in command.get_subcommands() {
                let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(sub.has_subcommands() || help.contains("Example"), "{}", sub.get_name());
                look(sub);
            }
        }
        look(&Cli::command());
    }

    #[test]
    fn by_its_old_name_it_takes_the_old_flags() {
        let arguments = ["/usr/bin/docker-balancer", "-1", "--include-env"].map(OsString::from).to_vec();
        let cli = Cli::try_parse_from(by_name(arguments)).unwrap();
        assert!(
            matches!(cli.command, Command::Balancer(b) if b.once && b.include_env && b.watch_set == "die,start")
        );
    }
}
