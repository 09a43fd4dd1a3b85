//! Steps that each belong to a key: one at a time per key, many keys at once, and a pause after a failure that grows
//! with each further one.
//!
//! [`Turns`] decides, without a clock and without tasks; [`Steps`] runs what it starts.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::time::Duration;

use backon::ExponentialBackoff;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

use crate::backoff;

/// The pauses between a key's steps.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    /// The pause after a first failure. It doubles with each further one.
    pub first: Duration,
    /// The longest pause.
    pub max: Duration,
    /// After this long without a failure since the last pause, the next failure counts as a first one.
    pub calm: Duration,
}

/// Everything that can happen to a key's steps.
#[derive(Debug)]
enum Happening<K, W> {
    /// A step of this kind is wanted. A pause applies only to the kind that caused it.
    Wanted(K, W),
    /// The key's step ended, successfully or not.
    Ended(K, bool),
    /// The next step of this kind must wait, though none failed.
    Delayed(K, W),
}

/// The resulting action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// The step begins.
    Begin,
    /// The step may begin at this time.
    Wait(Instant),
}

/// A key's last pause.
#[derive(Debug)]
struct Pause<W> {
    kind: W,
    delays: ExponentialBackoff,
    until: Instant,
}

/// Decides which steps may run.
#[derive(Debug)]
struct Turns<K, W> {
    at_once: usize,
    pauses: Pauses,
    /// The keys with a running step, and its kind.
    running: BTreeMap<K, W>,
    paused: BTreeMap<K, Pause<W>>,
}

impl<K: Ord + Clone, W: PartialEq> Turns<K, W> {
    fn new(at_once: usize, pauses: Pauses) -> Self {
        Self { at_once: at_once.max(1), pauses, running: BTreeMap::new(), paused: BTreeMap::new() }
    }

    /// Takes in what happened. Returns `None` if there is nothing to do: a step wanted too early may be requested
    /// again once another has ended.
    fn take(&mut self, happening: Happening<K, W>, now: Instant) -> Option<Effect> {
        match happening {
            Happening::Wanted(key, _) if self.running.contains_key(&key) => None,
            Happening::Wanted(key, kind) => {
                let paused = self.paused.get(&key).filter(|pause| pause.kind == kind && pause.until > now);
                if let Some(pause) = paused {
                    return Some(Effect::Wait(pause.until));
                }
                if self.running.len() >= self.at_once {
                    return None;
                }
                self.running.insert(key, kind);
                Some(Effect::Begin)
            }
            Happening::Ended(key, well) => {
                if let Some(kind) = self.running.remove(&key).filter(|_| !well) {
                    self.delay(key, kind, now);
                }
                None
            }
            Happening::Delayed(key, kind) => {
                self.delay(key, kind, now);
                None
            }
        }
    }

    fn delay(&mut self, key: K, kind: W, now: Instant) {
        let Pauses { first, max, calm } = self.pauses;
        // No key is kept for longer than its pause counts.
        self.paused.retain(|_, pause| pause.until + calm > now);
        let before = self.paused.remove(&key).filter(|pause| pause.kind == kind);
        let mut delays = before.map_or_else(|| backoff::exponential(first, max), |pause| pause.delays);
        let until = now + delays.next().unwrap_or(max);
        self.paused.insert(key, Pause { kind, delays, until });
    }
}

/// Why a step was not successful.
#[derive(Debug, thiserror::Error)]
pub enum StepError<E> {
    /// It failed.
    #[error(transparent)]
    Failed(E),
    /// It panicked, which is a bug in Longshore.
    #[error("a bug in Longshore: {0}")]
    Panicked(String),
}

/// When a requested step begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// It has begun.
    Now,
    /// It may begin at this time, if it is still wanted.
    At(Instant),
    /// It may begin once another step has ended, if it is still wanted.
    AfterAnother,
}

/// A step that ended.
#[derive(Debug)]
pub struct Ended<K, T, E> {
    /// Its key.
    pub key: K,
    /// Its result.
    pub outcome: Result<T, StepError<E>>,
}

/// Runs steps. Dropping it drops the running ones.
#[derive(Debug)]
pub struct Steps<K, W, T, E> {
    turns: Turns<K, W>,
    tasks: JoinSet<Result<T, E>>,
    keys: HashMap<Id, K>,
    ended: Vec<Ended<K, T, E>>,
}

impl<K, W, T, E> Steps<K, W, T, E>
where
    K: Ord + Clone + Debug,
    W: PartialEq,
    T: Send + 'static,
    E: Send + 'static,
{
    /// Creates a runner of at most this many concurrent steps.
    pub fn new(at_once: usize, pauses: Pauses) -> Self {
        let turns = Turns::new(at_once, pauses);
        Self { turns, tasks: JoinSet::new(), keys: HashMap::new(), ended: Vec::new() }
    }

    /// Begins a step of a kind, unless it has to wait. Another kind of step does not extend a pause.
    pub fn begin<S>(&mut self, key: K, kind: W, now: Instant, step: impl FnOnce() -> S) -> Begins
    where
        S: Future<Output = Result<T, E>> + Send + 'static,
    {
        match self.turns.take(Happening::Wanted(key.clone(), kind), now) {
            Some(Effect::Begin) => {
                let task = self.tasks.spawn(step());
                self.keys.insert(task.id(), key);
                Begins::Now
            }
            Some(Effect::Wait(until)) => Begins::At(until),
            None => Begins::AfterAnother,
        }
    }

    /// Makes the key's next step of this kind wait as if one had failed.
    pub fn delay(&mut self, key: K, kind: W, now: Instant) {
        self.turns.take(Happening::Delayed(key, kind), now);
    }

    /// Returns whether a step of this key runs, or has ended and was not taken.
    pub fn is_busy(&self, key: &K) -> bool {
        self.turns.running.contains_key(key)
    }

    /// Returns whether no step runs or waits to be taken.
    pub fn is_idle(&self) -> bool {
        self.turns.running.is_empty()
    }

    /// Returns when the key's next step may begin; in the past if it need not wait.
    pub fn paused_until(&self, key: &K) -> Option<Instant> {
        self.turns.paused.get(key).map(|pause| pause.until)
    }

    /// Waits until a step has ended that was not taken; forever if none runs. Cancel-safe.
    pub async fn wait(&mut self) {
        if !self.ended.is_empty() {
            return;
        }
        match self.tasks.join_next_with_id().await {
            Some(joined) => self.note(joined),
            None => std::future::pending().await,
        }
    }

    /// Takes the steps that have ended.
    pub fn take(&mut self, now: Instant) -> Vec<Ended<K, T, E>> {
        while let Some(joined) = self.tasks.try_join_next_with_id() {
            self.note(joined);
        }
        let ended = std::mem::take(&mut self.ended);
        for Ended { key, outcome } in &ended {
            self.turns.take(Happening::Ended(key.clone(), outcome.is_ok()), now);
        }
        ended
    }

    fn note(&mut self, joined: Result<(Id, Result<T, E>), JoinError>) {
        let (id, outcome) = match joined {
            Ok((id, outcome)) => (id, outcome.map_err(StepError::Failed)),
            Err(error) => (error.id(), Err(StepError::Panicked(why(error)))),
        };
        let Some(key) = self.keys.remove(&id) else { return };
        if let Err(StepError::Panicked(why)) = &outcome {
            tracing::error!(?key, "a step panicked: {why}");
        }
        self.ended.push(Ended { key, outcome });
    }
}

/// Returns a panic's message.
fn why(error: JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else { return "the step was cancelled".to_owned() };
    let panic: &(dyn Any + Send) = &*panic;
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, reason = "steps that panic are what is tested")]

    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const PAUSES: Pauses = Pauses {
        first: Duration::from_millis(100),
        max: Duration::from_secs(5),
        calm: Duration::from_secs(10),
    };

    fn steps(at_once: usize) -> Steps<u8, (), u8, String> {
        Steps::new(at_once, PAUSES)
    }

    async fn next(steps: &mut Steps<u8, (), u8, String>) -> Ended<u8, u8, String> {
        steps.wait().await;
        steps.take(Instant::now()).remove(0)
    }

    #[tokio::test]
    async fn a_step_that_panics_is_told_with_its_key_and_frees_it() {
        let mut steps = steps(1);
        let now = Instant::now();
        assert_eq!(steps.begin(7, (), now, || async { panic!("no {}", "such thing") }), Begins::Now);
        let Ended { key, outcome } = next(&mut steps).await;
        assert_eq!(key, 7);
        assert_eq!(outcome.unwrap_err().to_string(), "a bug in Longshore: no such thing");
        let Begins::At(until) = steps.begin(7, (), Instant::now(), || async { Ok(1) }) else { panic!() };
        assert_eq!(steps.begin(7, (), until, || async { Ok(1) }), Begins::Now, "it may be retried");
        assert_eq!(next(&mut steps).await.outcome.unwrap(), 1);
        assert!(steps.is_idle());
    }

    #[tokio::test]
    async fn keys_run_side_by_side_and_a_keys_steps_one_after_the_other() {
        let mut steps = steps(2);
        let now = Instant::now();
        let (told, ready) = tokio::sync::oneshot::channel();
        assert_eq!(
            steps.begin(1, (), now, || async { ready.await.map_err(|_| "lost".to_owned()) }),
            Begins::Now
        );
        assert_eq!(steps.begin(1, (), now, || async { Ok(0) }), Begins::AfterAnother);
        // The second ends only if it runs alongside the first.
        assert_eq!(
            steps.begin(2, (), now, || async { told.send(9).map(|()| 2).map_err(|_| "lost".to_owned()) }),
            Begins::Now
        );
        assert_eq!(steps.begin(3, (), now, || async { Ok(0) }), Begins::AfterAnother, "two at once");
        let mut ended = BTreeSet::new();
        while !steps.is_idle() {
            steps.wait().await;
            ended.extend(steps.take(now).into_iter().map(|ended| (ended.key, ended.outcome.unwrap())));
        }
        assert_eq!(ended, BTreeSet::from([(1, 9), (2, 2)]));
    }

    #[derive(Clone, Debug)]
    enum Act {
        Want(u8, bool),
        End(bool),
        Delay(u8, bool),
        Pass(u64),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => (0..5_u8, any::<bool>()).prop_map(|(key, kind)| Act::Want(key, kind)),
            3 => any::<bool>().prop_map(Act::End),
            1 => (0..5_u8, any::<bool>()).prop_map(|(key, kind)| Act::Delay(key, kind)),
            3 => (0..12_000_u64).prop_map(Act::Pass),
        ]
    }

    proptest! {
        #[test]
        fn no_key_runs_twice_none_starts_in_its_pause_and_none_is_forgotten(
            acts in prop::collection::vec(act(), 0..200),
            at_once in 1..4_usize,
        ) {
            let mut now = Instant::now();
            let mut turns = Turns::<u8, bool>::new(at_once, PAUSES);
            // What runs, and until when each key's kind has to pause; a plain model.
            let mut running: Vec<(u8, bool)> = Vec::new();
            let mut pauses: BTreeMap<u8, (bool, Instant)> = BTreeMap::new();
            for act in acts {
                match act {
                    Act::Pass(ms) => now += Duration::from_millis(ms),
                    Act::Want(key, kind) => {
                        let pause = pauses.get(&key).filter(|(of, until)| *of == kind && *until > now);
                        let effect = turns.take(Happening::Wanted(key, kind), now);
                        if running.iter().any(|(other, _)| *other == key) {
                            prop_assert_eq!(effect, None);
                        } else if let Some((_, until)) = pause {
                            prop_assert!(matches!(effect, Some(Effect::Wait(at)) if at >= *until));
                        } else if running.len() == at_once {
                            prop_assert_eq!(effect, None);
                        } else {
                            prop_assert_eq!(effect, Some(Effect::Begin));
                            running.push((key, kind));
                        }
                    }
                    Act::End(well) => {
                        if let Some((key, kind)) = running.pop() {
                            turns.take(Happening::Ended(key, well), now);
                            if !well {
                                pauses.insert(key, (kind, now + PAUSES.first));
                            }
                        }
                    }
                    Act::Delay(key, kind) => {
                        turns.take(Happening::Delayed(key, kind), now);
                        pauses.insert(key, (kind, now + PAUSES.first));
                    }
                }
                // Where the model knows only a pause's lower bound, it learns the actual length.
                for (key, (kind, until)) in &mut pauses {
                    let known = turns.paused.get(key).filter(|pause| pause.kind == *kind && pause.until >= *until);
                    if let Some(pause) = known {
                        prop_assert!(pause.until <= now.max(*until) + PAUSES.max * 2);
                        *until = pause.until;
                    } else {
                        prop_assert!(*until <= now, "a pause is forgotten before it is over");
                    }
                }
            }
            // In any case, every key may run once its running step has ended and its pause is over.
            for (key, _) in running {
                turns.take(Happening::Ended(key, true), now);
            }
            for key in 0..5 {
                let later = match turns.take(Happening::Wanted(key, true), now) {
                    Some(Effect::Wait(at)) => turns.take(Happening::Wanted(key, true), at),
                    other => other,
                };
                prop_assert_eq!(later, Some(Effect::Begin));
                turns.take(Happening::Ended(key, true), now);
            }
        }

        #[test]
        fn pauses_grow_to_the_longest_and_begin_again_after_a_calm(failures in 1..40_u32) {
            let mut now = Instant::now();
            let mut turns = Turns::<u8, ()>::new(1, PAUSES);
            let mut least = PAUSES.first;
            for _ in 0..failures {
                prop_assert_eq!(turns.take(Happening::Wanted(1, ()), now), Some(Effect::Begin));
                turns.take(Happening::Ended(1, false), now);
                let Some(Effect::Wait(until)) = turns.take(Happening::Wanted(1, ()), now) else {
                    panic!("it does not wait")
                };
                prop_assert!(until >= now + least && until <= now + PAUSES.max * 2);
                least = PAUSES.max.min(least * 2);
                now = until;
            }
            now += PAUSES.calm + Duration::from_millis(1);
            turns.take(Happening::Delayed(1, ()), now);
            let Some(Effect::Wait(until)) = turns.take(Happening::Wanted(1, ()), now) else { panic!() };
            prop_assert!(until <= now + PAUSES.first * 2);
        }
    }
}
