//! Docker, watched: what it says becomes [`DockerObservation`]s for the one task that writes World.
//!
//! ```text
//! stream ──Heard──► Session ──Observe──► World's writer
//! answers ─────────►  (pure) ──Show─────► InspectionCache
//!                        └────Inspect, List, Ping, Subscribe──► Docker
//! ```
//!
//! Subscribe, list, swap whole: the event stream is opened first and drained into memory by a task of its own, as
//! Docker drops a listener that is slower than 100 ms an event; then everything is listed and handed over at once;
//! then each event hands over what it says by itself and has its container inspected. After a break the stream is
//! resumed where it ended (Docker remembers 256 events) and everything is listed again. A resync on a timer
//! repairs what was missed all the same, and counts it. [`session`] decides all of it; [`run`](mod@run) makes the calls.
//!
//! Deliberately absent: what any of it means. This room knows Docker's spelling and nothing of routes.

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

/// Which events Docker is asked for, beyond those that World follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attention {
    /// These too, by Docker's names.
    Also(BTreeSet<String>),
    /// All that happens to a container.
    Everything,
}

impl Default for Attention {
    fn default() -> Self {
        Self::Also(BTreeSet::new())
    }
}

/// One engine, and what is done with what it says.
pub struct Watched {
    /// The engine.
    pub docker: DockerClient,
    /// What may change while it is watched.
    pub live: tokio::sync::watch::Receiver<ReloadableSettings>,
    /// Which events the handlers want.
    pub attention: tokio::sync::watch::Receiver<Attention>,
    /// What the resync compares Docker's list with.
    pub world: Reader,
    /// The host whose engine it is.
    pub host: HostId,
    /// Where it is told which containers Docker refuses to show.
    pub problems: Problems,
    /// Where what is observed goes.
    pub observations: mpsc::UnboundedSender<Observation>,
    /// The time of the last event heard, in nanoseconds since 1970; nothing on the first day.
    pub resume: Option<i64>,
}

impl Watched {
    /// Tells what was observed. It fails once nobody takes it.
    fn tell(&self, observation: DockerObservation) -> Result<(), mpsc::error::SendError<Observation>> {
        self.observations.send(Observation::Docker(self.host, observation))
    }
}

/// Watches one Docker Engine until nobody takes what it observes.
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
        if watched.tell(DockerObservation::Away(why)).is_err() {
            return;
        }
        tokio::time::sleep(delay).await;
    }
}

const FIRST_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_millis(2500);
/// A connection that held for so long is no part of what failed before: each begins with a list of everything.
const STEADY: Duration = Duration::from_secs(10);
