use std::path::PathBuf;

use clap::Args;
use longshore_daemon::config::DockerModSettings;

use super::Invalid;
use crate::cli::values;

/// DockerMod's API.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "DockerMod's API")]
pub(crate) struct DockerModFlags {
    /// A second port for the API, on the address of --listen [default: none].
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) rest_service_port: Option<u16>,
    /// Directory with templates of containers: NAME.json is a body of Docker's create request.
    #[arg(long, value_name = "DIR", default_value = "/etc/longshore/templates")]
    pub(crate) container_templates: PathBuf,
    /// Time that a host gets to answer a request.
    #[arg(long, value_name = "TIME", default_value = "2500ms", value_parser = values::duration)]
    pub(crate) task_timeout: humantime::Duration,
    /// Time that a host gets to create a container, once it has the image.
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = values::duration)]
    pub(crate) new_container_timeout: humantime::Duration,
}

impl DockerModFlags {
    pub(crate) fn settings(&self) -> Result<DockerModSettings, Vec<Invalid>> {
        let times =
            [("task-timeout", self.task_timeout), ("new-container-timeout", self.new_container_timeout)];
        let short = times.into_iter().filter(|(_, time)| time.as_millis() < 100);
        let invalid: Vec<Invalid> =
            short.map(|(key, time)| (key, format!("{time} is too short: expected at least 100ms"))).collect();
        if !invalid.is_empty() {
            return Err(invalid);
        }
        Ok(DockerModSettings {
            rest_port: self.rest_service_port,
            templates: self.container_templates.clone(),
            task_timeout: self.task_timeout.into(),
            create_timeout: self.new_container_timeout.into(),
        })
    }
}
