//! Containers that differ from what was reported of them, until the missing events are known.
//!
//! A difference proves nothing by itself: the event that explains it may be on its way, behind any number of others
//! if the agent lags. So Docker is asked a moment later: first for the container's state, then for the events it
//! remembers up to then. These are taken in, and any difference that remains was never reported.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use longshore_model::ContainerId;

/// How long a difference must persist before Docker is asked: an event on its way explains most.
const GRACE: Duration = Duration::from_secs(1);

/// How long World may disagree with Docker's last answer before Docker is asked again.
const CHECK_INTERVAL: Duration = Duration::from_secs(30);
/// How many answers are deferred for an expected event while none arrives.
const MAX_QUIET: u32 = 10;

/// The containers in doubt.
#[derive(Debug, Default)]
pub(crate) struct Doubts {
    /// When to ask Docker about each container.
    due: BTreeMap<ContainerId, Instant>,
    /// Containers that Docker was asked about. Those with an event since are asked about again.
    asked: Option<BTreeSet<ContainerId>>,
    /// The run of answers that did not reach back far enough, if the last one did not.
    gap: Option<Gap>,
}

#[derive(Clone, Copy, Debug)]
struct Gap {
    /// Number of events that had arrived at the last of these answers.
    arrived: u64,
    /// Number of these answers since an event arrived.
    quiet: u32,
}

impl Doubts {
    /// Raises a doubt: a container differs from what was reported of it. A pending answer does not count, as it may
    /// be older.
    pub(crate) fn raise(&mut self, id: ContainerId, now: Instant) {
        if let Some(asked) = &mut self.asked {
            asked.remove(&id);
        }
        self.due.entry(id).or_insert(now + GRACE);
    }

    /// Defers a doubt: an event of the container was just reported, and the next one may explain the rest.
    pub(crate) fn put_off(&mut self, id: ContainerId, now: Instant) {
        self.due.remove(&id);
        self.raise(id, now);
    }

    /// Schedules a later check: a container matches Docker's last answer but not World, so one of them is outdated.
    pub(crate) fn check_later(&mut self, id: ContainerId, now: Instant) {
        self.due.entry(id).or_insert(now + CHECK_INTERVAL);
    }

    /// Settles a doubt: a container matches what was reported of it.
    pub(crate) fn settle(&mut self, id: &ContainerId) {
        self.due.remove(id);
        if let Some(asked) = &mut self.asked {
            asked.remove(id);
        }
    }

    /// Drops all doubts: no handler receives events any more.
    pub(crate) fn clear(&mut self) {
        self.due.clear();
        self.asked.iter_mut().for_each(BTreeSet::clear);
        self.gap = None;
    }

    /// Returns when to ask Docker next.
    pub(crate) fn due(&self) -> Option<Instant> {
        if self.asked.is_some() { None } else { self.due.values().min().copied() }
    }

    /// Returns the containers to ask Docker about, if it is time.
    pub(crate) fn ask(&mut self, now: Instant) -> Option<Vec<ContainerId>> {
        if self.due().is_none_or(|due| due > now) {
            return None;
        }
        let due: BTreeSet<ContainerId> =
            self.due.extract_if(.., |_, due| *due <= now).map(|(id, _)| id).collect();
        self.asked = Some(due.clone());
        Some(due.into_iter().collect())
    }

    /// Schedules another question after Docker could not be asked.
    pub(crate) fn ask_again(&mut self, now: Instant) {
        for id in self.asked.take().unwrap_or_default() {
            self.due.entry(id).or_insert(now + GRACE);
        }
    }

    /// Returns whether events may still be on their way that Docker no longer remembers. Then it is asked again.
    ///
    /// The answer does not reach back to the last event that arrived. `caught_up` says that it contains no event that
    /// is yet to arrive; `arrived` counts events. If no more events arrive, those were lost.
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

    /// Returns the containers that Docker was asked about and that had no event since.
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
