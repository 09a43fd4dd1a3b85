//! The watch of one engine: its core, with delayed calls between the two.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use longshore_docker::session::{Effect, Failure, Happening, Inspection, Listing, Session};
use longshore_docker::summary::Summary;
use longshore_model::{Container, ContainerId, HostId, World};
use longshore_runtime::state::DockerObservation;

use super::engine::Engine;

/// The agent's resync interval.
const RESYNC: Duration = Duration::from_secs(20);

/// A call to the engine.
#[derive(Debug)]
enum Call {
    List,
    Networks,
    Inspect(ContainerId),
    Ping,
    /// The engine has answered, and the answer is in transit.
    Answered(Happening),
}

#[derive(Debug)]
pub(crate) struct Watch {
    host: HostId,
    session: Option<Session>,
    /// The time from which events are requested, in nanoseconds since 1970.
    resume: i64,
    calls: Vec<Call>,
    /// Observations that World's writer has not taken yet.
    pub(crate) observed: VecDeque<DockerObservation>,
}

impl Watch {
    pub(crate) fn new(host: HostId, resume: i64) -> Self {
        Self { host, session: None, resume, calls: Vec::new(), observed: VecDeque::new() }
    }

    /// Begins or ends a connection, or progresses with a call. Returns whether there was anything to do.
    pub(crate) fn step(
        &mut self,
        engine: &mut Engine,
        world: Option<&Arc<World>>,
        now: Instant,
        rng: &mut Rng,
    ) -> bool {
        match &self.session {
            None if !engine.up => return false,
            None => {
                let (session, effects) =
                    Session::begin(self.host, engine.clock, Some(self.resume), RESYNC, now);
                self.session = Some(session);
                self.carry_out(effects, engine);
                return true;
            }
            Some(_) if engine.stream.is_none() => {
                self.take(Happening::StreamEnded("it broke".to_owned()), engine, now);
                return true;
            }
            Some(_) => {}
        }
        if self.calls.is_empty() {
            return false;
        }
        match self.calls.swap_remove(rng.usize(..self.calls.len())) {
            Call::Answered(happening) => self.take(happening, engine, now),
            call => self.calls.push(Call::Answered(answer(call, engine, world))),
        }
        true
    }

    /// Reads an event from the stream. Returns whether there was one.
    pub(crate) fn read(&mut self, engine: &mut Engine, now: Instant) -> bool {
        let Some(event) = engine.stream.as_mut().and_then(|stream| stream.unread.pop_front()) else {
            return false;
        };
        self.take(Happening::Heard(event), engine, now);
        true
    }

    /// Does what is due.
    pub(crate) fn time(&mut self, engine: &mut Engine, now: Instant) {
        if self.due().is_some_and(|due| due <= now) {
            self.take(Happening::Due, engine, now);
        }
    }

    /// Returns when something is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.session.as_ref().map(Session::due)
    }

    fn take(&mut self, happening: Happening, engine: &mut Engine, now: Instant) {
        let Some(session) = &mut self.session else { return };
        let effects = session.take(happening, now);
        self.carry_out(effects, engine);
    }

    fn carry_out(&mut self, effects: Vec<Effect>, engine: &mut Engine) {
        for effect in effects {
            match effect {
                Effect::Observe(observation) => self.observed.push_back(observation),
                Effect::Subscribe(since) => engine.subscribe(since),
                Effect::List => self.calls.push(Call::List),
                Effect::ListNetworks => self.calls.push(Call::Networks),
                Effect::Inspect(id) => self.calls.push(Call::Inspect(id)),
                Effect::Ping => self.calls.push(Call::Ping),
                Effect::Show(..) | Effect::Refused(_) | Effect::Unlisted(_) => {}
                Effect::End(why) => {
                    self.resume = self.session.take().map_or(self.resume, |session| session.heard_at());
                    self.calls.clear();
                    engine.stream = None;
                    self.observed.push_back(DockerObservation::Away(why));
                    return;
                }
            }
        }
    }
}

/// Returns the engine's current answer.
fn answer(call: Call, engine: &Engine, world: Option<&Arc<World>>) -> Happening {
    let lost = || Failure { why: "it is gone".to_owned(), is_lost: true };
    let up = if engine.up { Ok(()) } else { Err(lost()) };
    match call {
        Call::List => Happening::Listed(up.map(|()| Listing {
            containers: engine.containers.values().map(summary).collect(),
            world: world.cloned(),
        })),
        Call::Networks => Happening::Networks(up.map(|()| Vec::new())),
        Call::Ping => Happening::Ponged(up),
        Call::Inspect(id) => {
            let found = engine.containers.get(&id).cloned();
            let found = found.map(|container| Inspection { container: Box::new(container), json: None });
            Happening::Inspected(id, up.map(|()| found))
        }
        Call::Answered(happening) => happening,
    }
}

fn summary(container: &Container) -> Summary {
    Summary {
        id: container.id.clone(),
        name: Some(container.name.clone()),
        state: Some(container.state.to_string()),
        health: container.health,
        networks: container.networks.clone(),
    }
}
