//! How one event reaches one handler: a program run, a process told, a request made.
//!
//! Each of these tries once and says how it went; when it is tried again, and in which order, is the delivery's
//! business (`crate::deliver`).

mod inherited;
mod plugin;
#[cfg(test)]
mod sample;
mod script;
mod webhook;

use std::time::Duration;

use hyper_util::client::proxy::matcher::Matcher;
use longshore_model::{Handler, Job, Occurrence, OccurrenceSubject};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::problems::Problems;

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
    id: &'a str,
    event: &'a str,
    /// RFC 3339, by Docker's clock.
    at: String,
    node: &'a str,
    handler: &'a str,
    attempt: u32,
    redelivered: bool,
    made_up: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<&'a longshore_model::ContainerFacts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<NetworkFacts<'a>>,
    attributes: &'a std::collections::BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inspection: Option<&'a RawValue>,
}

#[derive(Debug, Serialize)]
struct NetworkFacts<'a> {
    id: &'a str,
    name: &'a str,
}

impl<'a> Attempt<'a> {
    /// When it happened, in RFC 3339.
    fn at(&self) -> String {
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

/// What carries a handler's events to it. Several deliveries may be under way at once.
#[derive(Debug)]
pub(crate) enum Deliverer {
    Script(script::Script),
    Plugin(plugin::Plugin),
    Webhook(webhook::Webhook),
}

impl Deliverer {
    /// The one for a handler; `None` for a job that follows World.
    pub(crate) fn new(handler: &Handler, node: &str, docker_host: &str, problems: &Problems) -> Option<Self> {
        match &handler.job {
            Job::Script { program, ini } => Some(Self::Script(script::Script::new(
                program.clone(),
                ini.clone().unwrap_or_default(),
                docker_host.to_owned(),
            ))),
            Job::Plugin { command } => {
                Some(Self::Plugin(plugin::Plugin::new(handler, command.clone(), node, docker_host, problems)))
            }
            Job::Webhook { url, secret_file } => {
                let proxies = Matcher::from_env();
                Some(Self::Webhook(webhook::Webhook::new(url.clone(), secret_file.clone(), &proxies)))
            }
            Job::Balance(_) | Job::Publish(_) | Job::OpenVswitch(_) => None,
        }
    }

    /// Tries once, for as long as the handler's rules allow. Dropping this ends what it began.
    pub(crate) async fn deliver(&self, attempt: &Attempt<'_>) -> Result<(), Failure> {
        match self {
            Self::Script(script) => script.deliver(attempt).await,
            Self::Plugin(plugin) => plugin.deliver(attempt).await,
            Self::Webhook(webhook) => webhook.deliver(attempt).await,
        }
    }

    /// What [`Deliverer::deliver`] would give the handler.
    pub(crate) fn describe(&self, attempt: &Attempt<'_>) -> longshore_api::HandlerCall {
        match self {
            Self::Script(script) => script.describe(attempt),
            Self::Plugin(_) => plugin::Plugin::describe(attempt.handler, attempt),
            Self::Webhook(webhook) => webhook.describe(attempt),
        }
    }

    /// Ends what goes on running, within a few seconds.
    pub(crate) async fn stop(&self) {
        if let Self::Plugin(plugin) = self {
            plugin.stop().await;
        }
    }
}
