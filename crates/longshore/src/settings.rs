//! Resolves flags, environment and file to the agent's settings, and reports every error.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, FromArgMatches};
use longshore_api::DEFAULT_SOCKET;
use longshore_daemon::config::{
    BalancerSettings, Definition, DockerAddress, DockerSettings, EngineSettings, HandlerSettings,
    HostAddress, IpNet, Settings, SidecarSettings,
};
use longshore_daemon::handlers::balance_job;
use longshore_model::Problem;
use longshore_runtime::files::{Guard, read};

use crate::cli::Run;
use crate::config_error::{ConfigError, ConfigErrors, Source};
use crate::flags::{BalancerFlags, EngineName, Invalid};
use crate::given::Given;
use crate::{environment, file, legacy};

/// Maximum length of a token file, in bytes.
const MAX_TOKEN_LENGTH: u64 = 64 * 1024;

/// The configuration of `longshore run`.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// The settings as given.
    pub(crate) run: Run,
    /// The settings file, if any.
    pub(crate) file: Option<PathBuf>,
    /// The settings as the agent uses them.
    pub(crate) settings: Settings,
    /// The value of each setting, given or default.
    pub(crate) values: Values,
}

/// The values of settings, each in one spelling, by their names.
pub(crate) type Values = BTreeMap<String, Vec<OsString>>;

/// Settings whose changes apply at once, or at the next reload of what they name.
const RELOADABLE: &[&str] = &["resync", "check-interval", "log", "handler-paths", "script-paths"];

/// What an agent was started with.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) values: Values,
    pub(crate) settings: Settings,
}

impl Started {
    /// Returns the names of the changed settings that need a restart.
    pub(crate) fn fixed(&self, values: &Values, settings: &Settings) -> Vec<String> {
        let keys: BTreeSet<&String> = self.values.keys().chain(values.keys()).collect();
        let differs = |key: &&String| self.values.get(*key) != values.get(*key);
        let is_fixed = |key: &&String| !RELOADABLE.contains(&key.as_str());
        let mut fixed: Vec<String> = keys.into_iter().filter(differs).filter(is_fixed).cloned().collect();
        if self.settings.token != settings.token && !fixed.iter().any(|key| key == "token-file") {
            fixed.push("token-file".to_owned());
        }
        // A handler's file may request another balancer.
        if self.settings.balancer.engine != settings.balancer.engine && fixed.is_empty() {
            fixed.push("balancer".to_owned());
        }
        fixed
    }
}

/// Resolves the flags of `longshore run`, the environment and the file that either names. Flags take precedence
/// over the environment, and the environment over the file.
pub(crate) fn resolve(flags: &[OsString]) -> Result<Resolved, ConfigErrors> {
    let command = Run::augment_args(clap::Command::new("longshore").no_binary_name(true));
    let matches = command.clone().try_get_matches_from(flags).map_err(|error| of_flags(&error))?;
    let path = match matches.get_one::<PathBuf>("config") {
        Some(path) => Some(path.clone()),
        None => Some(PathBuf::from(file::DEFAULT)).filter(|path| path.exists()),
    };
    let is_flag =
        |key: &str| matches!(matches.value_source(&key.replace('-', "_")), Some(ValueSource::CommandLine));
    let command = command.no_binary_name(false);
    let environment = environment::read(&command, |name| std::env::var_os(name));
    let file = match &path {
        Some(path) => file::read(path, &command),
        None => Ok(file::File::default()),
    };
    let (environment, file) = both(environment, file)?;
    let is_variable = |key: &str| environment.iter().any(|given| given.key == key);
    let of_file = file.given.iter().filter(|given| !is_variable(&given.key));
    let given: Vec<&Given> = of_file.chain(&environment).filter(|given| !is_flag(&given.key)).collect();
    let (run, values) = merge(&command, &given, flags)?;
    let place = |key: &str| match given.iter().find(|given| given.key == key) {
        Some(given) => given.source.clone(),
        None => Source::Flag(key.to_owned()),
    };
    let mut settings = settings(&run, file.handlers, place)?;
    settings.ignored.extend(file.unknown.iter().map(Problem::from));
    Ok(Resolved { run, file: path, settings, values })
}

/// Returns both values, or the errors of both.
fn both<A, B>(a: Result<A, ConfigErrors>, b: Result<B, ConfigErrors>) -> Result<(A, B), ConfigErrors> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(ConfigErrors(mut errors)), Err(ConfigErrors(more))) => {
            errors.extend(more);
            Err(ConfigErrors(errors))
        }
        (Err(errors), _) | (_, Err(errors)) => Err(errors),
    }
}

/// Merges the flags with the settings from elsewhere, which they override.
fn merge(
    command: &clap::Command,
    given: &[&Given],
    flags: &[OsString],
) -> Result<(Run, Values), ConfigErrors> {
    let program = OsString::from("longshore");
    let given = given.iter().map(|given| &given.argument);
    let all = std::iter::once(&program).chain(given).chain(flags);
    let matches = command.clone().try_get_matches_from(all).map_err(|error| of_flags(&error))?;
    let run = Run::from_arg_matches(&matches).map_err(|error| of_flags(&error))?;
    let values = crate::given::settings(command)
        .map(|(key, flag)| (key.to_owned(), values_of(&matches, flag.get_id().as_str())));
    Ok((run, values.collect()))
}

/// Returns a flag's values in one spelling: `60s` and `1m` are the same time.
fn values_of(matches: &ArgMatches, flag: &str) -> Vec<OsString> {
    let raw = || matches.get_raw(flag).into_iter().flatten().map(OsStr::to_owned).collect();
    parsed::<humantime::Duration>(matches, flag)
        .or_else(|| parsed::<IpAddr>(matches, flag))
        .or_else(|| parsed::<SocketAddr>(matches, flag))
        .or_else(|| parsed::<IpNet>(matches, flag))
        .or_else(|| parsed::<DockerAddress>(matches, flag))
        .or_else(|| parsed::<u16>(matches, flag))
        .unwrap_or_else(raw)
}

/// Returns a flag's values as they are displayed, if they are of type `T`.
fn parsed<T>(matches: &ArgMatches, flag: &str) -> Option<Vec<OsString>>
where
    T: Display + Clone + Send + Sync + 'static,
{
    let values = matches.try_get_many::<T>(flag).ok()?;
    Some(values.into_iter().flatten().map(|value| value.to_string().into()).collect())
}

fn of_flags(error: &clap::Error) -> ConfigErrors {
    let source = Source::Flag("config".to_owned());
    ConfigErrors(vec![ConfigError { source, key: None, message: error.to_string(), hint: None }])
}

fn settings(
    run: &Run,
    inline: Vec<Definition>,
    place: impl Fn(&str) -> Source,
) -> Result<Settings, ConfigErrors> {
    let mut errors = Vec::new();
    let mut error = |key: &str, message: String| errors.push(ConfigError::of_key(place(key), key, message));

    let token = run.api.token_file.as_deref().and_then(|path| match token(path) {
        Ok(token) => Some(token),
        Err(why) => {
            error("token-file", format!("{}: {why}", path.display()));
            None
        }
    });
    let is_open = !run.api.listen.ip().is_loopback() && run.api.token_file.is_none();
    if is_open && !run.api.insecure {
        let message =
            format!("{} is reachable by others: set token-file too, or listen on 127.0.0.1", run.api.listen);
        error("listen", message);
    }
    let tls = matches!(run.docker.docker, DockerAddress::Tcp { .. });
    let cert_path = run.docker.docker_cert_path.clone().filter(|_| tls);
    for name in ["ca.pem", "cert.pem", "key.pem"] {
        if let Some(path) =
            cert_path.as_deref().map(|folder| folder.join(name)).filter(|path| !path.is_file())
        {
            error("docker-cert-path", format!("{} does not exist", path.display()));
        }
    }
    for (key, time) in [("resync", run.docker.resync), ("check-interval", run.balancer.check_interval)] {
        if time.as_millis() < 100 {
            error(key, format!("{time} is too short: expected at least 100ms"));
        }
    }
    let node =
        run.node.clone().unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
    if node.parse::<longshore_model::DomainName>().is_err() {
        error("node", format!("invalid host name {node:?}: expected letters, digits, hyphens and dots"));
    }
    let handlers = HandlerSettings { inline, ..run.handlers.settings() };
    let engine = match run.balancer.balancer {
        None => match balance_job(&handlers) {
            Some(job) => EngineSettings::Haproxy(Box::new(legacy::haproxy(&job))),
            None => EngineSettings::BuiltIn,
        },
        Some(EngineName::None) => EngineSettings::None,
        Some(EngineName::BuiltIn) => EngineSettings::BuiltIn,
        Some(EngineName::Haproxy) => {
            let BalancerFlags { bind, trusted_proxy, .. } = &run.balancer;
            match run.haproxy.settings(&run.data_dir, bind, trusted_proxy) {
                Ok(settings) => EngineSettings::Haproxy(Box::new(settings)),
                Err((key, message)) => {
                    error(key, message);
                    EngineSettings::BuiltIn
                }
            }
        }
    };
    let mut all = |invalid: Vec<Invalid>| invalid.into_iter().for_each(|(key, message)| error(key, message));
    let publish = run.publish.settings().map_err(&mut all).unwrap_or_default();
    let dns = run.dns.settings().map_err(&mut all).unwrap_or_default();
    let dockermod = run.dockermod.settings().map_err(&mut all).unwrap_or_default();
    let cluster = run.cluster.settings().map_err(&mut all).unwrap_or_default();
    if !errors.is_empty() {
        return Err(ConfigErrors(errors));
    }
    let ignored = is_open.then(|| {
        let message = format!("{} answers everyone who can reach it, without a token", run.api.listen);
        let hint = Some("set token-file".to_owned());
        Problem::from(&ConfigError { hint, ..ConfigError::of_key(place("insecure"), "insecure", message) })
    });
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(Settings {
        names: names(&node, run.cluster.advertise.as_ref()),
        node,
        data_dir: run.data_dir.clone(),
        listen: Some(run.api.listen),
        socket: run.api.socket.clone().or_else(|| is_root().then(|| DEFAULT_SOCKET.into())),
        token,
        insecure: run.api.insecure,
        dockermod,
        cluster,
        docker: DockerSettings {
            address: run.docker.docker.clone(),
            cert_path,
            include_env: run.docker.include_env,
        },
        balancer: BalancerSettings {
            bind: run.balancer.bind.clone(),
            trusted: run.balancer.trusted_proxy.clone(),
            workers: run.balancer.workers.map_or(cores, usize::from),
            engine,
        },
        handlers,
        sidecars: Some(SidecarSettings::of_file(run.sidecars.sidecars.clone())),
        publish,
        dns,
        resync: run.docker.resync.into(),
        check_interval: run.balancer.check_interval.into(),
        grace: run.balancer.grace.into(),
        ignored: ignored.into_iter().collect(),
    })
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Returns the names of this host.
fn names(node: &str, advertise: Option<&HostAddress>) -> Vec<String> {
    let system = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let full = full_name(&hosts, &system).map(str::to_owned);
    [Some(node.to_owned()), advertise.map(ToString::to_string), full, Some(system)]
        .into_iter()
        .flatten()
        .collect()
}

/// Returns the full name of a host by the system's own table, as `hostname --fqdn` does: the first name of the line
/// that has it.
fn full_name<'a>(hosts: &'a str, name: &str) -> Option<&'a str> {
    let lines = hosts.lines().map(|line| line.split('#').next().unwrap_or_default());
    let mut names = lines.map(|line| line.split_whitespace().skip(1));
    let mut line = names.find(|names| names.clone().any(|known| known.eq_ignore_ascii_case(name)))?;
    line.next()
}

/// Returns the token in a file that nobody else can read.
fn token(path: &Path) -> Result<String, String> {
    let text = read(path, MAX_TOKEN_LENGTH, Guard::Readers).map_err(|error| error.to_string())?;
    match text.trim() {
        token if token.len() >= 16 && token.bytes().all(|b| b.is_ascii_graphic()) => Ok(token.to_owned()),
        _ => Err("expected a token of at least 16 characters without spaces".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as expected")]

    use super::*;

    #[test]
    fn only_another_value_needs_a_restart_not_another_spelling_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("longshore.toml");
        let resolved = |text: &str| {
            std::fs::write(&file, text).unwrap();
            resolve(&["--config".into(), file.clone().into()]).unwrap()
        };
        let first = resolved("grace = '60s'\nbind = ['::1']\ntrusted-proxy = ['10.0.0.1']\nworkers = 4\n");
        let started = Started { values: first.values, settings: first.settings };
        let fixed = |text: &str| {
            let Resolved { values, settings, .. } = resolved(text);
            started.fixed(&values, &settings)
        };
        let respelled = "grace = '1m'\nbind = ['0:0::1']\ntrusted-proxy = ['10.0.0.1/32']\nworkers = '04'\n";
        assert_eq!(fixed(respelled), [""; 0]);
        let changed = "grace = '61s'\nbind = ['::2']\ntrusted-proxy = ['10.0.0.0/31']\nworkers = 5\n";
        assert_eq!(fixed(changed), ["bind", "grace", "trusted-proxy", "workers"]);
        assert_eq!(fixed(""), ["bind", "grace", "trusted-proxy", "workers"]);
    }

    #[test]
    fn a_hosts_full_name_is_the_first_of_its_line() {
        let hosts =
            "127.0.0.1 localhost\n# 10.0.0.1 old.example node1\n10.0.0.2\tnode1.example.com  NODE1 # me\n";
        assert_eq!(full_name(hosts, "node1"), Some("node1.example.com"));
        assert_eq!(full_name(hosts, "localhost"), Some("localhost"));
        assert_eq!(full_name(hosts, "old.example"), None);
    }
}
