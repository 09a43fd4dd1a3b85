//! What is to be done about the sidecars of one main: the difference between what is wanted and what there is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use longshore_model::{Container, ContainerId, Health, Host, Problem, RunState};

use super::definition::{Condition, Definition, Mode, Restart};
use super::seen::{Seen, SidecarKey};
use super::sidecar::{self, FROM, FROM_FILE, FROM_LABELS, Place, SIDECAR, SPEC, Sidecar};
use super::wanted::Wanted;
use crate::claim::quoted;

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
        /// When it was started last, in nanoseconds since 1970. If it ran before (this is not 0), it ended by itself and is
        /// not started at once, over and over.
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
    pub(super) seen: &'a mut Seen,
    pub(super) host: &'a Host,
    pub(super) id: &'a ContainerId,
    /// The main, if it runs.
    pub(super) main: Option<&'a Container>,
    pub(super) wanted: &'a Wanted,
    /// The same as of when the main ran last.
    pub(super) last: &'a Wanted,
    /// Whether more may be wanted than is known: then nothing is removed only because it is not wanted.
    pub(super) incomplete: bool,
    /// Whether there is a file. Without one, what a file asked for is another agent's to remove, while its main runs.
    pub(super) has_file: bool,
    pub(super) found: Look,
}

/// Where a sidecar is to be on the network; else why it cannot be there, or nothing where another sidecar has to be made
/// first, whose own problem says why it is not.
type Placed = Result<Place, Option<String>>;

/// The containers of a main's sidecars, by their names.
type Siblings = BTreeMap<String, Arc<Container>>;

impl Looking<'_> {
    pub(super) fn look(mut self) -> Look {
        let mut owned: BTreeMap<String, Vec<Arc<Container>>> = BTreeMap::new();
        for container in self.seen.owned_by(self.id) {
            let name = container.labels.get(SIDECAR).cloned().unwrap_or_default();
            owned.entry(name).or_default().push(container);
        }
        owned.values_mut().for_each(|same| same.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id))));
        let wanted = self.wanted;
        let mut places = BTreeMap::new();
        let mut current = Siblings::new();
        let mut leaving = Vec::new();
        // Each comes after those that it needs: one of them may be whose network it is in.
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
        self.seen.release(self.id, |name| self.main.is_some() && wanted.contains(name));
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
                // What becomes of a stranger is seen by looking again.
                self.found.waits |= !current.contains_key(name);
                Ok(Place::shared(&holder))
            }
            None if self.wanted.contains(name) => Err(None),
            None => Err(Some(absent(name))),
        }
    }

    /// Returns the container that is meant by a name that a sidecar needs.
    fn needed(&self, main: &Container, name: &str, current: &Siblings) -> Option<Arc<Container>> {
        match current.get(name) {
            Some(sibling) => Some(Arc::clone(sibling)),
            None if self.wanted.contains(name) => None,
            None => self.seen.outsider(main, name),
        }
    }

    /// Removes what is not wanted: whoever needs another goes before it.
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

    /// Starts what should run and does not.
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
        // Docker restarts those that failed, by the policy that they were made with.
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
        let container_name = match self.seen.claim(&key, main) {
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
                let target = self.needed(main, &link.target, current);
                let target = target.map_or(link.target.clone(), |container| container.name.clone());
                format!("{target}:{}", link.alias)
            })
            .collect();
        let from = if self.wanted.by_label.contains(name) { FROM_LABELS } else { FROM_FILE };
        let sidecar = sidecar::settle(name, from, definition, main, place, container_name, &links);
        self.order(name, Step::Create(Box::new(sidecar)));
    }

    /// Returns whether what it needs is there; if not, it waits, and says so where only others can help.
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
                Some(Stands::Failed(code)) => {
                    format!("it waits for {} to succeed, which ended with exit code {code}", quoted(needed))
                }
                // A link to what is not there is made all the same, as it may come later.
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
        let main_name = self.seen.name_of(self.id).unwrap_or_else(|| self.id.to_string());
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

/// Returns whether a container was made for the main's present run: the network namespace of an older one is gone.
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
        // Its network is not there now, which says nothing of how the container was made; whose network was another's
        // has none any more.
        Err(_) => !matches!(definition.network_mode, Some(Mode::Of(_))),
    };
    same && is_of_this_run(container, main) && !matches!(container.state, RunState::Dead | RunState::Removing)
}

fn absent(name: &str) -> String {
    format!("it waits for {}, and there is no such sidecar, compose service or container", quoted(name))
}

/// How something that is needed stands.
enum Stands {
    Well,
    Starting,
    Unhealthy,
    Unchecked,
    /// It ended with this exit code.
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
            // Its end was heard of, and it was not looked at yet.
            None => Stands::Starting,
        },
        (Condition::Completed, RunState::Running | RunState::Paused | RunState::Restarting) => {
            Stands::Starting
        }
        _ => Stands::Down,
    }
}
