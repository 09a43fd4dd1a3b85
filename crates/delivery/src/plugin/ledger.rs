//! Which deliveries wait for the plugin, which it has, and which of those are overdue.
//!
//! Without a clock and without a process: time is an argument, and the recipient of an answer is any `T`.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// A delivery.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Delivery<T> {
    pub(super) id: String,
    pub(super) attempt: u32,
    /// The line to send to the plugin.
    pub(super) line: Vec<u8>,
    /// The recipient of the answer.
    pub(super) answer: T,
}

/// A delivery that was sent to the plugin.
#[derive(Debug)]
struct UnderWay<T> {
    id: String,
    attempt: u32,
    since: Instant,
    answer: T,
}

/// Deliveries that are overdue.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Overdue<T> {
    /// The deliveries that took too long.
    pub(super) late: Vec<T>,
    /// Whether the plugin answered nothing for that long.
    pub(super) hangs: bool,
}

/// The deliveries of one plugin, across its processes.
#[derive(Debug)]
pub(super) struct Ledger<T> {
    /// How long the plugin may take per delivery.
    patience: Duration,
    queue: VecDeque<Delivery<T>>,
    /// In the order in which they were sent, so the first is overdue first.
    under_way: VecDeque<UnderWay<T>>,
    last_answer: Option<Instant>,
}

impl<T> Ledger<T> {
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, queue: VecDeque::new(), under_way: VecDeque::new(), last_answer: None }
    }

    /// Adds a delivery to those that wait.
    pub(super) fn push(&mut self, delivery: Delivery<T>) {
        self.queue.push_back(delivery);
    }

    /// Returns the line of the next waiting delivery if the plugin has fewer than `parallel`. Deliveries that are no
    /// longer `wanted` are skipped. The returned one is under way from here on.
    pub(super) fn next(
        &mut self,
        now: Instant,
        parallel: usize,
        wanted: impl Fn(&T) -> bool,
    ) -> Option<Vec<u8>> {
        if self.under_way.len() >= parallel {
            return None;
        }
        loop {
            let Delivery { id, attempt, line, answer } = self.queue.pop_front()?;
            if wanted(&answer) {
                self.under_way.push_back(UnderWay { id, attempt, since: now, answer });
                return Some(line);
            }
        }
    }

    /// Takes the delivery that the plugin answered. An answer without an attempt belongs to the latest; one that
    /// names an attempt that is not under way is too late, and ignored.
    pub(super) fn settle(&mut self, now: Instant, id: &str, attempt: Option<u32>) -> Option<T> {
        // Even a late answer shows that the plugin does not hang.
        self.last_answer = Some(now);
        let meant = |one: &UnderWay<T>| one.id == id && attempt.is_none_or(|number| number == one.attempt);
        let index = self.under_way.iter().rposition(meant)?;
        self.under_way.remove(index).map(|one| one.answer)
    }

    /// Returns when [`Ledger::overdue`] has something to return.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.under_way.front().map(|one| one.since + self.patience)
    }

    /// Takes the overdue deliveries.
    pub(super) fn overdue(&mut self, now: Instant) -> Overdue<T> {
        let mut overdue = Overdue { late: Vec::new(), hangs: false };
        while let Some(one) = self.under_way.pop_front_if(|one| one.since + self.patience <= now) {
            overdue.hangs |= self.last_answer.is_none_or(|answer| answer < one.since);
            overdue.late.push(one.answer);
        }
        overdue
    }

    /// Takes all deliveries that the plugin has.
    pub(super) fn take_under_way(&mut self) -> impl Iterator<Item = T> {
        self.under_way.drain(..).map(|one| one.answer)
    }

    /// Takes all waiting deliveries.
    pub(super) fn take_queue(&mut self) -> impl Iterator<Item = T> {
        self.queue.drain(..).map(|one| one.answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// Creates a ledger to which these deliveries were added at the start, one sent each second.
    fn told(deliveries: &[(&str, u32)]) -> (Ledger<usize>, Instant) {
        let start = Instant::now();
        let mut ledger = Ledger::new(PATIENCE);
        for (index, (id, attempt)) in deliveries.iter().enumerate() {
            let now = start + Duration::from_secs(index as u64);
            ledger.push(Delivery {
                id: (*id).to_owned(),
                attempt: *attempt,
                line: Vec::new(),
                answer: index,
            });
            assert!(ledger.next(now, usize::MAX, |_| true).is_some());
        }
        (ledger, start)
    }

    #[test]
    fn no_more_are_told_than_the_plugin_takes() {
        let (mut ledger, now) = told(&[("a", 1)]);
        ledger.push(Delivery { id: "b".to_owned(), attempt: 1, line: b"b".to_vec(), answer: 1 });
        assert_eq!(ledger.next(now, 1, |_| true), None);
        assert_eq!(ledger.settle(now, "a", None), Some(0));
        assert_eq!(ledger.next(now, 1, |_| true), Some(b"b".to_vec()));
    }

    #[test]
    fn what_nobody_waits_for_any_more_is_not_told() {
        let (mut ledger, now) = told(&[]);
        for index in 0..3 {
            let line = vec![index];
            ledger.push(Delivery { id: index.to_string(), attempt: 1, line, answer: index.into() });
        }
        assert_eq!(ledger.next(now, 9, |answer| *answer == 2), Some(vec![2]));
        assert_eq!(ledger.next(now, 9, |_| true), None);
    }

    #[test]
    fn answers_come_in_any_order_and_each_counts_once() {
        let (mut ledger, now) = told(&[("a", 1), ("b", 1)]);
        assert_eq!(ledger.settle(now, "b", Some(1)), Some(1));
        assert_eq!(ledger.settle(now, "b", Some(1)), None);
        assert_eq!(ledger.settle(now, "a", None), Some(0));
        assert_eq!(ledger.settle(now, "c", None), None);
    }

    #[test]
    fn a_late_answer_to_an_attempt_before_is_not_one_to_this_attempt() {
        let (mut ledger, start) = told(&[("a", 1)]);
        assert_eq!(ledger.overdue(start + PATIENCE).late, [0]);
        ledger.push(Delivery { id: "a".to_owned(), attempt: 2, line: Vec::new(), answer: 7 });
        assert!(ledger.next(start + PATIENCE, 1, |_| true).is_some());
        assert_eq!(ledger.settle(start + PATIENCE, "a", Some(1)), None);
        assert_eq!(ledger.settle(start + PATIENCE, "a", Some(2)), Some(7));
    }

    #[test]
    fn an_answer_without_an_attempt_is_to_the_last() {
        let (mut ledger, now) = told(&[("a", 1), ("a", 2)]);
        assert_eq!(ledger.settle(now, "a", None), Some(1));
        assert_eq!(ledger.settle(now, "a", None), Some(0));
    }

    #[test]
    fn a_slow_delivery_fails_and_only_a_plugin_that_answers_nothing_hangs() {
        let (mut ledger, start) = told(&[("a", 1), ("b", 1)]);
        assert_eq!(ledger.deadline(), Some(start + PATIENCE));
        assert_eq!(
            ledger.overdue(start + PATIENCE - Duration::from_millis(1)),
            Overdue { late: vec![], hangs: false }
        );
        assert_eq!(ledger.settle(start + Duration::from_secs(5), "b", None), Some(1));
        assert_eq!(ledger.overdue(start + PATIENCE), Overdue { late: vec![0], hangs: false });
        assert_eq!(ledger.deadline(), None);
        let (mut ledger, start) = told(&[("a", 1)]);
        assert_eq!(ledger.overdue(start + PATIENCE), Overdue { late: vec![0], hangs: true });
    }
}
