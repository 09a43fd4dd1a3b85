use std::time::{Duration, Instant};

/// After how many unanswered pings in a row a host is unreachable: a single one may be lost.
const MAX_MISSES: u8 = 3;
/// A host that answered this recently is not pinged again.
const FRESH: Duration = Duration::from_millis(200);
/// How often an unreachable host is pinged.
const RETRY: Duration = Duration::from_millis(500);

/// Whether another host answers this one. The cluster may know it alive although this host does not reach it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reach {
    /// The last ping, and whether its answer is still awaited.
    asked: Option<(Instant, bool)>,
    answered: Option<Instant>,
    misses: u8,
}

impl Reach {
    pub(super) fn asked(&mut self, now: Instant) {
        self.asked = Some((now, true));
    }

    pub(super) fn answered(&mut self, now: Instant) {
        *self = Self { asked: self.asked.map(|(at, _)| (at, false)), answered: Some(now), misses: 0 };
    }

    /// Counts a ping that was not answered within `patience`. Returns whether the host should be pinged again at once.
    pub(super) fn check(&mut self, now: Instant, patience: Duration) -> bool {
        match self.asked {
            Some((at, true)) if now >= at + patience => {
                self.misses = self.misses.saturating_add(1);
                self.asked = Some((at, false));
                !self.is_lost()
            }
            Some((at, false)) => self.is_lost() && now >= at + RETRY,
            _ => false,
        }
    }

    pub(super) const fn is_lost(&self) -> bool {
        self.misses >= MAX_MISSES
    }

    /// Returns when the host last answered or was asked: the one with the earliest is pinged next. `None` if it need
    /// not be pinged.
    pub(super) fn turn(&self, now: Instant) -> Option<Option<Instant>> {
        if self.asked.is_some_and(|(_, awaited)| awaited) || self.is_lost() {
            return None;
        }
        let last = self.answered.max(self.asked.map(|(at, _)| at));
        (last.is_none_or(|last| now >= last + FRESH)).then_some(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(100);

    #[test]
    fn three_unanswered_pings_and_no_fewer_make_a_host_unreachable() {
        let (mut reach, mut now) = (Reach::default(), Instant::now());
        assert_eq!(reach.turn(now), Some(None));
        for miss in 1..=3 {
            reach.asked(now);
            assert_eq!(reach.turn(now), None, "its answer is awaited");
            assert!(!reach.check(now + PATIENCE / 2, PATIENCE));
            now += PATIENCE;
            assert_eq!(reach.check(now, PATIENCE), miss < 3);
            assert_eq!(reach.is_lost(), miss == 3);
        }
        assert!(!reach.check(now, PATIENCE), "it is asked less often from then on");
        assert!(reach.check(now + RETRY, PATIENCE));
        reach.asked(now + RETRY);
        reach.answered(now + RETRY);
        assert!(!reach.is_lost());
        assert_eq!(reach.turn(now + RETRY + FRESH), Some(Some(now + RETRY)));
    }

    #[test]
    fn an_answer_in_between_begins_the_count_again() {
        let (mut reach, mut now) = (Reach::default(), Instant::now());
        for round in 0..9 {
            reach.asked(now);
            now += PATIENCE;
            reach.check(now, PATIENCE);
            if round % 3 == 1 {
                reach.answered(now);
            }
            assert!(!reach.is_lost());
        }
    }
}
