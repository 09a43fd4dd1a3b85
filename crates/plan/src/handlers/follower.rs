use longshore_model::FollowerJob;

use super::reader::Reader;

/// A class of followers, available to handlers' files.
#[derive(Debug)]
pub struct FollowerClass {
    /// Its names in files: our own first, then the class names of the old tools.
    pub names: &'static [&'static str],
    /// Scripts of the old tools that it replaces when they are missing.
    pub(crate) scripts: &'static [&'static str],
    /// Parameters that may hold a password and are never shown.
    pub(crate) secrets: &'static [&'static str],
    /// Reads its settings from a file; `None` if they are invalid, with the problem noted.
    pub(crate) parse: fn(&mut Reader<'_>) -> Option<FollowerJob>,
}

impl FollowerClass {
    /// Returns our own name of the class.
    pub const fn name(&self) -> &'static str {
        match self.names {
            [name, ..] => name,
            [] => "",
        }
    }
}
