//! Docker, watched: what it says becomes [`Input`]s for the one task that writes World.
//!
//! Subscribe, list, swap whole: the event stream is opened first and drained into memory by a task of its own, as
//! Docker drops a listener that is slower than 100 ms an event; then everything is listed and handed over at once;
//! then each event hands over what it says by itself and has its container inspected. After a break the stream is
//! resumed where it ended (Docker remembers 256 events) and everything is listed again. A resync on a timer
//! repairs what was missed all the same, and counts it.
//!
//! Deliberately absent: what any of it means. This room knows Docker's spelling and nothing of routes.

mod connect;
mod inspect;
mod session;
mod stream;
mod translate;

use std::time::Duration;

use backon::BackoffBuilder;
use longshore_model::{Container, ContainerEvent, ContainerId, Network};
use tokio::sync::mpsc;

use crate::config::{DockerSettings, Live};
use crate::problems::chain;
use crate::state::Reader;

/// What the watch found out.
#[derive(Debug)]
pub(crate) enum Input {
    /// Docker told of this.
    Event(ContainerEvent),
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

/// Watches one Docker Engine until the receiver of its inputs is gone. `world` is what the resync compares
/// Docker's list with.
pub(crate) async fn watch(
    settings: DockerSettings,
    live: tokio::sync::watch::Receiver<Live>,
    world: Reader,
    inputs: mpsc::UnboundedSender<Input>,
) {
    let mut resume = None;
    let mut delays = backoff();
    while !inputs.is_closed() {
        let session = session::Session::open(&settings, &live, &world, &inputs, &mut resume).await;
        let ended = match session {
            Ok(mut session) => {
                tracing::info!(docker = %settings.address, version = session.version(), "watching Docker");
                delays = backoff();
                session.run().await
            }
            Err(error) => error,
        };
        let why = chain(&ended);
        let delay = delays.next().unwrap_or(MAX_DELAY);
        tracing::debug!(docker = %settings.address, error = %why, retry_in = ?delay, "Docker does not answer");
        if inputs.send(Input::Away(why)).is_err() {
            return;
        }
        tokio::time::sleep(delay).await;
    }
}

const MAX_DELAY: Duration = Duration::from_millis(2500);

/// Docker away is an ordinary day: asked soon at first, then every few seconds, never by all hosts at once.
fn backoff() -> backon::ExponentialBackoff {
    backon::ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(MAX_DELAY)
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
        .build()
}
