//! A thread inside a host's network namespace.
//!
//! A socket belongs to the namespace of the thread that opened it. One dedicated thread enters the host's namespace
//! and runs the futures that connect from there, which saves a process per request.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::mpsc;
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::LabError;
use super::layout::Seat;

/// The thread, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Namespace {
    name: String,
    handle: Handle,
    /// Dropped to end the thread.
    _stay: oneshot::Sender<()>,
}

impl Namespace {
    /// Starts a thread that has entered the host's namespace.
    pub(super) fn enter(seat: &Seat) -> Result<Self, LabError> {
        let (report, entered) = mpsc::sync_channel(1);
        let (stay, leave) = oneshot::channel::<()>();
        let path = seat.namespace_file();
        let inside = move || {
            let enter = || {
                let file = File::open(&path)?;
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
                tokio::runtime::Builder::new_current_thread().enable_all().build()
            };
            match enter() {
                Ok(runtime) => {
                    // The starter of the thread waits for this.
                    let _ = report.send(Ok(runtime.handle().clone()));
                    let _ = runtime.block_on(leave);
                    runtime.shutdown_background();
                }
                Err(e) => {
                    let _ = report.send(Err(e));
                }
            }
        };
        let name = seat.name.clone();
        let failed = |e| LabError::Namespace(name.clone(), e);
        thread::Builder::new().name(format!("inside-{name}")).spawn(inside).map_err(|e| failed(Some(e)))?;
        let handle = entered.recv().map_err(|_| failed(None))?.map_err(|e| failed(Some(e)))?;
        Ok(Self { name, handle, _stay: stay })
    }

    /// Runs a future inside and returns its result; a panic in it resumes in the caller.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, LabError> {
        match self.handle.spawn(future).await {
            Ok(result) => Ok(result),
            Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
            Err(_) => Err(LabError::Namespace(self.name.clone(), None)),
        }
    }

    /// Returns the handle that spawns futures inside.
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }
}
