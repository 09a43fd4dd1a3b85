use std::path::PathBuf;

/// How sidecars are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SidecarSettings {
    /// The file with the sidecars, where there is one; labels ask for sidecars without it.
    pub file: Option<PathBuf>,
    /// How many sidecars are created, started or removed at once.
    pub at_once: usize,
}

impl SidecarSettings {
    /// Returns the settings of an agent that has this file, or only labels.
    pub fn of_file(file: Option<PathBuf>) -> Self {
        Self { file, at_once: 32 }
    }
}
