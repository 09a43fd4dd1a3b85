//! Runs programs to completion.

use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::LabError;

/// The timeout of a program: nothing that the lab runs takes longer, even on a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs a program and returns its standard output.
pub(super) async fn run<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> Result<String, LabError> {
    let line = || {
        let arguments = arguments.iter().map(|a| a.as_ref().to_string_lossy().into_owned());
        std::iter::once(program.to_owned()).chain(arguments).collect::<Vec<_>>().join(" ")
    };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(LIMIT, command.output())
        .await
        .map_err(|_| LabError::CommandTimeout { command: line(), limit: LIMIT })?
        .map_err(|source| LabError::Spawn { program: program.to_owned(), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(LabError::Command { command: line(), output: String::from_utf8_lossy(&said).trim().to_owned() })
}

/// Runs a command line whose words are separated by spaces.
pub(super) async fn run_line(line: &str) -> Result<String, LabError> {
    let mut words = line.split_whitespace();
    let program = words.next().unwrap_or_default();
    run(program, &words.collect::<Vec<_>>()).await
}
