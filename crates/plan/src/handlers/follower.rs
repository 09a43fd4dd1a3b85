use longshore_model::FollowerJob;

use super::reader::Reader;

/// A class of followers that handlers' files may ask for.
#[derive(Debug)]
pub struct FollowerClass {
    /// What the file calls it: our own word first, then the old tools' names of classes.
    pub names: &'static [&'static str],
    /// Scripts of the old tools that it takes the place of where they are missing.
    pub(crate) scripts: &'static [&'static str],
    /// Parameters that may hold a password, and are shown to nobody.
    pub(crate) secrets: &'static [&'static str],
    /// What a file asks of it; `None` where that cannot be told, with the problem noted.
    pub(crate) parse: fn(&mut Reader<'_>) -> Option<FollowerJob>,
}

impl FollowerClass {
    /// Our own word for it.
    pub const fn name(&self) -> &'static str {
        match self.names {
            [name, ..] => name,
            [] => "",
        }
    }
}
