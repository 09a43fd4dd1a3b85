//! A line of Docker's list of containers.

use std::collections::BTreeMap;

use longshore_model::{Container, ContainerId, Endpoint, Health, RunState};

/// What the list says of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Docker's id of it.
    pub id: ContainerId,
    /// Its name, without the leading slash.
    pub name: Option<String>,
    /// What its process is doing, as Docker names it.
    pub state: Option<String>,
    /// What its health check says.
    pub health: Health,
    /// Networks by name.
    pub networks: BTreeMap<String, Endpoint>,
}

impl Summary {
    /// Returns whether it says anything else than what is known of the container.
    pub fn differs(&self, known: &Container) -> bool {
        self.name.as_ref() != Some(&known.name)
            || self.state != Some(known.state.to_string())
            || (known.state == RunState::Running && self.health != known.health)
            || (known.state.is_alive() && self.networks != known.networks)
    }
}
