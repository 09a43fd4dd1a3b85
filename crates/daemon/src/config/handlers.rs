use std::path::PathBuf;

pub use longshore_plan::handlers::{Definition, Setting, Value};

/// Where handlers are defined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandlerSettings {
    /// Directories with INI files, in order: of two handlers with the same name, the first counts.
    pub paths: Vec<PathBuf>,
    /// Directories with the scripts that those files name, in order.
    pub script_paths: Vec<PathBuf>,
    /// Handlers of the settings file; they take precedence over those of INI files.
    pub inline: Vec<Definition>,
}
