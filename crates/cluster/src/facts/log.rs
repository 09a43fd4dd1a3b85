//! The owner's side: what changed, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_model::{Change, Container, ContainerId, Host, HostId, HostInfo, Load, Network, World};
use longshore_wire::facts::{ContainerRow, EncodedFact, FORMAT, FactRow, HostRow};
use rpds::RedBlackTreeMapSync;

/// A change of nothing but the load is told once in this time at most.
pub const LOAD_INTERVAL: Duration = Duration::from_millis(500);

/// How many removed containers are remembered. A follower that missed more of them gets the whole list.
const MAX_GONE: usize = 4096;

/// How far a follower has followed one run of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The run.
    pub epoch: u64,
    /// The last revision that it has.
    pub revision: u64,
}

/// Facts to send to one follower, in this order.
#[derive(Clone, Debug)]
pub struct Feed {
    /// The facts.
    pub facts: Vec<Arc<EncodedFact>>,
    /// The revision that the follower has after them.
    pub revision: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Info,
    Networks,
    Container(ContainerId),
}

#[derive(Debug)]
enum Value {
    Info(Arc<HostInfo>),
    Networks(RedBlackTreeMapSync<String, Network>),
    Container(Arc<Container>),
    Gone,
}

#[derive(Debug)]
struct Entry {
    revision: u64,
    value: Value,
    encoded: Arc<EncodedFact>,
}

/// The facts of this agent's own host, each with the revision in which it last changed.
#[derive(Debug)]
pub struct Log {
    host: HostId,
    epoch: u64,
    /// The last revision; zero until World was taken in.
    revision: u64,
    entries: BTreeMap<Key, Entry>,
    order: BTreeMap<u64, Key>,
    /// The revisions in which containers were removed.
    gone: BTreeSet<u64>,
    /// Removals up to this revision are forgotten.
    forgotten: u64,
    /// When the load was last told.
    load_told: Option<Instant>,
}

impl Log {
    /// Creates the log of one run of the host's agent. No later run has the same epoch.
    pub fn new(host: HostId, epoch: u64) -> Self {
        Self {
            host,
            epoch,
            revision: 0,
            entries: BTreeMap::new(),
            order: BTreeMap::new(),
            gone: BTreeSet::new(),
            forgotten: 0,
            load_told: None,
        }
    }

    /// Returns the last revision; zero until World was taken in.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Takes in what changed in World. A load that came too early is taken in by a later call, with or without changes.
    pub fn take(&mut self, world: &World, changes: &BTreeSet<Change>, now: Instant) {
        let own = world.own();
        let is_first = self.revision == 0;
        let all = is_first
            || changes.iter().any(|change| match change {
                Change::All => true,
                Change::Host(host) => *host == self.host,
                Change::Container(_) | Change::Networks(_) => false,
            });
        self.info(own, now);
        if all || changes.contains(&Change::Networks(self.host)) {
            self.networks(own);
        }
        if all {
            self.containers(own);
        } else {
            for change in changes {
                if let Change::Container(container) = change
                    && container.host == self.host
                {
                    self.container(&container.id, own.containers.get(&container.id));
                }
            }
        }
    }

    /// Returns what a follower that has `asked` gets first: what changed since, or the whole list. `None` until World
    /// was taken in.
    pub fn begin(&self, asked: Option<Cursor>) -> Option<Feed> {
        if self.revision == 0 {
            return None;
        }
        let since = asked.filter(|asked| asked.epoch == self.epoch && asked.revision <= self.revision);
        let since = since.and_then(|asked| self.after(asked.revision));
        let hello = FactRow::Hello {
            format: FORMAT,
            host: self.host.to_string(),
            epoch: self.epoch,
            whole: since.is_none(),
        };
        let mut facts = vec![Arc::new(hello.encode())];
        match since {
            Some(since) => facts.extend(since.facts),
            None => {
                let present = self.in_order(0).filter(|entry| !matches!(entry.value, Value::Gone));
                facts.extend(present.map(|entry| Arc::clone(&entry.encoded)));
                facts.push(Arc::new(FactRow::Listed { revision: self.revision }.encode()));
            }
        }
        Some(Feed { facts, revision: self.revision })
    }

    /// Returns what changed after a revision; `None` if some of it is forgotten.
    pub fn after(&self, revision: u64) -> Option<Feed> {
        let facts = || self.in_order(revision).map(|entry| Arc::clone(&entry.encoded)).collect();
        (revision >= self.forgotten).then(|| Feed { facts: facts(), revision: self.revision })
    }

    fn in_order(&self, after: u64) -> impl Iterator<Item = &Entry> {
        let later = self.order.range(after.saturating_add(1)..);
        later.filter_map(|(_, key)| self.entries.get(key))
    }

    fn info(&mut self, own: &Host, now: Instant) {
        if let Some(Entry { value: Value::Info(told), .. }) = self.entries.get(&Key::Info) {
            if *told == own.info {
                return;
            }
            let load_aside = |info: &HostInfo| HostInfo { load: Load::default(), ..info.clone() };
            let is_early = self.load_told.is_some_and(|told| now < told + LOAD_INTERVAL);
            if is_early && load_aside(told) == load_aside(&own.info) {
                return;
            }
        }
        self.load_told = Some(now);
        let row = HostRow::from(&*own.info);
        self.put(Key::Info, Value::Info(Arc::clone(&own.info)), |revision| {
            FactRow::Host { revision, host: Box::new(row) }.encode()
        });
    }

    fn networks(&mut self, own: &Host) {
        if let Some(Entry { value: Value::Networks(told), .. }) = self.entries.get(&Key::Networks)
            && *told == own.networks
        {
            return;
        }
        let networks = own.networks.iter().map(Into::into).collect();
        self.put(Key::Networks, Value::Networks(own.networks.clone()), |revision| {
            FactRow::Networks { revision, networks }.encode()
        });
    }

    fn containers(&mut self, own: &Host) {
        let told = self.entries.keys().filter_map(|key| match key {
            Key::Container(id) if !own.containers.contains_key(id) => Some(id.clone()),
            Key::Container(_) | Key::Info | Key::Networks => None,
        });
        for id in told.collect::<Vec<_>>() {
            self.container(&id, None);
        }
        for (id, container) in &own.containers {
            self.container(id, Some(container));
        }
    }

    fn container(&mut self, id: &ContainerId, present: Option<&Arc<Container>>) {
        let key = Key::Container(id.clone());
        let told = self.entries.get(&key).map(|entry| &entry.value);
        match (told, present) {
            (None | Some(Value::Gone), None) => {}
            (Some(Value::Container(told)), Some(present)) if told == present => {}
            (_, None) => {
                self.put(key, Value::Gone, |revision| {
                    FactRow::Gone { revision, container: id.as_str().to_owned() }.encode()
                });
                self.gone.insert(self.revision);
                self.forget();
            }
            (_, Some(present)) => {
                self.put(key, Value::Container(Arc::clone(present)), |revision| {
                    let encode = |row| FactRow::Container { revision, container: Box::new(row) }.encode();
                    let row = ContainerRow::from(&**present);
                    let whole = encode(row.clone());
                    if whole.is_too_long() { encode(row.without_labels()) } else { whole }
                });
            }
        }
    }

    fn put(&mut self, key: Key, value: Value, encode: impl FnOnce(u64) -> EncodedFact) {
        self.revision += 1;
        let encoded = Arc::new(encode(self.revision));
        let entry = Entry { revision: self.revision, value, encoded };
        if let Some(before) = self.entries.insert(key.clone(), entry) {
            self.order.remove(&before.revision);
            self.gone.remove(&before.revision);
        }
        self.order.insert(self.revision, key);
    }

    fn forget(&mut self) {
        while self.gone.len() > MAX_GONE
            && let Some(oldest) = self.gone.pop_first()
        {
            self.forgotten = oldest;
            if let Some(key) = self.order.remove(&oldest) {
                self.entries.remove(&key);
            }
        }
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
