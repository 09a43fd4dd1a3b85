//! The watch of one engine: subscribe, list, then follow events with inspections that take their time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fastrand::Rng;
use longshore_model::{Container, ContainerEvent, ContainerId, EventKind};
use longshore_runtime::state::{DockerEvent, DockerObservation};

use super::engine::Engine;

#[derive(Debug)]
enum Link {
    Away,
    Listing { left: Vec<ContainerId>, found: Vec<Container> },
    Live,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Queued,
    Running,
    Stale,
    Refuted,
}

#[derive(Debug)]
pub(crate) struct Watch {
    link: Link,
    resume: i64,
    began: i64,
    places: BTreeMap<ContainerId, Place>,
    /// Answers under way.
    answers: BTreeMap<ContainerId, Option<Container>>,
    pub(crate) told: VecDeque<DockerObservation>,
}

impl Watch {
    pub(crate) fn new(resume: i64) -> Self {
        Self {
            link: Link::Away,
            resume,
            began: 0,
            places: BTreeMap::new(),
            answers: BTreeMap::new(),
            told: VecDeque::new(),
        }
    }

    /// Takes a step of the session that is not the reading of an event. Returns whether there was one.
    pub(crate) fn step(&mut self, engine: &mut Engine, rng: &mut Rng) -> bool {
        if !matches!(self.link, Link::Away) && engine.stream.is_none() {
            self.link = Link::Away;
            self.places.clear();
            self.answers.clear();
            self.told.push_back(DockerObservation::Away("gone".to_owned()));
            return true;
        }
        match &mut self.link {
            Link::Away if engine.up => {
                self.began = engine.clock;
                self.resume = self.resume.min(self.began);
                engine.subscribe(self.resume);
                let left = engine.containers.keys().cloned().collect();
                self.link = Link::Listing { left, found: Vec::new() };
                true
            }
            Link::Away => false,
            Link::Listing { left, found } => {
                match left.pop() {
                    Some(id) => found.extend(engine.containers.get(&id).cloned()),
                    None => {
                        let containers = std::mem::take(found);
                        self.told.push_back(DockerObservation::Listed { containers, networks: Vec::new() });
                        self.link = Link::Live;
                    }
                }
                true
            }
            Link::Live => self.inspect(engine, rng),
        }
    }

    fn inspect(&mut self, engine: &Engine, rng: &mut Rng) -> bool {
        let queued =
            self.places.iter().filter(|(_, place)| **place == Place::Queued).map(|(id, _)| id.clone());
        let queued: Vec<ContainerId> = queued.collect();
        let running: Vec<ContainerId> = self.answers.keys().cloned().collect();
        let pick = rng.usize(..(queued.len() + running.len()).max(1));
        if let Some(id) = queued.get(pick) {
            self.places.insert(id.clone(), Place::Running);
            self.answers.insert(id.clone(), engine.containers.get(id).cloned());
            return true;
        }
        let Some(id) = running.get(pick - queued.len().min(pick)) else { return false };
        let container = self.answers.remove(id).flatten().map(Box::new);
        let place = self.places.remove(id);
        if matches!(place, Some(Place::Stale | Place::Refuted)) {
            self.ask(id);
        }
        if place != Some(Place::Refuted) {
            let id = id.clone();
            self.told.push_back(DockerObservation::Inspected { id, container, resync: false });
        }
        true
    }

    fn ask(&mut self, id: &ContainerId) {
        match self.places.get_mut(id) {
            Some(place @ Place::Running) => *place = Place::Stale,
            Some(_) => {}
            None => drop(self.places.insert(id.clone(), Place::Queued)),
        }
    }

    /// Reads an event off the stream. Returns whether there was one.
    pub(crate) fn read(&mut self, engine: &mut Engine) -> bool {
        if !matches!(self.link, Link::Live) {
            return false;
        }
        let Some(event) = engine.stream.as_mut().and_then(|stream| stream.unread.pop_front()) else {
            return false;
        };
        let DockerEvent::Container(event) = event else { return true };
        self.resume = event.at;
        let id = event.container.clone();
        let past = event.at < self.began;
        let (look, believed) = (needs_a_look(&event), is_believed(&event));
        self.told.push_back(DockerObservation::Event { event, past });
        if believed
            && !past
            && let Some(place) = self.places.get_mut(&id).filter(|place| **place != Place::Queued)
        {
            *place = Place::Refuted;
        }
        if look && !past {
            self.ask(&id);
        }
        true
    }

    /// Lists all containers and has those inspected of which World says something else.
    pub(crate) fn resync(&mut self, engine: &Engine, known: &BTreeMap<ContainerId, Container>) {
        if !matches!(self.link, Link::Live) {
            return;
        }
        let ids: BTreeSet<&ContainerId> = engine.containers.keys().chain(known.keys()).collect();
        let differ = ids.into_iter().filter(|id| engine.containers.get(*id) != known.get(*id));
        let differ: Vec<ContainerId> = differ.cloned().collect();
        differ.iter().for_each(|id| self.ask(id));
    }
}

fn needs_a_look(event: &ContainerEvent) -> bool {
    match &event.kind {
        EventKind::Kill(_) | EventKind::Destroy => false,
        EventKind::Other(action) => matches!(action.as_str(), "stop" | "restart" | "oom" | "update"),
        _ => true,
    }
}

fn is_believed(event: &ContainerEvent) -> bool {
    matches!(event.kind, EventKind::Die | EventKind::Pause | EventKind::Unpause | EventKind::Destroy)
}
