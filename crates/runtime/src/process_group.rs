//! A process group and its termination: SIGTERM first, SIGKILL five seconds later.
//!
//! The leader is not reaped before the last signal was sent. Until then its process id cannot be reused, so no signal
//! reaches an unrelated group.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, waitid};
use tokio::process::Child;
use tokio::runtime::Handle;
use tokio::signal::unix::{self, SignalKind};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// How long the group may take to end after SIGTERM, and its leader to be reaped after SIGKILL.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// The pauses between checks of a group whose leader has ended.
const FIRST_LOOK: Duration = Duration::from_millis(20);
const MAX_LOOK: Duration = Duration::from_millis(320);

/// A child with the processes that it started. If dropped before the child has ended, the group is terminated in the
/// background.
#[derive(Debug)]
pub struct ProcessGroup {
    /// `None` once reaped.
    child: Option<Child>,
    id: Option<Pid>,
    /// Fires when any child of the agent ends; `None` if the system does not report that.
    endings: Option<unix::Signal>,
    /// Whether the leader ended by itself; the other processes are then left alone.
    is_over: bool,
    asked: bool,
    /// Whether nobody can continue the termination if this one is dropped.
    last: bool,
}

impl ProcessGroup {
    /// Wraps a child that was started as the leader of its group.
    pub fn led_by(child: Child) -> Self {
        let id = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let endings = unix::signal(SignalKind::child()).ok();
        Self { child: Some(child), id, endings, is_over: false, asked: false, last: false }
    }

    /// Waits for the leader's end. Cancel-safe.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        loop {
            match self.status() {
                Ok(None) => self.next_ending().await,
                Ok(Some(status)) => {
                    self.is_over = true;
                    return Ok(status);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Terminates the whole group: SIGTERM, and SIGKILL for what is left after five seconds.
    pub async fn end(&mut self) {
        let Some(id) = self.id.filter(|_| self.child.is_some()) else { return };
        let deadline = Instant::now() + END_TIMEOUT;
        self.is_over = false;
        if !self.asked {
            self.signal(Signal::TERM);
        }
        self.asked = true;
        let _ = timeout_at(deadline, async {
            while matches!(self.status(), Ok(None)) {
                self.next_ending().await;
            }
        })
        .await;
        let mut pause = FIRST_LOOK;
        while Instant::now() < deadline && spawn_blocking(move || has_others(id)).await.unwrap_or(false) {
            sleep(pause).await;
            pause = MAX_LOOK.min(pause * 2);
        }
        self.kill().await;
    }

    /// Kills the whole group at once, and reaps its leader.
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        if let Some(mut child) = self.child.take() {
            // A process blocked on a dead disk does not even die of SIGKILL.
            let _ = timeout(END_TIMEOUT, child.wait()).await;
        }
    }

    /// Sends a signal to the whole group, unless it has been ended or killed.
    pub fn signal(&self, signal: Signal) {
        if let Some(id) = self.id.filter(|_| self.child.is_some()) {
            // A group that has ended needs no signal.
            let _ = kill_process_group(id, signal);
        }
    }

    /// Returns the leader's exit status once it has ended. It is not reaped.
    fn status(&self) -> io::Result<Option<ExitStatus>> {
        let Some(id) = self.id.filter(|_| self.child.is_some()) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(id), options)?.map(|status| exit_status(&status)))
    }

    async fn next_ending(&mut self) {
        let told = match &mut self.endings {
            Some(endings) => endings.recv().await,
            None => None,
        };
        if told.is_none() {
            sleep(FIRST_LOOK).await;
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if self.is_over || self.child.is_none() {
            return;
        }
        let Some(handle) = Handle::try_current().ok().filter(|_| !self.last) else {
            self.signal(Signal::KILL);
            return;
        };
        if !self.asked {
            self.signal(Signal::TERM);
        }
        let (child, endings) = (self.child.take(), self.endings.take());
        let mut rest = Self { child, id: self.id, endings, is_over: false, asked: true, last: true };
        handle.spawn(async move { rest.end().await });
    }
}

/// Converts the status to the standard library's, which uses the encoding of `wait`.
fn exit_status(status: &WaitIdStatus) -> ExitStatus {
    let raw = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => (code & 0xff) << 8,
        (None, Some(signal)) => signal | if status.dumped() { 0x80 } else { 0 },
        (None, None) => 0,
    };
    ExitStatus::from_raw(raw)
}

/// Returns whether any process but the leader is in the group and alive; false if `/proc` is unreadable.
fn has_others(group: Pid) -> bool {
    let Ok(processes) = std::fs::read_dir("/proc") else { return false };
    let leader = group.as_raw_nonzero().get();
    processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()).any(|process| {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        process != leader && is_alive_in(&stat, leader)
    })
}

/// Parses a line of `/proc/<pid>/stat`: the number, the name in parentheses, the state, the parent, the group.
fn is_alive_in(stat: &str, group: i32) -> bool {
    let Some((_, fields)) = stat.rsplit_once(") ") else { return false };
    let mut fields = fields.split(' ');
    let is_alive = fields.next().is_some_and(|state| !matches!(state, "Z" | "X"));
    is_alive && fields.nth(1).and_then(|field| field.parse().ok()) == Some(group)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as expected")]

    use std::path::{Path, PathBuf};
    use std::process::Stdio;

    use tokio::io::AsyncReadExt;
    use tokio::process::Command;

    use super::*;

    fn start(script: &str) -> (ProcessGroup, tokio::process::ChildStdout) {
        let mut command = Command::new("sh");
        command.args(["-c", script]).process_group(0).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = child.stdout.take().unwrap();
        (ProcessGroup::led_by(child), output)
    }

    fn process(group: &ProcessGroup) -> PathBuf {
        Path::new("/proc").join(group.id.unwrap().as_raw_nonzero().to_string())
    }

    #[tokio::test]
    async fn the_leaders_number_is_the_groups_until_the_last_of_it_was_killed() {
        let (mut group, mut output) = start("trap '' TERM; (echo on; exec sleep 600) & sleep 0.2; exit 3");
        let mut on = [0; 3];
        output.read_exact(&mut on).await.unwrap();
        assert_eq!(group.ended().await.unwrap().code(), Some(3));
        let leader = process(&group);
        assert!(leader.exists(), "its number is free for a stranger");
        let ending = tokio::time::timeout(END_TIMEOUT * 2, group.end());
        let mut rest = Vec::new();
        let (ended, read) = tokio::join!(ending, output.read_to_end(&mut rest));
        ended.unwrap();
        read.unwrap();
        assert!(!leader.exists(), "it is reaped");
    }

    #[tokio::test]
    async fn a_group_that_ends_at_sigterm_is_not_waited_for_any_longer() {
        let (mut group, mut output) = start("sleep 600 & echo on; wait");
        let mut on = [0; 3];
        output.read_exact(&mut on).await.unwrap();
        let began = Instant::now();
        group.end().await;
        assert!(began.elapsed() < END_TIMEOUT, "{:?}", began.elapsed());
        output.read_to_end(&mut Vec::new()).await.unwrap();
        assert!(!process(&group).exists());
    }

    #[tokio::test]
    async fn exit_statuses_are_as_the_standard_library_has_them() {
        for (script, expected) in [("exit 0", 0), ("exit 75", 75 << 8), ("kill -9 $$", 9)] {
            let (mut group, _output) = start(script);
            assert_eq!(group.ended().await.unwrap(), ExitStatus::from_raw(expected), "{script}");
        }
    }

    #[test]
    fn a_line_of_proc_is_read_whatever_the_name_in_it() {
        assert!(is_alive_in("7 (a ) 1 2) S 1 42 42 0 -1", 42));
        assert!(!is_alive_in("7 (a) S 1 43 42 0 -1", 42));
        assert!(!is_alive_in("7 (a) Z 1 42 42 0 -1", 42));
        assert!(!is_alive_in("", 42));
    }
}
