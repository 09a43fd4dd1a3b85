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

/// How long World may say something else than Docker's last answer before Docker is asked again.
const CHECK_INTERVAL: Duration = Duration::from_secs(30);
/// How many answers are put off for an event that should arrive, while none does.
const MAX_QUIET: u32 = 10;

/// The doubts.
#[derive(Debug, Default)]
pub(crate) struct Doubts {
    /// When Docker is asked about each container.
    due: BTreeMap<ContainerId, Instant>,
    /// Containers that Docker was asked about. Those of which something was heard since are asked about again.
    asked: Option<BTreeSet<ContainerId>>,
    /// Answers that did not reach back, if the last one did not.
    gap: Option<Gap>,
}

#[derive(Clone, Copy, Debug)]
struct Gap {
    /// How many events had arrived at the last of them.
    arrived: u64,
    /// How many of them have come since an event arrived.
    quiet: u32,
}

impl Doubts {
    /// A container is not what was reported of it. An answer that is under way does not count: it may be older.
    pub(crate) fn raise(&mut self, id: ContainerId, now: Instant) {
        if let Some(asked) = &mut self.asked {
            asked.remove(&id);
        }
        self.due.entry(id).or_insert(now + GRACE);
    }

    /// The same, and an event of it was just reported: the next one may explain the rest.
    pub(crate) fn put_off(&mut self, id: ContainerId, now: Instant) {
        self.due.remove(&id);
        self.raise(id, now);
    }

    /// A container is what Docker just said, and World says something else: one of them is older.
    pub(crate) fn check_later(&mut self, id: ContainerId, now: Instant) {
        self.due.entry(id).or_insert(now + CHECK_INTERVAL);
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

    /// Returns whether events may still be on their way that Docker does not remember any more. Then it is asked again.
    ///
    /// The answer does not reach back to what has arrived. `caught_up` says that there is no event in it that is yet to
    /// arrive; `arrived` counts events. Where none arrives any more, those were lost.
    pub(crate) fn lags(&mut self, caught_up: bool, arrived: u64, now: Instant) -> bool {
        let quiet = self.gap.filter(|gap| gap.arrived == arrived).map_or(0, |gap| gap.quiet + 1);
        self.gap = Some(Gap { arrived, quiet });
        if caught_up || quiet >= MAX_QUIET {
            self.gap = None;
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
        doubts.put_off(id("a"), now + GRACE);
        assert_eq!(doubts.answered(), BTreeSet::new());
        assert_eq!(doubts.due(), Some(now + GRACE * 2));
    }

    #[test]
    fn as_long_as_events_arrive_that_docker_forgot_nothing_is_taken_for_missing() {
        let now = Instant::now();
        let mut doubts = Doubts::default();
        doubts.raise(id("a"), now);
        let mut lags = |caught_up, arrived| {
            let due = doubts.due().unwrap();
            doubts.ask(due).unwrap();
            doubts.lags(caught_up, arrived, due)
        };
        assert!((0..100).all(|arrived| lags(false, arrived)));
        assert!((0..10).all(|_| lags(false, 100)));
        assert!(!lags(false, 100), "nothing arrives any more");
        assert_eq!(doubts.answered(), [id("a")].into());
    }

    #[test]
    fn nothing_is_on_its_way_where_docker_remembers_no_event() {
        let now = Instant::now();
        let mut doubts = Doubts::default();
        doubts.raise(id("a"), now);
        doubts.ask(now + GRACE).unwrap();
        assert!(!doubts.lags(true, 5, now + GRACE));
    }
}
