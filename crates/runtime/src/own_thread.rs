use std::io;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

/// A thread with its own runtime, for work that the rest of the agent must not block. Its tasks end when it is
/// dropped.
#[derive(Debug)]
pub struct OwnThread {
    runtime: Handle,
    _ends_when_dropped: DropGuard,
}

impl OwnThread {
    /// Starts a thread with this name, which tools such as `top -H` show: at most 15 bytes.
    ///
    /// # Errors
    /// Returns an error if the system provides no thread or no timers.
    pub fn start(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let run = move || {
            runtime.block_on(stopped.cancelled());
            // A lookup that hangs must not block the shutdown.
            runtime.shutdown_background();
        };
        std::thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Self { runtime: handle, _ends_when_dropped: stop.drop_guard() })
    }

    /// Returns its runtime: this thread drives what is created or spawned there.
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Runs a task on it.
    pub fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> AbortOnDropHandle<T> {
        AbortOnDropHandle::new(self.runtime.spawn(task))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn its_tasks_go_on_while_every_other_thread_is_held_up_and_end_with_it() {
        let thread = OwnThread::start("own").unwrap();
        let (say, said) = mpsc::channel();
        let held = tokio_util::sync::CancellationToken::new().drop_guard();
        let task = thread.spawn(async move {
            let _held = held;
            let name = std::thread::current().name().map(str::to_owned);
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_millis(1)).await;
                say.send(name.clone()).unwrap();
            }
            std::future::pending::<()>().await;
        });
        // This test's only thread waits without yielding.
        for _ in 0..3 {
            let name = said.recv_timeout(Duration::from_secs(20)).unwrap();
            assert_eq!(name.as_deref(), Some("own"));
        }
        drop(thread);
        assert!(said.recv_timeout(Duration::from_secs(20)).is_err(), "what the task had is dropped");
        assert!(task.await.unwrap_err().is_cancelled());
    }
}
