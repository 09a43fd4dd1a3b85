//! From what Docker tells, and from what it did not, to what handlers are told. Pure.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

use longshore_model::{
    Container, ContainerEvent, ContainerFacts, ContainerId, EventId, EventKind, NetworkEvent, Occurrence,
    OccurrenceSubject,
};
use longshore_plan::{Missed, Told, before, is_detail, missed};

/// How many events' ids are remembered, to know those that Docker tells again: it remembers 256 itself.
const REMEMBERED: usize = 1024;

/// What was told of each container, and which events were.
#[derive(Debug, Default)]
pub(super) struct Intake {
    told: BTreeMap<ContainerId, Told>,
    ids: HashSet<EventId>,
    order: VecDeque<(u64, EventId)>,
    /// Executions of health checks that are under way, by Docker's id of them.
    probes: BTreeSet<String>,
}

impl Intake {
    /// Goes on where an earlier agent ended.
    pub(super) fn resume(told: BTreeMap<ContainerId, Told>, ids: BTreeMap<u64, EventId>) -> Self {
        let mut intake = Self { told, ..Self::default() };
        for (seq, id) in ids {
            intake.remember(seq, id);
        }
        intake
    }

    /// Remembers an event's id. The number of one that needs not be known any more is returned.
    pub(super) fn remember(&mut self, seq: u64, id: EventId) -> Option<u64> {
        self.ids.insert(id.clone());
        self.order.push_back((seq, id));
        if self.order.len() <= REMEMBERED {
            return None;
        }
        let (seq, id) = self.order.pop_front()?;
        self.ids.remove(&id);
        Some(seq)
    }

    /// What was told of a container.
    pub(super) fn told(&self, id: &ContainerId) -> Option<&Told> {
        self.told.get(id)
    }

    /// The containers of which something was told.
    pub(super) fn containers(&self) -> impl Iterator<Item = &ContainerId> {
        self.told.keys()
    }

    /// Takes a container as it is, without a word to anybody.
    pub(super) fn begin(&mut self, container: &Container) {
        self.told.insert(container.id.clone(), Told::all_of(container));
    }

    /// What handlers are told of an event: what must have happened before it, where nobody told, and the event.
    /// Nothing if they were told before, or if it is a health check's own doing. `health_check` is the command of the
    /// container's health check, `is` what the container is by now.
    pub(super) fn container(
        &mut self,
        event: &ContainerEvent,
        is: Option<&Container>,
        health_check: Option<&str>,
    ) -> Vec<Occurrence> {
        let name = event.kind.to_string();
        let id = event_id(event.at, event.container.short(), &name);
        if self.ids.contains(&id) || self.is_probe(event, &name, health_check) {
            return Vec::new();
        }
        let mut occurrences = Vec::new();
        let told = match self.told.entry(event.container.clone()) {
            Entry::Occupied(told) => told.into_mut(),
            Entry::Vacant(place) => {
                let before = before(event, is);
                let mut told = Told::of_stranger(event, &before);
                if let Some(is) = is {
                    told.facts = Arc::new(longshore_plan::facts(is));
                }
                occurrences.extend(before.into_iter().map(|missed| made_up(missed, &told.facts, event.at)));
                place.insert(told)
            }
        };
        told.take(event);
        let facts = told.facts.clone();
        if event.kind == EventKind::Destroy {
            self.told.remove(&event.container);
        }
        let labels = &facts.labels;
        let own = |key: &str| is_detail(key) && !matches!(key, "image" | "name") && !labels.contains_key(key);
        let attributes = event.attributes.iter().filter(|(key, _)| own(key));
        let attributes = attributes.map(|(key, value)| (key.clone(), value.clone())).collect();
        let subject = OccurrenceSubject::Container(facts);
        occurrences.push(Occurrence { id, event: name, at: event.at, made_up: false, subject, attributes });
        occurrences
    }

    /// What handlers are told of an event of a network.
    pub(super) fn network(&self, event: NetworkEvent) -> Option<Occurrence> {
        // `remove` is Docker's other word for the same, in a swarm.
        let name = if event.action == "create" { "network_create" } else { "network_destroy" };
        let id = event_id(event.at, event.network.get(..12).unwrap_or(&event.network), name);
        let attributes = BTreeMap::new();
        let subject = OccurrenceSubject::Network { id: event.network, name: event.name };
        let at = event.at;
        let occurrence =
            Occurrence { id: id.clone(), event: name.to_owned(), at, made_up: false, subject, attributes };
        (!self.ids.contains(&id)).then_some(occurrence)
    }

    /// Forgets what was told of containers.
    pub(super) fn forget_containers(&mut self) {
        self.told.clear();
        self.probes.clear();
    }

    /// Takes a container's labels and image as they are: an event does not tell labels from its own words.
    pub(super) fn refresh(&mut self, container: &Container) {
        if let Some(told) = self.told.get_mut(&container.id) {
            let name = told.facts.name.clone();
            let facts = ContainerFacts { name, ..longshore_plan::facts(container) };
            if *told.facts != facts {
                told.facts = Arc::new(facts);
            }
        }
    }

    /// What is different between what was told of a container and what it is.
    pub(super) fn missed(&self, id: &ContainerId, is: Option<&Container>) -> Vec<Missed> {
        missed(self.told.get(id), is)
    }

    /// Tells of a container what nobody heard. `now` is the time of what has none, in nanoseconds since 1970.
    pub(super) fn make_up(&mut self, id: &ContainerId, is: Option<&Container>, now: i64) -> Vec<Occurrence> {
        let missed = self.missed(id, is);
        let told = self.told.get(id).map(|told| told.facts.clone());
        let is_now = is.map(|is| Arc::new(longshore_plan::facts(is)));
        let Some(facts) = is_now.or(told) else { return Vec::new() };
        match is {
            Some(is) => self.begin(is),
            None => {
                self.told.remove(id);
            }
        }
        missed.into_iter().map(|missed| made_up(missed, &facts, now)).collect()
    }

    /// Whether it is one of the three events that each health check makes.
    fn is_probe(&mut self, event: &ContainerEvent, name: &str, health_check: Option<&str>) -> bool {
        if !name.starts_with("exec_") {
            return false;
        }
        let Some(exec) = event.attributes.get("execID") else { return false };
        let command = event.attributes.get(name).map(String::as_str);
        if command.is_some() && command == health_check {
            self.probes.insert(exec.clone());
            return true;
        }
        // The end of an execution does not name its command.
        self.probes.remove(exec)
    }
}

fn made_up(missed: Missed, facts: &Arc<ContainerFacts>, now: i64) -> Occurrence {
    let at = missed.at.unwrap_or(now);
    Occurrence {
        id: event_id(at, facts.id.short(), missed.event),
        event: missed.event.to_owned(),
        at,
        made_up: true,
        subject: OccurrenceSubject::Container(facts.clone()),
        attributes: missed.attributes,
    }
}

/// The dummy event.
pub(super) fn none(now: i64) -> Occurrence {
    Occurrence {
        id: EventId(format!("{now}-none")),
        event: "none".to_owned(),
        at: now,
        made_up: false,
        subject: OccurrenceSubject::Nothing,
        attributes: BTreeMap::new(),
    }
}

fn event_id(at: i64, subject: &str, event: &str) -> EventId {
    EventId(format!("{at}-{subject}-{event}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: EventKind, at: i64, attributes: &[(&str, &str)]) -> ContainerEvent {
        let attributes = attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let container = ContainerId::new("0123456789abcdef");
        ContainerEvent { container, name: "wp1".to_owned(), kind, at, attributes }
    }

    /// The events that handlers are told, in order.
    fn told(intake: &mut Intake, event: &ContainerEvent, health_check: Option<&str>) -> Vec<String> {
        intake.container(event, None, health_check).into_iter().map(|told| told.event).collect()
    }

    #[test]
    fn an_event_that_docker_tells_again_is_told_once() {
        let mut intake = Intake::default();
        let create =
            event(EventKind::Create, 7, &[("image", "wordpress"), ("tier", "front"), ("signal", "9")]);
        let occurrence = intake.container(&create, None, None).pop().unwrap();
        assert_eq!(occurrence.id.0, "7-0123456789ab-create");
        let facts = occurrence.container().unwrap();
        assert_eq!((facts.image.as_str(), facts.labels["tier"].as_str()), ("wordpress", "front"));
        assert_eq!(occurrence.attributes, BTreeMap::from([("signal".into(), "9".into())]));
        intake.remember(1, occurrence.id);
        assert_eq!(told(&mut intake, &create, None), Vec::<String>::new());
        assert_eq!(told(&mut intake, &event(EventKind::Start, 8, &[]), None), ["start"]);
    }

    #[test]
    fn what_must_have_happened_before_is_told_before() {
        assert_eq!(
            told(&mut Intake::default(), &event(EventKind::Pause, 7, &[]), None),
            ["create", "start", "pause"]
        );
        let destroyed = event(EventKind::Destroy, 7, &[]);
        assert_eq!(told(&mut Intake::default(), &destroyed, None), ["create", "destroy"]);
    }

    #[test]
    fn what_a_health_check_does_is_no_event_and_what_a_person_does_is() {
        let mut intake = Intake::default();
        told(&mut intake, &event(EventKind::Create, 1, &[]), None);
        let exec = |action: &str, id: &str, command: &str| {
            event(EventKind::Other(action.to_owned()), 7, &[("execID", id), (action, command)])
        };
        let die = |id: &str| event(EventKind::Other("exec_die".to_owned()), 8, &[("execID", id)]);
        let check = Some("/bin/sh -c probe");
        let create = exec("exec_create", "1", "/bin/sh -c probe");
        assert_eq!(told(&mut intake, &create, check), Vec::<String>::new());
        assert_eq!(told(&mut intake, &die("1"), check), Vec::<String>::new());
        let person = intake.container(&exec("exec_create", "2", "bash"), None, check).pop().unwrap();
        assert_eq!(person.attributes["exec_create"], "bash");
        assert_eq!(told(&mut intake, &die("2"), check), ["exec_die"]);
    }

    #[test]
    fn old_ids_are_forgotten_and_named() {
        let mut intake = Intake::default();
        let forgotten: Vec<u64> =
            (0..1030).filter_map(|seq| intake.remember(seq, EventId(seq.to_string()))).collect();
        assert_eq!(forgotten, [0, 1, 2, 3, 4, 5]);
    }
}
