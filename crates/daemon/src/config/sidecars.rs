use std::path::PathBuf;

/// How sidecars are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SidecarSettings {
    /// The file with the sidecars, where there is one; labels ask for sidecars without it.
    pub file: Option<PathBuf>,
    /// How many sidecars are made, started or removed at once.
    pub at_once: usize,
}

impl SidecarSettings {
    /// Those of an agent that was told only a file.
    pub fn of_file(file: Option<PathBuf>) -> Self {
        Self { file, at_once: 32 }
    }
}
