//! What is in a store under whose name, and what makes it what it should be.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;

use longshore_model::ContainerId;

/// One change of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyChange {
    /// The key gets this value.
    Put {
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// The container that it tells of.
        container: ContainerId,
    },
    /// The key goes.
    Delete {
        /// The key.
        key: String,
    },
}

impl KeyChange {
    /// Returns the key.
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }

    /// Returns how many bytes it sends.
    fn size(&self) -> usize {
        match self {
            Self::Put { key, value, .. } => key.len() + value.len(),
            Self::Delete { key } => key.len(),
        }
    }
}

/// What tells one value of a key from another without keeping it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fingerprint(u64);

impl Fingerprint {
    fn of(value: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(value.as_bytes());
        Self(hasher.finish())
    }
}

/// The keys that were written, each with the container that it tells of. A container that follows another under its name
/// and address takes that one's keys over, whichever of the two is looked at first.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    keys: BTreeMap<String, (ContainerId, Fingerprint)>,
    of: BTreeMap<ContainerId, BTreeSet<String>>,
}

impl Ledger {
    /// Returns how many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Returns the containers that have keys.
    pub fn containers(&self) -> impl Iterator<Item = &ContainerId> {
        self.of.keys()
    }

    /// Returns what gives these containers the keys that they should have, and no others; each key once. What is there already is
    /// not written again.
    pub fn changes(&self, wanted: BTreeMap<ContainerId, BTreeMap<String, String>>) -> Vec<KeyChange> {
        let mut changes = BTreeMap::new();
        for container in wanted.keys() {
            for key in self.of.get(container).into_iter().flatten() {
                changes.insert(key.clone(), KeyChange::Delete { key: key.clone() });
            }
        }
        for (container, values) in wanted {
            for (key, value) in values {
                let there = self.keys.get(&key);
                if there.is_some_and(|there| *there == (container.clone(), Fingerprint::of(&value))) {
                    changes.remove(&key);
                } else {
                    let container = container.clone();
                    changes.insert(key.clone(), KeyChange::Put { key, value, container });
                }
            }
        }
        changes.into_values().collect()
    }

    /// Takes down that a change was made.
    pub fn made(&mut self, change: &KeyChange) {
        self.forget(change.key());
        if let KeyChange::Put { key, value, container } = change {
            self.keys.insert(key.clone(), (container.clone(), Fingerprint::of(value)));
            self.of.entry(container.clone()).or_default().insert(key.clone());
        }
    }

    /// Forgets the keys that are not there, and names the containers that miss them.
    pub fn missing(&mut self, there: &BTreeSet<String>) -> BTreeSet<ContainerId> {
        let missing: Vec<String> = self.keys.keys().filter(|key| !there.contains(*key)).cloned().collect();
        missing.iter().filter_map(|key| self.forget(key)).collect()
    }

    /// Returns what takes away the keys that are there and that nobody here wrote.
    pub fn surplus(&self, there: &BTreeSet<String>) -> Vec<KeyChange> {
        let surplus = there.iter().filter(|key| !self.keys.contains_key(*key));
        surplus.map(|key| KeyChange::Delete { key: key.clone() }).collect()
    }

    fn forget(&mut self, key: &str) -> Option<ContainerId> {
        let (container, _) = self.keys.remove(key)?;
        if let Some(keys) = self.of.get_mut(&container) {
            keys.remove(key);
            if keys.is_empty() {
                self.of.remove(&container);
            }
        }
        Some(container)
    }
}

/// Changes in as many groups as are needed for none to have more than `most` changes or, unless it has one only, more
/// than `bytes` bytes of keys and values.
pub fn in_batches(changes: Vec<KeyChange>, most: usize, bytes: usize) -> Vec<Vec<KeyChange>> {
    let mut batches: Vec<Vec<KeyChange>> = Vec::new();
    let mut room = 0;
    for change in changes {
        let size = change.size();
        match batches.last_mut().filter(|batch| batch.len() < most && size <= room) {
            Some(batch) => {
                batch.push(change);
                room -= size;
            }
            None => {
                batches.push(vec![change]);
                room = bytes.saturating_sub(size);
            }
        }
    }
    batches
}
