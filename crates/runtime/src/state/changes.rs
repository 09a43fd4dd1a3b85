//! What to check again, for any number of subscribers.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use longshore_model::Change;
use tokio::sync::Notify;

#[derive(Debug, Default)]
struct Waiting {
    changes: Mutex<BTreeSet<Change>>,
    wake: Notify,
}

impl Waiting {
    fn add(&self, more: &BTreeSet<Change>) {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.extend(more.iter().cloned());
        if changes.contains(&Change::All) {
            *changes = BTreeSet::from([Change::All]);
        }
        drop(changes);
        self.wake.notify_one();
    }
}

/// What changed since the last call, each item once: a burst names the same container many times, and only its last
/// state counts. World already contains these changes.
#[derive(Debug)]
pub struct Changes(Arc<Waiting>);

impl Changes {
    /// Waits until something changed, and takes all of it. There are no changes before World is listed.
    pub async fn next(&mut self) -> BTreeSet<Change> {
        loop {
            let woken = self.0.wake.notified();
            let changes = std::mem::take(&mut *self.0.changes.lock().unwrap_or_else(PoisonError::into_inner));
            if !changes.is_empty() {
                return changes;
            }
            woken.await;
        }
    }
}

/// The subscribers to changes. Cheap to clone; all clones share one list.
#[derive(Clone, Debug, Default)]
pub(super) struct Subscribers(Arc<Mutex<Vec<Weak<Waiting>>>>);

impl Subscribers {
    /// Subscribes to changes from here on, starting with all of World if it `is_listed`, which is evaluated after
    /// subscribing.
    pub(super) fn subscribe(&self, is_listed: impl FnOnce() -> bool) -> Changes {
        let waiting = Arc::new(Waiting::default());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&waiting));
        if is_listed() {
            waiting.add(&BTreeSet::from([Change::All]));
        }
        Changes(waiting)
    }

    /// Passes changes to all subscribers.
    pub(super) fn tell(&self, changes: &BTreeSet<Change>) {
        let mut subscribers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        subscribers.retain(|waiting| waiting.upgrade().map(|waiting| waiting.add(changes)).is_some());
    }
}

#[cfg(test)]
mod tests {
    use longshore_model::{ContainerId, ContainerRef, HostId};

    use super::*;

    #[tokio::test]
    async fn all_of_world_stands_for_each_of_its_containers() {
        let subscribers = Subscribers::default();
        let (mut early, mut late) = (subscribers.subscribe(|| false), subscribers.subscribe(|| true));
        let one = Change::Container(ContainerRef::new(HostId::from_u128(1), ContainerId::new("a")));
        subscribers.tell(&BTreeSet::from([one.clone()]));
        assert_eq!(early.next().await, BTreeSet::from([one]));
        assert_eq!(late.next().await, BTreeSet::from([Change::All]));
    }
}
