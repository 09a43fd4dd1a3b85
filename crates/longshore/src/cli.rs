//! The arguments, as a person types them.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use longshore_daemon::config::{DockerAddress, IpNet};

use crate::flags::{DnsFlags, HandlerFlags, HaproxyFlags, PublishFlags};

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
    /// Run the handlers of Docker Glue's INI files (docker-glue).
    #[command(after_help = "Example:\n  longshore glue -w --handler-paths /etc/docker-glue.d")]
    Glue(Box<Glue>),
    /// Run sidecars beside main containers (podder).
    #[command(after_help = "Example:\n  longshore podder -s ./slaves.yml")]
    Podder(Podder),
    /// List the routes and who is behind them.
    #[command(after_help = "Example:\n  longshore routes --json")]
    Routes(Ask),
    /// List the names of containers and services that DNS has.
    #[command(after_help = "Example:\n  longshore names")]
    Names(Ask),
    /// List what is asked for and not done, and why.
    #[command(after_help = "Example:\n  longshore problems")]
    Problems(Ask),
    /// List the containers that the agent knows.
    #[command(after_help = "Example:\n  longshore containers")]
    Containers(Ask),
    /// List the handlers, and look after what could not be delivered to them.
    #[command(after_help = "Example:\n  longshore handlers\n  longshore handlers failed")]
    Handlers(Handlers),
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

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Handlers {
    #[command(subcommand)]
    pub(crate) command: Option<HandlersCommand>,
    #[command(flatten)]
    pub(crate) ask: Ask,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HandlersCommand {
    /// List the deliveries that were given up.
    #[command(after_help = "Example:\n  longshore handlers failed --json")]
    Failed(Ask),
    /// Deliver again what was given up.
    #[command(after_help = "Example:\n  longshore handlers replay backup:17")]
    Replay(FailedId),
    /// Forget what was given up.
    #[command(after_help = "Example:\n  longshore handlers forget all")]
    Forget(FailedId),
    /// Run a handler once by hand, or show what it would be given.
    #[command(
        after_help = "Example:\n  longshore handlers test backup --event start --container wp1 --dry-run"
    )]
    Test(TestHandler),
}

#[derive(Debug, Args)]
pub(crate) struct FailedId {
    /// The delivery's id, as `failed` lists it, or all.
    #[arg(value_name = "ID|all")]
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) ask: Ask,
}

#[derive(Debug, Args)]
pub(crate) struct TestHandler {
    /// The handler's name.
    pub(crate) name: String,
    /// What happened, as Docker names it.
    #[arg(long)]
    pub(crate) event: String,
    /// The container, by its id, the beginning of it, or its name; not needed for the event none.
    #[arg(long, value_name = "ID")]
    pub(crate) container: Option<String>,
    /// Only show what the handler would be given.
    #[arg(long)]
    pub(crate) dry_run: bool,
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
    /// Nobody: labels of routes mean nothing.
    None,
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
    /// What carries the routes [default: built-in; haproxy where a handler asks for it].
    #[arg(long, value_enum)]
    pub(crate) balancer: Option<EngineName>,
    /// An address that frontends listen on; may be repeated [default: all].
    #[arg(long, value_name = "IP", action = clap::ArgAction::Append)]
    pub(crate) bind: Vec<IpAddr>,
    /// A proxy before this one, as an address or a network such as 10.0.0.0/8: what it says of where a request came from
    /// is believed; may be repeated [default: nobody is].
    #[arg(long, value_name = "NETWORK", action = clap::ArgAction::Append, value_parser = network)]
    pub(crate) trusted_proxy: Vec<IpNet>,
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
    pub(crate) haproxy: HaproxyFlags,
    #[command(flatten)]
    pub(crate) handlers: HandlerFlags,
    /// A file with sidecars, as Podder reads it.
    #[arg(long, value_name = "FILE")]
    pub(crate) sidecars: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) publish: PublishFlags,
    #[command(flatten)]
    pub(crate) dns: DnsFlags,
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

/// docker-glue's flags, as it had them.
#[derive(Clone, Debug, Args)]
#[command(group = clap::ArgGroup::new("mode").required(true).args(["once", "watch"]))]
pub(crate) struct Glue {
    /// Run the handlers of the dummy event `none`, once.
    #[arg(short = '1', long)]
    pub(crate) once: bool,
    /// Wait for events.
    #[arg(short = 'w', long)]
    pub(crate) watch: bool,
    /// Folders with handlers' INI files, with colons between them [default: docker-glue.d in ../etc, ../../etc, /etc
    /// and ., seen from the program].
    #[arg(long, value_name = "DIRS", default_value = "", hide_default_value = true)]
    pub(crate) handler_paths: String,
    /// Folders with scripts, with colons between them [default: ../libexec/docker-glue, ../../libexec/docker-glue,
    /// /usr/libexec/docker-glue and ./handler-scripts, seen from the program].
    #[arg(long, value_name = "DIRS", default_value = "", hide_default_value = true)]
    pub(crate) script_paths: String,
    /// Where Docker listens.
    #[arg(long, value_name = "ADDRESS", default_value = "unix:///var/run/docker.sock")]
    pub(crate) docker_url: DockerAddress,
    /// Where state that must survive a restart lies.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/longshore/glue")]
    pub(crate) data_dir: PathBuf,
}

/// Podder's flags, as it had them.
#[derive(Clone, Debug, Args)]
pub(crate) struct Podder {
    /// Podder's own configuration, which was of its log; taken for compatibility, and not read.
    #[arg(short = 'c', long, value_name = "FILE", env = "CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// The file with the sidecars [default: ./slaves.yml, else ./slaves.yml.j2].
    #[arg(short = 's', long = "slaves", value_name = "FILE", env = "SLAVES", alias = "sidecars")]
    pub(crate) file: Option<PathBuf>,
    /// How many sidecars are worked on at once.
    #[arg(short = 'e', long, value_name = "N", env = "PODDER_THREADS", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) events_in_parallel: u16,
    /// Log less: warnings, or errors only where it is given twice.
    #[arg(short = 'q', long, action = clap::ArgAction::Count)]
    pub(crate) quiet: u8,
    /// Log more; twice for everything.
    #[arg(short = 'v', long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Where Docker listens: unix:///path, a path, or tcp://host:port.
    #[arg(long, value_name = "ADDRESS", env = "DOCKER_SOCK", value_parser = docker_sock)]
    #[arg(default_value = "unix:///var/run/docker.sock")]
    pub(crate) docker_sock: DockerAddress,
    /// Where state that must survive a restart lies.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/longshore/podder")]
    pub(crate) data_dir: PathBuf,
    /// Podder's banner, which is never shown.
    #[arg(short = 'n', long, hide = true)]
    pub(crate) no_banner: bool,
    /// Podder's name of itself in its log.
    #[arg(short = 'i', long, hide = true, value_name = "ID")]
    pub(crate) instance_id: Option<String>,
    /// Where Podder's consul was, which it never asked.
    #[arg(short = 'C', long, hide = true, value_name = "ADDRESS")]
    pub(crate) consul: Option<String>,
    /// Where Podder's log went besides.
    #[arg(short = 'F', long, hide = true, value_name = "ADDRESS")]
    pub(crate) fluentd: Option<String>,
}

/// Docker's address as Podder took it: also a bare path, and one with two slashes that begins at the root all the same.
fn docker_sock(text: &str) -> Result<DockerAddress, longshore_daemon::config::DockerAddressError> {
    let path = text.strip_prefix("unix://").or(Some(text)).filter(|path| !path.contains("://"));
    match path {
        Some(path) if path.contains('/') => format!("unix:///{}", path.trim_start_matches('/')).parse(),
        _ => text.parse(),
    }
}

/// Called by the name of an old tool, the program does that tool's job.
pub(crate) fn by_name(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let name = arguments.first().map(Path::new).and_then(Path::file_name);
    let command = match name.and_then(std::ffi::OsStr::to_str) {
        Some("docker-balancer") => "balancer",
        Some("docker-glue") => "glue",
        Some("podder") => "podder",
        _ => return arguments,
    };
    arguments.insert(1, command.into());
    arguments
}

/// A network, or an address, which is a network of one.
fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>().or_else(|_| address()).map_err(|_| "it is no address and no network".to_owned())
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
    fn as_podder_it_takes_podders_flags_and_addresses() {
        let told = |address: &str| {
            let arguments = [
                "/usr/bin/podder",
                "-s",
                "a.yml",
                "-vv",
                "-e",
                "3",
                "-c",
                "podder.yml",
                "--docker-sock",
                address,
            ];
            let cli = Cli::try_parse_from(by_name(arguments.map(OsString::from).to_vec())).unwrap();
            let Command::Podder(podder) = cli.command else { panic!("{:?}", cli.command) };
            assert_eq!((podder.verbose, podder.events_in_parallel), (2, 3));
            assert_eq!(podder.file.as_deref(), Some(Path::new("a.yml")));
            podder.docker_sock.to_string()
        };
        for (given, read) in [
            ("unix://tmp/docker.sock", "unix:///tmp/docker.sock"),
            ("unix:///run/d.sock", "unix:///run/d.sock"),
            ("/run/d.sock", "unix:///run/d.sock"),
            ("tcp://10.0.0.1:2375", "tcp://10.0.0.1:2375"),
        ] {
            assert_eq!(told(given), read);
        }
    }

    #[test]
    fn by_its_old_name_it_takes_the_old_flags() {
        let arguments = ["/usr/bin/docker-balancer", "-1", "--include-env"].map(OsString::from).to_vec();
        let cli = Cli::try_parse_from(by_name(arguments)).unwrap();
        assert!(
            matches!(cli.command, Command::Balancer(b) if b.once && b.include_env && b.watch_set == "die,start")
        );
        let arguments =
            ["./docker-glue", "--watch", "--docker-url", "tcp://10.0.0.1:2375"].map(OsString::from);
        let cli = Cli::try_parse_from(by_name(arguments.to_vec())).unwrap();
        assert!(matches!(cli.command, Command::Glue(g) if g.watch && g.handler_paths.is_empty()));
    }
}
