//! A Docker Engine as seen from outside: containers, events, a buffer of the latest ones, and streams that lose or
//! repeat some. Its own state is the truth that everything else is compared with.

use std::collections::{BTreeMap, VecDeque};

use fastrand::Rng;
use longshore_model::{Container, ContainerEvent, ContainerId, Endpoint, EventKind, Health, RunState};
use longshore_runtime::state::DockerEvent;

/// The faults in a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Faults {
    /// How many events the engine remembers: 256 in reality, fewer to provoke gaps.
    pub(crate) buffer: usize,
    /// How many of 1000 events on a stream are lost.
    pub(crate) lost: u32,
    /// How many of 1000 events on a stream are repeated.
    pub(crate) doubled: u32,
    /// Whether the engine restarts, with its buffer empty.
    pub(crate) restarts: bool,
}

/// A connection that delivers events.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    pub(crate) unread: VecDeque<DockerEvent>,
}

#[derive(Debug)]
pub(crate) struct Engine {
    /// Nanoseconds since 1970.
    pub(crate) clock: i64,
    pub(crate) up: bool,
    pub(crate) containers: BTreeMap<ContainerId, Container>,
    /// Removed containers, which may still emit a last event.
    gone: Vec<Container>,
    buffer: VecDeque<DockerEvent>,
    pub(crate) stream: Option<Stream>,
    /// Every event, in order.
    pub(crate) history: Vec<ContainerEvent>,
    /// Whether an event was lost, or dropped from the buffer before it could be requested.
    pub(crate) lossy: bool,
    faults: Faults,
    made: u32,
}

impl Engine {
    pub(crate) fn new(clock: i64, faults: Faults) -> Self {
        Self {
            clock,
            up: true,
            containers: BTreeMap::new(),
            gone: Vec::new(),
            buffer: VecDeque::new(),
            stream: None,
            history: Vec::new(),
            lossy: false,
            faults,
            made: 0,
        }
    }

    /// Returns all remembered events from a time on.
    pub(crate) fn remembered(&self, since: i64) -> Vec<DockerEvent> {
        self.buffer.iter().filter(|event| event.at() >= since).cloned().collect()
    }

    /// Returns whether events have dropped out of the buffer.
    pub(crate) fn has_forgotten(&self) -> bool {
        self.history.len() > self.buffer.len()
    }

    /// Opens the stream, replacing the previous one.
    pub(crate) fn subscribe(&mut self, since: i64) {
        let forgotten = self.has_forgotten() && {
            let first = self.buffer.front().map_or(i64::MAX, DockerEvent::at);
            self.history.iter().any(|event| event.at >= since && event.at < first)
        };
        self.lossy |= forgotten;
        self.stream = Some(Stream { unread: self.remembered(since).into() });
    }

    /// Makes something happen to one of the containers.
    pub(crate) fn act(&mut self, rng: &mut Rng) {
        if !self.up {
            return;
        }
        let ids: Vec<ContainerId> = self.containers.keys().cloned().collect();
        let Some(id) = rng.choice(ids).filter(|_| rng.u8(..6) > 0) else { return self.create(rng) };
        let Some(state) = self.containers.get(&id).map(|container| container.state) else { return };
        match (state, rng.u8(..12)) {
            (RunState::Created | RunState::Exited, 0..=6) => self.start(&id),
            (RunState::Running | RunState::Paused, 0..2) => self.end(&id, true),
            (RunState::Running | RunState::Paused, 2) => self.end(&id, false),
            // A restart.
            (RunState::Running, 3..5) => {
                self.end(&id, true);
                self.start(&id);
                self.emit(&id, EventKind::Other("restart".to_owned()), &[]);
            }
            (RunState::Running, 5) => {
                self.change(&id, |it| it.state = RunState::Paused);
                self.emit(&id, EventKind::Pause, &[]);
            }
            (RunState::Paused, 3..=6) => {
                self.change(&id, |it| it.state = RunState::Running);
                self.emit(&id, EventKind::Unpause, &[]);
            }
            (RunState::Running, 6) => {
                let health = if rng.bool() { Health::Healthy } else { Health::Unhealthy };
                if self.containers.get(&id).is_some_and(|it| it.health != health) {
                    self.change(&id, |it| it.health = health);
                    self.emit(&id, EventKind::Health, &[("health_status", &health.to_string())]);
                }
            }
            (_, 7) => {
                let old = self.containers.get(&id).map(|it| format!("/{}", it.name)).unwrap_or_default();
                self.made += 1;
                let name = format!("renamed-{}", self.made);
                self.change(&id, |it| it.name = name);
                self.emit(&id, EventKind::Rename, &[("oldName", &old)]);
            }
            (RunState::Running, 8) => {
                let joined = self.containers.get(&id).is_some_and(|it| it.networks.contains_key("front"));
                let kind = if joined { EventKind::Disconnect } else { EventKind::Connect };
                self.change(&id, |it| {
                    if it.networks.remove("front").is_none() {
                        it.networks.insert("front".to_owned(), endpoint());
                    }
                });
                self.emit(&id, kind, &[("network", "front")]);
            }
            (_, 9..12) => self.remove(&id, rng),
            _ => {}
        }
    }

    fn create(&mut self, rng: &mut Rng) {
        self.made += 1;
        let id = ContainerId::new(format!("{:012x}{:052x}", self.made, 0));
        let mut container = Container::new(id.clone(), format!("c{}", self.made), "image");
        self.clock += 1_000;
        container.created = self.clock;
        self.containers.insert(id.clone(), container);
        self.emit(&id, EventKind::Create, &[("image", "image")]);
        if rng.u8(..4) > 0 {
            self.start(&id);
        }
    }

    fn start(&mut self, id: &ContainerId) {
        self.emit(id, EventKind::Connect, &[("network", "bridge")]);
        let started = self.clock + 500;
        self.change(id, |it| {
            (it.state, it.started, it.exit_code) = (RunState::Running, started, None);
            it.networks.insert("bridge".to_owned(), endpoint());
        });
        self.emit(id, EventKind::Start, &[]);
    }

    /// Ends a run, by a signal or by itself.
    fn end(&mut self, id: &ContainerId, killed: bool) {
        if killed {
            self.emit(id, EventKind::Kill(Some(15)), &[("signal", "15")]);
        }
        let networks = self.stopped(id);
        self.emit(id, EventKind::Die, &[("exitCode", "0")]);
        for network in networks {
            self.emit(id, EventKind::Disconnect, &[("network", &network)]);
        }
    }

    /// Changes the state of a container whose process ended; returns the networks that it left.
    fn stopped(&mut self, id: &ContainerId) -> Vec<String> {
        let networks = self.containers.get(id).map(|it| it.networks.keys().cloned().collect());
        self.change(id, |it| {
            (it.state, it.exit_code, it.health) = (RunState::Exited, Some(0), Health::None);
            it.networks.clear();
        });
        networks.unwrap_or_default()
    }

    fn remove(&mut self, id: &ContainerId, rng: &mut Rng) {
        if self.containers.get(id).is_some_and(|it| it.state.is_alive()) {
            self.end(id, true);
        }
        self.emit(id, EventKind::Destroy, &[]);
        let Some(container) = self.containers.remove(id) else { return };
        // The `stop` event of a container that removes itself comes last.
        if rng.u8(..4) == 0 {
            self.gone.push(container);
            self.last_word();
        }
    }

    fn last_word(&mut self) {
        let Some(container) = self.gone.pop() else { return };
        self.containers.insert(container.id.clone(), container.clone());
        self.emit(&container.id, EventKind::Other("stop".to_owned()), &[]);
        self.containers.remove(&container.id);
    }

    /// Kills the engine: running containers end without events.
    pub(crate) fn stop(&mut self) {
        self.up = false;
        self.stream = None;
        self.buffer.clear();
        self.lossy = true;
    }

    /// Restarts the engine, with some of what ran.
    pub(crate) fn restart(&mut self, rng: &mut Rng) {
        let ran = self.containers.values().filter(|it| it.state.is_alive()).map(|it| it.id.clone());
        let ran: Vec<ContainerId> = ran.collect();
        self.up = true;
        self.clock += 1_000_000_000;
        for id in ran {
            match rng.u8(..3) {
                // `live-restore`: it keeps running.
                0 => {}
                1 => drop(self.stopped(&id)),
                _ => {
                    self.stopped(&id);
                    self.start(&id);
                }
            }
        }
    }

    fn change(&mut self, id: &ContainerId, change: impl FnOnce(&mut Container)) {
        if let Some(container) = self.containers.get_mut(id) {
            change(container);
        }
    }

    fn emit(&mut self, id: &ContainerId, kind: EventKind, attributes: &[(&str, &str)]) {
        self.clock += 1_000;
        let name = match kind {
            EventKind::Connect | EventKind::Disconnect => String::new(),
            _ => self.containers.get(id).map(|it| it.name.clone()).unwrap_or_default(),
        };
        let attributes = attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let event = ContainerEvent { container: id.clone(), name, kind, at: self.clock, attributes };
        self.history.push(event.clone());
        let event = DockerEvent::Container(event);
        self.buffer.push_back(event.clone());
        if self.buffer.len() > self.faults.buffer {
            self.buffer.pop_front();
        }
        // With one generator for a whole run, the losses would depend on the listeners.
        let mut chance = Rng::with_seed(self.clock.cast_unsigned());
        let Some(stream) = &mut self.stream else { return };
        if chance.u32(..1000) < self.faults.lost {
            self.lossy = true;
            return;
        }
        stream.unread.push_back(event.clone());
        if chance.u32(..1000) < self.faults.doubled {
            stream.unread.push_back(event);
        }
    }
}

fn endpoint() -> Endpoint {
    Endpoint { network_id: "net".to_owned(), ipv4: None, ipv6: None }
}
