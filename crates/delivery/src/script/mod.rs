//! A program run once per event: `script <ini> <event> <id>`, with the inspection on its standard input.
//!
//! The script leads its own process group, so what it started is killed with it on a timeout. What it leaves running
//! when it exits by itself is its own responsibility.

mod environment;
mod output;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use longshore_api::HandlerCall;
use longshore_runtime::{ProcessGroup as Group, descriptors};
use serde_json::value::RawValue;
use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStdin, Command};
use tokio::time::timeout;

use self::output::Output;
use crate::attempt::{Attempt, Failure};
use crate::inherited::inherited;

/// How long output is still read after the script has ended: a process it left behind may hold the pipe open
/// indefinitely.
const AFTER_END: Duration = Duration::from_millis(500);

/// `EX_TEMPFAIL` of sysexits.h: retry later.
const TEMPFAIL: i32 = 75;

#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) program: PathBuf,
    pub(crate) ini: PathBuf,
    /// Whether the event counts as delivered however the program ends.
    pub(crate) ignore_status: bool,
    pub(crate) docker_host: String,
}

impl Script {
    pub(crate) async fn deliver(&self, attempt: &Attempt<'_>) -> Result<(), Failure> {
        let started = descriptors::spawn(&mut self.command(attempt));
        let mut child = started.map_err(|error| self.not_started(&error))?;
        let stdin = child.stdin.take();
        let name = attempt.handler.name.as_str();
        let mut out = Output::new(name, "stdout", child.stdout.take());
        let mut err = Output::new(name, "stderr", child.stderr.take());
        let mut group = Group::led_by(child);
        let inspection = attempt.inspection.map_or("", RawValue::get);

        let limit = attempt.handler.delivery.timeout;
        let ended = timeout(limit, async {
            tokio::select! {
                status = group.ended() => status,
                never = async {
                    tokio::join!(feed(stdin, inspection), out.pump(), err.pump());
                    std::future::pending().await
                } => never,
            }
        })
        .await;
        let Ok(status) = ended else {
            tokio::select! {
                () = group.end() => {}
                () = async {
                    tokio::join!(out.pump(), err.pump());
                    std::future::pending::<()>().await;
                } => {}
            }
            out.finish();
            err.finish();
            return Err(Failure::passing(format!("it did not exit within {limit:?} and was terminated")));
        };
        // Later output is lost to the log, and nothing else.
        let _ = timeout(AFTER_END, async { tokio::join!(out.pump(), err.pump()) }).await;
        out.finish();
        err.finish();
        let status =
            status.map_err(|error| Failure::passing(format!("cannot wait for its exit: {error}")))?;
        match judge(status, err.last_line()) {
            Err(failure) if self.ignore_status => {
                tracing::warn!(
                    handler = name,
                    "{}; ignored, as the handler has Docker Glue's class",
                    failure.why
                );
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// Returns what an attempt would run.
    pub(crate) fn describe(&self, attempt: &Attempt<'_>) -> HandlerCall {
        let program = self.program.display().to_string();
        let arguments = self.arguments(attempt).map(|argument| argument.to_string_lossy().into_owned());
        HandlerCall {
            call: std::iter::once(program).chain(arguments).collect(),
            environment: environment::variables(attempt),
            input: attempt.inspection.map_or_else(String::new, |inspection| inspection.get().to_owned()),
        }
    }

    fn arguments<'a>(&'a self, attempt: &'a Attempt<'_>) -> [&'a OsStr; 3] {
        let event = attempt.event;
        [self.ini.as_os_str(), OsStr::new(&event.event), OsStr::new(event.subject_id())]
    }

    fn command(&self, attempt: &Attempt<'_>) -> Command {
        let mut command = Command::new(&self.program);
        command.args(self.arguments(attempt));
        command.env_clear().envs(inherited(std::env::vars_os()));
        command.env("DOCKER_HOST", &self.docker_host).envs(environment::variables(attempt));
        if let Some(folder) = self.folder() {
            command.current_dir(folder);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        command
    }

    fn folder(&self) -> Option<&Path> {
        self.program.parent().filter(|folder| folder.is_dir())
    }

    /// Creates the failure to start. All causes may be fixed while the event waits: a package update replaces a
    /// script in steps.
    fn not_started(&self, error: &io::Error) -> Failure {
        let program = self.program.display();
        let hint = match error.kind() {
            io::ErrorKind::NotFound if self.program.exists() => {
                "the interpreter in its first line does not exist"
            }
            io::ErrorKind::NotFound => "put it there, or correct the path in the handler's file",
            io::ErrorKind::PermissionDenied => "make it executable: chmod +x",
            io::ErrorKind::ExecutableFileBusy => "it is still being written",
            _ if error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => {
                "start the script with a line such as #!/bin/sh"
            }
            _ => return Failure::passing(format!("cannot run {program}: {error}")),
        };
        Failure::passing(format!("cannot run {program}: {error} ({hint})"))
    }
}

/// Writes the inspection and closes the pipe. A script need not read it.
async fn feed(stdin: Option<ChildStdin>, inspection: &str) {
    if let Some(mut stdin) = stdin {
        let _ = stdin.write_all(inspection.as_bytes()).await;
    }
}

/// Interprets an exit status: those that sysexits.h defines say whether a retry helps.
fn judge(status: ExitStatus, last_line: &str) -> Result<(), Failure> {
    let said = if last_line.is_empty() { String::new() } else { format!(": {last_line}") };
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        (Some(code @ 64..=78), _) if code != TEMPFAIL => {
            Err(Failure::for_good(format!("it exited with status {code}{said}")))
        }
        (Some(code), _) => Err(Failure::passing(format!("it exited with status {code}{said}"))),
        (None, Some(signal)) => Err(Failure::passing(format!("it was killed by signal {signal}{said}"))),
        (None, None) => Err(Failure::passing(format!("it exited with {status}{said}"))),
    }
}
