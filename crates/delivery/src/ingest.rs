//! Turns Docker's events, and what it did not report, into deliveries.

use std::collections::BTreeSet;
use std::sync::Arc;

use longshore_model::{Change, ContainerId, EventKind, HandlerEvent};
use longshore_runtime::Evidence;
use longshore_runtime::state::DockerEvent;
use longshore_wire::journal::DeliveryRow;

use crate::dispatcher::{Dispatcher, Effect, Moment};
use crate::events::PendingEvent;
use crate::handler_queue::HandlerQueue;
use crate::intake;
use crate::queue::Entry;

impl Dispatcher {
    /// Takes in an event that Docker reported.
    pub(crate) fn hear(&mut self, event: DockerEvent, moment: &Moment<'_>) {
        self.heard = self.heard.max(event.at());
        if self.idle {
            return;
        }
        self.batch.heard = Some(self.heard);
        let events = match event {
            DockerEvent::Container(event) => {
                self.begin(moment);
                let last = self.inspections.get(&event.container);
                let health_check = last.and_then(|last| last.health_check.clone());
                let is = moment.container(&event.container);
                let events = self.intake.container(&event, is, health_check.as_deref());
                if !events.is_empty() {
                    let id = event.container;
                    self.batch.reported.insert(id.clone(), self.intake.reported(&id).cloned());
                    if self.intake.missed(&id, is).is_empty() {
                        self.doubts.settle(&id);
                    } else {
                        self.doubts.put_off(id, moment.now);
                    }
                }
                events
            }
            DockerEvent::Network(event) => self.intake.network(event).into_iter().collect(),
        };
        events.into_iter().for_each(|event| self.accept(event, moment));
    }

    /// Queues an event for every handler that wants it, once it is recorded.
    fn accept(&mut self, event: HandlerEvent, moment: &Moment<'_>) {
        let seq = self.next;
        self.next += 1;
        if event.synthetic {
            tracing::info!(id = %event.id, "Docker did not report an event: delivering a synthetic one");
            metrics::counter!("longshore_synthetic_events_total").increment(1);
        }
        let event = Arc::new(event);
        let outdated = self.intake.remember(seq, event.id.clone());
        self.batch.ids.extend(outdated.map(|seq| (seq, None)));
        self.batch.ids.insert(seq, Some(event.id.clone()));
        let mut pending = PendingEvent::new(event.clone());
        for (name, handler) in &self.handlers {
            if handler.wants(&event) {
                pending.deliveries += 1;
                self.batch.deliveries.insert((name.clone(), seq), Some(DeliveryRow::default()));
                let entry = Entry { seq, attempts: 0, redelivered: false };
                self.due.push((name.clone(), event.subject_id().to_owned(), entry));
            }
        }
        let is_pending = pending.deliveries > 0;
        if is_pending {
            self.batch.events.insert(seq, Some(event.clone()));
            self.events.insert(seq, pending);
        }
        let Some(facts) = event.container() else { return };
        match event.event.as_str() {
            // At once, whether or not a handler wants it: handlers receive this inspection when the container ends.
            "create" | "start" | "rename" | "update" | "connect" => {
                self.inspect(facts.id.clone(), is_pending.then_some(seq));
            }
            "destroy" => self.destroyed.push_back((moment.now, facts.id.clone())),
            _ => {}
        }
    }

    /// Queues the dummy event unless one is pending: one conveys as much as two.
    pub(crate) fn accept_none(&mut self, only: Option<&str>, at: i64) {
        let event = intake::none(at);
        let wants = |(name, handler): &(&String, &mut HandlerQueue)| {
            only.is_none_or(|only| only == name.as_str()) && handler.wants(&event) && !handler.queue.waits("")
        };
        let seq = self.next;
        let mut deliveries = 0;
        // A restart conveys as much, so it is not recorded.
        for (_, handler) in self.handlers.iter_mut().filter(wants) {
            deliveries += 1;
            handler.queue.push("", Entry { seq, attempts: 0, redelivered: false });
        }
        if deliveries > 0 {
            self.next += 1;
            self.events.insert(seq, PendingEvent { event: Arc::new(event), deliveries });
        }
    }

    /// Compares what was reported with World, where World changed.
    pub(crate) fn compare(&mut self, changes: &BTreeSet<Change>, moment: &Moment<'_>) {
        let Some(world) = moment.world.filter(|_| !self.idle) else { return };
        if self.begin(moment) {
            return;
        }
        let changed = Change::containers_of(changes, world.me()).unwrap_or_else(|| {
            world.own().containers.keys().chain(self.intake.all_reported().keys()).cloned().collect()
        });
        for id in changed {
            let is = moment.container(&id);
            is.into_iter().for_each(|container| self.intake.refresh(container));
            if !self.intake.missed(&id, is).is_empty() {
                self.doubts.raise(id, moment.now);
                continue;
            }
            self.doubts.settle(&id);
            // Containers older than the agent have no event to trigger an inspection.
            if is.is_some() && !self.inspections.contains_key(&id) {
                self.inspect(id, None);
            }
        }
    }

    /// Takes in Docker's answer about containers in doubt, and synthesizes what it did not report.
    pub(crate) fn judge(&mut self, evidence: Option<Evidence>, moment: &Moment<'_>) {
        let Some(evidence) = evidence else { return self.doubts.ask_again(moment.now) };
        let heard = self.heard;
        // Docker remembers everything after an event that has arrived, including what has not arrived yet.
        if evidence.events.iter().any(|event| event.at() <= heard) {
            let unread = evidence.events.into_iter().filter(|event| event.at() >= heard);
            unread.for_each(|event| self.hear(event, moment));
        } else {
            // The last of them will arrive, after everything that Docker forgot.
            let caught_up = !evidence.events.iter().any(always_arrives);
            if self.doubts.lags(caught_up, self.arrived, moment.now) {
                return;
            }
        }
        for id in self.doubts.answered() {
            let is = evidence.containers.get(&id).and_then(Option::as_ref);
            let events = self.intake.synthesize(&id, is, evidence.until);
            if !events.is_empty() {
                self.batch.reported.insert(id.clone(), self.intake.reported(&id).cloned());
            }
            events.into_iter().for_each(|event| self.accept(event, moment));
            if !self.intake.missed(&id, moment.container(&id)).is_empty() {
                self.doubts.check_later(id, moment.now);
            }
        }
    }

    /// Requests a container's inspection; `seq` is the event whose handlers receive it.
    fn inspect(&mut self, container: ContainerId, seq: Option<u64>) {
        if self.idle {
            return;
        }
        self.inspected += 1;
        self.effects.push(Effect::Inspect { container, number: self.inspected, seq });
    }

    /// Handles the first start: existing containers are not events. Returns whether this is the first start.
    pub(crate) fn begin(&mut self, moment: &Moment<'_>) -> bool {
        let Some(world) = moment.world.filter(|_| !self.idle && !self.has_begun()) else { return false };
        self.intake.begun = Some(moment.at);
        (self.batch.begun, self.batch.heard) = (self.intake.begun, Some(self.heard));
        for container in world.own().containers.values() {
            if self.intake.reported(&container.id).is_none() {
                self.intake.begin(container);
            }
            let reported = self.intake.reported(&container.id).cloned();
            self.batch.reported.insert(container.id.clone(), reported);
            self.inspect(container.id.clone(), None);
        }
        true
    }
}

/// Returns whether Docker is always asked for this event, whatever handlers want.
fn always_arrives(event: &DockerEvent) -> bool {
    match event {
        DockerEvent::Container(event) => !matches!(event.kind, EventKind::Other(_)),
        DockerEvent::Network(_) => true,
    }
}
