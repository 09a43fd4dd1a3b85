//! What to look at again, for any number of those who act on it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use longshore_model::ContainerId;
use tokio::sync::Notify;

/// What to look at again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// This container.
    Container(ContainerId),
    /// All of them.
    Everything,
}

impl Change {
    /// The one container, unless it is all of them.
    pub fn container(&self) -> Option<&ContainerId> {
        match self {
            Self::Container(id) => Some(id),
            Self::Everything => None,
        }
    }
}

#[derive(Debug, Default)]
struct Waiting {
    changes: Mutex<BTreeSet<Change>>,
    wake: Notify,
}

/// What changed since it was last asked, each once: a burst names the same container many times, and its last state is
/// all that counts. World already has what is named here.
#[derive(Debug)]
pub struct Changes(Arc<Waiting>);

impl Changes {
    /// Waits until something changed, and takes all of it.
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
pub struct Subscribers(Arc<Mutex<Vec<Weak<Waiting>>>>);

impl Subscribers {
    /// Changes from here on, and everything to begin with.
    pub fn subscribe(&self) -> Changes {
        let waiting = Arc::new(Waiting::default());
        tell(&waiting, &BTreeSet::from([Change::Everything]));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&waiting));
        Changes(waiting)
    }

    /// Tells all of them.
    pub(super) fn tell(&self, changes: &BTreeSet<Change>) {
        let mut subscribers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        subscribers.retain(|waiting| waiting.upgrade().map(|waiting| tell(&waiting, changes)).is_some());
    }
}

fn tell(waiting: &Waiting, changes: &BTreeSet<Change>) {
    waiting.changes.lock().unwrap_or_else(PoisonError::into_inner).extend(changes.iter().cloned());
    waiting.wake.notify_one();
}
