//! The event stream, drained as fast as Docker sends it.

use std::collections::HashMap;

use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::StreamExt;
use longshore_runtime::chain;
use longshore_runtime::state::DockerEvent;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::Attention;
use super::session::CHANGING;
use super::translate;

/// Only what World depends on or a person wants to see: a health check alone causes three events a second.
const ACTIONS: &[&str] = &[
    "create",
    "start",
    "kill",
    "die",
    "pause",
    "unpause",
    "rename",
    "destroy",
    "health_status",
    "connect",
    "disconnect",
    "remove",
];

/// An item from the stream.
#[derive(Debug)]
pub(super) enum Item {
    /// An event.
    Heard(DockerEvent),
    /// Something unreadable, and why. Nothing follows it.
    Unreadable(String),
    /// The connection broke. Nothing follows it.
    Broken(Error),
}

/// An open stream. Dropping it closes the connection.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) items: mpsc::UnboundedReceiver<Item>,
    _drain: AbortOnDropHandle<()>,
}

/// Opens the stream at `since` (nanoseconds since 1970, Docker's clock). What Docker still remembers from then on
/// comes first, so nothing is lost between this call and the connection.
pub(super) fn open(docker: Docker, since: i64, attention: &Attention) -> Stream {
    let mut filters = HashMap::from([("type", vec!["container", "network"])]);
    if let Attention::Also(named) = attention {
        let named = named.iter().map(String::as_str);
        filters.insert("event", ACTIONS.iter().chain(CHANGING).copied().chain(named).collect());
    }
    let since = format!("{}.{:09}", since / 1_000_000_000, since % 1_000_000_000);
    let options = EventsOptionsBuilder::default().since(&since).filters(&filters).build();
    let (sender, items) = mpsc::unbounded_channel();
    let drain = tokio::spawn(async move {
        let mut events = std::pin::pin!(docker.events(Some(options)));
        while let Some(event) = events.next().await {
            let item = match event {
                Ok(message) => match translate::event(message) {
                    Some(event) => Item::Heard(event),
                    None => continue,
                },
                Err(error @ (Error::JsonDataError { .. } | Error::JsonSerdeError { .. })) => {
                    Item::Unreadable(chain(&error))
                }
                Err(error) => Item::Broken(error),
            };
            let is_over = !matches!(item, Item::Heard(_));
            if sender.send(item).is_err() || is_over {
                return;
            }
        }
    });
    Stream { items, _drain: AbortOnDropHandle::new(drain) }
}
