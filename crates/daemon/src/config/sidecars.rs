use std::path::PathBuf;

/// Settings of the sidecars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SidecarSettings {
    /// The file with the sidecars, if any; labels can request sidecars without it.
    pub file: Option<PathBuf>,
    /// How many sidecars are created, started or removed at once.
    pub at_once: usize,
}

impl SidecarSettings {
    /// Returns the settings of an agent with this file, or with labels only.
    pub fn of_file(file: Option<PathBuf>) -> Self {
        Self { file, at_once: 32 }
    }
}
