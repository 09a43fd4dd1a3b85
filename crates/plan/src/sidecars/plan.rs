//! The plan: what it knows of World, what each main wants, and which mains must be checked again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use longshore_model::{Container, ContainerId, Host, Problem};

use super::definition::Definition;
use super::env_file::EnvText;
use super::file::SidecarFile;
use super::inventory::Inventory;
use super::labels;
use super::orders::{Look, Looking, Order};
use super::sidecar::is_sidecar;
use super::wanted::Wanted;

/// The state of the file.
#[derive(Debug, Default)]
enum File {
    /// There is no file.
    #[default]
    None,
    /// There is a file, but it could not be read yet: its content is unknown.
    Unread,
    Read(Box<SidecarFile>),
}

/// The properties of a main that its sidecars depend on; no other change affects them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Facts {
    started: i64,
    image: String,
    labels: BTreeMap<String, String>,
    image_labels: BTreeSet<String>,
    network_mode: String,
    networks: BTreeSet<String>,
    /// The generation of the file.
    file: u64,
}

/// What is known about one main.
#[derive(Debug)]
struct Main {
    facts: Facts,
    /// The sidecars from the file; `None` while unknown.
    by_file: Option<BTreeMap<String, Definition>>,
    by_label: BTreeMap<String, Definition>,
    /// The sidecars from file and labels, without the impossible ones.
    wanted: Arc<Wanted>,
    /// Problems with the file for this main, and with its labels.
    file_problems: Vec<Problem>,
    label_problems: Vec<Problem>,
}

/// The desired sidecars, updated incrementally: a pass costs only what changed and what is not settled yet.
#[derive(Debug, Default)]
pub struct SidecarPlan {
    file: File,
    readings: u64,
    inventory: Inventory,
    mains: BTreeMap<ContainerId, Main>,
    dirty: BTreeSet<ContainerId>,
    unrendered: BTreeSet<ContainerId>,
    /// Environment files, by path.
    env_texts: BTreeMap<String, EnvText>,
    env_unread: BTreeSet<String>,
    looks: BTreeMap<ContainerId, Vec<Problem>>,
}

impl SidecarPlan {
    /// Creates a plan without a file: only labels ask for sidecars.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records that the file exists but cannot be read: its last content stays in effect, and if it was never
    /// read, no sidecar of a running main is removed.
    pub fn file_unread(&mut self) {
        if matches!(self.file, File::None) {
            self.file = File::Unread;
            self.everything();
        }
    }

    /// Replaces the file.
    pub fn file_read(&mut self, file: SidecarFile) {
        self.file = File::Read(Box::new(file));
        self.everything();
    }

    fn everything(&mut self) {
        self.readings += 1;
        self.dirty.extend(self.inventory.ids().cloned());
    }

    /// Takes over what changed: these containers, or all of them if `changed` is `None`.
    pub fn update<'a>(&mut self, host: &Host, changed: Option<impl IntoIterator<Item = &'a ContainerId>>) {
        match changed {
            Some(ids) => ids.into_iter().for_each(|id| self.container(id, host.containers.get(id))),
            None => {
                let gone = self.inventory.ids().filter(|id| !host.containers.contains_key(*id));
                let gone: Vec<ContainerId> = gone.cloned().collect();
                gone.iter().for_each(|id| self.container(id, None));
                host.containers.iter().for_each(|(id, container)| self.container(id, Some(container)));
            }
        }
    }

    fn container(&mut self, id: &ContainerId, new: Option<&Arc<Container>>) {
        self.dirty.extend(self.inventory.take(id, new));
    }

    /// Returns the mains whose inspection is needed because the file is a template. Each is returned once
    /// until it changes; pass the result to [`Self::inspected`].
    pub fn uninspected(&mut self) -> BTreeSet<ContainerId> {
        std::mem::take(&mut self.unrendered)
    }

    /// Renders the file for a main with this inspection.
    pub fn inspected(&mut self, id: &ContainerId, inspection: &serde_json::Value) {
        let (File::Read(file), Some(main), Some(known)) =
            (&self.file, self.inventory.get(id), self.mains.get_mut(id))
        else {
            return;
        };
        match file.sidecars_of(main, Some(inspection)) {
            Ok((sidecars, problems)) => {
                known.by_file = Some(sidecars);
                known.file_problems = problems;
            }
            Err(problem) => {
                known.by_file = None;
                known.file_problems = vec![problem];
            }
        }
        self.join(id);
    }

    /// Returns the paths of environment files to read; pass their text to [`Self::env_read`].
    pub fn env_unread(&mut self) -> BTreeSet<String> {
        let unread = std::mem::take(&mut self.env_unread).into_iter();
        unread.filter(|path| !self.env_texts.contains_key(path)).collect()
    }

    /// Returns the paths of all environment files in use, and forgets all others.
    pub fn env_files(&mut self) -> BTreeSet<String> {
        let used: BTreeSet<String> =
            self.mains.values().flat_map(Main::env_files).map(str::to_owned).collect();
        self.env_texts.retain(|path, _| used.contains(path));
        used
    }

    /// Takes over the state of an environment file.
    pub fn env_read(&mut self, path: String, text: EnvText) {
        if self.env_texts.get(&path) == Some(&text) {
            return;
        }
        let taking = self.mains.iter().filter(|(_, main)| main.env_files().any(|file| file == path));
        let taking: Vec<ContainerId> = taking.map(|(id, _)| id.clone()).collect();
        self.env_texts.insert(path, text);
        taking.iter().for_each(|id| self.join(id));
    }

    /// Recomputes a main's desired sidecars after a part of them changed.
    fn join(&mut self, id: &ContainerId) {
        let (Some(main), Some(known)) = (self.inventory.get(id), self.mains.get_mut(id)) else { return };
        let (none, nothing) = (BTreeMap::new(), BTreeMap::new());
        let own = match &self.file {
            File::Read(file) => file.environment(),
            File::None | File::Unread => &none,
        };
        let by_file = known.by_file.as_ref().unwrap_or(&nothing);
        known.wanted = Arc::new(Wanted::join(main, by_file, &known.by_label, &self.env_texts, own));
        let unread = known.env_files().filter(|path| !self.env_texts.contains_key(*path));
        self.env_unread.extend(unread.map(str::to_owned));
        self.dirty.insert(id.clone());
    }

    /// Returns the orders for everything that is not settled; they are repeated until World shows that they
    /// were carried out.
    pub fn orders(&mut self, host: &Host) -> Vec<Order> {
        let mut orders = Vec::new();
        for id in std::mem::take(&mut self.dirty) {
            let Look { orders: more, problems, waits } = self.look(host, &id);
            if waits || !more.is_empty() {
                self.dirty.insert(id.clone());
            }
            orders.extend(more);
            if problems.is_empty() {
                self.looks.remove(&id);
            } else {
                self.looks.insert(id, problems);
            }
        }
        orders
    }

    /// Returns all problems as of the last [`Self::orders`].
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.looks.values().flatten()
    }

    fn look(&mut self, host: &Host, id: &ContainerId) -> Look {
        let main = self.inventory.get(id).cloned().filter(|c| c.state.is_alive() && !is_sidecar(c));
        if let Some(main) = &main {
            self.define(main);
        }
        let (wanted, incomplete, problems) = match self.mains.get(id).filter(|_| main.is_some()) {
            Some(known) => (Arc::clone(&known.wanted), known.by_file.is_none(), known.problems()),
            None => (Arc::default(), false, Vec::new()),
        };
        let found = Look { problems, ..Look::default() };
        let main = main.as_deref();
        let has_file = !matches!(self.file, File::None);
        let last = self.mains.get(id).map(|known| Arc::clone(&known.wanted)).unwrap_or_default();
        let inventory = &mut self.inventory;
        let wanted = &wanted;
        let looking = Looking { inventory, host, id, main, wanted, last: &last, incomplete, has_file, found };
        let look = looking.look();
        if main.is_none() && self.inventory.owned_by(id).is_empty() {
            self.mains.remove(id);
            self.unrendered.remove(id);
        }
        look
    }

    /// Recomputes a main's sidecars if they may differ from last time.
    fn define(&mut self, main: &Container) {
        let facts = Facts {
            started: main.started,
            image: main.image.clone(),
            labels: main.labels.clone(),
            image_labels: main.image_labels.clone(),
            network_mode: main.network_mode.clone(),
            networks: main.networks.keys().cloned().collect(),
            file: self.readings,
        };
        if self.mains.get(&main.id).is_some_and(|known| known.facts == facts) {
            return;
        }
        let (by_file, file_problems) = match &self.file {
            File::None => (Some(BTreeMap::new()), Vec::new()),
            File::Unread => (None, Vec::new()),
            File::Read(file) if file.is_template() => {
                self.unrendered.insert(main.id.clone());
                (None, Vec::new())
            }
            File::Read(file) => match file.sidecars_of(main, None) {
                Ok((sidecars, problems)) => (Some(sidecars), problems),
                Err(problem) => (None, vec![problem]),
            },
        };
        let (by_label, label_problems) = labels::sidecars(main);
        let wanted = Arc::default();
        let known = Main { facts, by_file, by_label, wanted, file_problems, label_problems };
        self.mains.insert(main.id.clone(), known);
        self.join(&main.id);
    }
}

impl Main {
    fn problems(&self) -> Vec<Problem> {
        [self.file_problems.as_slice(), &self.label_problems, &self.wanted.problems].concat()
    }

    /// Returns the paths of the environment files that its sidecars use.
    fn env_files(&self) -> impl Iterator<Item = &str> {
        let by_file = self.by_file.iter().flatten().filter(|(name, _)| !self.by_label.contains_key(*name));
        by_file.flat_map(|(_, definition)| &definition.env_files).map(|file| file.path.as_str())
    }
}
