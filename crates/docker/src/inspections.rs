//! A shared cache of every container's inspection: the watch inspects a container when something happens to it, and
//! consumers that need more than World has read the result.
//!
//! Nothing is cached until the first request.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use longshore_model::ContainerId;
use longshore_runtime::Inspect;
use serde_json::value::RawValue;
use tokio::sync::{Notify, oneshot};

use crate::watch::Shown;

/// How long Docker may take to inspect a container.
const INSPECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why an inspection is not available.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InspectionError {
    /// Docker is not reachable.
    #[error("Docker does not answer: {0}")]
    Away(String),
    /// Docker refuses to inspect this container.
    #[error("{0}")]
    Refused(String),
    /// Docker takes too long.
    #[error("Docker does not show it within 5 seconds")]
    Timeout,
}

/// The last inspection of every container. Cheap to clone; all clones share one cache.
#[derive(Clone, Debug)]
pub struct InspectionCache(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    known: Mutex<Known>,
    is_used: AtomicBool,
    asked: Notify,
}

#[derive(Debug)]
struct Known {
    /// Why Docker is not reachable, if it is not.
    away: Option<String>,
    entries: BTreeMap<ContainerId, Entry>,
    /// Requested containers that the watch does not know yet.
    wanted: BTreeSet<ContainerId>,
}

#[derive(Debug)]
enum Entry {
    /// Being inspected, since something happened to it. Waiters are woken when this is dropped.
    Pending(Vec<oneshot::Sender<()>>),
    As(Arc<RawValue>),
    Refused(String),
}

/// What a request finds.
enum Found {
    Now(Result<Option<Arc<RawValue>>, InspectionError>),
    Soon(oneshot::Receiver<()>),
}

impl Default for InspectionCache {
    fn default() -> Self {
        let away = Some("not connected yet".to_owned());
        let known = Known { away, entries: BTreeMap::new(), wanted: BTreeSet::new() };
        Self(Arc::new(Shared {
            known: Mutex::new(known),
            is_used: AtomicBool::new(false),
            asked: Notify::new(),
        }))
    }
}

impl InspectionCache {
    /// Returns a container's inspection, no older than its last reported event; `None` if the container is gone.
    /// While Docker is not reachable, the last inspection is returned.
    ///
    /// # Errors
    /// Returns why no inspection is available.
    pub async fn get(&self, id: &ContainerId) -> Result<Option<Arc<RawValue>>, InspectionError> {
        self.0.is_used.store(true, Ordering::Relaxed);
        let found = async {
            let mut has_asked = false;
            loop {
                match self.look(id, &mut has_asked) {
                    Found::Now(found) => return found,
                    Found::Soon(changed) => drop(changed.await),
                }
            }
        };
        tokio::time::timeout(INSPECT_TIMEOUT, found).await.unwrap_or(Err(InspectionError::Timeout))
    }

    fn look(&self, id: &ContainerId, has_asked: &mut bool) -> Found {
        let Known { away, entries, wanted } = &mut *self.known();
        let (wake, changed) = oneshot::channel();
        match entries.get_mut(id) {
            Some(Entry::As(json)) => return Found::Now(Ok(Some(Arc::clone(json)))),
            Some(Entry::Refused(why)) => return Found::Now(Err(InspectionError::Refused(why.clone()))),
            Some(Entry::Pending(waiting)) => waiting.push(wake),
            None => {
                if let Some(why) = away {
                    return Found::Now(Err(InspectionError::Away(why.clone())));
                }
                if *has_asked {
                    return Found::Now(Ok(None));
                }
                entries.insert(id.clone(), Entry::Pending(vec![wake]));
                wanted.insert(id.clone());
                self.0.asked.notify_one();
            }
        }
        *has_asked = true;
        Found::Soon(changed)
    }

    /// Waits until an unknown container is requested, and takes it.
    pub(crate) async fn wanted(&self) -> ContainerId {
        loop {
            let asked = self.0.asked.notified();
            if let Some(id) = self.known().wanted.pop_first() {
                return id;
            }
            asked.await;
        }
    }

    /// Returns whether there was ever a request.
    pub(crate) fn is_used(&self) -> bool {
        self.0.is_used.load(Ordering::Relaxed)
    }

    /// Updates a container's entry.
    pub(crate) fn show(&self, id: ContainerId, shown: Shown) {
        if !self.is_used() {
            return;
        }
        let entries = &mut self.known().entries;
        match shown {
            Shown::Pending if matches!(entries.get(&id), Some(Entry::Pending(_))) => {}
            Shown::Pending => drop(entries.insert(id, Entry::Pending(Vec::new()))),
            Shown::As(json) => drop(entries.insert(id, Entry::As(json))),
            Shown::Refused(why) => drop(entries.insert(id, Entry::Refused(why))),
            Shown::Gone => drop(entries.remove(&id)),
        }
    }

    /// Notes that Docker is reachable and about to be listed.
    pub(crate) fn back(&self) {
        self.known().away = None;
    }

    /// Notes that Docker is not reachable, and why.
    pub(crate) fn away(&self, why: &str) {
        let mut known = self.known();
        known.away = Some(why.to_owned());
        known.entries.retain(|_, entry| matches!(entry, Entry::As(_)));
        known.wanted.clear();
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inspect for InspectionCache {
    fn inspect<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, Option<Arc<RawValue>>> {
        Box::pin(async { self.get(id).await.ok().flatten() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Shown {
        Shown::As(Arc::from(RawValue::from_string(text.to_owned()).unwrap()))
    }

    async fn text(cache: &InspectionCache, id: &ContainerId) -> Result<Option<String>, InspectionError> {
        Ok(cache.get(id).await?.map(|json| json.get().to_owned()))
    }

    #[tokio::test]
    async fn one_look_serves_all_who_ask_until_something_happens_to_the_container() {
        let cache = InspectionCache::default();
        cache.back();
        let id = ContainerId::new("ab");
        let both = async { tokio::join!(text(&cache, &id), text(&cache, &id)) };
        let look = async {
            let wanted = cache.wanted().await;
            cache.show(wanted, json("1"));
        };
        let ((one, other), ()) = tokio::join!(both, look);
        assert_eq!((one, other), (Ok(Some("1".to_owned())), Ok(Some("1".to_owned()))));
        assert!(cache.known().wanted.is_empty(), "the second one shares the first one's look");

        cache.show(id.clone(), Shown::Pending);
        let look = async { cache.show(id.clone(), json("2")) };
        let (found, ()) = tokio::join!(text(&cache, &id), look);
        assert_eq!(found, Ok(Some("2".to_owned())), "nobody is shown what is outdated");
        assert!(cache.known().wanted.is_empty(), "the watch looks by itself");
    }

    #[tokio::test]
    async fn a_container_that_is_gone_is_nothing_and_one_that_is_refused_says_why() {
        let cache = InspectionCache::default();
        cache.back();
        let (gone, refused) = (ContainerId::new("ab"), ContainerId::new("cd"));
        let watch = async {
            for _ in 0..2 {
                let id = cache.wanted().await;
                let shown = if id == gone { Shown::Gone } else { Shown::Refused("500".to_owned()) };
                cache.show(id, shown);
            }
        };
        let (one, other, ()) = tokio::join!(text(&cache, &gone), text(&cache, &refused), watch);
        assert_eq!(one, Ok(None));
        assert_eq!(other, Err(InspectionError::Refused("500".to_owned())));
    }

    #[tokio::test]
    async fn while_docker_is_away_what_was_seen_is_shown_and_nothing_is_waited_for() {
        let cache = InspectionCache::default();
        let (seen, other) = (ContainerId::new("ab"), ContainerId::new("cd"));
        assert!(matches!(text(&cache, &seen).await, Err(InspectionError::Away(_))));
        cache.back();
        cache.show(seen.clone(), json("1"));
        cache.show(other.clone(), Shown::Pending);
        let away = async { cache.away("gone fishing") };
        let (found, ()) = tokio::join!(text(&cache, &other), away);
        assert_eq!(found, Err(InspectionError::Away("gone fishing".to_owned())));
        assert_eq!(text(&cache, &seen).await, Ok(Some("1".to_owned())));
    }
}
