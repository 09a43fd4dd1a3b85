//! Tracks which keys of a store belong to which container, and computes the changes that converge it.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;

use longshore_model::ContainerId;

/// One change to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyChange {
    /// Sets the key.
    Put {
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// The container that the key belongs to.
        container: ContainerId,
    },
    /// Deletes the key.
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

    /// Returns how many bytes the change sends.
    fn size(&self) -> usize {
        match self {
            Self::Put { key, value, .. } => key.len() + value.len(),
            Self::Delete { key } => key.len(),
        }
    }
}

/// Distinguishes the values of a key without storing them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fingerprint(u64);

impl Fingerprint {
    fn of(value: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(value.as_bytes());
        Self(hasher.finish())
    }
}

/// The keys that were written, each with its container. A container that succeeds another with the same name
/// and address takes over its keys, whichever of the two is processed first.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    keys: BTreeMap<String, (ContainerId, Fingerprint)>,
    of: BTreeMap<ContainerId, BTreeSet<String>>,
}

impl Ledger {
    /// Returns the number of keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Returns the containers that have keys.
    pub fn containers(&self) -> impl Iterator<Item = &ContainerId> {
        self.of.keys()
    }

    /// Returns the changes that give these containers exactly the keys they should have; each key at most
    /// once. Existing values are not written again.
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

    /// Records that a change was made.
    pub fn made(&mut self, change: &KeyChange) {
        self.forget(change.key());
        if let KeyChange::Put { key, value, container } = change {
            self.keys.insert(key.clone(), (container.clone(), Fingerprint::of(value)));
            self.of.entry(container.clone()).or_default().insert(key.clone());
        }
    }

    /// Forgets the keys that are not in `there`, and returns the containers that lost them.
    pub fn missing(&mut self, there: &BTreeSet<String>) -> BTreeSet<ContainerId> {
        let missing: Vec<String> = self.keys.keys().filter(|key| !there.contains(*key)).cloned().collect();
        missing.iter().filter_map(|key| self.forget(key)).collect()
    }

    /// Returns the changes that delete keys in `there` that this ledger did not write.
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

/// Splits changes into as many batches as needed: each has at most `most` changes and, unless it holds only
/// one, at most `bytes` bytes of keys and values.
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
