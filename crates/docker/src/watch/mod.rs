//! Docker, watched: what it says becomes [`DockerObservation`]s for the one task that writes World.
//!
//! Subscribe, list, swap whole: the event stream is opened first and drained into memory by a task of its own, as
//! Docker drops a listener that is slower than 100 ms an event; then everything is listed and handed over at once;
//! then each event hands over what it says by itself and has its container inspected. After a break the stream is
//! resumed where it ended (Docker remembers 256 events) and everything is listed again. A resync on a timer
//! repairs what was missed all the same, and counts it.
//!
//! Deliberately absent: what any of it means. This room knows Docker's spelling and nothing of routes.

mod inspect;
mod session;
mod stream;
pub(crate) mod translate;

use std::collections::BTreeSet;
use std::time::Duration;

use longshore_model::HostId;
use longshore_runtime::state::{DockerObservation, Observation, Reader};
use longshore_runtime::{ReloadableSettings, backoff, chain};
use tokio::sync::mpsc;

use crate::DockerSettings;

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
    /// How the engine is reached.
    pub settings: DockerSettings,
    /// What may change while it is watched.
    pub live: tokio::sync::watch::Receiver<ReloadableSettings>,
    /// Which events the handlers want.
    pub attention: tokio::sync::watch::Receiver<Attention>,
    /// What the resync compares Docker's list with.
    pub world: Reader,
    /// The host whose engine it is.
    pub host: HostId,
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
    let address = watched.settings.address.to_string();
    let mut delays = backoff::exponential(FIRST_DELAY, MAX_DELAY);
    while !watched.observations.is_closed() {
        let session = session::Session::open(&mut watched).await;
        let ended = match session {
            Ok(mut session) => {
                tracing::info!(docker = %address, version = session.version(), "watching Docker");
                delays = backoff::exponential(FIRST_DELAY, MAX_DELAY);
                session.run().await
            }
            Err(error) => error,
        };
        let why = chain(&ended);
        let delay = delays.next().unwrap_or(MAX_DELAY);
        tracing::debug!(docker = %address, error = %why, retry_in = ?delay, "Docker does not answer");
        if watched.tell(DockerObservation::Away(why)).is_err() {
            return;
        }
        tokio::time::sleep(delay).await;
    }
}

const FIRST_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_millis(2500);
