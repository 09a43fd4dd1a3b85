use std::path::PathBuf;
use std::time::Duration;

/// Settings of DockerMod's API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerModSettings {
    /// A second port for the API, on the address of the first.
    pub rest_port: Option<u16>,
    /// Directory with templates of containers; need not exist.
    pub templates: PathBuf,
    /// How long a host may take to answer.
    pub task_timeout: Duration,
    /// How long a host may take to create a container, once it has the image.
    pub create_timeout: Duration,
}

impl Default for DockerModSettings {
    fn default() -> Self {
        Self {
            rest_port: None,
            templates: "/etc/longshore/templates".into(),
            task_timeout: Duration::from_millis(2500),
            create_timeout: Duration::from_secs(15),
        }
    }
}
