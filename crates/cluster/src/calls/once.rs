//! Orders that are carried out once, however often they arrive.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use longshore_model::{CallError, HostId};
use longshore_runtime::Reply;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long an outcome is kept.
const KEPT: Duration = Duration::from_secs(120);
/// How many outcomes are kept at most.
const MAX_KEPT: usize = 4096;
/// The longest outcome that is kept, in bytes.
const MAX_JSON: usize = 64 << 10;

/// The outcome of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    Already,
    Json(Bytes),
    Failed(CallError),
}

impl From<Result<Reply, CallError>> for Outcome {
    fn from(reply: Result<Reply, CallError>) -> Self {
        match reply {
            Ok(Reply::Done) => Self::Done,
            Ok(Reply::Already) => Self::Already,
            Ok(Reply::Json(json)) => Self::Json(json),
            Ok(reply @ (Reply::Stream(_) | Reply::Session(_))) => {
                Self::Failed(CallError::Broken(format!("unexpected reply {reply:?}")))
            }
            Err(error) => Self::Failed(error),
        }
    }
}

/// Whose order it is, and its key.
type Key = (HostId, String);

#[derive(Debug)]
struct Entry {
    /// The outcome, and when the order ended.
    outcome: watch::Receiver<Option<(Outcome, Instant)>>,
    begun: Instant,
}

impl Entry {
    /// Returns whether the order has ended, and what it took is kept no longer.
    fn is_over(&self, now: Instant) -> bool {
        let kept = self.outcome.borrow();
        kept.as_ref().is_some_and(|(outcome, ended)| {
            let is_long = matches!(outcome, Outcome::Json(json) if json.len() > MAX_JSON);
            is_long || now.duration_since(*ended) > KEPT
        })
    }
}

/// Recent orders by their keys. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Once(Arc<Mutex<BTreeMap<Key, Entry>>>);

impl Once {
    /// Carries out an order, unless it was done before: then its outcome is that of the first time. The order goes on when
    /// the future is dropped.
    pub(super) async fn carry_out<F>(&self, key: Key, order: impl FnOnce() -> F) -> Outcome
    where
        F: Future<Output = Result<Reply, CallError>> + Send + 'static,
    {
        let mut outcome = {
            let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match recent.get(&key) {
                Some(entry) => entry.outcome.clone(),
                None => {
                    let now = Instant::now();
                    make_room(&mut recent, now);
                    let (done, outcome) = watch::channel(None);
                    let order = order();
                    tokio::spawn(async move {
                        let outcome = order.await.into();
                        done.send_replace(Some((outcome, Instant::now())));
                    });
                    recent.insert(key, Entry { outcome: outcome.clone(), begun: now });
                    outcome
                }
            }
        };
        let found = outcome.wait_for(Option::is_some).await;
        let interrupted = || Outcome::Failed(CallError::Broken("the order was interrupted".to_owned()));
        found.ok().and_then(|outcome| outcome.clone()).map_or_else(interrupted, |(outcome, _)| outcome)
    }
}

fn make_room(recent: &mut BTreeMap<Key, Entry>, now: Instant) {
    recent.retain(|_, entry| !entry.is_over(now));
    if recent.len() >= MAX_KEPT {
        let ended = recent.iter().filter(|(_, entry)| entry.outcome.borrow().is_some());
        if let Some(oldest) = ended.min_by_key(|(_, entry)| entry.begun).map(|(key, _)| key.clone()) {
            recent.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;

    fn key(number: u64) -> Key {
        (HostId::from_u128(1), format!("7-{number}"))
    }

    #[tokio::test]
    async fn an_order_is_carried_out_once_also_while_it_runs_and_after_its_caller_has_gone() {
        let (once, count) = (Once::default(), Arc::new(AtomicUsize::new(0)));
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        let counted = Arc::clone(&count);
        let first = once.carry_out(key(1), move || async move {
            counted.fetch_add(1, SeqCst);
            let _ = gone.await;
            Ok(Reply::Json("created".into()))
        });
        // The caller leaves at once.
        assert!(tokio::time::timeout(Duration::from_millis(10), first).await.is_err());
        let again = async || {
            let counted = Arc::clone(&count);
            let order = move || async move {
                counted.fetch_add(1, SeqCst);
                Ok(Reply::Done)
            };
            once.carry_out(key(1), order).await
        };
        let ((), second) = tokio::join!(async { go.send(()).unwrap() }, again());
        assert_eq!(
            (second, again().await),
            (Outcome::Json("created".into()), Outcome::Json("created".into()))
        );
        assert_eq!(count.load(SeqCst), 1);
        let other = once.carry_out((HostId::from_u128(2), key(1).1), || async { Ok(Reply::Already) }).await;
        assert_eq!(other, Outcome::Already, "another host's key is another order");
    }

    #[tokio::test(start_paused = true)]
    async fn outcomes_are_forgotten_after_a_while_and_their_number_is_bounded() {
        let once = Once::default();
        for number in 0..MAX_KEPT as u64 + 10 {
            once.carry_out(key(number), || async { Ok(Reply::Done) }).await;
        }
        assert!(once.0.lock().unwrap().len() <= MAX_KEPT);
        tokio::time::advance(KEPT + Duration::from_secs(1)).await;
        once.carry_out(key(9999), || async { Ok(Reply::Done) }).await;
        assert_eq!(once.0.lock().unwrap().len(), 1);
    }
}
