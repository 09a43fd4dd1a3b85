//! What handlers received, and whether it is possible.

use std::collections::{BTreeMap, BTreeSet};

use longshore_delivery::AttemptOrder;
use longshore_model::{Container, ContainerId, EventId, HandlerEvent, Health, RunState};

/// A container's state according to the events that a handler received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// It existed before the agent.
    Unknown,
    Created,
    Running,
    Paused,
    Ended,
    Destroyed,
}

#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) life: Life,
    pub(crate) name: String,
    pub(crate) health: Health,
    pub(crate) networks: BTreeSet<String>,
    pub(crate) events: Vec<String>,
}

/// One handler that wants every event.
#[derive(Debug, Default)]
pub(crate) struct Handler {
    pub(crate) containers: BTreeMap<ContainerId, Seen>,
    /// Received events, and in which life of the agent.
    pub(crate) got: BTreeMap<EventId, u32>,
    pub(crate) synthetic: Vec<EventId>,
}

impl Handler {
    /// Receives and acknowledges an event. `before` is the health of its container if that existed before, without
    /// an event.
    ///
    /// A handler that wants every event can detect impossible ones.
    pub(crate) fn get(
        &mut self,
        order: &AttemptOrder,
        life_of_agent: u32,
        before: Option<Health>,
        wants_all: bool,
    ) -> Result<(), String> {
        let event = &order.event;
        if let Some(before) = self.got.insert(event.id.clone(), life_of_agent) {
            return match (order.entry.redelivered, before < life_of_agent) {
                (true, true) => Ok(()),
                (false, _) => Err(format!("{} came twice, and was not marked", event.id)),
                (true, false) => Err(format!("{} came twice, though it was acknowledged", event.id)),
            };
        }
        if event.synthetic {
            self.synthetic.push(event.id.clone());
        }
        let Some(facts) = event.container().filter(|_| wants_all) else { return Ok(()) };
        let seen = self.containers.entry(facts.id.clone()).or_insert_with(|| Seen {
            life: Life::Unknown,
            name: String::new(),
            health: before.unwrap_or(Health::None),
            networks: BTreeSet::new(),
            events: Vec::new(),
        });
        let mark = if event.synthetic { "*" } else { "" };
        seen.events.push(format!("{}{mark}", event.event));
        let is_first = seen.events.len() == 1;
        seen.take(event, is_first && before.is_none()).map_err(|why| {
            format!("an order that cannot have been ({why}): {}: {}", facts.id, seen.events.join(","))
        })
    }
}

impl Seen {
    fn take(&mut self, event: &HandlerEvent, must_be_created: bool) -> Result<(), &'static str> {
        use Life::{Created, Destroyed, Ended, Paused, Running, Unknown};
        let kind = event.event.as_str();
        if must_be_created && kind != "create" {
            return Err("it was never created");
        }
        let may = match (kind, &self.life) {
            ("stop" | "restart", _) => true,
            (_, Destroyed) => return Err("it is destroyed"),
            ("create", Unknown) => true,
            ("start", Created | Ended | Unknown) => true,
            ("die" | "kill" | "health_status", Running | Paused | Unknown) => true,
            // Engines report an end if a start failed, and health a moment late.
            ("die" | "health_status", Created | Ended) => !event.synthetic,
            ("pause", Running | Unknown) | ("unpause", Paused | Unknown) => true,
            ("destroy", Created | Ended | Unknown) => true,
            ("connect" | "disconnect" | "rename", _) => true,
            _ => false,
        };
        if !may {
            return Err("not after what was before");
        }
        let network = event.attributes.get("network").cloned();
        match kind {
            "create" => self.life = Created,
            "start" | "unpause" => self.life = Running,
            "pause" => self.life = Paused,
            "die" => {
                self.life = Ended;
                self.health = Health::None;
                self.networks.clear();
            }
            "destroy" => self.life = Destroyed,
            "connect" => self.networks.extend(network),
            "disconnect" => self.networks.retain(|known| Some(known) != network.as_ref()),
            "health_status" => {
                self.health = match event.attributes.get("health_status").map(String::as_str) {
                    Some("healthy") => Health::Healthy,
                    _ => Health::Unhealthy,
                }
            }
            _ => {}
        }
        if let Some(facts) = event.container() {
            self.name.clone_from(&facts.name);
        }
        Ok(())
    }

    /// Returns how it differs from the engine's state, if it does.
    pub(crate) fn differs(&self, is: Option<&Container>) -> Option<String> {
        let life = match is.map(|is| is.state) {
            None => Life::Destroyed,
            Some(RunState::Created) => Life::Created,
            Some(RunState::Running) => Life::Running,
            Some(RunState::Paused) => Life::Paused,
            Some(_) => Life::Ended,
        };
        if self.life == Life::Unknown {
            return None;
        }
        if self.life != life {
            return Some(format!("{life:?} and not {:?}", self.life));
        }
        let is = is?;
        if self.name != is.name {
            return Some(format!("its name is {} and not {}", is.name, self.name));
        }
        (life == Life::Running && self.health != is.health && is.health != Health::None)
            .then(|| format!("it is {} and not {}", is.health, self.health))
    }
}
