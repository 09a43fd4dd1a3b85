use std::time::Duration;

/// The settings that may change while the agent runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReloadableSettings {
    /// How often all containers are listed again to repair what was missed.
    pub resync: Duration,
    /// How often a port that takes traffic is checked.
    pub check_interval: Duration,
}
