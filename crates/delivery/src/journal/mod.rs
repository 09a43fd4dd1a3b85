//! What was reported, what is still to be delivered and what failed, recorded before anything is delivered: a crash
//! loses nothing.
//!
//! A dedicated thread writes, as every commit waits for the disk; batches that arrive during a commit go into the
//! next one together. While the disk fails, deliveries continue from memory, and one attempt a second writes the
//! backlog. A file that is overwritten or replaced under the agent is put aside, and a new one is filled from memory.

mod batch;
mod error;
mod store;
#[cfg(test)]
mod tests;

pub use batch::{Batch, Inspection, Remembered};

use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use longshore_runtime::chain;
use tokio::sync::{oneshot, watch};

use self::error::JournalError;
use self::store::Store;

/// Delay between a failed write and the next.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Signals that a batch is on disk, or could not be written and is kept for later.
type Written = oneshot::Sender<()>;

/// The journal's state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct JournalState {
    /// Why writing fails, while it does.
    pub(crate) trouble: Option<String>,
    /// Why and where a file was put aside, if one was. An empty one has taken its place.
    pub(crate) put_aside: Option<String>,
    /// How often a file was put aside since the journal was opened.
    pub(crate) losses: u32,
}

/// The open journal. Dropping it closes the file once everything is written.
#[derive(Debug)]
pub(crate) struct Journal {
    batches: mpsc::Sender<(Batch, Written)>,
    state: watch::Receiver<JournalState>,
    closed: oneshot::Receiver<()>,
}

impl Journal {
    /// Opens the journal in the data directory, or creates one. An unreadable file is put aside and reported.
    ///
    /// # Errors
    /// Returns an error if a new file cannot be created either.
    pub(crate) fn open(data_dir: &Path) -> Result<(Self, Remembered), JournalOpenError> {
        let path = data_dir.join("journal.redb");
        let mut state = JournalState::default();
        let (store, remembered) = match Store::open(&path) {
            Ok(read) => read,
            Err(error) if !error.is_of_content() => return Err(error.into()),
            Err(error) => {
                state.put_aside = Some(farewell(&error, store::put_aside(&path).as_deref()));
                Store::open(&path)?
            }
        };
        let (batches, received) = mpsc::channel();
        let (close, closed) = oneshot::channel();
        let (state, watched) = watch::channel(state);
        let writer = Writer { store, backlog: Batch::default(), retry_at: None, state };
        std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || {
                writer.run(&received);
                let _ = close.send(());
            })
            .map_err(JournalError::Thread)?;
        Ok((Self { batches, state: watched, closed }, remembered))
    }

    /// Writes a batch after those before it; resolves when it is on disk, or while writing fails: then it is kept for
    /// later, and nobody waits for a retry, which opens the file again and may take long.
    pub(crate) fn write(&self, batch: Batch) -> impl Future<Output = ()> + Send + 'static {
        let (written, answer) = oneshot::channel();
        let _ = self.batches.send((batch, written));
        let mut state = self.state();
        async move {
            tokio::select! {
                _ = answer => {}
                Ok(_) = state.wait_for(|state| state.trouble.is_some()) => {}
            }
        }
    }

    /// Returns the journal's state.
    pub(crate) fn state(&self) -> watch::Receiver<JournalState> {
        self.state.clone()
    }

    /// Closes the file once everything is written.
    pub(crate) async fn close(self) {
        drop(self.batches);
        let _ = self.closed.await;
    }
}

/// Why the journal could not be opened.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct JournalOpenError(#[from] JournalError);

/// The journal's thread.
struct Writer {
    store: Store,
    /// What is not on disk yet.
    backlog: Batch,
    /// When to retry, while writing fails.
    retry_at: Option<Instant>,
    state: watch::Sender<JournalState>,
}

impl Writer {
    fn run(mut self, received: &mpsc::Receiver<(Batch, Written)>) {
        loop {
            let first = match self.retry_at {
                None => received.recv().map_err(RecvTimeoutError::from),
                Some(at) => received.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            let closed = matches!(first, Err(RecvTimeoutError::Disconnected));
            let mut waiting = Vec::new();
            for (batch, written) in first.into_iter().chain(received.try_iter()) {
                self.backlog.append(batch);
                waiting.push(written);
            }
            self.backlog.drop_absent(self.store.keys());
            if closed || self.retry_at.is_none_or(|at| at <= Instant::now()) {
                self.write();
            }
            for written in waiting {
                let _ = written.send(());
            }
            if closed {
                // What was not written is recovered from Docker at the next start.
                if let Some(why) = &self.state.borrow().trouble {
                    tracing::error!("the journal is incomplete: {why}");
                }
                return;
            }
        }
    }

    fn write(&mut self) {
        if self.backlog.is_empty() && self.retry_at.is_none() {
            return;
        }
        let mut outcome = self.store.write(&self.backlog);
        let mut put_aside = None;
        if let Err(error) = &outcome
            && error.is_of_content()
        {
            put_aside = Some(farewell(error, self.store.put_aside().as_deref()));
            // Everything known is about to be written; this much has to do until then.
            outcome = self.store.write(&self.backlog);
        }
        let trouble = match outcome {
            Ok(()) => {
                self.backlog = Batch::default();
                self.retry_at = None;
                None
            }
            Err(error) => {
                self.retry_at = Some(Instant::now() + RETRY_INTERVAL);
                Some(chain(&error))
            }
        };
        self.state.send_if_modified(|state| {
            let differs = state.trouble.is_some() != trouble.is_some() || put_aside.is_some();
            if differs {
                state.trouble = trouble;
                state.losses += u32::from(put_aside.is_some());
                state.put_aside = put_aside.or_else(|| state.put_aside.take());
            }
            differs
        });
    }
}

/// Describes what happened to a file that can no longer be used.
fn farewell(error: &JournalError, aside: Option<&Path>) -> String {
    match aside {
        Some(aside) => format!("{}; the file is now {}", chain(error), aside.display()),
        None => chain(error),
    }
}
