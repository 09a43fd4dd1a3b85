//! An entry of Docker's container list.

use std::collections::BTreeMap;

use longshore_model::{Container, ContainerId, Endpoint, Health, RunState};

/// A container as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Its Docker id.
    pub id: ContainerId,
    /// Its name, without the leading slash.
    pub name: Option<String>,
    /// Its state, as Docker names it.
    pub state: Option<String>,
    /// Its health status.
    pub health: Health,
    /// Networks by name.
    pub networks: BTreeMap<String, Endpoint>,
}

impl Summary {
    /// Returns whether it differs from what is known of the container.
    pub fn differs(&self, known: &Container) -> bool {
        self.name.as_ref() != Some(&known.name)
            || self.state != Some(known.state.to_string())
            || (known.state == RunState::Running && self.health != known.health)
            || (known.state.is_alive() && self.networks != known.networks)
    }
}
