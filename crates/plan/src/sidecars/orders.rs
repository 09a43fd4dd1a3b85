//! Computes the orders for one main's sidecars: the difference between the desired and the actual state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use longshore_model::{Container, ContainerId, Health, Host, Problem, RunState};

use super::definition::{Condition, Definition, Mode, Restart};
use super::inventory::{Inventory, SidecarKey};
use super::sidecar::{self, FROM, FROM_FILE, FROM_LABELS, Place, SIDECAR, SPEC, Sidecar};
use super::wanted::Wanted;
use crate::claim::quoted;

/// One order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The sidecar.
    pub key: SidecarKey,
    /// The main's name, for messages.
    pub main_name: String,
    /// The step to take.
    pub step: Step,
}

/// What an order does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Create the container and start it.
    Create(Box<Sidecar>),
    /// Start it.
    Start {
        /// The container.
        id: ContainerId,
        /// Its name.
        name: String,
        /// When it was last started, in nanoseconds since 1970. If it has run before (not 0), it exited by
        /// itself, and its restarts must back off.
        last: i64,
    },
    /// Stop and remove it.
    Remove {
        /// The container.
        id: ContainerId,
        /// Its name.
        name: String,
    },
}

/// The result of checking one main.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub(super) orders: Vec<Order>,
    pub(super) problems: Vec<Problem>,
    /// Whether something is awaited that may come from outside this main's containers.
    pub(super) waits: bool,
}

/// The check of one main, in progress.
pub(super) struct Looking<'a> {
    pub(super) inventory: &'a mut Inventory,
    pub(super) host: &'a Host,
    pub(super) id: &'a ContainerId,
    /// The main, if it is running.
    pub(super) main: Option<&'a Container>,
    pub(super) wanted: &'a Wanted,
    /// The desired sidecars of the main's last run.
    pub(super) last: &'a Wanted,
    /// Whether the desired set may be incomplete: then nothing is removed for being absent from it.
    pub(super) incomplete: bool,
    /// Whether there is a file. Without one, sidecars from a file belong to another agent while their main
    /// runs.
    pub(super) has_file: bool,
    pub(super) found: Look,
}

/// A sidecar's place on the network; else why it has none, or `None` if another sidecar must be created
/// first, whose own problem explains the delay.
type Placed = Result<Place, Option<String>>;

/// The containers of a main's sidecars, by name.
type Siblings = BTreeMap<String, Arc<Container>>;

impl Looking<'_> {
    pub(super) fn look(mut self) -> Look {
        let mut owned: BTreeMap<String, Vec<Arc<Container>>> = BTreeMap::new();
        for container in self.inventory.owned_by(self.id) {
            let name = container.labels.get(SIDECAR).cloned().unwrap_or_default();
            owned.entry(name).or_default().push(container);
        }
        owned.values_mut().for_each(|same| same.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id))));
        let wanted = self.wanted;
        let mut places = BTreeMap::new();
        let mut current = Siblings::new();
        let mut leaving = Vec::new();
        // Each sidecar comes after its dependencies: one of them may own its network.
        for name in &wanted.order {
            let (Some(main), Some(definition)) = (self.main, wanted.definitions.get(name)) else { continue };
            let place = self.place(main, definition, &current);
            for container in owned.remove(name).into_iter().flatten() {
                if !current.contains_key(name) && is_as_wanted(definition, &container, main, &place) {
                    current.insert(name.clone(), container);
                } else {
                    leaving.push(container);
                }
            }
            places.insert(name, place);
        }
        for (name, containers) in owned {
            for container in containers {
                let is_anothers =
                    !self.has_file && container.labels.get(FROM).is_some_and(|from| from == FROM_FILE);
                let may_be_wanted = is_anothers || self.incomplete || wanted.unknown.contains(&name);
                let stays = self.main.is_some_and(|main| may_be_wanted && is_of_this_run(&container, main));
                if stays && !current.contains_key(&name) {
                    current.insert(name.clone(), container);
                } else {
                    leaving.push(container);
                }
            }
        }
        self.remove(&leaving);
        self.inventory.release(self.id, |name| self.main.is_some() && wanted.contains(name));
        let gone: BTreeSet<&String> = leaving.iter().filter_map(|c| c.labels.get(SIDECAR)).collect();
        for (name, place) in places {
            let (Some(main), Some(definition)) = (self.main, wanted.definitions.get(name)) else { continue };
            match current.get(name) {
                Some(container) => self.keep(main, definition, container, &current),
                None if gone.contains(name) => {}
                None => self.create(main, name, definition, place, &current),
            }
        }
        self.found
    }

    fn place(&mut self, main: &Container, definition: &Definition, current: &Siblings) -> Placed {
        let Some(Mode::Of(name)) = &definition.network_mode else {
            return sidecar::place(definition, main, self.host).map_err(Some);
        };
        match self.needed(main, name, current) {
            Some(holder) => {
                // Changes of an unrelated container are noticed by checking again.
                self.found.waits |= !current.contains_key(name);
                Ok(Place::shared(&holder))
            }
            None if self.wanted.contains(name) => Err(None),
            None => Err(Some(absent(name))),
        }
    }

    /// Returns the container that a dependency's name refers to.
    fn needed(&self, main: &Container, name: &str, current: &Siblings) -> Option<Arc<Container>> {
        match current.get(name) {
            Some(sibling) => Some(Arc::clone(sibling)),
            None if self.wanted.contains(name) => None,
            None => self.inventory.outsider(main, name),
        }
    }

    /// Removes unwanted sidecars, dependents first.
    fn remove(&mut self, leaving: &[Arc<Container>]) {
        for container in leaving {
            let name = container.labels.get(SIDECAR).map(String::as_str).unwrap_or_default();
            let is_needed = leaving.iter().any(|other| {
                let other = other.labels.get(SIDECAR).map(String::as_str).unwrap_or_default();
                let definition = self.last.definitions.get(other);
                other != name && definition.is_some_and(|d| d.needs().any(|(needed, _)| needed == name))
            });
            if is_needed || container.state == RunState::Removing {
                continue;
            }
            let step = Step::Remove { id: container.id.clone(), name: container.name.clone() };
            self.order(name, step);
        }
    }

    /// Starts a sidecar that should be running but is not.
    fn keep(&mut self, main: &Container, definition: &Definition, container: &Container, current: &Siblings) {
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
        // Docker restarts those that failed, by the policy that they were created with.
        if ended && definition.restart != Some(Restart::Always) {
            return;
        }
        let name = container.labels.get(SIDECAR).cloned().unwrap_or_default();
        if !self.may_start(main, &name, definition, current) {
            return;
        }
        let (id, name_of_it) = (container.id.clone(), container.name.clone());
        let step = Step::Start { id, name: name_of_it, last: container.started };
        self.order(&name, step);
    }

    fn create(
        &mut self,
        main: &Container,
        name: &str,
        definition: &Definition,
        place: Placed,
        current: &Siblings,
    ) {
        let place = match place {
            Ok(place) => place,
            Err(Some(why)) => return self.wait(main, name, why),
            Err(None) => return,
        };
        let key = SidecarKey { main: self.id.clone(), sidecar: name.to_owned() };
        let container_name = match self.inventory.claim(&key, main) {
            Ok(Some(free)) => free,
            // The name still belongs to a container that is being removed.
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
                "its main has no network of its own ({}): its ports and links have no effect",
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
                let target = self.needed(main, &link.target, current);
                let target = target.map_or(link.target.clone(), |container| container.name.clone());
                format!("{target}:{}", link.alias)
            })
            .collect();
        let from = if self.wanted.by_label.contains(name) { FROM_LABELS } else { FROM_FILE };
        let sidecar = sidecar::settle(name, from, definition, main, place, container_name, &links);
        self.order(name, Step::Create(Box::new(sidecar)));
    }

    /// Returns whether its dependencies are met; if not, it waits, and a problem is noted if only others can
    /// resolve that.
    fn may_start(
        &mut self,
        main: &Container,
        name: &str,
        definition: &Definition,
        current: &Siblings,
    ) -> bool {
        let mut ready = true;
        for (needed, condition) in definition.needs() {
            let is_sibling = self.wanted.contains(needed);
            let there = self.needed(main, needed, current);
            let state = there.as_deref().map(|container| stands(container, condition));
            let why = match state {
                Some(Stands::Well) => continue,
                // It is created or started first, and its own problem explains any failure.
                None | Some(Stands::Down) if is_sibling => {
                    ready = false;
                    continue;
                }
                Some(Stands::Starting) => {
                    self.found.waits = true;
                    ready = false;
                    continue;
                }
                Some(Stands::Down) => format!("waiting for {}, which is not running", quoted(needed)),
                Some(Stands::Unhealthy) => format!("waiting for {}, which is not healthy", quoted(needed)),
                Some(Stands::Unchecked) => {
                    format!("waiting for {} to be healthy, but it has no health check", quoted(needed))
                }
                Some(Stands::Failed(code)) => {
                    format!("waiting for {} to succeed, but it exited with code {code}", quoted(needed))
                }
                // A missing link target does not block creation, as it may appear later.
                None if !definition.depends_on.contains_key(needed) => continue,
                None => absent(needed),
            };
            self.wait(main, name, why);
            ready = false;
        }
        ready
    }

    fn order(&mut self, sidecar: &str, step: Step) {
        let key = SidecarKey { main: self.id.clone(), sidecar: sidecar.to_owned() };
        let main_name = self.inventory.name_of(self.id).unwrap_or_else(|| self.id.to_string());
        self.found.orders.push(Order { key, main_name, step });
    }

    fn problem(&mut self, main: &Container, sidecar: &str, message: String) {
        self.found.problems.push(Problem {
            subject: main.into(),
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

/// Returns whether a container was created for the main's current run: the network namespace of an older run
/// is gone.
fn is_of_this_run(container: &Container, main: &Container) -> bool {
    container.started == 0 || container.started >= main.started
}

fn is_as_wanted(definition: &Definition, container: &Container, main: &Container, place: &Placed) -> bool {
    let same = match place {
        Ok(place) => {
            let is_on = |joined: &sidecar::Joined| container.networks.contains_key(&joined.network);
            container.labels.get(SPEC) == Some(&sidecar::fingerprint(definition, place))
                && place.networks.iter().all(is_on)
                && (container.started == 0 || container.started >= place.since)
        }
        // Its network is missing now, which says nothing about how the container was created; one that shared
        // another's network has lost it.
        Err(_) => !matches!(definition.network_mode, Some(Mode::Of(_))),
    };
    same && is_of_this_run(container, main) && !matches!(container.state, RunState::Dead | RunState::Removing)
}

fn absent(name: &str) -> String {
    format!("waiting for {}: no such sidecar, compose service or container", quoted(name))
}

/// The state of a dependency.
enum Stands {
    Well,
    Starting,
    Unhealthy,
    Unchecked,
    /// It exited with this code.
    Failed(i64),
    Down,
}

fn stands(container: &Container, condition: Condition) -> Stands {
    match (condition, container.state) {
        (Condition::Started, RunState::Running) => Stands::Well,
        (Condition::Healthy, RunState::Running) => match container.health {
            Health::Healthy => Stands::Well,
            Health::Starting => Stands::Starting,
            Health::Unhealthy => Stands::Unhealthy,
            Health::None => Stands::Unchecked,
        },
        (Condition::Completed, RunState::Exited) => match container.exit_code {
            Some(0) => Stands::Well,
            Some(code) => Stands::Failed(code),
            // Its exit was reported, but it was not inspected yet.
            None => Stands::Starting,
        },
        (Condition::Completed, RunState::Running | RunState::Paused | RunState::Restarting) => {
            Stands::Starting
        }
        _ => Stands::Down,
    }
}
