//! Handlers that are added, changed and removed, and what happens to their deliveries.

use std::collections::BTreeSet;

use longshore_model::HandlerSet;
use longshore_wire::journal::DeliveryRow;

use crate::dispatcher::{Dispatcher, Effect, Moment};
use crate::handler_queue::{FailedDelivery, HandlerQueue};
use crate::queue::Entry;

impl Dispatcher {
    /// Adopts the defined handlers.
    pub(crate) fn take_handlers(&mut self, set: &HandlerSet, moment: &Moment<'_>) {
        let is_told =
            |name: &String| set.handlers.get(name).is_some_and(|handler| handler.job.counts_events());
        let removed: Vec<String> = self.handlers.keys().filter(|name| !is_told(name)).cloned().collect();
        for name in removed {
            let Some(handler) = self.handlers.remove(&name) else { continue };
            tracing::info!(handler = name, pending = handler.queue.len(), "handler removed");
            self.report_problem(&name);
            let left: Vec<u64> =
                handler.queue.entries().map(|entry| entry.seq).chain(handler.failed.into_keys()).collect();
            left.into_iter().for_each(|seq| self.over(&name, seq));
            self.effects.push(Effect::Deliverer { name, handler: None });
        }
        let mut added = Vec::new();
        for (name, handler) in set.handlers.iter().filter(|(name, _)| is_told(name)) {
            match self.handlers.get_mut(name) {
                Some(known) if known.handler == *handler => continue,
                Some(known) => {
                    known.handler = handler.clone();
                    tracing::info!(handler = name, "handler changed");
                }
                None => {
                    tracing::info!(handler = name, "handler added");
                    let mut queue = HandlerQueue::new(handler.clone());
                    self.adopt(name, &mut queue);
                    self.handlers.insert(name.clone(), queue);
                    self.report_problem(name);
                    added.push(name.clone());
                }
            }
            self.effects.push(Effect::Deliverer { name: name.clone(), handler: Some(handler.clone()) });
        }
        let lost: BTreeSet<String> = self.orphans.keys().map(|(name, _)| name.clone()).collect();
        for name in lost.into_iter().filter(|name| !set.broken.contains_key(name)) {
            self.drop_deliveries(&name);
        }
        self.rest_or_begin(moment);
        added.iter().for_each(|name| self.accept_none(Some(name), moment.at));
    }

    /// Stops recording events when no handler receives them, and starts again with the first handler that does.
    fn rest_or_begin(&mut self, moment: &Moment<'_>) {
        let idle = self.handlers.is_empty() && self.orphans.is_empty();
        if idle && !self.idle {
            self.intake.forget_containers();
            self.doubts.clear();
            self.inspections.clear();
            self.destroyed.clear();
            self.batch.wipe();
        }
        self.idle = idle;
        self.begin(moment);
    }

    /// Gives a handler the deliveries that an earlier agent did not finish.
    fn adopt(&mut self, name: &str, handler: &mut HandlerQueue) {
        for (seq, row) in self.take_orphans(name) {
            let Some(pending) = self.events.get(&seq) else { continue };
            let DeliveryRow { attempts, failed } = row;
            match failed {
                Some(failure) => drop(handler.failed.insert(seq, FailedDelivery { attempts, failure })),
                // It is unknown whether it reached the handler.
                None => {
                    let entry = Entry { seq, attempts, redelivered: true };
                    handler.queue.push(pending.event.subject_id(), entry);
                }
            }
        }
        if handler.queue.len() > 0 {
            tracing::info!(
                handler = name,
                count = handler.queue.len(),
                "resuming deliveries of an earlier agent"
            );
        }
    }

    /// Drops all deliveries to a handler that is no longer defined.
    fn drop_deliveries(&mut self, name: &str) {
        let dropped = self.take_orphans(name);
        tracing::warn!(
            handler = name,
            count = dropped.len(),
            "dropping deliveries to a handler that was removed"
        );
        dropped.into_iter().for_each(|(seq, _)| self.over(name, seq));
    }

    fn take_orphans(&mut self, name: &str) -> Vec<(u64, DeliveryRow)> {
        let its = self.orphans.extract_if(.., |(handler, _), _| handler == name);
        its.map(|((_, seq), row)| (seq, row)).collect()
    }
}
