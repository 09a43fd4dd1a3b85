use std::path::PathBuf;

pub use longshore_plan::handlers::{Definition, Said, Value};

/// Where handlers are defined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandlerSettings {
    /// Folders with INI files, in order: of two handlers of one name, the first counts.
    pub paths: Vec<PathBuf>,
    /// Folders with the scripts that those files name, in order.
    pub script_paths: Vec<PathBuf>,
    /// Handlers of the settings file; they go before those of INI files.
    pub inline: Vec<Definition>,
}
