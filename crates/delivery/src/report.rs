//! Answers users' requests about the deliveries.

use std::collections::BTreeMap;
use std::time::Instant;

use longshore_api::{FailedDelivery, HandlerTest, HandlerTestReport};
use longshore_model::{ContainerFacts, ContainerId, EventId, EventSubject, Handler, HandlerEvent};
use longshore_plan::handlers::is_event;
use tokio::sync::oneshot;

use crate::TestError;
use crate::attempt::Attempt;
use crate::dispatcher::Dispatcher;
use crate::inspections::{outline, without_values};
use crate::run::{Delivery, now};

impl Dispatcher {
    /// Returns all handlers that receive events.
    pub(crate) fn list(&self) -> Vec<longshore_api::Handler> {
        let each = self.handlers.values().map(|handler| longshore_api::Handler {
            pending: handler.queue.len(),
            running: handler.queue.running(),
            delivered: handler.delivered,
            failed: handler.failed.len(),
            trouble: handler.trouble.clone(),
            ..outline_of(&handler.handler)
        });
        each.collect()
    }

    /// Returns all deliveries that failed permanently, oldest first.
    pub(crate) fn failed(&self) -> Vec<FailedDelivery> {
        let mut all = Vec::new();
        for (name, handler) in &self.handlers {
            for (seq, failed) in &handler.failed {
                let Some(event) = self.events.get(seq).map(|pending| &pending.event) else { continue };
                let one = FailedDelivery {
                    id: format!("{name}:{seq}"),
                    handler: name.clone(),
                    event_id: event.id.to_string(),
                    event: event.event.clone(),
                    container: event.container().map(|facts| facts.name.clone()),
                    attempts: failed.attempts,
                    why: failed.failure.why.clone(),
                    at: time(failed.failure.at),
                };
                all.push((*seq, one));
            }
        }
        all.sort_by_key(|(seq, _)| *seq);
        all.into_iter().map(|(_, one)| one).collect()
    }

    /// Returns the delivery of this id that failed permanently, or all that did.
    pub(crate) fn find_failed(&self, id: Option<&str>) -> Vec<(String, u64)> {
        let of = |name: &String, seq: u64| (name.clone(), seq);
        let Some(id) = id else {
            let each = self.handlers.iter();
            return each
                .flat_map(|(name, handler)| handler.failed.keys().map(|seq| of(name, *seq)))
                .collect();
        };
        let Some((name, seq)) = id.rsplit_once(':') else { return Vec::new() };
        let known =
            |seq: &u64| self.handlers.get(name).is_some_and(|handler| handler.failed.contains_key(seq));
        seq.parse().ok().filter(known).map(|seq| (name.to_owned(), seq)).into_iter().collect()
    }
}

impl Delivery {
    /// Delivers one event to one handler, bypassing all queues.
    pub(crate) fn test(
        &mut self,
        name: &str,
        test: HandlerTest,
        answer: oneshot::Sender<Result<HandlerTestReport, TestError>>,
    ) {
        let (Some(queue), Some(deliverer)) =
            (self.dispatcher.handlers.get(name), self.deliverers.get(name).cloned())
        else {
            let follows = self.handlers.borrow().handlers.get(name).map(|handler| handler.job.word());
            let error = match follows {
                Some(job) => TestError::Follows { name: name.to_owned(), job },
                None => TestError::Handler(name.to_owned()),
            };
            return drop(answer.send(Err(error)));
        };
        let Some((event, attributes)) = test_event(&test.event) else {
            return drop(answer.send(Err(TestError::NoEvent(test.event))));
        };
        let subject = match self.test_subject(&test) {
            Ok(subject) => subject,
            Err(error) => return drop(answer.send(Err(error))),
        };
        let at = now();
        let id = EventId(format!("{at}-test-{event}"));
        let event = HandlerEvent { id, event, at, synthetic: true, subject, attributes };
        let wanted = queue.wants(&event);
        let handler = queue.handler.clone();
        let (node, inspector) = (self.context.node.clone(), self.inspector.clone());
        tokio::spawn(async move {
            let inspection = match event.container() {
                Some(facts) => inspector.inspect(&facts.id).await.or_else(|| outline(facts)),
                None => None,
            };
            // Not everyone with API access may see a container's secrets.
            let inspection = match test.dry_run {
                true => inspection.and_then(|inspection| without_values(&inspection)),
                false => inspection,
            };
            let attempt = Attempt {
                node: &node,
                handler: &handler,
                event: &event,
                inspection: inspection.as_deref(),
                number: 1,
                redelivered: false,
            };
            let started = Instant::now();
            let (would, outcome) = match test.dry_run {
                true => (Some(deliverer.describe(&attempt)), Ok(())),
                false => (None, deliverer.deliver(&attempt).await),
            };
            let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            let failure = outcome.err().map(|failure| failure.why);
            // If nobody waits for the answer any more, that is not an error.
            drop(answer.send(Ok(HandlerTestReport { wanted, would, failure, took_ms })));
        });
    }

    /// Returns the container that a test names, by its id, a prefix of it, or its name.
    fn test_subject(&self, test: &HandlerTest) -> Result<EventSubject, TestError> {
        let text = match (&test.container, test.event.as_str()) {
            (None, "none") => return Ok(EventSubject::Nothing),
            (None, event) => return Err(TestError::NoContainer(event.to_owned())),
            (Some(_), "none") => return Err(TestError::NoneHasNoContainer),
            (Some(text), _) => text.strip_prefix('/').unwrap_or(text),
        };
        let world = self.context.world.snapshot().ok_or_else(|| TestError::Container(text.to_owned()))?;
        let containers = &world.own().containers;
        let of = |facts: ContainerFacts| Ok(EventSubject::Container(facts.into()));
        let named = containers.values().find(|container| container.name == text);
        if let Some(container) = named {
            return of(longshore_plan::facts(container));
        }
        let from = ContainerId::new(text);
        let mut begin = containers.range(from..).take_while(|(id, _)| id.as_str().starts_with(text));
        match (begin.next(), begin.next()) {
            (Some((_, container)), None) if !text.is_empty() => of(longshore_plan::facts(container)),
            (Some(_), Some(_)) => Err(TestError::Ambiguous(text.to_owned())),
            _ => Err(TestError::Container(text.to_owned())),
        }
    }
}

/// Parses an event as a user writes it; what follows the colon becomes Docker's attribute: `health_status: healthy`.
fn test_event(text: &str) -> Option<(String, BTreeMap<String, String>)> {
    let (event, detail) = text.split_once(':').map_or((text, None), |(event, detail)| (event, Some(detail)));
    let is_of_container = event == "none" || is_event(event) && !event.starts_with("network_");
    let attributes = detail.map(|detail| (event.to_owned(), detail.trim().to_owned()));
    is_of_container.then(|| (event.to_owned(), attributes.into_iter().collect()))
}

/// Returns a handler without the state of its deliveries.
pub fn outline_of(handler: &Handler) -> longshore_api::Handler {
    let origin = &handler.origin;
    let file = origin.file.display();
    let events = match handler.job.counts_events() {
        true => handler.filter.events.words().map(str::to_owned).collect(),
        false => Vec::new(),
    };
    longshore_api::Handler {
        name: handler.name.clone(),
        job: handler.job.word().to_owned(),
        origin: origin.line.map_or_else(|| file.to_string(), |line| format!("{file}:{line}")),
        enabled: handler.enabled,
        events,
        pending: 0,
        running: 0,
        delivered: 0,
        failed: 0,
        trouble: None,
        broken: None,
    }
}

fn time(at: i64) -> String {
    jiff::Timestamp::from_nanosecond(at.into()).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_named_as_docker_names_it() {
        assert_eq!(test_event("start"), Some(("start".into(), BTreeMap::new())));
        let healthy = BTreeMap::from([("health_status".into(), "healthy".into())]);
        assert_eq!(test_event("health_status: healthy"), Some(("health_status".into(), healthy)));
        for wrong in ["", "strat", "all", "network_create", "two words", "a\nb", "Start", "../x", ": x"] {
            assert_eq!(test_event(wrong), None, "{wrong:?}");
        }
    }
}
