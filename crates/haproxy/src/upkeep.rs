//! Work that is due without a change of routes: debounced reloads, the sweep, and files after changes at run time.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::{Haproxy, HaproxyError, Known, diff, files, program};

/// How long a withdrawn server is kept before it is deleted, and a slot before it is reused: a request that was on
/// its way there has arrived by then.
pub(crate) const SWEEP_DELAY: Duration = Duration::from_secs(2);

/// The interval at which deleting servers with open connections is retried.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The interval at which a running HAProxy's identity is checked: nothing reports that somebody else reloaded it.
const IDENTITY_INTERVAL: Duration = Duration::from_secs(1);

/// When each step is due.
#[derive(Debug, Default)]
pub(crate) struct Due {
    /// A reload that was debounced.
    pub(crate) reload: Option<Instant>,
    /// Frontends without routes.
    pub(crate) linger: Option<Instant>,
    /// Servers in maintenance, and released slots.
    pub(crate) sweep: Option<Instant>,
    /// Files that are behind the running state.
    pub(crate) write: Option<Instant>,
    /// The check of HAProxy's identity. Kept, so that a busy caller does not postpone it forever.
    pub(crate) poll: Option<Instant>,
}

impl Due {
    fn next(&self) -> Option<Instant> {
        [self.reload, self.linger, self.sweep, self.write].into_iter().flatten().min()
    }
}

/// The task that writes the files after a change.
pub(crate) type Writer = JoinHandle<Result<String, HaproxyError>>;

impl Haproxy {
    /// Resolves when [`Haproxy::apply`] has to be called although no route changed. Cancel-safe. Does not resolve
    /// again for what `apply` has handled.
    pub async fn disturbed(&mut self) {
        loop {
            let next = self.due.next();
            let poll = *self.due.poll.get_or_insert_with(|| Instant::now() + IDENTITY_INTERVAL);
            let polled = self.has_layout && self.known.is_some();
            let master = self.master.as_mut();
            tokio::select! {
                () = ended(master) => return,
                () = at(next) => return,
                written = finished(self.writer.as_mut()) => {
                    self.writer = None;
                    match written {
                        Ok(text) => self.written = Some(text),
                        // The next call of `apply` writes them itself, and reports why that fails.
                        Err(_) => {
                            self.unwritten = true;
                            return;
                        }
                    }
                }
                () = sleep_until(poll), if polled => {
                    if self.was_replaced().await {
                        self.known = None;
                        self.last_failure = None;
                        return;
                    }
                    self.due.poll = None;
                }
            }
        }
    }

    /// Returns whether another worker, or none, answers.
    async fn was_replaced(&self) -> bool {
        let Some(Known { identity: Some(was), .. }) = &self.known else { return false };
        match self.runtime.identity().await {
            Ok(is) if is == *was => false,
            Ok(is) => {
                tracing::warn!(was = was.pid, is = is.pid, "HAProxy was restarted or reloaded externally");
                true
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "HAProxy does not answer");
                true
            }
        }
    }

    /// Deletes withdrawn servers whose connections have ended, and frees empty slots.
    pub(crate) async fn sweep_if_due(&mut self) -> Result<(), HaproxyError> {
        let now = Instant::now();
        if self.due.sweep.is_none_or(|at| at > now) {
            return Ok(());
        }
        self.due.sweep = None;
        let Some(known) = &mut self.known else { return Ok(()) };
        let commands = diff::sweep(&known.state);
        if !commands.is_empty()
            && let Err(error) = self.runtime.delete(&self.paths, commands, &mut known.state).await
        {
            self.known = None;
            return Err(error);
        }
        let abandoned = known.state.orphaned_slots();
        let (still, cooled): (Vec<_>, Vec<_>) = std::mem::take(&mut known.cooling)
            .into_iter()
            .partition(|(since, slot)| *since + SWEEP_DELAY > now || abandoned.contains(slot));
        known.cooling = still;
        known.free.extend(cooled.into_iter().map(|(_, slot)| slot));
        let left = known.state.servers.values().flatten().any(|(_, server)| !server.serving);
        if left || !known.cooling.is_empty() {
            self.due.sweep = Some(now + SWEEP_INTERVAL);
        }
        Ok(())
    }

    /// Writes the files after changes at run time, in a background task.
    pub(crate) async fn write_if_due(&mut self) -> Result<(), HaproxyError> {
        let now = Instant::now();
        if self.unwritten && self.last_failure.is_none() {
            self.start_writer();
            self.settle_writer().await?;
            self.unwritten = false;
        }
        if !self.has_layout || self.due.write.is_none_or(|at| at > now) {
            return Ok(());
        }
        if self.writer.as_ref().is_some_and(|writer| !writer.is_finished()) {
            self.due.write = Some(now + self.settings.write_delay);
            return Ok(());
        }
        self.settle_writer().await?;
        self.start_writer();
        Ok(())
    }

    pub(crate) fn start_writer(&mut self) {
        self.due.write = None;
        let Some(known) = &self.known else { return };
        let (templates, paths, table) = (Arc::clone(&self.templates), self.paths.clone(), self.table.clone());
        let (state, written) = (known.state.clone(), self.written.clone());
        let (binary, extra) = (self.settings.binary.clone(), self.extra.clone());
        self.writer = Some(tokio::spawn(async move {
            let (prepared, text, state, paths) = off_thread(move || {
                let text = templates.render(&state, &table)?.text;
                files::touch_maps(&paths, &state)?;
                let differs = written.as_ref() != Some(&text);
                let prepared = differs.then(|| files::beside(&paths.config, &text)).transpose()?;
                Ok((prepared, text, state, paths))
            })
            .await?;
            if let Some(prepared) = &prepared {
                program::check(&binary, prepared, &extra).await?;
            }
            off_thread(move || {
                files::write_maps(&paths, &state)?;
                prepared.map_or(Ok(()), |prepared| files::put(prepared, &paths.config))?;
                Ok(text)
            })
            .await
        }));
    }

    /// Waits for the files to be written.
    pub(crate) async fn settle_writer(&mut self) -> Result<(), HaproxyError> {
        let Some(mut writer) = self.writer.take() else { return Ok(()) };
        match finished(Some(&mut writer)).await {
            Ok(text) => {
                self.written = Some(text);
                Ok(())
            }
            Err(error) => {
                self.unwritten = true;
                Err(error)
            }
        }
    }

    /// Waits for the files to be written, and logs an error, as no caller is left to receive it.
    pub(crate) async fn last_write(&mut self) {
        if let Err(error) = self.settle_writer().await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "HAProxy's files lack its latest routes"
            );
        }
    }
}

/// Returns the writer's result; never resolves without a writer.
async fn finished(writer: Option<&mut Writer>) -> Result<String, HaproxyError> {
    match writer {
        Some(writer) => match writer.await {
            Ok(outcome) => outcome,
            Err(error) => Err(HaproxyError::Reload { reason: error.to_string() }),
        },
        None => std::future::pending().await,
    }
}

/// Runs blocking work on a thread of its own.
pub(crate) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HaproxyError> + Send + 'static,
) -> Result<T, HaproxyError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(HaproxyError::Reload { reason: error.to_string() }),
    }
}

async fn ended(master: Option<&mut crate::master::Master>) {
    match master {
        Some(master) => master.ended().await,
        None => std::future::pending().await,
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
