//! Runs programs to completion: `haproxy -c`, and reload commands.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::HaproxyError;

/// A program's result.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) success: bool,
    /// Its standard error and output, without blank lines.
    pub(crate) lines: Vec<String>,
}

/// How long a program may take. A check of ten thousand backends takes two seconds here.
const PROGRAM_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs a program without a shell and without input.
pub(crate) async fn run<S: AsRef<OsStr>>(program: &OsStr, arguments: &[S]) -> Result<Outcome, HaproxyError> {
    let name = || program.to_string_lossy().into_owned();
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = match timeout(PROGRAM_TIMEOUT, command.output()).await {
        Ok(output) => output.map_err(|source| HaproxyError::Run { program: name(), source })?,
        Err(_) => return Err(HaproxyError::RunTimeout { program: name(), limit: PROGRAM_TIMEOUT }),
    };
    let mut text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.push('\n');
    text.push_str(&String::from_utf8_lossy(&output.stdout));
    let lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).map(str::to_owned);
    Ok(Outcome { success: output.status.success(), lines: lines.collect() })
}

/// Has HAProxy check a configuration, and logs what it reports.
pub(crate) async fn check(binary: &Path, config: &Path, extra: &[String]) -> Result<(), HaproxyError> {
    let mut arguments: Vec<&OsStr> = vec![OsStr::new("-c"), OsStr::new("-f"), config.as_os_str()];
    arguments.extend(extra.iter().map(OsStr::new));
    let outcome = run(binary.as_os_str(), &arguments).await?;
    // NOTICE lines only contain the version.
    let complaint: Vec<String> =
        outcome.lines.into_iter().filter(|line| !line.starts_with("[NOTICE]")).collect();
    if outcome.success {
        for line in complaint.iter().filter(|line| line.starts_with("[WARNING]")) {
            tracing::warn!(target: "longshore::haproxy", "{line}");
        }
        return Ok(());
    }
    for line in &complaint {
        tracing::warn!(target: "longshore::haproxy", "{line}");
    }
    // Removes HAProxy's process id and the temporary file's name, so that the same error has the same text.
    let file = config.display().to_string();
    let plain = |line: &String| {
        line.split_once(") : ").map_or(line.as_str(), |(_, rest)| rest).replace(&file, "haproxy.cfg")
    };
    Err(HaproxyError::Rejected { complaint: complaint.iter().map(plain).collect::<Vec<_>>().join("; ") })
}
