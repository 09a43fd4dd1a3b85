//! From arguments and a file to the agent's settings, with every mistake found on the way.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches};
use longshore_daemon::config::{
    BalancerSettings, Definition, DockerAddress, DockerSettings, EngineSettings, HandlerSettings, Settings,
    SidecarSettings,
};
use longshore_daemon::handlers::balance_job;
use longshore_model::Problem;
use longshore_runtime::files::{Guard, read};

use crate::alone;
use crate::cli::{Cli, EngineName, Run};
use crate::file;
use crate::mistake::{Mistake, Mistakes};

/// Where the settings file is looked for when none is named.
const DEFAULT_FILE: &str = "/etc/longshore/longshore.toml";

/// How long a file with a token may be, in bytes.
const LONGEST_TOKEN: u64 = 64 * 1024;

/// What `longshore run` was told.
#[derive(Debug)]
pub(crate) struct Told {
    /// The settings as they were given.
    pub(crate) run: Run,
    /// The settings as the agent takes them.
    pub(crate) settings: Settings,
}

/// Reads the file that the arguments name, puts the arguments over it, and makes settings of both.
pub(crate) fn resolve(matches: &ArgMatches, arguments: &[OsString]) -> Result<Told, Mistakes> {
    let Some(("run", flags)) = matches.subcommand() else { return Err(Mistakes(Vec::new())) };
    let path = match flags.get_one::<PathBuf>("config") {
        Some(path) => Some(path.clone()),
        None => Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists()),
    };
    let file = match &path {
        Some(path) => file::read(path, &Run::augment_args(clap::Command::new("longshore")))?,
        None => file::File::default(),
    };
    let run = merge(&file, flags, arguments)?;
    let ignored = file.unknown.iter().map(Problem::from).collect();
    let shown = path.as_deref().map(Path::to_string_lossy).unwrap_or_default();
    let place = |key: &str| match file.lines.get(key).filter(|_| !is_given(flags, key)) {
        Some(line) => (shown.clone().into_owned(), Some(*line)),
        None => (format!("--{key}"), None),
    };
    let settings = Settings { ignored, ..settings(&run, file.handlers, place)? };
    Ok(Told { run, settings })
}

/// Whether a flag or the environment says it: then the file does not count.
fn is_given(flags: &ArgMatches, key: &str) -> bool {
    let id = key.replace('-', "_");
    matches!(flags.value_source(&id), Some(ValueSource::CommandLine | ValueSource::EnvVariable))
}

fn merge(file: &file::File, flags: &ArgMatches, arguments: &[OsString]) -> Result<Run, Mistakes> {
    let counted = file.arguments.iter().filter(|(key, _)| !is_given(flags, key));
    let (program, rest) = arguments.split_at(arguments.len().min(2));
    let merged = program.iter().chain(counted.map(|(_, argument)| argument)).chain(rest);
    let read = Cli::command().try_get_matches_from(merged).and_then(|matches| match matches.subcommand() {
        Some((_, run)) => Run::from_arg_matches(run),
        None => Run::from_arg_matches(&matches),
    });
    read.map_err(|error| {
        let place = "settings".to_owned();
        Mistakes(vec![Mistake { place, line: None, message: error.to_string() }])
    })
}

fn settings(
    run: &Run,
    inline: Vec<Definition>,
    place: impl Fn(&str) -> (String, Option<usize>),
) -> Result<Settings, Mistakes> {
    let mut mistakes = Vec::new();
    let mut mistake = |key: &str, message: String| {
        let (place, line) = place(key);
        mistakes.push(Mistake { place, line, message });
    };

    let token = run.token_file.as_deref().and_then(|path| match token(path) {
        Ok(token) => Some(token),
        Err(why) => {
            mistake("token-file", format!("{}: {why}", path.display()));
            None
        }
    });
    if !run.listen.ip().is_loopback() && run.token_file.is_none() {
        mistake(
            "listen",
            format!("{} can be reached by others: give a --token-file, or listen on 127.0.0.1", run.listen),
        );
    }
    let tls = matches!(run.docker, DockerAddress::Tcp { .. });
    let cert_path = run.docker_cert_path.clone().filter(|_| tls);
    for name in ["ca.pem", "cert.pem", "key.pem"] {
        if let Some(path) =
            cert_path.as_deref().map(|folder| folder.join(name)).filter(|path| !path.is_file())
        {
            mistake("docker-cert-path", format!("{} is not there", path.display()));
        }
    }
    let times = [("resync", run.resync), ("check-interval", run.check_interval)];
    for (key, time) in times {
        if time.as_millis() < 100 {
            mistake(key, "it is at least 100ms".to_owned());
        }
    }
    let node =
        run.node.clone().unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
    if node.parse::<longshore_model::DomainName>().is_err() {
        mistake("node", format!("{node:?} is no host name"));
    }
    let handlers = HandlerSettings { inline, ..run.handlers.settings() };
    let engine = match run.balancer {
        None => match balance_job(&handlers) {
            Some(job) => EngineSettings::Haproxy(Box::new(alone::haproxy(&job))),
            None => EngineSettings::BuiltIn,
        },
        Some(EngineName::None) => EngineSettings::None,
        Some(EngineName::BuiltIn) => EngineSettings::BuiltIn,
        Some(EngineName::Haproxy) => match run.haproxy.settings(&run.data_dir, &run.bind, &run.trusted_proxy)
        {
            Ok(settings) => EngineSettings::Haproxy(Box::new(settings)),
            Err((key, message)) => {
                mistake(key, message);
                EngineSettings::BuiltIn
            }
        },
    };
    let publish = run.publish.settings().unwrap_or_else(|(key, message)| {
        mistake(key, message);
        None
    });
    let dns = run.dns.settings().unwrap_or_else(|(key, message)| {
        mistake(key, message);
        None
    });
    if !mistakes.is_empty() {
        return Err(Mistakes(mistakes));
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(Settings {
        node,
        data_dir: run.data_dir.clone(),
        listen: Some(run.listen),
        token,
        docker: DockerSettings { address: run.docker.clone(), cert_path, include_env: run.include_env },
        balancer: BalancerSettings {
            bind: run.bind.clone(),
            trusted: run.trusted_proxy.clone(),
            workers: run.workers.map_or(cores, usize::from),
            engine,
        },
        handlers,
        sidecars: Some(SidecarSettings::of_file(run.sidecars.clone())),
        publish,
        dns,
        resync: run.resync.into(),
        check_interval: run.check_interval.into(),
        grace: run.grace.into(),
        ignored: Vec::new(),
    })
}

/// The token in a file that nobody else can read.
fn token(path: &Path) -> Result<String, String> {
    let text = read(path, LONGEST_TOKEN, Guard::Readers).map_err(|error| error.to_string())?;
    match text.trim() {
        token if token.len() >= 16 && token.bytes().all(|b| b.is_ascii_graphic()) => Ok(token.to_owned()),
        _ => Err("a token is at least 16 characters without spaces".to_owned()),
    }
}
