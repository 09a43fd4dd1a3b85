//! `longshore podder`, also called `podder`: sidecars alone, with the old tool's flags.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use longshore_daemon::config::{Settings, SidecarSettings};

use crate::cli::Podder;
use crate::config_error::{ConfigError, ConfigErrors, Source};
use crate::flags::LogFormat;
use crate::{legacy, log, run};

/// Where Podder looked for its file.
const FILES: [&str; 2] = ["./slaves.yml", "./slaves.yml.j2"];

/// The log levels, quietest first.
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

pub(crate) async fn run(arguments: Podder) -> anyhow::Result<ExitCode> {
    log::start(level(arguments.verbose, arguments.quiet), LogFormat::Text)?;
    let settings = settings(&arguments)?;
    run::watch(settings.clone(), || Ok(settings.clone().into()), std::future::pending()).await
}

fn level(verbose: u8, quiet: u8) -> &'static str {
    let level = 2_usize.saturating_add(verbose.into()).saturating_sub(quiet.into());
    LEVELS.get(level).copied().unwrap_or("trace")
}

fn settings(arguments: &Podder) -> Result<Settings, ConfigErrors> {
    let file = match &arguments.file {
        Some(file) => Some(file.clone()),
        None => FILES.iter().map(PathBuf::from).find(|file| file.exists()),
    };
    let file = file.filter(|file| Path::is_file(file)).ok_or_else(|| {
        let path = arguments.file.clone().unwrap_or_else(|| FILES.join(", ").into());
        let message = "no such file: name one with -s".to_owned();
        let source = Source::File { path, line: None };
        ConfigErrors(vec![ConfigError { source, key: None, message, hint: None }])
    })?;
    let sidecars = SidecarSettings { file: Some(file), at_once: arguments.events_in_parallel.into() };
    Ok(Settings {
        sidecars: Some(sidecars),
        grace: Duration::ZERO,
        ..legacy::settings(arguments.docker_sock.clone(), arguments.data_dir.clone())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_v_logs_more_and_each_q_less() {
        let levels = [(0, 0), (1, 0), (2, 0), (9, 0), (0, 1), (0, 2), (0, 9), (1, 1)];
        let levels = levels.map(|(verbose, quiet)| level(verbose, quiet));
        assert_eq!(levels, ["info", "debug", "trace", "trace", "warn", "error", "error", "info"]);
    }
}
