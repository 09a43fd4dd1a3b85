//! Docker, watched: what it says becomes [`Input`]s for the one task that writes World.
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
mod translate;

use std::collections::BTreeSet;
use std::time::Duration;

use longshore_model::{Container, ContainerEvent, ContainerId, Network, NetworkEvent};
use tokio::sync::mpsc;

use crate::config::{DockerSettings, Live};
use crate::delays;
use crate::problems::chain;
use crate::state::Reader;

/// Which events Docker is asked for, beyond those that World follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Attention {
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
pub(crate) struct Watched {
    pub(crate) settings: DockerSettings,
    pub(crate) live: tokio::sync::watch::Receiver<Live>,
    pub(crate) attention: tokio::sync::watch::Receiver<Attention>,
    /// What the resync compares Docker's list with.
    pub(crate) world: Reader,
    pub(crate) inputs: mpsc::UnboundedSender<Input>,
    /// The time of the last event heard, in nanoseconds since 1970; nothing on the first day.
    pub(crate) resume: Option<i64>,
}

/// What the watch found out.
#[derive(Debug)]
pub(crate) enum Input {
    /// Docker told of this.
    Event {
        /// What.
        event: ContainerEvent,
        /// Whether it happened before everything was listed: World has what came of it.
        past: bool,
    },
    /// Docker told of this network.
    Network(NetworkEvent),
    /// A container as it is, or that it is gone.
    Inspected {
        /// Which.
        id: ContainerId,
        /// As it is; nothing if it is gone.
        container: Option<Box<Container>>,
        /// Whether the resync asked: if it tells anything, an event was missed.
        resync: bool,
    },
    /// Everything there is.
    Listed {
        /// All containers.
        containers: Vec<Container>,
        /// All networks, by id.
        networks: Vec<(String, Network)>,
    },
    /// All networks, by id.
    Networks(Vec<(String, Network)>),
    /// Docker cannot be reached, and why. Known containers stay as they are.
    Away(String),
}

/// Watches one Docker Engine until the receiver of its inputs is gone.
pub(crate) async fn watch(mut watched: Watched) {
    let address = watched.settings.address.to_string();
    let mut delays = delays::rising(FIRST_DELAY, MAX_DELAY);
    while !watched.inputs.is_closed() {
        let session = session::Session::open(&mut watched).await;
        let ended = match session {
            Ok(mut session) => {
                tracing::info!(docker = %address, version = session.version(), "watching Docker");
                delays = delays::rising(FIRST_DELAY, MAX_DELAY);
                session.run().await
            }
            Err(error) => error,
        };
        let why = chain(&ended);
        let delay = delays.next().unwrap_or(MAX_DELAY);
        tracing::debug!(docker = %address, error = %why, retry_in = ?delay, "Docker does not answer");
        if watched.inputs.send(Input::Away(why)).is_err() {
            return;
        }
        tokio::time::sleep(delay).await;
    }
}

const FIRST_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_millis(2500);
