//! `longshore config check`: the settings and the handlers as the agent would read them.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use longshore_daemon::handlers;

use crate::USAGE;
use crate::cli::ConfigCommand;
use crate::output::print;
use crate::settings::{Resolved, resolve};

pub(crate) fn config(command: ConfigCommand) -> anyhow::Result<ExitCode> {
    let ConfigCommand::Check { file } = command;
    let flags = file.map(|file| [OsString::from("--config"), file.into()]);
    let Resolved { file, settings, .. } = resolve(flags.as_ref().map_or(&[], |flags| flags.as_slice()))?;
    let shown = file.as_deref().map_or("no settings file".into(), Path::to_string_lossy);
    let problems = handlers::check(&settings.handlers);
    for problem in settings.ignored.iter().chain(&problems) {
        print(&problem.to_string())?;
    }
    if problems.is_empty() {
        print(&format!("{shown}: ok"))?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::from(USAGE))
}
