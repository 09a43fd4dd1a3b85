//! What is wrong with the settings: all of it at once, each with its place.

use std::fmt;

/// One thing that is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// `file:line`, or the flag.
    pub(crate) place: String,
    /// What is wrong.
    pub(crate) message: String,
}

/// All that is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistakes(pub(crate) Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the settings are wrong:")?;
        self.0.iter().try_for_each(|Mistake { place, message }| write!(f, "\n  {place}: {message}"))
    }
}

impl std::error::Error for Mistakes {}
