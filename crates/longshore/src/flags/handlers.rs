use std::path::PathBuf;

use clap::Args;
use longshore_daemon::config::HandlerSettings;

/// The handlers' files.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Handlers")]
pub(crate) struct HandlerFlags {
    /// Directories with handlers' INI files, separated by colons.
    #[arg(long, value_name = "DIRS", default_value = "/etc/longshore/handlers.d:/etc/docker-glue.d")]
    pub(crate) handler_paths: String,
    /// Directories with the scripts that those files name, separated by colons.
    #[arg(long, value_name = "DIRS", default_value = "/usr/libexec/longshore:/usr/libexec/docker-glue")]
    pub(crate) script_paths: String,
}

impl HandlerFlags {
    pub(crate) fn settings(&self) -> HandlerSettings {
        HandlerSettings {
            paths: folders(&self.handler_paths),
            script_paths: folders(&self.script_paths),
            inline: Vec::new(),
        }
    }
}

/// Splits a list of directories at colons.
pub(crate) fn folders(text: &str) -> Vec<PathBuf> {
    text.split(':').filter(|folder| !folder.is_empty()).map(PathBuf::from).collect()
}
