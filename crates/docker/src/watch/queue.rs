//! Which containers are inspected when: one inspection at a time for a container, several containers at once.

use std::collections::{BTreeMap, VecDeque};

use longshore_model::ContainerId;

/// How many inspections run at once: Docker answers one in 0.4 ms and works on several in parallel.
const MAX_CONCURRENT: usize = 16;

/// Where a container stands with its inspection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Queued,
    Running,
    /// Running, and something happened since it began: to be done again.
    Stale,
    /// Running, and World knows better than what it will find: to be done again, and not told.
    Refuted,
}

/// What an inspection that ended is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worth {
    /// It is what the container is like.
    Current,
    /// It may be outdated already; the next one is asked for.
    Stale,
    /// It is wrong already; the next one is asked for.
    Refuted,
}

/// The inspections that are asked for and those that run.
#[derive(Debug, Default)]
pub(super) struct InspectionQueue {
    places: BTreeMap<ContainerId, Place>,
    queue: VecDeque<ContainerId>,
    running: usize,
}

impl InspectionQueue {
    /// Asks for an inspection that begins after this call.
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

    /// Says that what an inspection under way will find is not so any more. Where none is under way, there is nothing to
    /// look at again.
    pub(super) fn refute(&mut self, id: &ContainerId) {
        if let Some(place) = self.places.get_mut(id).filter(|place| **place != Place::Queued) {
            *place = Place::Refuted;
        }
    }

    /// Takes the next container whose inspection is to begin now.
    pub(super) fn begin(&mut self) -> Option<ContainerId> {
        if self.running >= MAX_CONCURRENT {
            return None;
        }
        let id = self.queue.pop_front()?;
        self.places.insert(id.clone(), Place::Running);
        self.running += 1;
        Some(id)
    }

    /// Takes note that an inspection ended. Returns what it is worth.
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
