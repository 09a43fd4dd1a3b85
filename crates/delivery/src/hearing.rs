//! What is heard of containers, and what is not: from Docker's events and World to deliveries.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use longshore_model::{Change, ContainerId, Host, Occurrence};
use longshore_runtime::state::DockerEvent;
use tokio::time::Instant;

use super::held::{Held, Seen, Shown};
use super::intake;
use super::journal::Row;
use super::queue::Entry;
use super::run::{Delivery, now};
use super::runner::Runner;

/// How long a difference must stand that no event explains: the event may be on its way.
const DOUBT: Duration = Duration::from_secs(1);
/// How many events' inspections are kept for handlers that are yet to be told of them.
const INSPECTIONS: usize = 1024;
/// How long what is known of a container is kept once it is gone: for deliveries that are late.
const GONE: Duration = Duration::from_secs(600);

impl Delivery {
    /// Tells handlers of what Docker told.
    pub(super) fn hear(&mut self, told: DockerEvent) {
        if self.idle {
            return;
        }
        let occurrences = match told {
            DockerEvent::Container(event) => {
                let world = self.context.world.snapshot();
                let host = world.as_ref().map(|world| world.own());
                if let Some(host) = host.filter(|_| !self.begun) {
                    self.begin(host);
                }
                let health_check = self.sights.get(&event.container);
                let health_check = health_check.and_then(|seen| seen.health_check.as_deref());
                let is =
                    host.and_then(|host| host.containers.get(&event.container)).map(|container| &**container);
                let is_doubted = self.doubts.contains_key(&event.container);
                let before = is_doubted.then(|| self.intake.told(&event.container).cloned());
                let occurrences = self.intake.container(&event, is, health_check);
                if let (Some(until), Some(before)) = (self.doubts.get_mut(&event.container), before) {
                    // World may be ahead of it, and the event that explains the rest on its way.
                    if self.intake.told(&event.container) != before.as_ref() {
                        *until = Instant::now() + DOUBT;
                    }
                    if self.intake.missed(&event.container, is).is_empty() {
                        self.doubts.remove(&event.container);
                    }
                }
                let told = self.intake.told(&event.container).cloned();
                self.batch.told.insert(event.container, told);
                occurrences
            }
            DockerEvent::Network(event) => self.intake.network(event).into_iter().collect(),
        };
        for occurrence in occurrences {
            if !occurrence.made_up {
                self.batch.heard = self.batch.heard.max(Some(occurrence.at));
            }
            self.accept(occurrence);
        }
    }

    /// What is known of a container that has been gone for long is of no use any more.
    pub(super) fn forget_gone(&mut self) {
        while let Some((since, _)) = self.gone.front()
            && since.elapsed() >= GONE
        {
            let Some((_, id)) = self.gone.pop_front() else { return };
            self.sights.remove(&id);
            self.batch.inspections.insert(id, None);
        }
    }

    pub(super) fn saw(&mut self, id: ContainerId, seen: Seen) {
        let is_newer = self.sights.get(&id).is_none_or(|known| known.look < seen.look);
        // It may have gone meanwhile.
        if is_newer && self.intake.told(&id).is_some() {
            self.batch.inspections.insert(id.clone(), Some(seen.inspection.clone()));
            self.sights.insert(id, seen);
        }
    }

    /// Gives an event to every handler that wants it, once it is written down.
    pub(super) fn accept(&mut self, occurrence: Occurrence) {
        let seq = self.next;
        self.next += 1;
        let occurrence = Arc::new(occurrence);
        self.batch.outlived.extend(self.intake.remember(seq, occurrence.id.clone()));
        self.batch.ids.push((seq, occurrence.id.clone()));
        let mut held = Held::new(occurrence.clone());
        let mut due = Vec::new();
        for (name, runner) in &self.runners {
            if runner.wants(&occurrence) {
                held.users += 1;
                self.batch.deliveries.push(((name.clone(), seq), Some(Row::default())));
                let entry = Entry { seq, attempts: 0, redelivered: false };
                due.push((name.clone(), occurrence.subject_id().to_owned(), entry));
            }
        }
        let inspection = held.inspection.clone();
        if held.users > 0 {
            self.batch.occurrences.push((seq, occurrence.clone()));
            self.held.insert(seq, held);
            self.write(due);
        }
        let Some(facts) = occurrence.container() else { return };
        match occurrence.event.as_str() {
            // At once, and whether or not somebody wants it: it is what handlers are shown at the container's end.
            "create" | "start" | "rename" | "update" | "connect" => {
                self.keep_inspection(seq);
                self.look_at(facts.id.clone(), inspection);
            }
            "destroy" => self.gone.push_back((Instant::now(), facts.id.clone())),
            _ => {}
        }
    }

    /// An event's inspection is kept for those who are told later, but not those of any number of events: somebody may
    /// be failing for days.
    pub(super) fn keep_inspection(&mut self, seq: u64) {
        if !self.held.contains_key(&seq) {
            return;
        }
        self.inspected.push_back(seq);
        if self.inspected.len() > INSPECTIONS
            && let Some(oldest) = self.inspected.pop_front()
            && let Some(held) = self.held.get_mut(&oldest)
        {
            held.inspection = Shown::default();
        }
    }

    /// The dummy event, unless one waits already: it says that something happened, and one says as much as two.
    pub(super) fn accept_none(&mut self, handler: Option<&str>) {
        let occurrence = intake::none(now());
        let wants = |(name, runner): &(&String, &Runner)| {
            handler.is_none_or(|only| only == name.as_str())
                && runner.wants(&occurrence)
                && !runner.queue.waits("")
        };
        let names: Vec<String> = self.runners.iter().filter(wants).map(|(name, _)| name.clone()).collect();
        if names.is_empty() {
            return;
        }
        let seq = self.next;
        self.next += 1;
        let mut held = Held::new(Arc::new(occurrence));
        held.users = names.len();
        self.held.insert(seq, held);
        // It says nothing that a restart does not say anyway, so it is not written down.
        for name in names {
            if let Some(runner) = self.runners.get_mut(&name) {
                runner.queue.push("", Entry { seq, attempts: 0, redelivered: false });
            }
        }
    }

    /// What World says now, against what was told.
    pub(super) fn doubt(&mut self, changes: &BTreeSet<Change>) {
        let Some(world) = self.context.world.snapshot().filter(|_| !self.idle) else { return };
        let host = world.own();
        if !self.begun {
            self.begin(host);
            return;
        }
        let doubted = Change::containers_of(changes, world.me())
            .unwrap_or_else(|| host.containers.keys().chain(self.intake.containers()).cloned().collect());
        for id in doubted {
            let is = host.containers.get(&id).map(|container| &**container);
            is.into_iter().for_each(|container| self.intake.refresh(container));
            if self.intake.missed(&id, is).is_empty() {
                self.doubts.remove(&id);
                // Those that were there before the agent are shown to no event.
                if is.is_some() && !self.sights.contains_key(&id) {
                    self.look_at(id, Shown::default());
                }
            } else {
                self.doubts.entry(id).or_insert_with(|| Instant::now() + DOUBT);
            }
        }
    }

    /// Has a container inspected, which is what `shown` shows from then on.
    fn look_at(&mut self, id: ContainerId, shown: Shown) {
        if self.idle {
            return;
        }
        self.looks += 1;
        let (inspector, look) = (self.inspector.clone(), self.looks);
        self.inspecting.spawn(async move {
            // Where this comes to nothing, each delivery looks for itself.
            let seen = shown.get_or_try_init(async || inspector.inspect(&id).await.map(Some).ok_or(())).await;
            let seen = seen.ok().cloned().flatten().map(|inspection| Seen::new(look, inspection));
            (id, seen)
        });
    }

    /// The first day: what is there already is no event.
    pub(super) fn begin(&mut self, host: &Host) {
        self.begun = true;
        self.batch.begun = true;
        for container in host.containers.values() {
            if self.intake.told(&container.id).is_none() {
                self.intake.begin(container);
            }
            self.batch.told.insert(container.id.clone(), self.intake.told(&container.id).cloned());
            self.look_at(container.id.clone(), Shown::default());
        }
    }

    /// Tells what nobody told, of containers that were doubted for long enough.
    pub(super) fn make_up(&mut self) {
        let now_is = Instant::now();
        let due = |(id, until): (&ContainerId, &Instant)| (*until <= now_is).then(|| id.clone());
        let due: Vec<ContainerId> = self.doubts.iter().filter_map(due).collect();
        let Some(world) = self.context.world.snapshot() else { return };
        for id in due {
            self.doubts.remove(&id);
            let is = world.own().containers.get(&id).map(|container| &**container);
            let occurrences = self.intake.make_up(&id, is, now());
            self.batch.told.insert(id.clone(), self.intake.told(&id).cloned());
            for occurrence in occurrences {
                tracing::info!(event = occurrence.event, container = %id, "an event that was missed is made up");
                metrics::counter!("longshore_made_up_events_total").increment(1);
                self.accept(occurrence);
            }
        }
    }
}
