//! Derives what handlers receive from what Docker reports and does not report. Pure.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

use longshore_model::{
    Container, ContainerEvent, ContainerFacts, ContainerId, EventId, EventSubject, HandlerEvent, Health,
    LastReported, NetworkEvent, Phase,
};
use longshore_plan::{
    MissedEvent, all_reported, before, first_report, is_detail, missed, report, report_missed,
};

/// How many event ids are remembered, to recognize repeated events: Docker remembers 256 itself.
const MAX_IDS: usize = 1024;
/// How many executions of health checks are remembered, for the same reason.
const MAX_PROBES: usize = 4096;

/// What was reported of each container, and which events were.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    /// When the containers of the first start were recorded, in nanoseconds since 1970: events up to then may be
    /// reported later, and nothing before them is missing.
    pub(crate) begun: Option<i64>,
    reported: BTreeMap<ContainerId, LastReported>,
    ids: HashSet<EventId>,
    order: VecDeque<(u64, EventId)>,
    /// Executions of health checks, by Docker's id of them.
    probes: BTreeSet<String>,
    probes_in_order: VecDeque<String>,
}

impl Intake {
    /// Continues where an earlier agent ended.
    pub(crate) fn resume(
        reported: BTreeMap<ContainerId, LastReported>,
        ids: BTreeMap<u64, EventId>,
        begun: Option<i64>,
    ) -> Self {
        let mut intake = Self { begun, reported, ..Self::default() };
        for (seq, id) in ids {
            intake.remember(seq, id);
        }
        intake
    }

    /// Remembers an event's id. Returns the number of one that is no longer needed.
    pub(crate) fn remember(&mut self, seq: u64, id: EventId) -> Option<u64> {
        self.ids.insert(id.clone());
        self.order.push_back((seq, id));
        if self.order.len() <= MAX_IDS {
            return None;
        }
        let (seq, id) = self.order.pop_front()?;
        self.ids.remove(&id);
        Some(seq)
    }

    /// Returns all remembered ids with their numbers.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &(u64, EventId)> {
        self.order.iter()
    }

    /// Returns what was reported of a container.
    pub(crate) fn reported(&self, id: &ContainerId) -> Option<&LastReported> {
        self.reported.get(id)
    }

    /// Returns what was reported of all containers.
    pub(crate) fn all_reported(&self) -> &BTreeMap<ContainerId, LastReported> {
        &self.reported
    }

    /// Records a container's current state without an event.
    pub(crate) fn begin(&mut self, container: &Container) {
        let reported = LastReported { as_listed: true, ..all_reported(container) };
        self.reported.insert(container.id.clone(), reported);
    }

    /// Returns the events that handlers receive for a Docker event: those that must have happened before it but were
    /// not reported, then the event. Empty if it was reported before, if synthetic events replaced it, or if it is
    /// part of a health check. `health_check` is the command of the container's health check, `is` the container's
    /// current state.
    pub(crate) fn container(
        &mut self,
        event: &ContainerEvent,
        is: Option<&Container>,
        health_check: Option<&str>,
    ) -> Vec<HandlerEvent> {
        let name = event.kind.to_string();
        let id = event_id(event.at, event.container.short(), &name);
        if self.ids.contains(&id) || self.is_probe(event, &name, health_check) {
            return Vec::new();
        }
        let known = self.reported.get(&event.container);
        if known.is_some_and(|known| event.at <= known.complete_until) {
            tracing::debug!(%id, "dropping a late event: a synthetic one replaced it");
            return Vec::new();
        }
        let was_there =
            self.begun.is_some_and(|begun| event.at <= begun) && known.is_none_or(|known| known.as_listed);
        let before = if was_there { Vec::new() } else { before(known, event, is) };
        let mut events = Vec::new();
        let reported = match self.reported.entry(event.container.clone()) {
            Entry::Occupied(reported) => {
                let reported = reported.into_mut();
                for missed in &before {
                    report_missed(reported, missed, event.at);
                }
                reported
            }
            Entry::Vacant(place) => {
                let first = first_report(event, &before);
                let mut reported = LastReported { as_listed: was_there, ..first };
                if let Some(is) = is {
                    reported.facts = Arc::new(longshore_plan::facts(is));
                }
                place.insert(reported)
            }
        };
        events.extend(synthetic(before, &reported.facts, event.at));
        report(reported, event);
        let facts = reported.facts.clone();
        let labels = &facts.labels;
        let own = |key: &str| is_detail(key) && !matches!(key, "image" | "name") && !labels.contains_key(key);
        let attributes = event.attributes.iter().filter(|(key, _)| own(key));
        let attributes = attributes.map(|(key, value)| (key.clone(), value.clone())).collect();
        let subject = EventSubject::Container(facts);
        events.push(HandlerEvent { id, event: name, at: event.at, synthetic: false, subject, attributes });
        events
    }

    /// Returns the event that handlers receive for an event of a network.
    pub(crate) fn network(&self, event: NetworkEvent) -> Option<HandlerEvent> {
        // `remove` is Docker's other word for the same, in Swarm.
        let name = if event.action == "create" { "network_create" } else { "network_destroy" };
        let id = event_id(event.at, event.network.get(..12).unwrap_or(&event.network), name);
        let told = HandlerEvent {
            id: id.clone(),
            event: name.to_owned(),
            at: event.at,
            synthetic: false,
            subject: EventSubject::Network { id: event.network, name: event.name },
            attributes: BTreeMap::new(),
        };
        (!self.ids.contains(&id)).then_some(told)
    }

    /// Forgets what was reported of containers.
    pub(crate) fn forget_containers(&mut self) {
        self.begun = None;
        self.reported.clear();
        self.probes.clear();
        self.probes_in_order.clear();
    }

    /// Forgets a destroyed container.
    pub(crate) fn forget(&mut self, id: &ContainerId) {
        self.reported.remove(id);
    }

    /// Updates a container's labels and image: an event does not separate labels from Docker's own attributes.
    pub(crate) fn refresh(&mut self, container: &Container) {
        if let Some(reported) = self.reported.get_mut(&container.id) {
            let name = reported.facts.name.clone();
            let facts = ContainerFacts { name, ..longshore_plan::facts(container) };
            if *reported.facts != facts {
                reported.facts = Arc::new(facts);
            }
        }
    }

    /// Returns the differences between a container's reported and current state.
    pub(crate) fn missed(&self, id: &ContainerId, is: Option<&Container>) -> Vec<MissedEvent> {
        missed(self.reported.get(id), is)
    }

    /// Returns the events of a container that Docker did not report; from here on they count as reported. They stand
    /// for everything up to `until`, in nanoseconds since 1970 by Docker's clock: `is` was observed before that.
    pub(crate) fn synthesize(
        &mut self,
        id: &ContainerId,
        is: Option<&Container>,
        until: i64,
    ) -> Vec<HandlerEvent> {
        let missed = self.missed(id, is);
        let known = self.reported.get(id);
        let facts = is.map(|is| Arc::new(longshore_plan::facts(is)));
        let Some(facts) = facts.or_else(|| known.map(|known| known.facts.clone())) else { return Vec::new() };
        if missed.is_empty() {
            return Vec::new();
        }
        let reported = match (is, known) {
            (Some(is), known) => {
                // A paused container's health is not told until it runs again.
                let health = known.map_or(Health::None, |known| known.health);
                let mut reported = LastReported { health, complete_until: until, ..all_reported(is) };
                missed.iter().for_each(|missed| report_missed(&mut reported, missed, until));
                reported
            }
            (None, Some(known)) => {
                let (phase, complete_until) = (Phase::Destroyed, until);
                LastReported { phase, complete_until, as_listed: false, ..known.clone() }
            }
            (None, None) => return Vec::new(),
        };
        self.reported.insert(id.clone(), reported);
        synthetic(missed, &facts, until).collect()
    }

    /// Returns whether it is one of the three events that each health check produces.
    fn is_probe(&mut self, event: &ContainerEvent, name: &str, health_check: Option<&str>) -> bool {
        if !name.starts_with("exec_") {
            return false;
        }
        let Some(exec) = event.attributes.get("execID") else { return false };
        let command = event.attributes.get(name).map(String::as_str);
        if command.is_some() && command == health_check && self.probes.insert(exec.clone()) {
            self.probes_in_order.push_back(exec.clone());
            if self.probes_in_order.len() > MAX_PROBES
                && let Some(oldest) = self.probes_in_order.pop_front()
            {
                self.probes.remove(&oldest);
            }
        }
        // The end of an execution does not name its command, and Docker may report it twice.
        self.probes.contains(exec)
    }
}

/// Creates the events that stand for missed ones. One without a time of its own precedes the next one, and is no
/// later than `until`. No two share a time, which would give two of the same name the same id.
fn synthetic(
    missed: Vec<MissedEvent>,
    facts: &Arc<ContainerFacts>,
    until: i64,
) -> impl Iterator<Item = HandlerEvent> {
    let mut latest = until;
    let mut events: Vec<HandlerEvent> = Vec::with_capacity(missed.len());
    for missed in missed.into_iter().rev() {
        let at = missed.at.unwrap_or(latest).min(latest);
        latest = at - 1;
        events.push(HandlerEvent {
            id: event_id(at, facts.id.short(), missed.event),
            event: missed.event.to_owned(),
            at,
            synthetic: true,
            subject: EventSubject::Container(facts.clone()),
            attributes: missed.attributes,
        });
    }
    events.into_iter().rev()
}

/// Returns the dummy event.
pub(crate) fn none(now: i64) -> HandlerEvent {
    HandlerEvent {
        id: EventId(format!("{now}-none")),
        event: "none".to_owned(),
        at: now,
        synthetic: false,
        subject: EventSubject::Nothing,
        attributes: BTreeMap::new(),
    }
}

fn event_id(at: i64, subject: &str, event: &str) -> EventId {
    EventId(format!("{at}-{subject}-{event}"))
}

#[cfg(test)]
mod tests {
    use longshore_model::{EventKind, RunState};

    use super::*;

    fn id() -> ContainerId {
        ContainerId::new("0123456789abcdef")
    }

    fn event(kind: EventKind, at: i64, attributes: &[(&str, &str)]) -> ContainerEvent {
        let attributes = attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        ContainerEvent { container: id(), name: "wp1".to_owned(), kind, at, attributes }
    }

    /// Returns the names of the events that handlers receive, in order.
    fn told(intake: &mut Intake, event: &ContainerEvent, health_check: Option<&str>) -> Vec<String> {
        intake.container(event, None, health_check).into_iter().map(|told| told.event).collect()
    }

    fn names(events: &[HandlerEvent]) -> Vec<&str> {
        events.iter().map(|told| told.event.as_str()).collect()
    }

    #[test]
    fn an_event_that_docker_reports_again_is_told_once() {
        let mut intake = Intake::default();
        let create =
            event(EventKind::Create, 7, &[("image", "wordpress"), ("tier", "front"), ("signal", "9")]);
        let first = intake.container(&create, None, None).pop().unwrap();
        assert_eq!(first.id.0, "7-0123456789ab-create");
        let facts = first.container().unwrap();
        assert_eq!((facts.image.as_str(), facts.labels["tier"].as_str()), ("wordpress", "front"));
        assert_eq!(first.attributes, BTreeMap::from([("signal".into(), "9".into())]));
        intake.remember(1, first.id);
        assert_eq!(told(&mut intake, &create, None), Vec::<String>::new());
        assert_eq!(told(&mut intake, &event(EventKind::Start, 8, &[]), None), ["start"]);
    }

    #[test]
    fn what_must_have_happened_before_is_told_before() {
        let mut intake = Intake::default();
        assert_eq!(told(&mut intake, &event(EventKind::Pause, 7, &[]), None), ["create", "start", "pause"]);
        // Also for a known container.
        assert_eq!(told(&mut intake, &event(EventKind::Start, 9, &[]), None), ["die", "start"]);
        assert_eq!(told(&mut intake, &event(EventKind::Unpause, 11, &[]), None), ["pause", "unpause"]);
        assert_eq!(told(&mut intake, &event(EventKind::Destroy, 13, &[]), None), ["die", "destroy"]);
        let destroyed = event(EventKind::Destroy, 7, &[]);
        assert_eq!(told(&mut Intake::default(), &destroyed, None), ["create", "destroy"]);
    }

    #[test]
    fn what_was_there_at_the_first_start_needs_nothing_before_it() {
        let mut intake = Intake { begun: Some(20), ..Intake::default() };
        let mut running = Container::new(id(), "wp1", "wordpress");
        (running.state, running.started) = (RunState::Running, 9);
        intake.begin(&running);
        // It was observed running before its start event arrived.
        assert_eq!(told(&mut intake, &event(EventKind::Start, 10, &[]), None), ["start"]);
        assert_eq!(told(&mut intake, &event(EventKind::Start, 30, &[]), None), ["die", "start"]);
    }

    #[test]
    fn a_destroyed_container_is_no_stranger() {
        let mut intake = Intake::default();
        told(&mut intake, &event(EventKind::Create, 1, &[]), None);
        told(&mut intake, &event(EventKind::Destroy, 2, &[]), None);
        // Docker reports a `docker stop` after the container removed itself.
        let stop = event(EventKind::Other("stop".to_owned()), 3, &[]);
        assert_eq!(told(&mut intake, &stop, None), ["stop"]);
        assert_eq!(intake.reported(&id()).unwrap().phase, Phase::Destroyed);
    }

    #[test]
    fn events_that_synthetic_ones_stand_for_are_not_told_and_later_ones_are() {
        let mut intake = Intake::default();
        told(&mut intake, &event(EventKind::Create, 1, &[]), None);
        told(&mut intake, &event(EventKind::Start, 2, &[]), None);
        let mut ended = Container::new(id(), "wp1", "wordpress");
        (ended.state, ended.started) = (RunState::Exited, 2);
        assert_eq!(names(&intake.synthesize(&id(), Some(&ended), 10)), ["die"]);
        assert_eq!(told(&mut intake, &event(EventKind::Die, 5, &[]), None), Vec::<String>::new());
        assert_eq!(told(&mut intake, &event(EventKind::Start, 11, &[]), None), ["start"]);
        assert_eq!(names(&intake.synthesize(&id(), None, 20)), ["die", "destroy"]);
        for (kind, at) in [(EventKind::Kill(Some(9)), 15), (EventKind::Die, 16), (EventKind::Destroy, 17)] {
            assert_eq!(told(&mut intake, &event(kind, at, &[]), None), Vec::<String>::new());
        }
    }

    #[test]
    fn a_health_that_was_not_told_during_a_pause_is_told_after_it() {
        let mut intake = Intake::default();
        told(&mut intake, &event(EventKind::Create, 1, &[]), None);
        told(&mut intake, &event(EventKind::Start, 2, &[]), None);
        let mut is = Container::new(id(), "wp1", "wordpress");
        (is.state, is.started, is.health) = (RunState::Paused, 2, Health::Unhealthy);
        assert_eq!(names(&intake.synthesize(&id(), Some(&is), 10)), ["pause"]);
        assert_eq!(told(&mut intake, &event(EventKind::Unpause, 11, &[]), None), ["unpause"]);
        is.state = RunState::Running;
        assert_eq!(names(&intake.synthesize(&id(), Some(&is), 20)), ["health_status"]);
        assert_eq!(names(&intake.synthesize(&id(), Some(&is), 30)), Vec::<&str>::new());
    }

    #[test]
    fn synthetic_events_have_their_times_in_order() {
        let mut intake = Intake::default();
        told(&mut intake, &event(EventKind::Start, 10, &[]), None);
        let mut again = Container::new(id(), "wp1", "wordpress");
        (again.state, again.started) = (RunState::Running, 50);
        let events = intake.synthesize(&id(), Some(&again), 99);
        let times: Vec<(&str, i64)> = events.iter().map(|told| (told.event.as_str(), told.at)).collect();
        assert_eq!(times, [("die", 49), ("start", 50)]);
    }

    #[test]
    fn what_a_health_check_does_is_no_event_and_what_a_person_does_is() {
        let mut intake = Intake::default();
        told(&mut intake, &event(EventKind::Create, 1, &[]), None);
        told(&mut intake, &event(EventKind::Start, 2, &[]), None);
        let exec = |action: &str, id: &str, command: &str| {
            event(EventKind::Other(action.to_owned()), 7, &[("execID", id), (action, command)])
        };
        let die = |id: &str| event(EventKind::Other("exec_die".to_owned()), 8, &[("execID", id)]);
        let check = Some("/bin/sh -c probe");
        let create = exec("exec_create", "1", "/bin/sh -c probe");
        // Docker repeats some of them after a reconnect.
        for _ in 0..2 {
            assert_eq!(told(&mut intake, &create, check), Vec::<String>::new());
            assert_eq!(told(&mut intake, &die("1"), check), Vec::<String>::new());
        }
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
