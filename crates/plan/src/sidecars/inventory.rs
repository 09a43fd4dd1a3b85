//! What is known of World: containers, their mains, and claims to names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use longshore_model::{Container, ContainerId};

use super::sidecar::{self, MAIN, is_sidecar};

/// A sidecar of a main: work on one sidecar is sequential, and different sidecars never wait for each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SidecarKey {
    /// The main container.
    pub main: ContainerId,
    /// The sidecar's name in the file or the label.
    pub sidecar: String,
}

/// The containers, and the names of sidecars that exist or are about to.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    containers: BTreeMap<ContainerId, Arc<Container>>,
    names: BTreeMap<String, ContainerId>,
    owned: BTreeMap<ContainerId, BTreeSet<ContainerId>>,
    /// Who claims which name, in both directions.
    claims: BTreeMap<String, SidecarKey>,
    claimed: BTreeMap<SidecarKey, String>,
}

impl Inventory {
    pub(super) fn get(&self, id: &ContainerId) -> Option<&Arc<Container>> {
        self.containers.get(id)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &ContainerId> {
        self.containers.keys()
    }

    /// Records a container's new state, or its removal. Returns the mains whose sidecars it may affect.
    pub(super) fn take(&mut self, id: &ContainerId, new: Option<&Arc<Container>>) -> BTreeSet<ContainerId> {
        let old = self.containers.get(id).cloned();
        if let (Some(old), Some(new)) = (&old, new)
            && Arc::ptr_eq(old, new)
        {
            return BTreeSet::new();
        }
        let mut mains = BTreeSet::from([id.clone()]);
        if let Some(old) = old {
            self.containers.remove(id);
            if self.names.get(&old.name) == Some(id) {
                self.names.remove(&old.name);
            }
            if let Some(main) = main_of(&old) {
                if let Some(owned) = self.owned.get_mut(&main) {
                    owned.remove(id);
                    if owned.is_empty() {
                        self.owned.remove(&main);
                    }
                }
                mains.insert(main);
            }
        }
        if let Some(new) = new {
            self.containers.insert(id.clone(), Arc::clone(new));
            self.names.insert(new.name.clone(), id.clone());
            if let Some(main) = main_of(new) {
                self.owned.entry(main.clone()).or_default().insert(id.clone());
                mains.insert(main);
            }
        }
        mains
    }

    /// Returns the containers of a main's sidecars.
    pub(super) fn owned_by(&self, main: &ContainerId) -> Vec<Arc<Container>> {
        let ids = self.owned.get(main).into_iter().flatten();
        ids.filter_map(|id| self.containers.get(id)).cloned().collect()
    }

    pub(super) fn name_of(&self, id: &ContainerId) -> Option<String> {
        self.containers.get(id).map(|container| container.name.clone())
    }

    /// Returns a container that is not a sidecar of this main, by the name of its compose service or its own.
    pub(super) fn outsider(&self, main: &Container, name: &str) -> Option<Arc<Container>> {
        if sidecar::service(main) == Some(name) || main.name == name {
            return self.containers.get(&main.id).cloned();
        }
        let named = self.names.get(name).and_then(|id| self.containers.get(id));
        let of_project = || {
            let project = sidecar::project(main)?;
            let service = self.containers.values().filter(|other| {
                sidecar::service(other) == Some(name) && sidecar::project(other) == Some(project)
            });
            service.max_by_key(|other| other.state.is_alive())
        };
        named.or_else(of_project).cloned()
    }

    /// Returns the name for a sidecar's container if it is free now; `None` while another sidecar that is
    /// being removed still has it.
    ///
    /// # Errors
    /// The name, if an unrelated container has it.
    pub(super) fn claim(&mut self, key: &SidecarKey, main: &Container) -> Result<Option<String>, String> {
        let before = self.claimed.get(key).cloned();
        let names = before.map_or_else(|| sidecar::names(main, &key.sidecar), |name| vec![name]);
        for name in names {
            if self.claims.get(&name).is_some_and(|holder| holder != key) {
                continue;
            }
            let holder = self.names.get(&name).and_then(|id| self.containers.get(id));
            let free = match holder {
                None => true,
                Some(holder) => {
                    let Some(other) = main_of(holder) else { return Err(name) };
                    if self.containers.get(&other).is_some_and(|other| other.state.is_alive()) {
                        continue;
                    }
                    false
                }
            };
            self.claims.insert(name.clone(), key.clone());
            self.claimed.insert(key.clone(), name.clone());
            return Ok(free.then_some(name));
        }
        Ok(None)
    }

    /// Releases the names of a main's sidecars that are no longer wanted.
    pub(super) fn release(&mut self, main: &ContainerId, wanted: impl Fn(&str) -> bool) {
        let first = SidecarKey { main: main.clone(), sidecar: String::new() };
        let of_it = self.claimed.range(first..).map(|(key, _)| key).take_while(|key| key.main == *main);
        let over: Vec<SidecarKey> = of_it.filter(|key| !wanted(&key.sidecar)).cloned().collect();
        for key in over {
            if let Some(name) = self.claimed.remove(&key) {
                self.claims.remove(&name);
            }
        }
    }
}

/// Returns the main of one of our sidecars.
fn main_of(container: &Container) -> Option<ContainerId> {
    container.labels.get(MAIN).filter(|_| is_sidecar(container)).map(ContainerId::new)
}
