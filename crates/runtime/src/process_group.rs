//! A process group and its end: asked first, killed five seconds later.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::process::Child;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout_at};

/// How long the group has to end after it was asked to.
const GRACE: Duration = Duration::from_secs(5);

/// A child with the processes that it started. Dropped before the child has ended, the group is ended in the
/// background.
#[derive(Debug)]
pub struct ProcessGroup {
    /// Absent once it has ended, and the group's fate is its own.
    child: Option<Child>,
    id: Option<Pid>,
    asked: bool,
    /// Nobody is left to go on with the ending if this one is dropped.
    last: bool,
}

impl ProcessGroup {
    /// The group of a child that was started as the leader of one.
    pub fn led_by(child: Child) -> Self {
        let id = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Self { child: Some(child), id, asked: false, last: false }
    }

    /// Waits for the leader's end.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        let Some(child) = &mut self.child else { return Err(io::ErrorKind::NotFound.into()) };
        let status = child.wait().await;
        self.child = None;
        status
    }

    /// Ends all of the group: SIGTERM, and SIGKILL for what is left of it after five seconds.
    pub async fn end(&mut self) {
        let deadline = Instant::now() + GRACE;
        self.ask();
        if let Some(child) = &mut self.child {
            let _ = timeout_at(deadline, child.wait()).await;
        }
        // The leader is gone, and its number stays the group's until the last of them is.
        while self.is_there() && Instant::now() < deadline {
            sleep(Duration::from_millis(20)).await;
        }
        self.kill();
        if let Some(child) = &mut self.child {
            // What a dead disk holds does not even die of this.
            let _ = timeout_at(Instant::now() + GRACE, child.wait()).await;
        }
        self.child = None;
    }

    fn ask(&mut self) {
        self.asked = true;
        if let Some(id) = self.id {
            let _ = kill_process_group(id, Signal::TERM);
        }
    }

    fn is_there(&self) -> bool {
        self.id.is_some_and(|id| test_kill_process_group(id).is_ok())
    }

    fn kill(&self) {
        if let Some(id) = self.id {
            let _ = kill_process_group(id, Signal::KILL);
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        let Some(child) = self.child.take() else { return };
        let handle = Handle::try_current().ok().filter(|_| !self.last);
        let Some(handle) = handle else {
            self.kill();
            return;
        };
        if !self.asked {
            self.ask();
        }
        let mut rest = Self { child: Some(child), id: self.id, asked: true, last: true };
        handle.spawn(async move { rest.end().await });
    }
}
