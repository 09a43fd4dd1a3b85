//! Each follower's last pass and next one, for status queries.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::passed::Reached;

/// Why a follower makes a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The follower's first pass, over all of World.
    First,
    /// World changed.
    Changes,
    /// An earlier pass failed, and its back-off is over.
    Retry,
    /// The follower asked for a pass at this time.
    Due,
    /// Something outside was disturbed, so everything is checked again.
    Disturbed,
}

/// A pass in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CurrentPass {
    /// When it began.
    pub at: SystemTime,
    /// Its cause.
    pub cause: Cause,
}

/// A pass that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastPass {
    /// When it began.
    pub at: SystemTime,
    /// Its cause.
    pub cause: Cause,
    /// How long it took.
    pub took: Duration,
    /// How far it came.
    pub reached: Reached,
    /// How many problems it found.
    pub problems: usize,
}

/// A pass that is due even if nothing changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextPass {
    /// When it is due.
    pub at: SystemTime,
    /// Its cause: [`Cause::Retry`] or [`Cause::Due`].
    pub cause: Cause,
}

/// One follower's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowerStatus {
    /// What it maintains: [`Follower::NAME`](super::Follower::NAME).
    pub name: &'static str,
    /// The handler that requires it; `None` for a follower that the settings require.
    pub handler: Option<String>,
    /// The pass in progress.
    pub current: Option<CurrentPass>,
    /// The pass that ended last; `None` before the first one has.
    pub last: Option<LastPass>,
    /// The pass that is due even if nothing changes.
    pub next: Option<NextPass>,
    /// How many passes have ended.
    pub passes: u64,
}

/// Identifies a follower.
type Key = (&'static str, Option<String>);

/// The status of every running follower. Cheap to clone; all clones share one board.
#[derive(Clone, Debug, Default)]
pub struct StatusBoard(Arc<Mutex<BTreeMap<Key, FollowerStatus>>>);

impl StatusBoard {
    /// Returns every follower's status, in order of name and handler.
    pub fn all(&self) -> Vec<FollowerStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Adds a follower, which stays on the board until the reporter is dropped.
    pub(super) fn reporter(&self, name: &'static str, handler: Option<String>) -> Reporter {
        let key = (name, handler.clone());
        let status = FollowerStatus { name, handler, current: None, last: None, next: None, passes: 0 };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), status);
        Reporter { board: self.clone(), key, began: Instant::now() }
    }
}

/// Writes one follower's status.
#[derive(Debug)]
pub(super) struct Reporter {
    board: StatusBoard,
    key: Key,
    began: Instant,
}

impl Reporter {
    /// Records that a pass began.
    pub(super) fn begin(&mut self, cause: Cause) {
        self.began = Instant::now();
        self.write(|status| status.current = Some(CurrentPass { at: SystemTime::now(), cause }));
    }

    /// Records that the current pass ended.
    pub(super) fn end(&mut self, reached: Reached, problems: usize, next: Option<(Instant, Cause)>) {
        let now = Instant::now();
        let took = now.saturating_duration_since(self.began);
        let next = next
            .map(|(at, cause)| NextPass { at: SystemTime::now() + at.saturating_duration_since(now), cause });
        self.write(|status| {
            let last = status.current.take();
            status.last =
                last.map(|CurrentPass { at, cause }| LastPass { at, cause, took, reached, problems });
            status.next = next;
            status.passes += 1;
        });
    }

    fn write(&self, write: impl FnOnce(&mut FollowerStatus)) {
        let mut board = self.board.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(status) = board.get_mut(&self.key) {
            write(status);
        }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.board.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_follower_shows_from_its_start_to_its_end_with_its_last_pass_and_the_next() {
        let board = StatusBoard::default();
        let mut publisher = board.reporter("publisher", Some("backup".to_owned()));
        let _dns = board.reporter("dns", None);
        let shown = |board: &StatusBoard| {
            board.all().into_iter().find(|status| status.handler.is_some()).expect("it runs")
        };
        let status = shown(&board);
        assert_eq!((status.name, status.passes, status.last), ("publisher", 0, None));

        publisher.begin(Cause::First);
        assert_eq!(shown(&board).current.map(|pass| pass.cause), Some(Cause::First));
        tokio::time::sleep(Duration::from_millis(20)).await;
        let retry = (Instant::now() + Duration::from_secs(60), Cause::Retry);
        let before = SystemTime::now();
        publisher.end(Reached::Part, 3, Some(retry));
        let status = shown(&board);
        let last = status.last.expect("a pass ended");
        assert_eq!((last.cause, last.reached), (Cause::First, Reached::Part));
        assert!(last.took >= Duration::from_millis(20), "{:?}", last.took);
        assert_eq!((last.problems, status.passes, status.current), (3, 1, None));
        let next = status.next.expect("what failed is retried");
        assert!(next.cause == Cause::Retry && next.at >= before + Duration::from_secs(59));

        drop(publisher);
        let names: Vec<_> = board.all().into_iter().map(|status| status.name).collect();
        assert_eq!(names, ["dns"]);
    }
}
