//! Containers that are not what was reported of them, until it is known which events are missing.
//!
//! A difference says nothing by itself: the event that explains it may be on its way, behind any number of others where
//! the agent lags. So Docker is asked, a moment later: first what the container is, then which events it remembers
//! up to then. They are taken in, and what is still different afterwards was never reported.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use longshore_model::ContainerId;

/// How long a difference must stand before Docker is asked: most are explained by an event on its way.
const GRACE: Duration = Duration::from_secs(1);

/// The doubts.
#[derive(Debug, Default)]
pub(crate) struct Doubts {
    /// When Docker is asked about each container.
    due: BTreeMap<ContainerId, Instant>,
    /// Containers that Docker was asked about. Those of which something was heard since are asked about again.
    asked: Option<BTreeSet<ContainerId>>,
    /// How many events had arrived when an answer did not reach back to the last one before it.
    gap: Option<u64>,
}

impl Doubts {
    /// A container is not what was reported of it.
    pub(crate) fn raise(&mut self, id: ContainerId, now: Instant) {
        if self.asked.as_ref().is_none_or(|asked| !asked.contains(&id)) {
            self.due.entry(id).or_insert(now + GRACE);
        }
    }

    /// An event of a container was reported, and it is still not what was reported of it: the next event may explain
    /// the rest, and an answer that is under way does not count.
    pub(crate) fn put_off(&mut self, id: &ContainerId, now: Instant) {
        let was_asked = self.asked.as_mut().is_some_and(|asked| asked.remove(id));
        if was_asked || self.due.contains_key(id) {
            self.due.insert(id.clone(), now + GRACE);
        }
    }

    /// A container is what was reported of it, as far as anyone knows.
    pub(crate) fn settle(&mut self, id: &ContainerId) {
        self.due.remove(id);
        if let Some(asked) = &mut self.asked {
            asked.remove(id);
        }
    }

    /// Nobody is told of events any more.
    pub(crate) fn clear(&mut self) {
        self.due.clear();
        self.asked.iter_mut().for_each(BTreeSet::clear);
        self.gap = None;
    }

    /// Returns when Docker is to be asked.
    pub(crate) fn due(&self) -> Option<Instant> {
        if self.asked.is_some() { None } else { self.due.values().min().copied() }
    }

    /// Returns the containers that Docker is to be asked about, if it is time.
    pub(crate) fn ask(&mut self, now: Instant) -> Option<Vec<ContainerId>> {
        if self.due().is_none_or(|due| due > now) {
            return None;
        }
        let due: BTreeSet<ContainerId> =
            self.due.extract_if(.., |_, due| *due <= now).map(|(id, _)| id).collect();
        self.asked = Some(due.clone());
        Some(due.into_iter().collect())
    }

    /// Docker could not be asked: again after a while.
    pub(crate) fn ask_again(&mut self, now: Instant) {
        for id in self.asked.take().unwrap_or_default() {
            self.due.entry(id).or_insert(now + GRACE);
        }
    }

    /// Returns whether events may still be on their way that Docker does not remember any more: the answer does not reach
    /// back, and others have arrived since the last one that did not. Then Docker is asked again.
    pub(crate) fn lags(&mut self, reaches_back: bool, arrived: u64, now: Instant) -> bool {
        if reaches_back {
            self.gap = None;
            return false;
        }
        if self.gap.replace(arrived) == Some(arrived) {
            return false;
        }
        self.ask_again(now);
        true
    }

    /// Returns the containers that Docker was asked about, and of which nothing was heard since.
    pub(crate) fn answered(&mut self) -> BTreeSet<ContainerId> {
        self.asked.take().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> ContainerId {
        ContainerId::new(name)
    }

    #[test]
    fn docker_is_asked_once_the_difference_has_stood_for_a_while() {
        let now = Instant::now();
        let mut doubts = Doubts::default();
        doubts.raise(id("a"), now);
        doubts.raise(id("a"), now + GRACE / 2);
        assert_eq!(doubts.ask(now + GRACE / 2), None);
        assert_eq!(doubts.ask(now + GRACE), Some(vec![id("a")]));
        // One answer at a time.
        doubts.raise(id("b"), now);
        assert_eq!((doubts.due(), doubts.ask(now + GRACE * 9)), (None, None));
        assert_eq!(doubts.answered(), [id("a")].into());
        assert_eq!(doubts.ask(now + GRACE * 9), Some(vec![id("b")]));
    }

    #[test]
    fn an_answer_does_not_count_where_an_event_came_after_the_question() {
        let now = Instant::now();
        let mut doubts = Doubts::default();
        doubts.raise(id("a"), now);
        doubts.ask(now + GRACE);
        doubts.put_off(&id("a"), now + GRACE);
        assert_eq!(doubts.answered(), BTreeSet::new());
        assert_eq!(doubts.due(), Some(now + GRACE * 2));
    }

    #[test]
    fn as_long_as_events_arrive_that_docker_forgot_nothing_is_taken_for_missing() {
        let now = Instant::now();
        let mut doubts = Doubts::default();
        doubts.raise(id("a"), now);
        let mut ask = |reaches_back, arrived| {
            let due = doubts.due().unwrap();
            doubts.ask(due).unwrap();
            doubts.lags(reaches_back, arrived, due)
        };
        assert!(ask(false, 5));
        assert!(ask(false, 9));
        assert!(!ask(false, 9), "nothing arrived in between");
        assert_eq!(doubts.answered(), [id("a")].into());
    }
}
