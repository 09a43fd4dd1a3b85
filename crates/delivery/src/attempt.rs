//! How one event reaches one handler: a program run, a process told, a request made.
//!
//! Each of these tries once and says how it went; when it is tried again, and in which order, is the delivery's
//! business (`crate::run`).

use std::time::Duration;

use longshore_model::{Handler, Occurrence, OccurrenceSubject};
use serde::Serialize;
use serde_json::value::RawValue;

/// One attempt to deliver one event to one handler.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt<'a> {
    /// This host's name.
    pub(crate) node: &'a str,
    /// To whom.
    pub(crate) handler: &'a Handler,
    /// What.
    pub(crate) occurrence: &'a Occurrence,
    /// The container's inspection, as Docker gives it; the last one that is known where the container is gone, and
    /// nothing for an event of no container.
    pub(crate) inspection: Option<&'a RawValue>,
    /// Counted from 1.
    pub(crate) number: u32,
    /// Whether it may have been delivered before: by a failed attempt, or by an agent that ended before it could
    /// write down that it was.
    pub(crate) redelivered: bool,
}

/// What a plugin and a webhook are told.
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
    /// When it happened, in RFC 3339.
    pub(crate) fn at(&self) -> String {
        jiff::Timestamp::from_nanosecond(self.occurrence.at.into()).unwrap_or_default().to_string()
    }

    /// The JSON that plugins and webhooks get.
    pub(crate) fn message(&self) -> Message<'a> {
        let occurrence = self.occurrence;
        let network = match &occurrence.subject {
            OccurrenceSubject::Network { id, name } => Some(NetworkFacts { id, name }),
            OccurrenceSubject::Nothing | OccurrenceSubject::Container(_) => None,
        };
        Message {
            id: &occurrence.id.0,
            event: &occurrence.event,
            at: self.at(),
            node: self.node,
            handler: &self.handler.name,
            attempt: self.number,
            redelivered: self.redelivered,
            made_up: occurrence.made_up,
            container: occurrence.container(),
            network,
            attributes: &occurrence.attributes,
            inspection: self.inspection,
        }
    }
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// In a sentence without a final dot: `it ended with exit status 3`.
    pub(crate) why: String,
    /// Whether trying again is of no use.
    pub(crate) for_good: bool,
    /// How long who failed wants to be left alone, at least.
    pub(crate) not_before: Duration,
}

impl Failure {
    /// It may work another time.
    pub(crate) fn passing(why: impl Into<String>) -> Self {
        Self { why: why.into(), for_good: false, not_before: Duration::ZERO }
    }

    /// It will never work.
    pub(crate) fn for_good(why: impl Into<String>) -> Self {
        Self { why: why.into(), for_good: true, not_before: Duration::ZERO }
    }
}
