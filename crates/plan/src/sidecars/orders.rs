//! What is to be done about the sidecars of one main: the difference between what is wanted and what there is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use longshore_model::{Container, ContainerId, Health, Problem, RunState, Subject, World};

use super::definition::{Condition, Definition, Restart};
use super::plan::SidecarPlan;
use super::sidecar::{self, Place, SIDECAR, SPEC, Sidecar};
use crate::claim::quoted;

/// A sidecar of a main: what is done for one is done one after the other, and different ones never wait in line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SidecarKey {
    /// The main container.
    pub main: ContainerId,
    /// The sidecar's name in the file or the label.
    pub sidecar: String,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// For whom.
    pub key: SidecarKey,
    /// The main's name, for those who are told of it.
    pub main_name: String,
    /// What.
    pub step: Step,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make the container, and start it.
    Create(Box<Sidecar>),
    /// Start it.
    Start {
        /// The container.
        id: ContainerId,
        /// Its name.
        name: String,
        /// Whether it ran before and ended by itself: then it is not started at once, over and over.
        again: bool,
    },
    /// Stop and remove it.
    Remove {
        /// The container.
        id: ContainerId,
        /// Its name.
        name: String,
    },
}

/// What a look at one main came to.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub(super) orders: Vec<Order>,
    pub(super) problems: Vec<Problem>,
    /// Whether something is waited for that may come from outside this main's containers.
    pub(super) waits: bool,
}

/// One look at one main.
pub(super) struct Looking<'a> {
    pub(super) plan: &'a mut SidecarPlan,
    pub(super) world: &'a World,
    pub(super) id: &'a ContainerId,
    /// The main, if it runs.
    pub(super) main: Option<&'a Container>,
    pub(super) definitions: &'a BTreeMap<String, Definition>,
    /// Whether more may be wanted than is known: then nothing is removed only because it is not wanted.
    pub(super) incomplete: bool,
    pub(super) found: Look,
}

impl Looking<'_> {
    pub(super) fn look(mut self) -> Look {
        let mut owned = self.plan.owned_by(self.id);
        owned.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        let places = self.places();
        let mut current: BTreeMap<String, Arc<Container>> = BTreeMap::new();
        let mut leaving: Vec<Arc<Container>> = Vec::new();
        let mut kept: BTreeSet<String> = BTreeSet::new();
        for container in owned {
            let name = container.labels.get(SIDECAR).cloned().unwrap_or_default();
            if !self.belongs_to_this_run(&container) || current.contains_key(&name) {
                leaving.push(container);
            } else if self.is_as_wanted(&name, &container, &places) {
                current.insert(name, container);
            } else if self.incomplete && !self.definitions.contains_key(&name) {
                kept.insert(name);
            } else {
                leaving.push(container);
            }
        }
        self.remove(&leaving);
        self.plan.release(self.id, |name| self.main.is_some() && self.definitions.contains_key(name));
        let gone: BTreeSet<&String> = leaving.iter().filter_map(|c| c.labels.get(SIDECAR)).collect();
        if let Some(main) = self.main {
            for (name, definition) in self.definitions {
                match current.get(name) {
                    Some(container) => self.keep(main, definition, container, &current),
                    None if gone.contains(name) || kept.contains(name) => {}
                    None => self.create(main, name, definition, places.get(name), &current),
                }
            }
        }
        self.found
    }

    /// Where each wanted sidecar is on the network, if it can be there.
    fn places(&mut self) -> BTreeMap<String, Result<Place, String>> {
        let Some(main) = self.main else { return BTreeMap::new() };
        let place = |definition| sidecar::place(definition, main, self.world);
        self.definitions.iter().map(|(name, definition)| (name.clone(), place(definition))).collect()
    }

    /// Whether a container was made for the main's present run: the network namespace of an older one is gone.
    fn belongs_to_this_run(&self, container: &Container) -> bool {
        self.main.is_some_and(|main| container.started == 0 || container.started >= main.started)
    }

    fn is_as_wanted(
        &self,
        name: &str,
        container: &Container,
        places: &BTreeMap<String, Result<Place, String>>,
    ) -> bool {
        let Some(definition) = self.definitions.get(name) else { return false };
        let same = match places.get(name) {
            Some(Ok(place)) => {
                let is_on = |joined: &sidecar::Joined| container.networks.contains_key(&joined.network);
                container.labels.get(SPEC) == Some(&sidecar::fingerprint(definition, place))
                    && place.networks.iter().all(is_on)
            }
            // Its network is not there now, which says nothing of how the container was made.
            _ => true,
        };
        same && !matches!(container.state, RunState::Dead | RunState::Removing)
    }

    /// Removes what is not wanted: whoever needs another goes before it.
    fn remove(&mut self, leaving: &[Arc<Container>]) {
        for container in leaving {
            let name = container.labels.get(SIDECAR).map(String::as_str).unwrap_or_default();
            let is_needed = leaving.iter().any(|other| {
                let other = other.labels.get(SIDECAR).map(String::as_str).unwrap_or_default();
                let definition = self.plan.last_definition(self.id, other);
                other != name && definition.is_some_and(|d| d.needs().any(|(needed, _)| needed == name))
            });
            if is_needed || container.state == RunState::Removing {
                continue;
            }
            let step = Step::Remove { id: container.id.clone(), name: container.name.clone() };
            self.order(name, step);
        }
    }

    /// Starts what should run and does not.
    fn keep(
        &mut self,
        main: &Container,
        definition: &Definition,
        container: &Container,
        current: &BTreeMap<String, Arc<Container>>,
    ) {
        let ended = match container.state {
            RunState::Created => false,
            RunState::Exited => true,
            RunState::Running
            | RunState::Paused
            | RunState::Restarting
            | RunState::Removing
            | RunState::Dead => {
                return;
            }
        };
        // Docker restarts those that failed, by the policy that they were made with.
        if ended && definition.restart != Restart::Always {
            return;
        }
        let name = container.labels.get(SIDECAR).cloned().unwrap_or_default();
        if !self.may_start(main, &name, definition, current) {
            return;
        }
        let step = Step::Start { id: container.id.clone(), name: container.name.clone(), again: ended };
        self.order(&name, step);
    }

    fn create(
        &mut self,
        main: &Container,
        name: &str,
        definition: &Definition,
        place: Option<&Result<Place, String>>,
        current: &BTreeMap<String, Arc<Container>>,
    ) {
        let place = match place {
            Some(Ok(place)) => place.clone(),
            Some(Err(why)) => return self.wait(main, name, why.clone()),
            None => return,
        };
        let key = SidecarKey { main: self.id.clone(), sidecar: name.to_owned() };
        let container_name = match self.plan.claim(&key, main) {
            Ok(Some(free)) => free,
            // It is still being removed from its old main.
            Ok(None) => {
                self.found.waits = true;
                return;
            }
            Err(taken) => {
                let message = format!("its name {taken} is another container's, which is left alone");
                return self.wait(main, name, message);
            }
        };
        if place.networks.is_empty() && !(definition.ports.is_empty() && definition.links.is_empty()) {
            let message = format!(
                "its main has no network of its own ({}): its ports and links mean nothing",
                place.mode
            );
            self.problem(main, name, message);
        }
        if !self.may_start(main, name, definition, current) {
            return;
        }
        let links: Vec<String> = definition
            .links
            .iter()
            .map(|link| {
                let target = match current.get(&link.target) {
                    Some(sibling) => sibling.name.clone(),
                    None => {
                        self.plan.outsider(main, &link.target).map_or(link.target.clone(), |c| c.name.clone())
                    }
                };
                format!("{target}:{}", link.alias)
            })
            .collect();
        let sidecar = sidecar::settle(name, definition, main, place, container_name, &links);
        self.order(name, Step::Create(Box::new(sidecar)));
    }

    /// Whether what it needs is there; if not, it waits, and says so where only others can help.
    fn may_start(
        &mut self,
        main: &Container,
        name: &str,
        definition: &Definition,
        current: &BTreeMap<String, Arc<Container>>,
    ) -> bool {
        let mut ready = true;
        for (needed, condition) in definition.needs() {
            let is_sibling = self.definitions.contains_key(needed);
            let there = match current.get(needed) {
                Some(sibling) => Some(Arc::clone(sibling)),
                None if is_sibling => None,
                None => self.plan.outsider(main, needed),
            };
            let state = there.as_deref().map(|container| stands(container, condition));
            let why = match state {
                Some(Stands::Well) => continue,
                // It is made or started first, and its own problem says why if it is not.
                None | Some(Stands::Down) if is_sibling => {
                    ready = false;
                    continue;
                }
                Some(Stands::Starting) => {
                    self.found.waits = true;
                    ready = false;
                    continue;
                }
                Some(Stands::Down) => format!("it waits for {}, which does not run", quoted(needed)),
                Some(Stands::Unhealthy) => format!("it waits for {}, which is not healthy", quoted(needed)),
                Some(Stands::Unchecked) => {
                    format!("it waits for {} to be healthy, which has no health check", quoted(needed))
                }
                // A link to what is not there is made all the same, as it may come later.
                None if !definition.depends_on.contains_key(needed) => continue,
                None => format!(
                    "it waits for {}, and there is no such sidecar, compose service or container",
                    quoted(needed)
                ),
            };
            self.wait(main, name, why);
            ready = false;
        }
        ready
    }

    fn order(&mut self, sidecar: &str, step: Step) {
        let key = SidecarKey { main: self.id.clone(), sidecar: sidecar.to_owned() };
        let main_name = self.plan.name_of(self.id).unwrap_or_else(|| self.id.to_string());
        self.found.orders.push(Order { key, main_name, step });
    }

    fn problem(&mut self, main: &Container, sidecar: &str, message: String) {
        self.found.problems.push(Problem {
            subject: Subject::Container { id: main.id.clone(), name: main.name.clone() },
            key: Some(format!("sidecar {sidecar}")),
            message,
            hint: None,
        });
    }

    fn wait(&mut self, main: &Container, sidecar: &str, message: String) {
        self.found.waits = true;
        self.problem(main, sidecar, message);
    }
}

/// How something that is needed stands.
enum Stands {
    Well,
    Starting,
    Unhealthy,
    Unchecked,
    Down,
}

fn stands(container: &Container, condition: Condition) -> Stands {
    match (container.state, condition, container.health) {
        (RunState::Running, Condition::Started, _) | (RunState::Running, _, Health::Healthy) => Stands::Well,
        (RunState::Running, Condition::Healthy, Health::Starting) => Stands::Starting,
        (RunState::Running, Condition::Healthy, Health::Unhealthy) => Stands::Unhealthy,
        (RunState::Running, Condition::Healthy, Health::None) => Stands::Unchecked,
        _ => Stands::Down,
    }
}
