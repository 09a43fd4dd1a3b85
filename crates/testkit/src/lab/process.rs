//! Processes that the lab started, distinguished from later ones with the same pid.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

use super::LabError;

/// A process by its pid and start time, which together are unique between two boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// Its pid.
    pub(crate) pid: i32,
    /// Its start time, in ticks since boot (`/proc/PID/stat`, field 22).
    began: u64,
}

impl Process {
    /// Returns the running process with this pid; `None` if it has exited, even if it has not been reaped.
    pub(crate) fn of_pid(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the program's name in parentheses, and may contain any character.
        let (_, rest) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let ended = matches!(fields.first(), Some(&("Z" | "X")));
        let began = fields.get(19)?.parse().ok()?;
        (!ended).then_some(Self { pid, began })
    }

    /// Returns the process that a pid file names.
    pub(crate) fn of_file(path: &Path) -> Option<Self> {
        Self::of_pid(fs::read_to_string(path).ok()?.trim().parse().ok()?)
    }

    /// Returns whether it runs.
    pub(crate) fn runs(self) -> bool {
        Self::of_pid(self.pid) == Some(self)
    }

    /// Sends a signal, unless it has ended.
    pub(crate) fn signal(self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid)
            && self.runs()
        {
            // It may exit before the signal, which is the intended result anyway.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Waits until it has exited; returns whether it did within `limit`.
    pub(crate) async fn ended_within(self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while self.runs() {
            if Instant::now() > deadline {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        true
    }

    /// Kills it and waits until it has exited.
    pub(crate) async fn kill(self) -> Result<(), LabError> {
        self.signal(Signal::KILL);
        if self.ended_within(Duration::from_secs(10)).await {
            Ok(())
        } else {
            Err(LabError::Immortal(self.pid))
        }
    }
}

/// Returns the processes whose command line matches.
pub(crate) fn with_command_line(wanted: impl Fn(&[&str]) -> bool) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            let words: Vec<&str> = line.split('\0').collect();
            wanted(&words)
        })
        .filter_map(Process::of_pid)
        .collect()
}

/// Returns the processes in the network namespace that this file holds open.
pub(crate) fn inside_namespace(file: &Path) -> Vec<Process> {
    use std::os::unix::fs::MetadataExt;
    let Ok(wanted) = fs::metadata(file) else { return Vec::new() };
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| {
            fs::metadata(format!("/proc/{pid}/ns/net"))
                .is_ok_and(|found| (found.dev(), found.ino()) == (wanted.dev(), wanted.ino()))
        })
        .filter_map(Process::of_pid)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_nobody_waited_for_counts_as_ended() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::of_pid(child.id().cast_signed()).unwrap();
        assert!(process.runs());
        process.kill().await.unwrap();
        assert!(!process.runs());
        child.wait().unwrap();
    }

    #[test]
    fn a_stranger_with_a_recycled_number_is_not_the_process() {
        let own = Process::of_pid(std::process::id().cast_signed()).unwrap();
        let stranger = Process { began: own.began + 1, ..own };
        assert!(!stranger.runs());
    }
}
