//! Watches Docker and turns its events and answers into [`DockerObservation`]s for the one task that writes World.
//!
//! ```text
//! stream ──Heard──► Session ──Observe──► World's writer
//! answers ─────────►  (pure) ──Show─────► InspectionCache
//!                        └────Inspect, List, Ping, Subscribe──► Docker
//! ```
//!
//! Subscribe, list, swap whole: the event stream is opened first and drained into memory by its own task, as Docker
//! drops a listener that is slower than 100 ms per event; then everything is listed and handed over at once; then
//! each event is passed on and triggers an inspection of its container. After a break the stream resumes where it
//! ended (Docker remembers 256 events) and everything is listed again. A periodic resync still repairs what was
//! missed, and counts it. [`session`] decides all of it; [`run`](mod@run) makes the calls.
//!
//! Deliberately absent: what any of it means. This module knows Docker's format and nothing of routes.

mod queue;
mod run;
pub mod session;
mod signal;
mod stream;
pub mod summary;
pub(crate) mod translate;

use std::collections::BTreeSet;
use std::time::Duration;

use longshore_model::HostId;
use longshore_runtime::state::{DockerObservation, Observation, Reader};
use longshore_runtime::{Problems, ReloadableSettings, Source, backoff, chain};
use tokio::sync::mpsc;
use tokio::time::Instant;

pub(crate) use session::Shown;

use crate::DockerClient;

/// Which events Docker is asked for, in addition to those that World follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attention {
    /// These as well, by Docker's names.
    Also(BTreeSet<String>),
    /// All container events.
    Everything,
}

impl Default for Attention {
    fn default() -> Self {
        Self::Also(BTreeSet::new())
    }
}

/// One engine, and where its observations go.
pub struct Watched {
    /// The engine.
    pub docker: DockerClient,
    /// Settings that may change during the watch.
    pub live: tokio::sync::watch::Receiver<ReloadableSettings>,
    /// Which events the handlers want.
    pub attention: tokio::sync::watch::Receiver<Attention>,
    /// World, which the resync compares with Docker's list.
    pub world: Reader,
    /// The engine's host.
    pub host: HostId,
    /// Where containers that Docker refuses to inspect are reported.
    pub problems: Problems,
    /// The channel for observations.
    pub observations: mpsc::UnboundedSender<Observation>,
    /// The time of the last event received, in nanoseconds since 1970; `None` on the first start.
    pub resume: Option<i64>,
}

impl Watched {
    /// Sends an observation.
    ///
    /// # Errors
    /// Returns an error once the receiver is gone.
    fn tell(&self, observation: DockerObservation) -> Result<(), mpsc::error::SendError<Observation>> {
        self.observations.send(Observation::Docker(self.host, observation))
    }
}

/// Watches one Docker Engine until the observations' receiver is gone.
pub async fn watch(mut watched: Watched) {
    let address = watched.docker.settings().address.to_string();
    let mut delays = backoff::exponential(FIRST_DELAY, MAX_DELAY);
    while !watched.observations.is_closed() {
        let began = Instant::now();
        let why = run::run(&mut watched).await.unwrap_or_else(|error| chain(&error));
        if began.elapsed() >= STEADY {
            delays = backoff::exponential(FIRST_DELAY, MAX_DELAY);
        }
        let delay = delays.next().unwrap_or(MAX_DELAY);
        tracing::debug!(docker = %address, error = %why, retry_in = ?delay, "Docker does not answer");
        watched.docker.inspections().away(&why);
        watched.problems.set(Source::Inspections, []);
        watched.problems.set(Source::Lists, []);
        if watched.tell(DockerObservation::Away(why)).is_err() {
            return;
        }
        tokio::time::sleep(delay).await;
    }
}

const FIRST_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_millis(2500);
/// A connection that held this long resets the back-off: each one begins with a full list.
const STEADY: Duration = Duration::from_secs(10);
