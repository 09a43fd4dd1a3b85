//! The settings file: a key is the flag of that name, so there is one parser and one set of rules.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use clap::ArgAction;
use toml_edit::{Document, Item, Value};

use crate::mistake::{Mistake, Mistakes};

/// Flags that mean nothing in a file.
const NOT_IN_A_FILE: &[&str] = &["config", "once", "dry-run", "help", "version"];

/// What a file says.
#[derive(Debug, Default)]
pub(crate) struct File {
    /// Its settings as arguments, in order of its keys.
    pub(crate) arguments: Vec<(String, OsString)>,
    /// Keys that are no settings.
    pub(crate) unknown: Vec<Mistake>,
    /// The line of each key.
    pub(crate) lines: BTreeMap<String, usize>,
}

/// Reads a file for the flags of `command`. Every mistake in it is found.
pub(crate) fn read(path: &Path, command: &clap::Command) -> Result<File, Mistakes> {
    let shown = path.display().to_string();
    let mistake = |line, message: String| Mistake { place: place(&shown, line), message };
    let text = std::fs::read_to_string(path)
        .map_err(|error| Mistakes(vec![mistake(None, format!("cannot be read: {error}"))]))?;
    let document = Document::parse(text.as_str()).map_err(|error| {
        let line = error.span().map(|span| line_of(&text, span.start));
        Mistakes(vec![mistake(line, error.message().to_owned())])
    })?;
    let mut file = File::default();
    let mut mistakes = Vec::new();
    for (key, item) in document.iter() {
        let span = document.key(key).and_then(toml_edit::Key::span).or_else(|| item.span());
        let line = span.map(|span| line_of(&text, span.start));
        let known = command.get_arguments().find(|arg| arg.get_long() == Some(key));
        let Some(flag) = known.filter(|_| !NOT_IN_A_FILE.contains(&key)) else {
            file.unknown.push(mistake(line, unknown(key, command)));
            continue;
        };
        file.lines.extend(line.map(|line| (key.to_owned(), line)));
        match arguments(key, flag, item) {
            Err(message) => mistakes.push(mistake(line, message)),
            Ok(arguments) => {
                for argument in arguments {
                    match refused(command, &argument) {
                        Some(message) => mistakes.push(mistake(line, format!("{key}: {message}"))),
                        None => file.arguments.push((key.to_owned(), argument)),
                    }
                }
            }
        }
    }
    if mistakes.is_empty() { Ok(file) } else { Err(Mistakes([mistakes, file.unknown].concat())) }
}

/// Where a mistake is: `file:line`.
pub(crate) fn place(path: &str, line: Option<usize>) -> String {
    line.map_or_else(|| path.to_owned(), |line| format!("{path}:{line}"))
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1
}

fn unknown(key: &str, command: &clap::Command) -> String {
    let flags = command.get_arguments().filter_map(clap::Arg::get_long);
    let flags = flags.filter(|flag| !NOT_IN_A_FILE.contains(flag));
    let near = flags.map(|flag| (strsim::damerau_levenshtein(key, flag), flag)).min();
    match near {
        Some((distance, flag)) if distance <= 3 => {
            format!("unknown setting {key:?}, which does nothing (did you mean {flag:?}?)")
        }
        _ => format!("unknown setting {key:?}, which does nothing"),
    }
}

fn arguments(key: &str, flag: &clap::Arg, item: &Item) -> Result<Vec<OsString>, String> {
    let value = item.as_value().ok_or_else(|| format!("{key}: a table is no value"))?;
    match (flag.get_action(), value) {
        (ArgAction::SetTrue, Value::Boolean(on)) => {
            Ok(if *on.value() { vec![format!("--{key}").into()] } else { Vec::new() })
        }
        (ArgAction::SetTrue, _) => Err(format!("{key}: write true or false")),
        (ArgAction::Append, Value::Array(values)) => {
            values.iter().map(|value| argument(key, value)).collect()
        }
        (_, value) => Ok(vec![argument(key, value)?]),
    }
}

fn argument(key: &str, value: &Value) -> Result<OsString, String> {
    let text = match value {
        Value::String(text) => text.value().clone(),
        Value::Integer(number) => number.value().to_string(),
        Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::Array(_)
        | Value::InlineTable(_) => {
            return Err(format!("{key}: write a text or a whole number"));
        }
    };
    Ok(format!("--{key}={text}").into())
}

/// What the flag's own parser has against an argument.
fn refused(command: &clap::Command, argument: &OsString) -> Option<String> {
    let program = OsString::from("longshore");
    let error = command.clone().try_get_matches_from([&program, argument]).err()?;
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    Some(first.strip_prefix("error: ").unwrap_or(first).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn read_text(text: &str) -> Result<File, Mistakes> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("longshore.toml");
        std::fs::write(&path, text).unwrap();
        let command = crate::cli::Cli::command();
        read(&path, command.find_subcommand("run").unwrap()).map_err(|mistakes| {
            let root = dir.path().display().to_string();
            let strip = |m: Mistake| Mistake { place: m.place.replace(&format!("{root}/"), ""), ..m };
            Mistakes(mistakes.0.into_iter().map(strip).collect())
        })
    }

    #[test]
    fn a_key_is_the_flag_of_that_name() {
        let file =
            read_text("resync = \"1m\"\nbind = [\"10.0.0.1\", \"::1\"]\ninclude-env = true\nworkers = 3\n")
                .unwrap();
        let arguments: Vec<_> =
            file.arguments.iter().map(|(_, a)| a.to_string_lossy().into_owned()).collect();
        assert_eq!(
            arguments,
            ["--resync=1m", "--bind=10.0.0.1", "--bind=::1", "--include-env", "--workers=3"]
        );
        assert_eq!(file.lines["workers"], 4);
    }

    #[test]
    fn every_mistake_is_told_at_once_with_its_line_and_the_nearest_known_key() {
        let mistakes =
            read_text("resync = \"soon\"\n\nworkers = 0\nlisten = true\nresinc = \"1s\"\n").unwrap_err();
        let told = mistakes.to_string();
        for part in [
            "longshore.toml:1: resync: invalid value 'soon'",
            "longshore.toml:3: workers: ",
            "longshore.toml:4: listen: write a text",
            "longshore.toml:5: unknown setting \"resinc\", which does nothing (did you mean \"resync\"?)",
        ] {
            assert!(told.contains(part), "{part:?} not in\n{told}");
        }
    }

    #[test]
    fn a_file_that_is_no_toml_is_refused_with_its_line() {
        assert!(
            read_text("node = \"a\"\nnode = = 1\n").unwrap_err().to_string().contains("longshore.toml:2: ")
        );
    }
}
