//! HAProxy's master process: starting it, taking over one that an earlier agent left running, stopping it, and
//! reloading it.

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::HaproxyError;
use crate::output::Output;

/// The interval at which a master is polled for a change.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The interval at which a master that is not this process's child is checked.
const ADOPTED_POLL_INTERVAL: Duration = Duration::from_millis(50);

/// How long a signalled master may take to exit before it gets the signal again; doubled each time.
const FIRST_RESEND: Duration = Duration::from_millis(100);

/// How long a running master may take to answer.
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a reload may take until the new worker serves.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(20);

/// A running master of our own. Dropping it sends SIGTERM, unless [`Master::leave`] was called.
pub(crate) struct Master {
    pidfd: OwnedFd,
    /// Set if it is this process's child, which has to be reaped.
    child: Option<Child>,
    left: bool,
}

/// The answer to `show proc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) master: u32,
    /// Reloads so far.
    pub(crate) reloads: u32,
    /// How many reloads have failed since the last that succeeded.
    pub(crate) failed: u32,
    /// The serving worker.
    pub(crate) worker: Option<u32>,
    /// Whether that worker was started by the last reload.
    pub(crate) fresh: bool,
}

impl Master {
    /// Starts a master. It serves once its sockets answer.
    pub(crate) fn start(binary: &Path, arguments: &[String], output: &Output) -> Result<Self, HaproxyError> {
        let fail = |source| HaproxyError::Run { program: binary.display().to_string(), source };
        let child = Command::new(binary)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.writing_end().map_err(fail)?)
            .stderr(output.writing_end().map_err(fail)?)
            // Its own process group: Ctrl-C in a terminal is for the agent to handle.
            .process_group(0)
            .spawn()
            .map_err(fail)?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| fail(std::io::ErrorKind::NotFound.into()))?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|errno| fail(errno.into()))?;
        Ok(Self { pidfd, child: Some(child), left: false })
    }

    /// Returns the master that runs with this socket and these arguments. One with other arguments, or one from the
    /// pid file that does not answer, is stopped.
    pub(crate) async fn find(socket: &Path, pid_file: &Path, arguments: &[String]) -> Option<Self> {
        let parse = |text: String| text.trim().parse().ok();
        let noted = std::fs::read_to_string(pid_file).ok().and_then(parse).and_then(|pid| open(pid, socket));
        let answering = match noted {
            Some(_) => status_of_running(socket).await,
            None => status(socket).await,
        };
        let (pid, pidfd, words) = match (noted, &answering) {
            (_, Some(status)) => open(status.master, socket)?,
            (noted, None) => noted?,
        };
        let mut found = Self { pidfd, child: None, left: false };
        if answering.is_some() && has_arguments(&words, arguments) {
            tracing::info!(pid, "taking over the running HAProxy");
            return Some(found);
        }
        tracing::warn!(pid, "stopping a running HAProxy: its arguments differ, or it does not answer");
        found.stop(Duration::from_secs(2)).await;
        None
    }

    /// Resolves when it has exited. Cancel-safe.
    pub(crate) async fn ended(&mut self) {
        match &mut self.child {
            Some(child) => {
                let _ = child.wait().await;
            }
            None => {
                while !self.has_ended() {
                    sleep(ADOPTED_POLL_INTERVAL).await;
                }
            }
        }
    }

    /// Returns whether it has exited.
    pub(crate) fn has_ended(&mut self) -> bool {
        match &mut self.child {
            Some(child) => !matches!(child.try_wait(), Ok(None)),
            None => {
                // A pidfd becomes readable when the process exits.
                let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
                poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
            }
        }
    }

    fn signal(&self, signal: Signal) {
        // It may have exited a moment ago; then no signal is needed.
        let _ = pidfd_send_signal(self.pidfd.as_fd(), signal);
    }

    /// Stops it: it accepts no new connections, and open requests have `grace` to finish.
    pub(crate) async fn stop(&mut self, grace: Duration) {
        for (signal, wait) in [
            (Signal::USR1, grace),
            (Signal::TERM, Duration::from_secs(2)),
            (Signal::KILL, Duration::from_secs(2)),
        ] {
            if timeout(wait, self.end_by(signal)).await.is_ok() {
                break;
            }
        }
        self.left = true;
    }

    /// Sends a signal until it has exited. A master re-executes itself while it starts and reloads, and forgets the
    /// signals that it received before; repeated ones change nothing.
    async fn end_by(&mut self, signal: Signal) {
        let mut pause = FIRST_RESEND;
        loop {
            self.signal(signal);
            if timeout(pause, self.ended()).await.is_ok() {
                return;
            }
            pause *= 2;
        }
    }

    /// Leaves it running.
    pub(crate) fn leave(mut self) {
        self.left = true;
    }

    /// Returns its process id.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        if !self.left {
            self.signal(Signal::TERM);
        }
    }
}

/// Opens a process whose command line names this socket. Returns its id, its descriptor and its command line.
fn open(pid: u32, socket: &Path) -> Option<(u32, OwnedFd, Vec<u8>)> {
    // Opened before the command line is read, so that the pid is not another process's by then.
    let pidfd = pidfd_open(Pid::from_raw(i32::try_from(pid).ok()?)?, PidfdFlags::empty()).ok()?;
    let words = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let names = words.split(|byte| *byte == 0).any(|word| word == socket.as_os_str().as_bytes());
    names.then_some((pid, pidfd, words))
}

/// Returns whether a command line ends with these arguments: a reload puts others before them.
fn has_arguments(command_line: &[u8], arguments: &[String]) -> bool {
    let words: Vec<&[u8]> = command_line.split(|byte| *byte == 0).filter(|word| !word.is_empty()).collect();
    let arguments: Vec<&[u8]> = arguments.iter().map(String::as_bytes).collect();
    words.ends_with(&arguments)
}

/// Returns the master's status, or `None` if it does not answer.
pub(crate) async fn status(socket: &Path) -> Option<Status> {
    parse_status(&ask(socket, "show proc\n").await.ok()?)
}

/// Returns the status of a master that is known to run: for a moment around a reload, it re-executes itself and
/// refuses or drops connections.
async fn status_of_running(socket: &Path) -> Option<Status> {
    let limit = Instant::now() + STATUS_TIMEOUT;
    loop {
        match status(socket).await {
            None if Instant::now() < limit => sleep(POLL_INTERVAL).await,
            status => return status,
        }
    }
}

/// Reloads a master, and waits until the new worker serves. If that fails, the previous worker stays.
pub(crate) async fn reload(socket: &Path) -> Result<(), HaproxyError> {
    let fail = |reason: &str| HaproxyError::Reload { reason: reason.to_owned() };
    let before =
        status_of_running(socket).await.ok_or_else(|| fail("HAProxy's master process does not answer"))?;
    ask(socket, "reload\n").await?;
    let limit = Instant::now() + RELOAD_TIMEOUT;
    while Instant::now() < limit {
        match status(socket).await {
            Some(status) if status.reloads == before.reloads => {}
            Some(status) if status.failed > 0 => {
                return Err(fail("HAProxy could not start a worker with the new configuration"));
            }
            Some(Status { worker: Some(_), fresh: true, .. }) => return Ok(()),
            _ => {}
        }
        sleep(POLL_INTERVAL).await;
    }
    Err(fail("no worker with the new configuration came up in time"))
}

/// Sends one line and reads the answer. After `reload` the master hangs up without one.
async fn ask(socket: &Path, line: &str) -> Result<String, HaproxyError> {
    let fail = |source| HaproxyError::Socket { path: PathBuf::from(socket), source };
    let exchange = async {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(line.as_bytes()).await?;
        let mut answer = Vec::new();
        // The connection stays open after an answer, whose end is an empty line.
        while !answer.ends_with(b"\n\n") {
            match stream.read_buf(&mut answer).await {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
                Err(error) => return Err(error),
            }
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    match timeout(Duration::from_secs(2), exchange).await {
        Ok(answer) => answer.map_err(fail),
        Err(_) => Err(fail(std::io::ErrorKind::TimedOut.into())),
    }
}

/// Parses `show proc`:
///
/// ```text
/// #<PID>          <type>          <reloads>       <uptime>        <version>
/// 25724           master          2 [failed: 1]   0d00h01m03s     2.6.12-1+deb12u4
/// # workers
/// 26044           worker          1               0d00h00m03s     2.6.12-1+deb12u4
/// # old workers
/// ```
fn parse_status(text: &str) -> Option<Status> {
    let mut status: Option<Status> = None;
    let mut current = true;
    for line in text.lines() {
        if line.starts_with("# ") {
            current = line.trim() == "# workers";
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let [pid, kind, reloads, rest @ ..] = words.as_slice() else { continue };
        let (Ok(pid), Ok(reloads)) = (pid.parse(), reloads.parse()) else { continue };
        match (*kind, &mut status) {
            ("master", _) => {
                let failed = match rest {
                    ["[failed:", number, ..] => number.trim_end_matches(']').parse().unwrap_or(0),
                    _ => 0,
                };
                status = Some(Status { master: pid, reloads, failed, worker: None, fresh: false });
            }
            ("worker", Some(status)) if current => {
                status.worker = Some(pid);
                status.fresh = reloads == 0;
            }
            _ => {}
        }
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "#<PID>          <type>          <reloads>       <uptime>        <version>      \n";

    #[test]
    fn a_failed_reload_and_an_old_worker_are_told_from_a_serving_one() {
        let text = format!(
            "{HEAD}25724           master          2 [failed: 1]   0d00h01m03s     2.6.12\n# workers\n26044           worker          1               0d00h00m03s     2.6.12\n# old workers\n25000           worker          2               0d00h01m03s     2.6.12\n# programs\n\n"
        );
        let expected = Status { master: 25724, reloads: 2, failed: 1, worker: Some(26044), fresh: false };
        assert_eq!(parse_status(&text), Some(expected));
        assert_eq!(parse_status("garbage\n1 2\n"), None);
    }

    #[test]
    fn another_agents_arguments_are_not_ours() {
        let arguments = ["-W", "-f", "/d/c"].map(str::to_owned);
        assert!(has_arguments(b"haproxy\0-W\0-f\0/d/c\0", &arguments));
        assert!(has_arguments(b"haproxy\0-sf\x0012\0-x\0sockpair@3\0-W\0-f\0/d/c\0", &arguments));
        assert!(!has_arguments(b"haproxy\0-W\0-f\0/d/c\0-n\x005\0", &arguments));
        assert!(!has_arguments(b"haproxy\0-W\0-f\0/d/other\0", &arguments));
    }
}
