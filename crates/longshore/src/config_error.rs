//! Errors in the settings: all of them at once, each with where it was written.

use std::fmt;
use std::path::PathBuf;

use longshore_model::{Problem, Subject};

/// Where a setting was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A flag, by its name without dashes.
    Flag(String),
    /// An environment variable.
    Variable(String),
    /// The settings file.
    File {
        /// Its path, as given.
        path: PathBuf,
        /// Counted from 1, if the error has a line.
        line: Option<usize>,
    },
}

/// One error in the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigError {
    /// Where it was written.
    pub(crate) source: Source,
    /// The key, if the error is about one.
    pub(crate) key: Option<String>,
    /// What is wrong.
    pub(crate) message: String,
    /// What was probably meant.
    pub(crate) hint: Option<String>,
}

impl ConfigError {
    /// Creates an error about the value of a key.
    pub(crate) fn of_key(source: Source, key: &str, message: impl Into<String>) -> Self {
        Self { source, key: Some(key.to_owned()), message: message.into(), hint: None }
    }
}

impl From<&ConfigError> for Problem {
    fn from(error: &ConfigError) -> Self {
        let ConfigError { source, key, message, hint } = error.clone();
        // A flag and a variable are named after their key.
        let (path, line, key) = match source {
            Source::Flag(name) => (format!("--{name}"), None, None),
            Source::Variable(name) => (name, None, None),
            Source::File { path, line } => (path.display().to_string(), line, key),
        };
        Self { subject: Subject::File { path, line }, key, message, hint }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Problem::from(self).fmt(f)
    }
}

/// All errors in the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigErrors(pub(crate) Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid settings:")?;
        self.0.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}

impl std::error::Error for ConfigErrors {}
