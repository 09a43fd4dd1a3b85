//! How one event reaches one handler: a program run, a process notified, a request posted.
//!
//! Each of these makes one attempt and reports the outcome. Retries and their order belong to `crate::dispatcher`.

use std::time::Duration;

use longshore_model::{EventSubject, Handler, HandlerEvent};
use serde::Serialize;
use serde_json::value::RawValue;

/// One attempt to deliver one event to one handler.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt<'a> {
    /// This host's name.
    pub(crate) node: &'a str,
    /// The recipient.
    pub(crate) handler: &'a Handler,
    /// The event to deliver.
    pub(crate) event: &'a HandlerEvent,
    /// The container's inspection as Docker reports it; the last known one if the container is gone, and `None` for
    /// an event without a container.
    pub(crate) inspection: Option<&'a RawValue>,
    /// Counted from 1.
    pub(crate) number: u32,
    /// Whether it may have been delivered before: by a failed attempt, or by an agent that ended before it recorded
    /// the delivery.
    pub(crate) redelivered: bool,
}

/// What plugins and webhooks receive.
#[derive(Debug, Serialize)]
pub(crate) struct Message<'a> {
    pub(crate) id: &'a str,
    pub(crate) event: &'a str,
    /// RFC 3339, by Docker's clock.
    pub(crate) at: String,
    pub(crate) node: &'a str,
    pub(crate) handler: &'a str,
    pub(crate) attempt: u32,
    pub(crate) redelivered: bool,
    pub(crate) synthetic: bool,
    /// The former name of `synthetic`.
    pub(crate) made_up: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) container: Option<&'a longshore_model::ContainerFacts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) network: Option<NetworkFacts<'a>>,
    pub(crate) attributes: &'a std::collections::BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) inspection: Option<&'a RawValue>,
}

#[derive(Debug, Serialize)]
pub(crate) struct NetworkFacts<'a> {
    pub(crate) id: &'a str,
    pub(crate) name: &'a str,
}

impl<'a> Attempt<'a> {
    /// Returns the event's time, in RFC 3339.
    pub(crate) fn at(&self) -> String {
        jiff::Timestamp::from_nanosecond(self.event.at.into()).unwrap_or_default().to_string()
    }

    /// Returns the JSON that plugins and webhooks receive.
    pub(crate) fn message(&self) -> Message<'a> {
        let event = self.event;
        let network = match &event.subject {
            EventSubject::Network { id, name } => Some(NetworkFacts { id, name }),
            EventSubject::Nothing | EventSubject::Container(_) => None,
        };
        Message {
            id: &event.id.0,
            event: &event.event,
            at: self.at(),
            node: self.node,
            handler: &self.handler.name,
            attempt: self.number,
            redelivered: self.redelivered,
            synthetic: event.synthetic,
            made_up: event.synthetic,
            container: event.container(),
            network,
            attributes: &event.attributes,
            inspection: self.inspection,
        }
    }
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// In a sentence without a final dot: `it exited with status 3`.
    pub why: String,
    /// What happens to the delivery.
    pub retry: Retry,
    /// How long the handler wants no further attempt, at least.
    pub not_before: Duration,
}

/// What becomes of a delivery after an attempt that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Retried after a delay, as often as the handler's rules allow.
    Later,
    /// A retry can never succeed.
    Never,
    /// Retried at once, without counting this attempt: the agent aborted it.
    Uncounted {
        /// Whether the handler may have got the event.
        told: bool,
    },
}

impl Failure {
    /// Returns whether no retry can succeed.
    pub fn is_permanent(&self) -> bool {
        self.retry == Retry::Never
    }

    /// Creates a failure that may be temporary.
    pub fn passing(why: impl Into<String>) -> Self {
        Self { why: why.into(), retry: Retry::Later, not_before: Duration::ZERO }
    }

    /// Creates a failure that no retry would change.
    pub fn for_good(why: impl Into<String>) -> Self {
        Self { why: why.into(), retry: Retry::Never, not_before: Duration::ZERO }
    }

    /// Creates the failure of an attempt that the agent aborted; `told` says whether the handler may have received
    /// the event.
    pub fn broken_off(why: impl Into<String>, told: bool) -> Self {
        Self { why: why.into(), retry: Retry::Uncounted { told }, not_before: Duration::ZERO }
    }
}
