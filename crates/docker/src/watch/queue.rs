//! Schedules inspections: one at a time per container, several containers at once.

use std::collections::{BTreeMap, VecDeque};

use longshore_model::ContainerId;

/// Maximum number of concurrent inspections: Docker answers one in 0.4 ms and works on several in parallel.
const MAX_CONCURRENT: usize = 16;

/// The state of a container's inspection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Queued,
    Running,
    /// Running, and something happened since it began: to be repeated.
    Stale,
    /// Running, and World already knows better: to be repeated, and its result discarded.
    Refuted,
}

/// How far the result of an inspection is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worth {
    /// The container's current state.
    Current,
    /// Possibly outdated; the next inspection is queued.
    Stale,
    /// Already wrong; the next inspection is queued.
    Refuted,
}

/// Queued and running inspections.
#[derive(Debug, Default)]
pub(super) struct InspectionQueue {
    places: BTreeMap<ContainerId, Place>,
    queue: VecDeque<ContainerId>,
    running: usize,
}

impl InspectionQueue {
    /// Requests an inspection that begins after this call.
    pub(super) fn ask(&mut self, id: ContainerId) {
        match self.places.get_mut(&id) {
            Some(place @ Place::Running) => *place = Place::Stale,
            Some(_) => {}
            None => {
                self.places.insert(id.clone(), Place::Queued);
                self.queue.push_back(id);
            }
        }
    }

    /// Marks the result of a running inspection as wrong. If none is running, nothing needs to be repeated.
    pub(super) fn refute(&mut self, id: &ContainerId) {
        if let Some(place) = self.places.get_mut(id).filter(|place| **place != Place::Queued) {
            *place = Place::Refuted;
        }
    }

    /// Takes the next container to inspect now.
    pub(super) fn begin(&mut self) -> Option<ContainerId> {
        if self.running >= MAX_CONCURRENT {
            return None;
        }
        let id = self.queue.pop_front()?;
        self.places.insert(id.clone(), Place::Running);
        self.running += 1;
        Some(id)
    }

    /// Records the end of an inspection. Returns how far its result is valid.
    pub(super) fn end(&mut self, id: &ContainerId) -> Worth {
        self.running = self.running.saturating_sub(1);
        let worth = match self.places.remove(id) {
            Some(Place::Stale) => Worth::Stale,
            Some(Place::Refuted) => Worth::Refuted,
            Some(Place::Running | Place::Queued) | None => return Worth::Current,
        };
        self.ask(id.clone());
        worth
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> ContainerId {
        ContainerId::new(name)
    }

    #[test]
    fn a_container_is_inspected_once_at_a_time_and_again_where_something_happened_meanwhile() {
        let mut queue = InspectionQueue::default();
        queue.ask(id("ab"));
        queue.ask(id("ab"));
        assert_eq!(queue.begin(), Some(id("ab")));
        assert_eq!(queue.begin(), None);
        queue.ask(id("ab"));
        assert_eq!(queue.begin(), None, "the first one runs");
        assert_eq!(queue.end(&id("ab")), Worth::Stale);
        assert_eq!(queue.begin(), Some(id("ab")));
        assert_eq!(queue.end(&id("ab")), Worth::Current);
        assert_eq!(queue.begin(), None);
    }

    #[test]
    fn what_was_refuted_is_asked_for_again_and_what_does_not_run_cannot_be_refuted() {
        let mut queue = InspectionQueue::default();
        queue.refute(&id("ab"));
        assert_eq!(queue.begin(), None);
        queue.ask(id("ab"));
        queue.refute(&id("ab"));
        queue.begin();
        assert_eq!(queue.end(&id("ab")), Worth::Current);
        queue.ask(id("ab"));
        queue.begin();
        queue.refute(&id("ab"));
        queue.ask(id("ab"));
        assert_eq!(queue.end(&id("ab")), Worth::Refuted);
        assert_eq!(queue.begin(), Some(id("ab")));
    }

    #[test]
    fn so_many_run_at_once_and_the_others_wait_in_line() {
        let mut queue = InspectionQueue::default();
        (0..20).for_each(|n| queue.ask(id(&n.to_string())));
        let running: Vec<ContainerId> = std::iter::from_fn(|| queue.begin()).collect();
        assert_eq!(running.len(), MAX_CONCURRENT);
        queue.end(&id("3"));
        assert_eq!(queue.begin(), Some(id("16")), "the one that has waited longest");
    }
}
