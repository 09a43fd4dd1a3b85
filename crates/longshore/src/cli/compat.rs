//! The old tools: their commands, their flags, and their names as links to the program.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::{Args, FromArgMatches, Subcommand};
use longshore_daemon::config::{DockerAddress, DockerAddressError};

use super::{Dockermod, values};

#[derive(Debug, Subcommand)]
pub(crate) enum Compat {
    /// Configure HAProxy from container labels (docker-balancer).
    #[command(after_help = "Example:\n  longshore compat balancer -w --config-file /etc/haproxy/haproxy.cfg")]
    Balancer(Box<Balancer>),
    /// Run the handlers of Docker Glue's INI files (docker-glue).
    #[command(after_help = "Example:\n  longshore compat glue -w --handler-paths /etc/docker-glue.d")]
    Glue(Box<Glue>),
    /// Run sidecars beside main containers (podder).
    #[command(after_help = "Example:\n  longshore compat podder -s ./slaves.yml")]
    Podder(Podder),
    /// Run the agent with DockerMod's settings (DockerMod).
    #[command(
        after_help = "Flags of `longshore run` may follow, and override the settings.\n\nExample:\n  longshore compat \
                      dockermod -conf conf.json -cluster -cluster-host node1 --listen 192.0.2.10:7051"
    )]
    Dockermod(Dockermod),
}

impl Compat {
    /// Reads the arguments of a link that has an old tool's name. They are that tool's flags.
    pub(super) fn by_link(arguments: &[OsString]) -> Option<Result<Self, clap::Error>> {
        let link = arguments.first().map(Path::new).and_then(Path::file_name).and_then(OsStr::to_str)?;
        let subcommand = match link {
            "docker-balancer" => "balancer",
            "docker-glue" => "glue",
            "podder" => "podder",
            "dockermod" => "dockermod",
            _ => return None,
        };
        let all = Self::augment_subcommands(clap::Command::new("compat"));
        let one = all.find_subcommand(subcommand)?.clone();
        let one = one.name(link.to_owned()).version(env!("CARGO_PKG_VERSION")).after_help("");
        let mut one = one.bin_name(link);
        let matches = one.try_get_matches_from_mut(arguments);
        Some(matches.and_then(|matches| match subcommand {
            "balancer" => Balancer::from_arg_matches(&matches).map(Box::new).map(Self::Balancer),
            "glue" => Glue::from_arg_matches(&matches).map(Box::new).map(Self::Glue),
            "dockermod" => Dockermod::from_arg_matches(&matches).map(Self::Dockermod),
            _ => Podder::from_arg_matches(&matches).map(Self::Podder),
        }))
    }
}

/// docker-balancer's flags, as it had them.
#[derive(Clone, Debug, Args)]
#[command(group = clap::ArgGroup::new("mode").required(true).args(["once", "watch"]))]
pub(crate) struct Balancer {
    /// Make one pass, then exit.
    #[arg(short = '1', long)]
    pub(crate) once: bool,
    /// Follow events.
    #[arg(short = 'w', long)]
    pub(crate) watch: bool,
    /// Events to follow; accepted for compatibility, as routes follow every change.
    #[arg(long, value_name = "EVENTS", default_value = "die,start")]
    pub(crate) watch_set: String,
    /// Template directories, separated by colons; a leading or trailing colon adds the default ones.
    #[arg(long, value_name = "DIRS", default_value = "")]
    pub(crate) template_dir: String,
    /// Name of the template in those directories.
    #[arg(long, value_name = "NAME", default_value = "haproxy.cfg.j2")]
    pub(crate) template_file: String,
    /// HAProxy's configuration file.
    #[arg(long, value_name = "FILE", default_value = "/etc/haproxy/haproxy.cfg")]
    pub(crate) config_file: PathBuf,
    /// File that sets OPTIONS, further arguments of HAProxy.
    #[arg(long, value_name = "FILE", default_value = "/etc/sysconfig/haproxy")]
    pub(crate) rc: PathBuf,
    /// Read a container's environment variables that are spelled like a label as labels.
    #[arg(long)]
    pub(crate) include_env: bool,
    /// Docker's address: unix:///path or tcp://host:port.
    #[arg(long, value_name = "ADDRESS", default_value = "unix:///var/run/docker.sock")]
    pub(crate) docker_url: DockerAddress,
    /// HAProxy's stats socket, for changes without a reload [default: the one in its configuration file, else the
    /// distribution's].
    #[arg(long, value_name = "SOCKET")]
    pub(crate) socket: Option<PathBuf>,
    /// Command that reloads HAProxy (quotes as in a shell), or path of its master socket.
    #[arg(long, value_name = "COMMAND", default_value = "systemctl reload haproxy", value_parser = values::reload)]
    pub(crate) reload: String,
    /// Directory for persistent state.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/longshore/balancer")]
    pub(crate) data_dir: PathBuf,
}

/// docker-glue's flags, as it had them.
#[derive(Clone, Debug, Args)]
#[command(group = clap::ArgGroup::new("mode").required(true).args(["once", "watch"]))]
pub(crate) struct Glue {
    /// Run the handlers of the dummy event `none` once, then exit.
    #[arg(short = '1', long)]
    pub(crate) once: bool,
    /// Follow events.
    #[arg(short = 'w', long)]
    pub(crate) watch: bool,
    /// Directories with handlers' INI files, separated by colons [default: docker-glue.d in ../etc, ../../etc, /etc
    /// and ., relative to the program].
    #[arg(long, value_name = "DIRS", default_value = "", hide_default_value = true)]
    pub(crate) handler_paths: String,
    /// Directories with scripts, separated by colons [default: ../libexec/docker-glue, ../../libexec/docker-glue,
    /// /usr/libexec/docker-glue and ./handler-scripts, relative to the program].
    #[arg(long, value_name = "DIRS", default_value = "", hide_default_value = true)]
    pub(crate) script_paths: String,
    /// Docker's address: unix:///path or tcp://host:port.
    #[arg(long, value_name = "ADDRESS", default_value = "unix:///var/run/docker.sock")]
    pub(crate) docker_url: DockerAddress,
    /// Directory for persistent state.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/longshore/glue")]
    pub(crate) data_dir: PathBuf,
}

/// Podder's flags, as it had them.
#[derive(Clone, Debug, Args)]
pub(crate) struct Podder {
    /// Podder's log configuration; accepted for compatibility, and not read.
    #[arg(short = 'c', long, value_name = "FILE", env = "CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// File with the sidecars [default: ./slaves.yml, else ./slaves.yml.j2].
    #[arg(short = 's', long = "slaves", value_name = "FILE", env = "SLAVES", alias = "sidecars")]
    pub(crate) file: Option<PathBuf>,
    /// Sidecars to work on at once.
    #[arg(short = 'e', long, value_name = "N", env = "PODDER_THREADS", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) events_in_parallel: u16,
    /// Log warnings and errors only; twice for errors only.
    #[arg(short = 'q', long, action = clap::ArgAction::Count)]
    pub(crate) quiet: u8,
    /// Log debug messages; twice for everything.
    #[arg(short = 'v', long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Docker's address: unix:///path, a path, or tcp://host:port.
    #[arg(long, value_name = "ADDRESS", env = "DOCKER_SOCK", value_parser = docker_sock)]
    #[arg(default_value = "unix:///var/run/docker.sock")]
    pub(crate) docker_sock: DockerAddress,
    /// Directory for persistent state.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/longshore/podder")]
    pub(crate) data_dir: PathBuf,
    /// Accepted for compatibility: there is no banner.
    #[arg(short = 'n', long, hide = true)]
    pub(crate) no_banner: bool,
    /// Accepted for compatibility: Podder's name in its log.
    #[arg(short = 'i', long, hide = true, value_name = "ID")]
    pub(crate) instance_id: Option<String>,
    /// Accepted for compatibility: Podder never used its consul.
    #[arg(short = 'C', long, hide = true, value_name = "ADDRESS")]
    pub(crate) consul: Option<String>,
    /// Accepted for compatibility: the log goes to standard error.
    #[arg(short = 'F', long, hide = true, value_name = "ADDRESS")]
    pub(crate) fluentd: Option<String>,
}

/// Parses Docker's address as Podder accepted it: also a bare path, and one with two slashes that is absolute
/// all the same.
fn docker_sock(text: &str) -> Result<DockerAddress, DockerAddressError> {
    let path = text.strip_prefix("unix://").or(Some(text)).filter(|path| !path.contains("://"));
    match path {
        Some(path) if path.contains('/') => format!("unix:///{}", path.trim_start_matches('/')).parse(),
        _ => text.parse(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_link(arguments: &[&str]) -> Compat {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        Compat::by_link(&arguments).expect("an old tool's name").unwrap()
    }

    #[test]
    fn as_podder_it_takes_podders_flags_and_addresses() {
        let read = |address: &str| {
            let flags = ["-s", "a.yml", "-vv", "-e", "3", "-c", "podder.yml", "--docker-sock", address];
            let Compat::Podder(podder) = by_link(&[&["/usr/bin/podder"], flags.as_slice()].concat()) else {
                panic!("another tool")
            };
            assert_eq!((podder.verbose, podder.events_in_parallel), (2, 3));
            assert_eq!(podder.file.as_deref(), Some(Path::new("a.yml")));
            podder.docker_sock.to_string()
        };
        for (given, expected) in [
            ("unix://tmp/docker.sock", "unix:///tmp/docker.sock"),
            ("unix:///run/d.sock", "unix:///run/d.sock"),
            ("/run/d.sock", "unix:///run/d.sock"),
            ("tcp://10.0.0.1:2375", "tcp://10.0.0.1:2375"),
        ] {
            assert_eq!(read(given), expected);
        }
    }

    #[test]
    fn by_its_old_name_it_takes_the_old_flags() {
        let balancer = by_link(&["/usr/bin/docker-balancer", "-1", "--include-env"]);
        assert!(
            matches!(balancer, Compat::Balancer(b) if b.once && b.include_env && b.watch_set == "die,start")
        );
        let glue = by_link(&["./docker-glue", "--watch", "--docker-url", "tcp://10.0.0.1:2375"]);
        assert!(matches!(glue, Compat::Glue(g) if g.watch && g.handler_paths.is_empty()));
        assert!(Compat::by_link(&["longshore".into(), "-1".into()]).is_none());
    }

    #[test]
    fn a_link_calls_itself_by_its_own_name_and_has_a_version() {
        for link in ["docker-balancer", "docker-glue", "podder", "dockermod"] {
            let of = |flag: &str| {
                let error = Compat::by_link(&[link.into(), flag.into()]).expect("an old tool's name");
                error.unwrap_err().to_string()
            };
            assert!(of("--help").contains(&format!("Usage: {link} [OPTIONS]")), "{}", of("--help"));
            assert_eq!(of("--version"), format!("{link} {}\n", env!("CARGO_PKG_VERSION")));
        }
    }
}
