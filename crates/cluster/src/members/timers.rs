use std::collections::BTreeMap;
use std::time::Instant;

use foca::Timer;
use longshore_model::HostId;

use super::identity::Identity;

/// What happens at a time.
#[derive(Clone, Debug)]
pub(super) enum Due {
    /// foca's own.
    Foca(Timer<Identity>),
    /// Look at what has changed.
    Scan,
    /// Ping one of the others.
    Sweep,
    /// Look for those who are not here.
    Contact,
    /// Renew the membership, which was too often to be done at once.
    Renew,
    /// Say once more that this agent ends.
    Farewell {
        /// How many times more.
        left: u8,
    },
}

/// What is due, in order of time.
#[derive(Debug, Default)]
pub(super) struct Timers {
    due: BTreeMap<(Instant, u64), Due>,
    added: u64,
    /// The keys of the timers that forget a host. They run for a day, and only a host's last one counts.
    forgetting: BTreeMap<HostId, (Instant, u64)>,
}

impl Timers {
    pub(super) fn add(&mut self, at: Instant, due: Due) {
        self.added += 1;
        let key = (at, self.added);
        if let Due::Foca(Timer::RemoveDown(identity)) = &due
            && let Some(earlier) = self.forgetting.insert(identity.host, key)
        {
            self.due.remove(&earlier);
        }
        self.due.insert(key, due);
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.due.keys().next().map(|(at, _)| *at)
    }

    /// Takes what is due by now, one at a time.
    pub(super) fn take(&mut self, now: Instant) -> Option<Due> {
        let entry = self.due.first_entry()?;
        if entry.key().0 > now {
            return None;
        }
        let due = entry.remove();
        if let Due::Foca(Timer::RemoveDown(identity)) = &due {
            self.forgetting.remove(&identity.host);
        }
        Some(due)
    }

    /// Removes all that belongs to foca, which is replaced.
    pub(super) fn clear_foca(&mut self) {
        self.due.retain(|_, due| !matches!(due, Due::Foca(_)));
        self.forgetting.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::identity::{Epoch, Phase};
    use super::*;
    use crate::seal::Cookie;

    fn forget(host: u128, renewal: u32) -> Due {
        Due::Foca(Timer::RemoveDown(Identity {
            host: HostId::from_u128(host),
            epoch: Epoch { run: 1, renewal },
            cookie: Cookie(3),
            phase: Phase::Running,
            address: "192.0.2.1:7052".parse().unwrap(),
            name: "a".parse().unwrap(),
        }))
    }

    #[test]
    fn what_is_due_comes_in_order_of_time_then_of_arrival() {
        let (mut timers, start) = (Timers::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        timers.add(at(2), Due::Scan);
        timers.add(at(1), Due::Contact);
        timers.add(at(1), Due::Sweep);
        assert_eq!(timers.next(), Some(at(1)));
        assert!(timers.take(start).is_none());
        let order: Vec<_> = std::iter::from_fn(|| timers.take(at(2))).collect();
        assert!(matches!(order[..], [Due::Contact, Due::Sweep, Due::Scan]), "{order:?}");
    }

    #[test]
    fn a_host_that_comes_and_goes_all_day_leaves_one_timer() {
        let (mut timers, start) = (Timers::default(), Instant::now());
        for renewal in 0..1_000 {
            timers.add(start + Duration::from_secs(renewal.into()), forget(1, renewal));
        }
        timers.add(start, forget(2, 0));
        assert_eq!(timers.due.len(), 2);
        timers.clear_foca();
        assert!(timers.next().is_none() && timers.forgetting.is_empty());
    }
}
