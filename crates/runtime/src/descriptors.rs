//! The limit of open files: high for the agent, and as it was for the programs that it runs.

use std::io;
use std::sync::OnceLock;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};
use tokio::process::{Child, Command};

/// The highest limit to set: far more than a host's traffic needs, yet low enough for programs that close every
/// possible descriptor.
const MAX_DESCRIPTORS: u64 = 524_288;

/// The soft limit that the agent was started with.
static INITIAL: OnceLock<u64> = OnceLock::new();

/// Raises the soft limit of open files to the hard one: each proxied connection takes two, and the usual soft
/// limit of 1024 is meant for programs that use `select`. `initial` is the limit that a predecessor was started with,
/// as its successor inherits the raised one.
pub fn raise_limit(initial: Option<u64>) {
    let limit = getrlimit(Resource::Nofile);
    if let Some(initial) = initial.or(limit.current) {
        let _ = INITIAL.set(initial);
    }
    let wanted = limit.maximum.unwrap_or(MAX_DESCRIPTORS).min(MAX_DESCRIPTORS);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit }) {
        Ok(()) => tracing::debug!(from = limit.current, to = wanted, "raised the limit of open files"),
        Err(error) => tracing::warn!(%error, "cannot raise the limit of open files"),
    }
}

/// Returns the soft limit that the agent was started with, for its successor; `None` if there was none.
pub fn initial_limit() -> Option<u64> {
    INITIAL.get().copied()
}

/// Starts a program of somebody else's, with the limit of open files that the agent was started with: a program that
/// uses `select` fails with descriptors above 1023.
///
/// # Errors
/// The program cannot be started.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    spawn_with(command, initial_limit())
}

/// Starts a program, and gives it this limit at once. Safe code can set none before the start, and no program opens a
/// thousand files in its first moment.
fn spawn_with(command: &mut Command, soft: Option<u64>) -> io::Result<Child> {
    let child = command.spawn()?;
    let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    if let (Some(_), Some(pid)) = (soft, pid) {
        let limit = Rlimit { current: soft, ..getrlimit(Resource::Nofile) };
        // The id is its own until it is reaped. One that has changed its user keeps the raised limit.
        let _ = prlimit(Some(pid), Resource::Nofile, limit);
    }
    Ok(child)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as expected")]

    use super::*;

    #[tokio::test]
    async fn a_program_gets_the_limit_and_the_agent_keeps_its_own() {
        let own = getrlimit(Resource::Nofile);
        let mut command = Command::new("sh");
        // The limit is set once it has begun.
        command.args(["-c", "read line; ulimit -Sn; ulimit -Hn"]);
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = spawn_with(&mut command, Some(123)).unwrap();
        drop(child.stdin.take());
        let output = child.wait_with_output().await.unwrap();
        let hard = own.maximum.map_or("unlimited".to_owned(), |hard| hard.to_string());
        assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("123\n{hard}\n"));
        assert_eq!(getrlimit(Resource::Nofile), own);
    }
}
