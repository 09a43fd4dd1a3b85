//! Changes that reach the journal together, and what remains of them while the disk fails.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use longshore_model::{ContainerId, EventId, HandlerEvent, LastReported};
use longshore_wire::journal::DeliveryRow;
use serde_json::value::RawValue;

/// Changes that reach the disk together or not at all. `None` removes the row.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Forget all reported state before applying the rest: no handler receives events any more.
    pub wipe: bool,
    /// Event ids by number, to recognize repeated events.
    pub ids: BTreeMap<u64, Option<EventId>>,
    /// Pending events.
    pub events: BTreeMap<u64, Option<Arc<HandlerEvent>>>,
    /// Deliveries by handler and event.
    pub deliveries: BTreeMap<(String, u64), Option<DeliveryRow>>,
    /// What was reported of each container.
    pub reported: BTreeMap<ContainerId, Option<LastReported>>,
    /// The last inspection of each container.
    pub inspections: BTreeMap<ContainerId, Option<Arc<RawValue>>>,
    /// The time of the last event from Docker, in nanoseconds since 1970.
    pub heard: Option<i64>,
    /// When the containers of the first start were recorded, in nanoseconds since 1970.
    pub begun: Option<i64>,
}

impl Batch {
    /// Returns whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
            && self.events.is_empty()
            && self.deliveries.is_empty()
            && self.reported.is_empty()
            && self.inspections.is_empty()
            && self.heard.is_none()
            && self.begun.is_none()
            && !self.wipe
    }

    /// Appends a later batch.
    pub fn append(&mut self, later: Self) {
        if later.wipe {
            self.wipe = true;
            self.reported.clear();
            self.inspections.clear();
            (self.heard, self.begun) = (None, None);
        }
        self.ids.extend(later.ids);
        self.events.extend(later.events);
        self.deliveries.extend(later.deliveries);
        self.reported.extend(later.reported);
        self.inspections.extend(later.inspections);
        self.heard = self.heard.max(later.heard);
        self.begun = later.begun.or(self.begun);
    }

    /// Forgets all reported state before the other changes.
    pub(crate) fn wipe(&mut self) {
        self.append(Self { wipe: true, ..Self::default() });
    }

    /// Drops removals of rows that are not on disk. What came and went while the disk failed leaves nothing, so a
    /// backlog is never larger than what is pending.
    pub(super) fn drop_absent(&mut self, disk: &Keys) {
        self.ids.retain(|key, value| value.is_some() || disk.ids.contains(key));
        self.events.retain(|key, value| value.is_some() || disk.events.contains(key));
        self.deliveries.retain(|key, value| value.is_some() || disk.deliveries.contains(key));
        self.reported.retain(|key, value| value.is_some() || disk.reported.contains(key));
        self.inspections.retain(|key, value| value.is_some() || disk.inspections.contains(key));
    }
}

/// The keys of the rows on disk.
#[derive(Debug, Default)]
pub(super) struct Keys {
    pub(super) ids: BTreeSet<u64>,
    pub(super) events: BTreeSet<u64>,
    pub(super) deliveries: BTreeSet<(String, u64)>,
    pub(super) reported: BTreeSet<ContainerId>,
    pub(super) inspections: BTreeSet<ContainerId>,
}

impl Keys {
    /// Accounts for a batch that was written.
    pub(super) fn written(&mut self, batch: &Batch) {
        if batch.wipe {
            self.reported.clear();
            self.inspections.clear();
        }
        follow(&mut self.ids, &batch.ids);
        follow(&mut self.events, &batch.events);
        follow(&mut self.deliveries, &batch.deliveries);
        follow(&mut self.reported, &batch.reported);
        follow(&mut self.inspections, &batch.inspections);
    }
}

fn follow<K: Ord + Clone, V>(keys: &mut BTreeSet<K>, changes: &BTreeMap<K, Option<V>>) {
    for (key, value) in changes {
        match value {
            Some(_) => keys.insert(key.clone()),
            None => keys.remove(key),
        };
    }
}

/// What the journal holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// Event ids by number, to recognize repeated events.
    pub ids: BTreeMap<u64, EventId>,
    /// Pending events.
    pub events: BTreeMap<u64, Arc<HandlerEvent>>,
    /// Events whose rows cannot be read.
    pub unreadable: BTreeSet<u64>,
    /// Deliveries by handler and event.
    pub deliveries: BTreeMap<(String, u64), DeliveryRow>,
    /// What was reported of each container.
    pub reported: BTreeMap<ContainerId, LastReported>,
    /// The last inspection of each container, as text.
    pub inspections: BTreeMap<ContainerId, Inspection>,
    /// The time of the last event from Docker, in nanoseconds since 1970.
    pub heard: Option<i64>,
    /// When the containers of the first start were recorded, in nanoseconds since 1970.
    pub begun: Option<i64>,
}

/// An inspection, compared by its text.
#[derive(Clone, Debug)]
pub struct Inspection(pub Arc<RawValue>);

impl PartialEq for Inspection {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

impl Eq for Inspection {}

impl Remembered {
    /// Applies a batch as the disk does: a journal without a disk.
    pub fn apply(&mut self, batch: &Batch) {
        if batch.wipe {
            self.reported.clear();
            self.inspections.clear();
            (self.heard, self.begun) = (None, None);
        }
        change(&mut self.ids, &batch.ids);
        change(&mut self.events, &batch.events);
        change(&mut self.deliveries, &batch.deliveries);
        change(&mut self.reported, &batch.reported);
        for (id, inspection) in &batch.inspections {
            match inspection {
                Some(inspection) => self.inspections.insert(id.clone(), Inspection(inspection.clone())),
                None => self.inspections.remove(id),
            };
        }
        self.heard = batch.heard.or(self.heard);
        self.begun = batch.begun.or(self.begun);
    }
}

fn change<K: Ord + Clone, V: Clone>(rows: &mut BTreeMap<K, V>, changes: &BTreeMap<K, Option<V>>) {
    for (key, value) in changes {
        match value {
            Some(value) => rows.insert(key.clone(), value.clone()),
            None => rows.remove(key),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(seq: u64, row: Option<DeliveryRow>) -> Batch {
        Batch { deliveries: [(("backup".to_owned(), seq), row)].into(), ..Batch::default() }
    }

    #[test]
    fn what_comes_and_goes_while_the_disk_fails_leaves_nothing_of_it() {
        let mut disk = Keys::default();
        disk.written(&delivery(1, Some(DeliveryRow::default())));
        let mut backlog = Batch::default();
        for seq in 2..10_000 {
            backlog.append(delivery(seq, Some(DeliveryRow::default())));
            backlog.append(delivery(seq, None));
            backlog.drop_absent(&disk);
            assert_eq!(backlog.deliveries.len(), 0);
        }
        backlog.append(delivery(1, None));
        backlog.drop_absent(&disk);
        assert_eq!(backlog.deliveries, BTreeMap::from([(("backup".to_owned(), 1), None)]));
    }

    #[test]
    fn the_later_of_two_changes_counts() {
        let mut backlog = Batch { heard: Some(9), begun: Some(5), ..delivery(1, None) };
        backlog.append(delivery(1, Some(DeliveryRow { attempts: 2, failed: None })));
        backlog.append(Batch { heard: Some(7), ..Batch::default() });
        let mut remembered = Remembered::default();
        remembered.apply(&backlog);
        assert_eq!(remembered.deliveries[&("backup".to_owned(), 1)].attempts, 2);
        assert_eq!((remembered.heard, remembered.begun), (Some(9), Some(5)));
        backlog.append(Batch { wipe: true, ..Batch::default() });
        remembered.apply(&backlog);
        assert_eq!((remembered.heard, remembered.begun, remembered.deliveries.len()), (None, None, 1));
    }
}
