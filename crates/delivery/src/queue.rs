//! One handler's deliveries: in order for each container, several containers at once, retried after a delay.
//!
//! Pure: the caller supplies the time and the delays.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

/// A delivery that has not succeeded yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The event's number in the journal.
    pub seq: u64,
    /// Attempts that failed.
    pub attempts: u32,
    /// Whether it may have been delivered before.
    pub redelivered: bool,
}

/// The deliveries for one subject, oldest first.
#[derive(Debug, Default)]
struct Lane {
    entries: VecDeque<Entry>,
    /// Whether the first entry is under way.
    running: bool,
}

/// Deliveries to one handler, in lanes by the events' subject.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    lanes: BTreeMap<String, Lane>,
    /// Lanes whose first entry can be attempted at once, in the order in which they became ready.
    ready: VecDeque<String>,
    /// Lanes whose first entry waits, by due time.
    waiting: BTreeSet<(Instant, String)>,
    running: usize,
    len: usize,
}

impl Queue {
    /// Returns how many deliveries have not succeeded yet.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns how many are under way.
    pub(crate) fn running(&self) -> usize {
        self.running
    }

    /// Returns whether something in this lane has not begun.
    pub(crate) fn waits(&self, lane: &str) -> bool {
        self.lanes.get(lane).is_some_and(|lane| lane.entries.len() > usize::from(lane.running))
    }

    /// Returns whether the delivery of this event is under way in this lane.
    pub(crate) fn is_under_way(&self, lane: &str, seq: u64) -> bool {
        let first = self.lanes.get(lane).filter(|lane| lane.running).and_then(|lane| lane.entries.front());
        first.is_some_and(|entry| entry.seq == seq)
    }

    /// Adds a delivery behind the others of its lane.
    pub(crate) fn push(&mut self, lane: &str, entry: Entry) {
        self.len += 1;
        let place = self.lanes.entry(lane.to_owned()).or_default();
        place.entries.push_back(entry);
        if place.entries.len() == 1 {
            self.ready.push_back(lane.to_owned());
        }
    }

    /// Begins the next delivery and returns it with its lane, while fewer than `limit` are under way.
    pub(crate) fn next(&mut self, now: Instant, limit: usize) -> Option<(String, Entry)> {
        while let Some((due, lane)) = self.waiting.first().cloned()
            && due <= now
        {
            self.waiting.remove(&(due, lane.clone()));
            self.ready.push_back(lane);
        }
        if self.running >= limit {
            return None;
        }
        let name = self.ready.pop_front()?;
        let lane = self.lanes.get_mut(&name)?;
        let entry = lane.entries.front()?.clone();
        lane.running = true;
        self.running += 1;
        Some((name, entry))
    }

    /// Returns all deliveries.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.lanes.values().flat_map(|lane| &lane.entries)
    }

    /// Returns when the next retry is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.waiting.first().map(|(due, _)| *due)
    }

    /// Removes the lane's delivery under way: it succeeded, or failed permanently.
    pub(crate) fn done(&mut self, name: &str) {
        let Some(lane) = self.lanes.get_mut(name) else { return };
        if !std::mem::replace(&mut lane.running, false) {
            return;
        }
        lane.entries.pop_front();
        self.running -= 1;
        self.len -= 1;
        if lane.entries.is_empty() {
            self.lanes.remove(name);
        } else {
            self.ready.push_back(name.to_owned());
        }
    }

    /// Schedules a retry at `due` of the lane's delivery under way, which failed.
    pub(crate) fn again(&mut self, name: &str, due: Instant) {
        self.put_back(name, due, |entry| {
            entry.attempts += 1;
            entry.redelivered = true;
        });
    }

    /// Requeues the lane's delivery under way at once: it was aborted, which does not count as the handler's failure.
    /// `told` says whether the handler may have received it.
    pub(crate) fn broken_off(&mut self, name: &str, now: Instant, told: bool) {
        self.put_back(name, now, |entry| entry.redelivered |= told);
    }

    fn put_back(&mut self, name: &str, due: Instant, change: impl FnOnce(&mut Entry)) {
        let Some(lane) = self.lanes.get_mut(name) else { return };
        if !std::mem::replace(&mut lane.running, false) {
            return;
        }
        self.running -= 1;
        if let Some(entry) = lane.entries.front_mut() {
            change(entry);
        }
        self.waiting.insert((due, name.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn entry(seq: u64) -> Entry {
        Entry { seq, attempts: 0, redelivered: false }
    }

    #[test]
    fn a_failed_delivery_holds_up_its_container_and_no_other() {
        let now = Instant::now();
        let mut queue = Queue::default();
        queue.push("a", entry(1));
        queue.push("a", entry(2));
        queue.push("b", entry(3));
        assert_eq!(queue.next(now, 4), Some(("a".into(), entry(1))));
        assert_eq!(queue.next(now, 4), Some(("b".into(), entry(3))));
        assert_eq!(queue.next(now, 4), None);
        let due = now + Duration::from_secs(1);
        queue.again("a", due);
        queue.done("b");
        assert_eq!(queue.next(now, 4), None);
        assert_eq!(queue.due(), Some(due));
        assert_eq!(queue.next(due, 4).unwrap().1, Entry { seq: 1, attempts: 1, redelivered: true });
        queue.done("a");
        assert_eq!(queue.next(due, 4).unwrap().1.seq, 2);
    }

    #[test]
    fn a_delivery_that_was_broken_off_counts_no_attempt_and_is_marked_only_if_it_was_told() {
        let now = Instant::now();
        let mut queue = Queue::default();
        queue.push("a", entry(1));
        for told in [false, true, false] {
            let (lane, begun) = queue.next(now, 4).unwrap();
            assert_eq!(begun.attempts, 0);
            queue.broken_off(&lane, now, told);
        }
        assert_eq!(queue.next(now, 4).unwrap().1, Entry { seq: 1, attempts: 0, redelivered: true });
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(u8),
        Next,
        Done(u8),
        Again(u8),
        Wait,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0..4u8).prop_map(Step::Push),
            4 => Just(Step::Next),
            2 => (0..4u8).prop_map(Step::Done),
            1 => (0..4u8).prop_map(Step::Again),
            1 => Just(Step::Wait),
        ];
        proptest::collection::vec(step, 1..200)
    }

    proptest! {
        #[test]
        fn each_lane_is_delivered_in_order_one_at_a_time_and_nothing_is_lost(steps in steps()) {
            let limit = 2;
            let mut now = Instant::now();
            let mut queue = Queue::default();
            let mut pushed: BTreeMap<String, Vec<u64>> = BTreeMap::new();
            let mut done: BTreeMap<String, Vec<u64>> = BTreeMap::new();
            let mut under_way: BTreeMap<String, u64> = BTreeMap::new();
            let mut seq = 0;
            for step in steps {
                match step {
                    Step::Push(lane) => {
                        seq += 1;
                        queue.push(&lane.to_string(), entry(seq));
                        pushed.entry(lane.to_string()).or_default().push(seq);
                    }
                    Step::Next => if let Some((lane, entry)) = queue.next(now, limit) {
                        prop_assert!(under_way.insert(lane, entry.seq).is_none());
                    },
                    Step::Done(lane) => if let Some(seq) = under_way.remove(&lane.to_string()) {
                        queue.done(&lane.to_string());
                        done.entry(lane.to_string()).or_default().push(seq);
                    },
                    Step::Again(lane) => if under_way.remove(&lane.to_string()).is_some() {
                        queue.again(&lane.to_string(), now + Duration::from_secs(1));
                    },
                    Step::Wait => now += Duration::from_secs(1),
                }
                prop_assert!(under_way.len() <= limit);
                prop_assert_eq!(under_way.len(), queue.running());
            }
            loop {
                now += Duration::from_secs(2);
                for lane in std::mem::take(&mut under_way).into_keys() {
                    queue.again(&lane, now);
                }
                let Some((lane, entry)) = queue.next(now, limit) else { break };
                queue.done(&lane);
                done.entry(lane).or_default().push(entry.seq);
            }
            prop_assert_eq!(queue.len(), 0);
            prop_assert_eq!(done, pushed);
        }
    }
}
