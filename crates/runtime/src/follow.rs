//! The loop of everything that follows World: woken by changes, retried with back-off.

use std::collections::BTreeSet;
use std::time::Duration;

use backon::ExponentialBackoff;
use longshore_model::{Change, World};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::passed::{Passed, Reached};
use crate::state::{Changes, Reader};
use crate::status::{Cause, Reporter, StatusBoard};
use crate::{Problems, Source, backoff};

/// Keeps something outside in line with World.
pub trait Follower: Send + 'static {
    /// The name under which its status is shown: one word for what it maintains.
    const NAME: &'static str;

    /// Brings the outside in line with World. `changed` names what may differ: what changed since the last pass and,
    /// after a back-off, what passes did not reach; on the first pass, all of World. It must be cheap if nothing
    /// differs, and may be dropped at any await when the agent ends or the handler is removed.
    fn pass(&mut self, world: &World, changed: &BTreeSet<Change>) -> impl Future<Output = Passed> + Send;

    /// Prepares to retry what failed independently of World: the next pass follows a back-off.
    fn retry(&mut self) {}

    /// Resolves when something other than World makes a pass necessary, with what that pass must check in addition to
    /// what the follower itself knows. Never resolves by default, and may be dropped at any await.
    fn disturbed(&mut self) -> impl Future<Output = BTreeSet<Change>> + Send {
        std::future::pending()
    }
}

/// What every follower needs.
#[derive(Clone, Debug)]
pub struct FollowerContext {
    /// This host's name.
    pub node: String,
    /// World.
    pub world: Reader,
    /// Where problems are reported.
    pub problems: Problems,
    /// Each follower's status.
    pub statuses: StatusBoard,
    /// Cancelled when the agent ends.
    pub stop: CancellationToken,
    /// How many followers have not completed a whole pass yet.
    pub unsettled: watch::Sender<usize>,
}

impl FollowerContext {
    /// Starts a follower, with its problems under `source`. It ends with the agent, or when `stop` is cancelled; the
    /// task returns the follower, so that whoever removes it for good can let it clean up.
    pub fn follow<F: Follower>(
        &self,
        follower: F,
        source: Source,
        stop: CancellationToken,
    ) -> AbortOnDropHandle<F> {
        let (world, changes) = (self.world.clone(), self.world.subscribe());
        self.unsettled.send_modify(|count| *count += 1);
        let handler = match &source {
            Source::Handler(name) => Some(name.clone()),
            _ => None,
        };
        let reports = Reports {
            source,
            problems: self.problems.clone(),
            status: self.statuses.reporter(F::NAME, handler),
            first: First(Some(self.unsettled.clone())),
        };
        AbortOnDropHandle::new(tokio::spawn(follow(follower, world, changes, reports, stop)))
    }
}

/// Counts a follower as settled once: after its first pass that left nothing under way, or when it ends without one.
struct First(Option<watch::Sender<usize>>);

impl First {
    fn settle(&mut self) {
        if let Some(unsettled) = self.0.take() {
            unsettled.send_modify(|count| *count = count.saturating_sub(1));
        }
    }
}

impl Drop for First {
    fn drop(&mut self) {
        self.settle();
    }
}

/// Where passes are reported.
struct Reports {
    source: Source,
    problems: Problems,
    status: Reporter,
    first: First,
}

/// Everything that may trigger a pass.
#[derive(Debug)]
enum Happening {
    Changed(BTreeSet<Change>),
    Disturbed(BTreeSet<Change>),
    /// A pass is due.
    Due,
}

/// Runs the follower until stopped.
async fn follow<F: Follower>(
    mut follower: F,
    world: Reader,
    mut changes: Changes,
    mut reports: Reports,
    stop: CancellationToken,
) -> F {
    let mut pending = Pending::default();
    loop {
        let due = pending.due().map(|(at, _)| at);
        let happening = tokio::select! {
            () = stop.cancelled() => break,
            more = changes.next() => Happening::Changed(more),
            // While the outside is away it stays disturbed, and a pass could not change that.
            more = follower.disturbed(), if !pending.is_away => Happening::Disturbed(more),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => Happening::Due,
        };
        pending.note(happening);
        let Some(world) = world.snapshot() else { continue };
        let Some(Turn { changed, cause }) = pending.take(Instant::now()) else { continue };
        reports.status.begin(cause);
        if cause == Cause::Retry {
            follower.retry();
        }
        let passed = tokio::select! {
            () = stop.cancelled() => break,
            passed = follower.pass(&world, &changed) => passed,
        };
        let (reached, found, busy) = (passed.reached, passed.problems.len(), passed.busy);
        reports.problems.set(reports.source.clone(), passed.problems);
        pending.reached(reached, changed, passed.due, Instant::now());
        reports.status.end(reached, found, pending.due());
        if !busy {
            reports.first.settle();
        }
    }
    reports.problems.set(reports.source, []);
    follower
}

const FIRST_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(10);

/// A pass to make now.
#[derive(Debug, PartialEq, Eq)]
struct Turn {
    /// What to check.
    changed: BTreeSet<Change>,
    cause: Cause,
}

/// What passes have not reached yet, and when the next one is due.
#[derive(Debug)]
struct Pending {
    /// Whether no pass was made yet.
    is_first: bool,
    /// Whether something outside was disturbed since the last pass.
    is_disturbed: bool,
    /// Changes that no pass has seen.
    fresh: BTreeSet<Change>,
    /// Changes that a pass has seen but not reached.
    failed: BTreeSet<Change>,
    /// When to retry what failed.
    retry: Option<Instant>,
    /// Whether nothing is attempted until then.
    is_away: bool,
    /// When the follower itself wants a pass.
    wanted: Option<Instant>,
    delays: ExponentialBackoff,
}

impl Default for Pending {
    fn default() -> Self {
        Self {
            is_first: true,
            is_disturbed: false,
            fresh: BTreeSet::new(),
            failed: BTreeSet::new(),
            retry: None,
            is_away: false,
            wanted: None,
            delays: backoff::exponential(FIRST_DELAY, MAX_DELAY),
        }
    }
}

impl Pending {
    /// Returns when a pass is due without further input, and why.
    fn due(&self) -> Option<(Instant, Cause)> {
        let wanted = self.wanted.filter(|_| !self.is_away).map(|at| (at, Cause::Due));
        let retry = self.retry.map(|at| (at, Cause::Retry));
        retry.into_iter().chain(wanted).min_by_key(|(at, _)| *at)
    }

    fn note(&mut self, happening: Happening) {
        match happening {
            Happening::Changed(more) => self.fresh.extend(more),
            Happening::Disturbed(more) => {
                self.is_disturbed = true;
                self.fresh.extend(more);
            }
            Happening::Due => {}
        }
    }

    /// Returns the pass to make at this moment; `None` if none is due.
    fn take(&mut self, now: Instant) -> Option<Turn> {
        let is_retry = self.retry.is_some_and(|at| at <= now);
        if self.is_away && !is_retry {
            return None;
        }
        let cause = match () {
            () if self.is_first => Cause::First,
            () if is_retry => Cause::Retry,
            () if self.is_disturbed => Cause::Disturbed,
            () if self.fresh.is_empty() => Cause::Due,
            () => Cause::Changes,
        };
        (self.is_first, self.is_disturbed) = (false, false);
        let mut changed = std::mem::take(&mut self.fresh);
        if is_retry {
            self.retry = None;
            changed.append(&mut self.failed);
        }
        Some(Turn { changed, cause })
    }

    /// Records how far the pass over `changed` came.
    fn reached(
        &mut self,
        reached: Reached,
        mut changed: BTreeSet<Change>,
        wanted: Option<Instant>,
        now: Instant,
    ) {
        self.wanted = wanted;
        self.is_away = reached == Reached::Nothing;
        if reached != Reached::All {
            self.failed.append(&mut changed);
            if self.retry.is_none() {
                self.retry = Some(now + self.delays.next().unwrap_or(MAX_DELAY));
            }
        } else if self.retry.is_none() {
            self.delays = backoff::exponential(FIRST_DELAY, MAX_DELAY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_model::{ContainerId, ContainerRef, HostId};

    fn these(names: &[&str]) -> BTreeSet<Change> {
        names
            .iter()
            .map(|name| Change::Container(ContainerRef::new(HostId::from_u128(1), ContainerId::new(*name))))
            .collect()
    }

    fn due(pending: &Pending) -> Option<Instant> {
        pending.due().map(|(at, _)| at)
    }

    /// Makes one pass at this moment with this result; returns what it checked.
    fn pass(pending: &mut Pending, now: Instant, reached: Reached) -> Option<BTreeSet<Change>> {
        let Turn { changed, .. } = pending.take(now)?;
        pending.reached(reached, changed.clone(), None, now);
        Some(changed)
    }

    #[test]
    fn what_fails_is_tried_after_a_back_off_and_what_changes_meanwhile_at_once() {
        let (mut pending, now) = (Pending::default(), Instant::now());
        pending.fresh = these(&["a", "b"]);
        assert_eq!(pass(&mut pending, now, Reached::Part), Some(these(&["a", "b"])));
        let retry = due(&pending).unwrap();
        assert!(retry >= now + FIRST_DELAY);
        pending.fresh = these(&["c"]);
        assert_eq!(pass(&mut pending, now, Reached::All), Some(these(&["c"])), "others do not wait for it");
        assert_eq!(due(&pending), Some(retry), "and do not put it off");
        assert_eq!(pass(&mut pending, retry, Reached::All), Some(these(&["a", "b"])));
        assert_eq!(due(&pending), None);
    }

    #[test]
    fn while_the_outside_is_away_no_event_asks_for_it() {
        let (mut pending, now) = (Pending::default(), Instant::now());
        pending.fresh = these(&["a"]);
        assert_eq!(pass(&mut pending, now, Reached::Nothing), Some(these(&["a"])));
        let retry = due(&pending).unwrap();
        pending.fresh.extend(these(&["b"]));
        assert_eq!(pass(&mut pending, now, Reached::All), None);
        assert_eq!(
            pass(&mut pending, retry, Reached::Nothing),
            Some(these(&["a", "b"])),
            "nothing is forgotten"
        );
        let later = due(&pending).unwrap();
        assert!(later >= retry + FIRST_DELAY * 2, "and each wait is longer");
        assert_eq!(pass(&mut pending, later, Reached::All), Some(these(&["a", "b"])));
        pending.fresh = these(&["a"]);
        assert_eq!(pass(&mut pending, later, Reached::Part), Some(these(&["a"])));
        assert!(due(&pending).unwrap() < later + FIRST_DELAY * 3, "what worked is tried soon again");
    }

    #[test]
    fn many_failures_share_one_back_off() {
        let (mut pending, now) = (Pending::default(), Instant::now());
        for name in ["a", "b", "c"] {
            pending.fresh = these(&[name]);
            assert_eq!(pass(&mut pending, now, Reached::Part), Some(these(&[name])));
        }
        let retry = due(&pending).unwrap();
        assert!(retry < now + FIRST_DELAY * 3);
        assert_eq!(pass(&mut pending, retry, Reached::All), Some(these(&["a", "b", "c"])));
    }

    #[test]
    fn a_follower_has_its_pass_when_it_wants_one() {
        let (mut pending, now) = (Pending::default(), Instant::now());
        pending.take(now);
        let wanted = now + Duration::from_secs(60);
        pending.reached(Reached::All, BTreeSet::new(), Some(wanted), now);
        assert_eq!(due(&pending), Some(wanted));
        assert_eq!(pass(&mut pending, wanted, Reached::All), Some(BTreeSet::new()));
        assert_eq!(due(&pending), None);
    }

    #[test]
    fn each_pass_says_why_it_is_made_and_what_is_due_says_why_it_will_be() {
        let (mut pending, now) = (Pending::default(), Instant::now());
        let cause = |pending: &mut Pending, at, reached, wanted| {
            let Turn { changed, cause } = pending.take(at).unwrap();
            pending.reached(reached, changed, wanted, at);
            cause
        };
        pending.note(Happening::Changed(BTreeSet::from([Change::All])));
        assert_eq!(cause(&mut pending, now, Reached::All, None), Cause::First);
        assert_eq!(pending.due(), None);
        pending.note(Happening::Changed(these(&["a"])));
        let later = now + Duration::from_secs(60);
        assert_eq!(cause(&mut pending, now, Reached::Part, Some(later)), Cause::Changes);
        let (retry, why) = pending.due().unwrap();
        assert_eq!(why, Cause::Retry);
        assert_eq!(cause(&mut pending, retry, Reached::All, Some(later)), Cause::Retry);
        assert_eq!(pending.due(), Some((later, Cause::Due)));
        pending.note(Happening::Disturbed(BTreeSet::from([Change::All])));
        assert_eq!(cause(&mut pending, retry, Reached::All, Some(later)), Cause::Disturbed);
        pending.note(Happening::Due);
        assert_eq!(cause(&mut pending, later, Reached::All, None), Cause::Due);
    }
}
