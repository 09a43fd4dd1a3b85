//! Events that Docker never reported, derived from the last reported and the current state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use longshore_model::{
    Container, ContainerEvent, ContainerFacts, EventKind, Health, LastReported, Phase, RunState,
};

/// An event that Docker did not report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissedEvent {
    /// As Docker names it.
    pub event: &'static str,
    /// When it happened, in nanoseconds since 1970, if Docker recorded it.
    pub at: Option<i64>,
    /// Docker's other attributes.
    pub attributes: BTreeMap<String, String>,
}

impl MissedEvent {
    fn of(event: &'static str, at: Option<i64>) -> Self {
        Self { event, at, attributes: BTreeMap::new() }
    }

    fn with(event: &'static str, key: &str, value: impl Into<String>) -> Self {
        Self { event, at: None, attributes: BTreeMap::from([(key.to_owned(), value.into())]) }
    }
}

/// Returns the report that would exist if every event of this container had been reported.
pub fn all_reported(container: &Container) -> LastReported {
    let phase = phase(container);
    LastReported {
        facts: Arc::new(facts(container)),
        phase,
        started: container.started,
        // Docker calls a container with a health check unhealthy once it has ended, and reports no event.
        health: if phase.is_alive() { container.health } else { Health::None },
        networks: networks(container),
        complete_until: 0,
        as_listed: false,
    }
}

/// Returns the report of a container of which only this event is known, given that these events happened
/// `before` it. Docker puts the image, the name and the labels among the event's attributes.
pub fn first_report(event: &ContainerEvent, before: &[MissedEvent]) -> LastReported {
    let labels = event.attributes.iter().filter(|(key, _)| !is_detail(key));
    let facts = ContainerFacts {
        id: event.container.clone(),
        name: event.name.clone(),
        image: event.attributes.get("image").cloned().unwrap_or_default(),
        labels: labels.map(|(key, value)| (key.clone(), value.clone())).collect(),
    };
    let mut reported = LastReported {
        facts: Arc::new(facts),
        phase: Phase::Created,
        started: 0,
        health: Health::None,
        networks: BTreeSet::new(),
        complete_until: 0,
        as_listed: false,
    };
    before.iter().for_each(|missed| report_missed(&mut reported, missed, event.at));
    reported
}

/// Records an event as reported.
pub fn report(reported: &mut LastReported, event: &ContainerEvent) {
    // Docker may still report a `docker stop` after the container removed itself.
    if reported.phase == Phase::Destroyed {
        return;
    }
    if !event.name.is_empty() && reported.facts.name != event.name {
        Arc::make_mut(&mut reported.facts).name.clone_from(&event.name);
    }
    use EventKind::{Create, Destroy, Die, Pause, Start, Unpause};
    if reported.as_listed && matches!(event.kind, Create | Start | Die | Pause | Unpause | Destroy) {
        reported.as_listed = false;
        // The container may have been listed in a later run than this event's.
        if event.at < reported.started {
            reported.started = 0;
        }
    }
    let network = event.attributes.get("network");
    match event.kind {
        // At the first start, a container may be seen running before its creation event arrives.
        EventKind::Create => {
            (reported.phase, reported.started, reported.health) = (Phase::Created, 0, Health::None);
            reported.networks.clear();
        }
        EventKind::Start => {
            reported.phase = Phase::Running;
            reported.started = event.at;
        }
        EventKind::Die => {
            reported.phase = Phase::Ended;
            reported.health = Health::None;
        }
        EventKind::Pause => reported.phase = Phase::Paused,
        EventKind::Unpause => reported.phase = Phase::Running,
        EventKind::Health => {
            reported.health = match event.attributes.get("health_status").map(String::as_str) {
                Some("healthy") => Health::Healthy,
                Some("unhealthy") => Health::Unhealthy,
                _ => reported.health,
            }
        }
        EventKind::Connect => reported.networks.extend(network.cloned()),
        EventKind::Disconnect => reported.networks.retain(|name| Some(name) != network),
        EventKind::Destroy => reported.phase = Phase::Destroyed,
        _ => {}
    }
}

/// Returns whether a key of an event's attributes is Docker's own, rather than a label of the container.
pub fn is_detail(key: &str) -> bool {
    const WORDS: &[&str] = &[
        "image",
        "name",
        "signal",
        "exitCode",
        "execID",
        "execDuration",
        "oldName",
        "container",
        "network",
        "type",
        "health_status",
        "comment",
        "imageID",
        "imageRef",
        "resolution",
        "width",
        "height",
        "error",
    ];
    WORDS.contains(&key) || key.starts_with("exec_")
}

/// Returns the facts of a container.
pub fn facts(container: &Container) -> ContainerFacts {
    ContainerFacts {
        id: container.id.clone(),
        name: container.name.clone(),
        image: container.image.clone(),
        labels: container.labels.clone(),
    }
}

/// Returns what must have happened to a container between `reported` and its current state `is`, in order.
///
/// Exact only if no event from before `is` was observed is still in flight.
pub fn missed(reported: Option<&LastReported>, is: Option<&Container>) -> Vec<MissedEvent> {
    let mut missed = Vec::new();
    match (reported, is) {
        (None, None) => {}
        // Docker never reuses an id: an observation that still shows the container is outdated.
        (Some(reported), _) if reported.phase == Phase::Destroyed => {}
        (Some(reported), None) => {
            if reported.phase.is_alive() {
                missed.push(MissedEvent::of("die", None));
            }
            missed.push(MissedEvent::of("destroy", None));
        }
        (None, Some(is)) => {
            missed.push(MissedEvent::of("create", Some(is.created).filter(|at| *at > 0)));
            since_created(is, &mut missed);
        }
        (Some(reported), Some(is)) => differences(reported, is, &mut missed),
    }
    missed
}

/// Returns what must have happened to a container between its `reported` state and this event, in order, if
/// the event cannot follow directly. `is` is the container's current state.
pub fn before(
    reported: Option<&LastReported>,
    event: &ContainerEvent,
    is: Option<&Container>,
) -> Vec<MissedEvent> {
    let mut missed = Vec::new();
    let phase = match reported {
        None if event.kind == EventKind::Create => return missed,
        None => {
            let created = is.map(|is| is.created).filter(|at| *at > 0 && *at <= event.at);
            missed.push(MissedEvent::of("create", created));
            Phase::Created
        }
        Some(reported) => {
            let old = &reported.facts.name;
            let renamed = !event.name.is_empty() && event.name != *old && event.kind != EventKind::Rename;
            if renamed && reported.phase != Phase::Destroyed {
                missed.push(MissedEvent::with("rename", "oldName", format!("/{old}")));
            }
            reported.phase
        }
    };
    let stopped = matches!(phase, Phase::Created | Phase::Ended);
    // Of several runs, Docker records only the last start.
    let known_start = reported.map_or(0, |reported| reported.started);
    let started = is.map(|is| is.started).filter(|at| *at > known_start && *at <= event.at);
    let start = MissedEvent::of("start", started);
    match &event.kind {
        EventKind::Start | EventKind::Destroy if phase.is_alive() => {
            missed.push(MissedEvent::of("die", None));
        }
        EventKind::Pause if phase == Phase::Paused => missed.push(MissedEvent::of("unpause", None)),
        EventKind::Unpause if stopped => missed.extend([start, MissedEvent::of("pause", None)]),
        EventKind::Unpause if phase == Phase::Running => missed.push(MissedEvent::of("pause", None)),
        EventKind::Kill(_) | EventKind::Pause if stopped => missed.push(start),
        // Engines report an exit after a failed start, and health a moment late: only a start that took place
        // is missing.
        EventKind::Die | EventKind::Health if stopped && started.is_some() => missed.push(start),
        // A known container may report these shortly after its exit.
        EventKind::Die | EventKind::Health if reported.is_none() => missed.push(start),
        EventKind::Other(action)
            if reported.is_none() && (action.starts_with("exec_") || action == "oom") =>
        {
            missed.push(start);
        }
        _ => {}
    }
    missed
}

/// Records a missed event as reported; `latest` is its time if it has none of its own.
pub fn report_missed(reported: &mut LastReported, missed: &MissedEvent, latest: i64) {
    let kind = match missed.event {
        "create" => EventKind::Create,
        "start" => EventKind::Start,
        "die" => EventKind::Die,
        "pause" => EventKind::Pause,
        "unpause" => EventKind::Unpause,
        "health_status" => EventKind::Health,
        "connect" => EventKind::Connect,
        "disconnect" => EventKind::Disconnect,
        "destroy" => EventKind::Destroy,
        _ => return,
    };
    let event = ContainerEvent {
        container: reported.facts.id.clone(),
        name: String::new(),
        kind,
        at: missed.at.unwrap_or(latest),
        attributes: missed.attributes.clone(),
    };
    report(reported, &event);
}

fn since_created(is: &Container, missed: &mut Vec<MissedEvent>) {
    if is.started == 0 {
        return;
    }
    join(&BTreeSet::new(), &networks(is), missed);
    missed.push(MissedEvent::of("start", Some(is.started)));
    match phase(is) {
        Phase::Paused => missed.push(MissedEvent::of("pause", None)),
        Phase::Ended => missed.push(MissedEvent::of("die", None)),
        Phase::Created | Phase::Running | Phase::Destroyed => {}
    }
    if matches!(is.health, Health::Healthy | Health::Unhealthy) && phase(is) == Phase::Running {
        missed.push(MissedEvent::with("health_status", "health_status", is.health.to_string()));
    }
}

fn differences(reported: &LastReported, is: &Container, missed: &mut Vec<MissedEvent>) {
    if reported.facts.name != is.name {
        missed.push(MissedEvent::with("rename", "oldName", format!("/{}", reported.facts.name)));
    }
    // Docker records the time of a start before it reports it.
    if is.started > reported.started {
        if reported.phase.is_alive() {
            missed.push(MissedEvent::of("die", None));
        }
        since_created(is, missed);
        return;
    }
    match (reported.phase, phase(is)) {
        (Phase::Running, Phase::Paused) => missed.push(MissedEvent::of("pause", None)),
        (Phase::Paused, Phase::Running) => missed.push(MissedEvent::of("unpause", None)),
        (Phase::Running | Phase::Paused, Phase::Ended | Phase::Created) => {
            missed.push(MissedEvent::of("die", None));
        }
        _ => {}
    }
    let is_told = matches!(is.health, Health::Healthy | Health::Unhealthy);
    if phase(is) == Phase::Running && is_told && is.health != reported.health {
        missed.push(MissedEvent::with("health_status", "health_status", is.health.to_string()));
    }
    if phase(is).is_alive() {
        join(&reported.networks, &networks(is), missed);
    }
}

/// Adds networks that were left and joined. Those without addresses (`host`, `none`) do not count as networks
/// in World.
fn join(before: &BTreeSet<String>, after: &BTreeSet<String>, missed: &mut Vec<MissedEvent>) {
    let real = |name: &&String| !matches!(name.as_str(), "host" | "none");
    let left = before.difference(after).filter(real);
    missed.extend(left.map(|name| MissedEvent::with("disconnect", "network", name)));
    let joined = after.difference(before);
    missed.extend(joined.map(|name| MissedEvent::with("connect", "network", name)));
}

fn phase(container: &Container) -> Phase {
    match container.state {
        RunState::Created => Phase::Created,
        RunState::Running => Phase::Running,
        RunState::Paused => Phase::Paused,
        RunState::Restarting | RunState::Exited | RunState::Removing | RunState::Dead => Phase::Ended,
    }
}

fn networks(container: &Container) -> BTreeSet<String> {
    match phase(container).is_alive() {
        true => container.networks.keys().cloned().collect(),
        false => BTreeSet::new(),
    }
}
