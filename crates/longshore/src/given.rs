//! A setting as given in the file or the environment: the equivalent argument, and where it was written.

use std::error::Error;
use std::ffi::{OsStr, OsString};

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::config_error::{ConfigError, Source};

/// Flags that are not settings.
const COMMANDS: &[&str] = &["config", "once", "dry-run", "help", "version"];

/// One value of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    /// The setting, which is a flag without its dashes.
    pub(crate) key: String,
    /// The flag with its value.
    pub(crate) argument: OsString,
    /// Where it was written.
    pub(crate) source: Source,
}

/// Returns the flags of a command that are settings, with their keys.
pub(crate) fn settings(command: &clap::Command) -> impl Iterator<Item = (&str, &clap::Arg)> {
    let long = command.get_arguments().filter_map(|flag| Some((flag.get_long()?, flag)));
    long.filter(|(key, _)| !COMMANDS.contains(key))
}

impl Given {
    /// Returns a flag that is switched on.
    pub(crate) fn on(command: &clap::Command, key: &str, source: Source) -> Result<Self, ConfigError> {
        Self { key: key.to_owned(), argument: format!("--{key}").into(), source }.checked(command)
    }

    /// Returns a flag with a value.
    pub(crate) fn with_value(
        command: &clap::Command,
        key: &str,
        value: &OsStr,
        source: Source,
    ) -> Result<Self, ConfigError> {
        let mut argument = OsString::from(format!("--{key}="));
        argument.push(value);
        Self { key: key.to_owned(), argument, source }.checked(command)
    }

    fn checked(self, command: &clap::Command) -> Result<Self, ConfigError> {
        let parsed = command.clone().try_get_matches_from([OsStr::new("longshore"), &self.argument]);
        match parsed {
            Ok(_) => Ok(self),
            Err(error) => Err(ConfigError::of_key(self.source, &self.key, refusal(&error))),
        }
    }
}

/// Returns why the flag's own parser rejects its value, without naming a flag.
fn refusal(error: &clap::Error) -> String {
    let value = match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => format!("{value:?}"),
        _ => String::new(),
    };
    let expected = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(expected)) => expected.as_slice(),
        _ => &[],
    };
    match (error.kind(), error.source()) {
        (ErrorKind::InvalidValue, _) if !expected.is_empty() => {
            format!("invalid value {value}: expected {}", alternatives(expected))
        }
        (ErrorKind::ValueValidation, Some(cause)) => format!("invalid value {value}: {cause}"),
        _ => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            first.strip_prefix("error: ").unwrap_or(first).to_owned()
        }
    }
}

/// Formats words as `a, b or c`.
fn alternatives(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}
