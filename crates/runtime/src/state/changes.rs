//! What to look at again, for any number of those who act on it.

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

/// What changed since it was last asked, each once: a burst names the same container many times, and its last state is
/// all that counts. World already has what is named here.
#[derive(Debug)]
pub struct Changes(Arc<Waiting>);

impl Changes {
    /// Waits until something changed, and takes all of it. Nothing has before World is listed.
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

/// Those who wait for changes. Cheap to clone; every clone is the same list.
#[derive(Clone, Debug, Default)]
pub(super) struct Subscribers(Arc<Mutex<Vec<Weak<Waiting>>>>);

impl Subscribers {
    /// Changes from here on; all of World to begin with if it `is_listed`, which is asked once they are heard of.
    pub(super) fn subscribe(&self, is_listed: impl FnOnce() -> bool) -> Changes {
        let waiting = Arc::new(Waiting::default());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&waiting));
        if is_listed() {
            waiting.add(&BTreeSet::from([Change::All]));
        }
        Changes(waiting)
    }

    /// Tells all of them.
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
