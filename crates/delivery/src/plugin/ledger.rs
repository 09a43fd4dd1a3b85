//! Which deliveries wait for the plugin and which it has, and which of those it owes an answer for too long.
//!
//! Without a clock and without a process: time is an argument, and what an answer is given to is any `T`.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// A delivery.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Delivery<T> {
    pub(super) id: String,
    pub(super) attempt: u32,
    /// The line that tells the plugin.
    pub(super) line: Vec<u8>,
    /// Whom the answer is for.
    pub(super) answer: T,
}

/// One that the plugin was told.
#[derive(Debug)]
struct UnderWay<T> {
    id: String,
    attempt: u32,
    since: Instant,
    answer: T,
}

/// What comes of time.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Overdue<T> {
    /// Those that took too long.
    pub(super) late: Vec<T>,
    /// Whether the plugin answered nothing at all for that long.
    pub(super) hangs: bool,
}

/// The deliveries of one plugin, across its processes.
#[derive(Debug)]
pub(super) struct Ledger<T> {
    /// How long the plugin may take for one.
    patience: Duration,
    queue: VecDeque<Delivery<T>>,
    /// In the order in which they were told, so that the first is the first to be late.
    under_way: VecDeque<UnderWay<T>>,
    last_answer: Option<Instant>,
}

impl<T> Ledger<T> {
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, queue: VecDeque::new(), under_way: VecDeque::new(), last_answer: None }
    }

    /// One more that waits.
    pub(super) fn push(&mut self, delivery: Delivery<T>) {
        self.queue.push_back(delivery);
    }

    /// The line of the next one that waits, where the plugin has fewer than `parallel`. Those that nobody wants any more
    /// (`wanted`) are passed over. From here on it is under way.
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

    /// Takes the one that the plugin answered. An answer that names no attempt is to the last; one that names another
    /// attempt than any under way comes too late, and is to none.
    pub(super) fn settle(&mut self, now: Instant, id: &str, attempt: Option<u32>) -> Option<T> {
        // Even one that comes too late shows that the plugin does not hang.
        self.last_answer = Some(now);
        let meant = |one: &UnderWay<T>| one.id == id && attempt.is_none_or(|number| number == one.attempt);
        let index = self.under_way.iter().rposition(meant)?;
        self.under_way.remove(index).map(|one| one.answer)
    }

    /// Returns when [`Ledger::overdue`] has something to say.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.under_way.front().map(|one| one.since + self.patience)
    }

    /// Takes those that took too long.
    pub(super) fn overdue(&mut self, now: Instant) -> Overdue<T> {
        let mut overdue = Overdue { late: Vec::new(), hangs: false };
        while let Some(one) = self.under_way.pop_front_if(|one| one.since + self.patience <= now) {
            overdue.hangs |= self.last_answer.is_none_or(|answer| answer < one.since);
            overdue.late.push(one.answer);
        }
        overdue
    }

    /// Takes all that the plugin has.
    pub(super) fn take_under_way(&mut self) -> impl Iterator<Item = T> {
        self.under_way.drain(..).map(|one| one.answer)
    }

    /// Takes all that wait.
    pub(super) fn take_queue(&mut self) -> impl Iterator<Item = T> {
        self.queue.drain(..).map(|one| one.answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// Returns a ledger with these deliveries told at the start, one a second.
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
