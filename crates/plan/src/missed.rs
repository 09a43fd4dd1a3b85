//! Events that nobody heard: what must have happened, from what was told last and what is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use longshore_model::{Container, ContainerEvent, ContainerFacts, EventKind, Health, RunState};
use serde::{Deserialize, Serialize};

/// What handlers were told of a container, taken together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// What it is called and labelled.
    pub facts: Arc<ContainerFacts>,
    /// What it is doing.
    pub phase: Phase,
    /// When the last start that was told happened, in nanoseconds since 1970; zero if none was.
    pub started: i64,
    /// What its health check says.
    pub health: Health,
    /// The networks that it is in while it runs.
    pub networks: BTreeSet<String>,
}

/// What a container is doing, as far as events tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Never started.
    Created,
    /// Running.
    Running,
    /// Frozen.
    Paused,
    /// Ended.
    Ended,
}

/// An event that was missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// As Docker names it.
    pub event: &'static str,
    /// When, in nanoseconds since 1970, where Docker remembers.
    pub at: Option<i64>,
    /// What Docker would say besides.
    pub attributes: BTreeMap<String, String>,
}

impl Missed {
    fn of(event: &'static str, at: Option<i64>) -> Self {
        Self { event, at, attributes: BTreeMap::new() }
    }

    fn with(event: &'static str, key: &str, value: impl Into<String>) -> Self {
        Self { event, at: None, attributes: BTreeMap::from([(key.to_owned(), value.into())]) }
    }
}

impl Told {
    /// As if everything about a container had been told.
    pub fn all_of(container: &Container) -> Self {
        Self {
            facts: Arc::new(facts(container)),
            phase: phase(container),
            started: container.started,
            health: container.health,
            networks: networks(container),
        }
    }

    /// A container of which nothing but this event is known. Docker puts the image, the name and the labels among the
    /// event's attributes.
    ///
    /// `before` is what must have happened to it.
    pub fn of_stranger(event: &ContainerEvent, before: &[Missed]) -> Self {
        let labels = event.attributes.iter().filter(|(key, _)| !is_detail(key));
        let facts = ContainerFacts {
            id: event.container.clone(),
            name: event.name.clone(),
            image: event.attributes.get("image").cloned().unwrap_or_default(),
            labels: labels.map(|(key, value)| (key.clone(), value.clone())).collect(),
        };
        let start = before.iter().find(|missed| missed.event == "start");
        let phase = if start.is_some() { Phase::Running } else { Phase::Created };
        let started = start.map_or(0, |start| start.at.unwrap_or(event.at));
        Self { facts: Arc::new(facts), phase, started, health: Health::None, networks: BTreeSet::new() }
    }

    /// Takes an event in that is told from here on.
    pub fn take(&mut self, event: &ContainerEvent) {
        if !event.name.is_empty() && self.facts.name != event.name {
            Arc::make_mut(&mut self.facts).name.clone_from(&event.name);
        }
        let network = event.attributes.get("network");
        match event.kind {
            EventKind::Start => {
                self.phase = Phase::Running;
                self.started = event.at;
            }
            EventKind::Die => {
                self.phase = Phase::Ended;
                self.health = Health::None;
            }
            EventKind::Pause => self.phase = Phase::Paused,
            EventKind::Unpause => self.phase = Phase::Running,
            EventKind::Health => {
                self.health = match event.attributes.get("health_status").map(String::as_str) {
                    Some("healthy") => Health::Healthy,
                    Some("unhealthy") => Health::Unhealthy,
                    _ => self.health,
                }
            }
            EventKind::Connect => self.networks.extend(network.cloned()),
            EventKind::Disconnect => self.networks.retain(|name| Some(name) != network),
            _ => {}
        }
    }
}

/// What of an event's attributes is Docker's own word, and no label of the container's.
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

/// A container's facts.
pub fn facts(container: &Container) -> ContainerFacts {
    ContainerFacts {
        id: container.id.clone(),
        name: container.name.clone(),
        image: container.image.clone(),
        labels: container.labels.clone(),
    }
}

/// What must have happened to a container between what was `told` and what `is`, in order. Neither means nothing.
pub fn missed(told: Option<&Told>, is: Option<&Container>) -> Vec<Missed> {
    let mut missed = Vec::new();
    match (told, is) {
        (None, None) => {}
        (Some(told), None) => {
            if alive(told.phase) {
                missed.push(Missed::of("die", None));
            }
            missed.push(Missed::of("destroy", None));
        }
        (None, Some(is)) => {
            missed.push(Missed::of("create", Some(is.created).filter(|at| *at > 0)));
            since_created(is, &mut missed);
        }
        (Some(told), Some(is)) => differences(told, is, &mut missed),
    }
    missed
}

/// What must have happened to a container of which nothing was told before this event. `is` is what it is by now.
pub fn before(event: &ContainerEvent, is: Option<&Container>) -> Vec<Missed> {
    if event.kind == EventKind::Create {
        return Vec::new();
    }
    let created = is.map(|is| is.created).filter(|at| *at > 0 && *at <= event.at);
    let mut missed = vec![Missed::of("create", created)];
    let ran = match &event.kind {
        EventKind::Kill(_) | EventKind::Die | EventKind::Pause | EventKind::Unpause | EventKind::Health => {
            true
        }
        EventKind::Other(action) => action.starts_with("exec_") || action == "oom",
        _ => false,
    };
    if ran {
        // Of several runs, Docker remembers when the last began.
        let started = is.map(|is| is.started).filter(|at| *at > 0 && *at <= event.at);
        missed.push(Missed::of("start", started));
    }
    missed
}

fn since_created(is: &Container, missed: &mut Vec<Missed>) {
    if is.started == 0 {
        return;
    }
    join(&BTreeSet::new(), &networks(is), missed);
    missed.push(Missed::of("start", Some(is.started)));
    match phase(is) {
        Phase::Paused => missed.push(Missed::of("pause", None)),
        Phase::Ended => missed.push(Missed::of("die", None)),
        Phase::Created | Phase::Running => {}
    }
    if matches!(is.health, Health::Healthy | Health::Unhealthy) && phase(is) == Phase::Running {
        missed.push(Missed::with("health_status", "health_status", is.health.to_string()));
    }
}

fn differences(told: &Told, is: &Container, missed: &mut Vec<Missed>) {
    if told.facts.name != is.name {
        missed.push(Missed::with("rename", "oldName", format!("/{}", told.facts.name)));
    }
    // Docker writes the time of a start down before it tells of it.
    if is.started > told.started {
        if alive(told.phase) {
            missed.push(Missed::of("die", None));
        }
        since_created(is, missed);
        return;
    }
    match (told.phase, phase(is)) {
        (Phase::Running, Phase::Paused) => missed.push(Missed::of("pause", None)),
        (Phase::Paused, Phase::Running) => missed.push(Missed::of("unpause", None)),
        (Phase::Running | Phase::Paused, Phase::Ended | Phase::Created) => {
            missed.push(Missed::of("die", None));
        }
        _ => {}
    }
    if phase(is) == Phase::Running {
        if is.health != told.health && matches!(is.health, Health::Healthy | Health::Unhealthy) {
            missed.push(Missed::with("health_status", "health_status", is.health.to_string()));
        }
        join(&told.networks, &networks(is), missed);
    }
}

/// Networks left and joined. Those without addresses (`host`, `none`) are no networks to World.
fn join(before: &BTreeSet<String>, after: &BTreeSet<String>, missed: &mut Vec<Missed>) {
    let real = |name: &&String| !matches!(name.as_str(), "host" | "none");
    let left = before.difference(after).filter(real);
    missed.extend(left.map(|name| Missed::with("disconnect", "network", name)));
    let joined = after.difference(before);
    missed.extend(joined.map(|name| Missed::with("connect", "network", name)));
}

fn phase(container: &Container) -> Phase {
    match container.state {
        RunState::Created => Phase::Created,
        RunState::Running => Phase::Running,
        RunState::Paused => Phase::Paused,
        RunState::Restarting | RunState::Exited | RunState::Removing | RunState::Dead => Phase::Ended,
    }
}

fn alive(phase: Phase) -> bool {
    matches!(phase, Phase::Running | Phase::Paused)
}

fn networks(container: &Container) -> BTreeSet<String> {
    match alive(phase(container)) {
        true => container.networks.keys().cloned().collect(),
        false => BTreeSet::new(),
    }
}
