//! The settings file: a key is the flag of that name, so there is one parser and one set of rules.

mod handler;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use clap::ArgAction;
use longshore_daemon::config::Definition;
use longshore_runtime::files::{self, Guard};
use toml_edit::{Document, Item, Value};

use crate::mistake::{Mistake, Mistakes};

/// Flags that mean nothing in a file.
const NOT_IN_A_FILE: &[&str] = &["config", "once", "dry-run", "help", "version"];

/// The key of handlers: the one that is no flag.
const HANDLER: &str = "handler";

/// How long a file may be, in bytes.
const LONGEST: u64 = 1024 * 1024;

/// What a file says.
#[derive(Debug, Default)]
pub(crate) struct File {
    /// Its settings as arguments, in order of its keys.
    pub(crate) arguments: Vec<(String, OsString)>,
    /// Keys that are no settings.
    pub(crate) unknown: Vec<Mistake>,
    /// The line of each key.
    pub(crate) lines: BTreeMap<String, usize>,
    /// Its handlers, `[[handler]]`, in order.
    pub(crate) handlers: Vec<Definition>,
}

/// Reads a file for the flags of `command`. Every mistake in it is found.
pub(crate) fn read(path: &Path, command: &clap::Command) -> Result<File, Mistakes> {
    let shown = path.display().to_string();
    let mistake = |line, message: String| Mistake { place: shown.clone(), line, message };
    let text = files::read(path, LONGEST, Guard::Writers)
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
        if key == HANDLER {
            let place = handler::Place { path, shown: &shown, text: &text };
            match handler::read(item, &place) {
                Ok(handlers) => file.handlers = handlers,
                Err(more) => mistakes.extend(more),
            }
            continue;
        }
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

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1
}

fn unknown(key: &str, command: &clap::Command) -> String {
    let flags = command.get_arguments().filter_map(clap::Arg::get_long);
    let flags = flags.filter(|flag| !NOT_IN_A_FILE.contains(flag)).chain([HANDLER]);
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
    use longshore_daemon::config::Value as Said;

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
    fn a_handler_is_a_table_of_what_its_ini_file_would_say() {
        let file = read_text(
            "node = \"a\"\n\n[[handler]]\nname = \"one\"\nclass = \"plugin\"\nevents = [\"start\", \"die\"]\n\
             enabled = true\nretries = 2\nparams = { command = [\"a b\", \"c\"], Own_Key = 1.5 }\n\n\
             [[handler]]\nname = \"two\"\nkind = \"webhook\"\n[handler.params]\nurl = \"http://a\"\n",
        )
        .unwrap();
        let [one, two] = file.handlers.as_slice() else { panic!("{:?}", file.handlers) };
        assert_eq!((one.name.as_str(), one.line, one.is_ini), ("one", Some(3), false));
        assert!(one.file.is_absolute());
        let head = |key: &str| (one.head[key].value.clone(), one.head[key].line);
        let text = |text: &str| Said::One(text.to_owned());
        assert_eq!(head("class"), (text("plugin"), Some(5)));
        assert_eq!(head("events"), (Said::Many(vec!["start".to_owned(), "die".to_owned()]), Some(6)));
        assert_eq!(head("enabled"), (text("true"), Some(7)));
        assert_eq!(head("retries"), (text("2"), Some(8)));
        assert_eq!(one.params["command"].value, Said::Many(vec!["a b".to_owned(), "c".to_owned()]));
        assert_eq!(one.params["own_key"].value, text("1.5"));
        assert_eq!((two.name.as_str(), two.line), ("two", Some(11)));
        assert_eq!((&two.params["url"].value, two.params["url"].line), (&text("http://a"), Some(15)));
        assert_eq!((file.arguments.len(), file.unknown.len()), (1, 0));
        let short = read_text("handler = [{ name = \"x\", class = \"balancer\" }]\n").unwrap();
        assert_eq!(short.handlers[0].name, "x");
    }

    #[test]
    fn a_handler_that_is_no_handler_is_told_with_its_line() {
        let mistakes = read_text(
            "[[handler]]\nclass = \"plugin\"\n\n[[handler]]\nname = \"two\"\nevents = [[1]]\nimages = 2020-01-01\n\
             params = 3\n\n[[handler]]\nname = \"a\\nb\"\n[handler.filter]\nx = 1\n\n[[handler]]\nname = \"two\"\n",
        )
        .unwrap_err();
        let told = mistakes.to_string();
        for part in [
            "longshore.toml:1: handler: it needs a name",
            "longshore.toml:6: handler: events: ",
            "longshore.toml:7: handler: images: ",
            "longshore.toml:8: handler: params: ",
            "longshore.toml:11: handler: name: ",
            "longshore.toml:12: handler: filter: ",
            "longshore.toml:15: handler: there is a handler \"two\" already",
        ] {
            assert!(told.contains(part), "{part:?} not in\n{told}");
        }
        assert!(
            read_text("handler = 3\n")
                .unwrap_err()
                .to_string()
                .contains("longshore.toml:1: handler: write [[handler]]")
        );
        let near = read_text("[[handlers]]\nname = \"x\"\n").unwrap();
        assert!(near.unknown[0].message.contains("did you mean \"handler\"?"), "{:?}", near.unknown);
    }

    #[test]
    fn what_is_no_file_of_settings_is_refused_and_holds_nobody_up() {
        let dir = tempfile::tempdir().unwrap();
        let command = crate::cli::Cli::command();
        let told = |name: &str| {
            let path = dir.path().join(name);
            read(&path, command.find_subcommand("run").unwrap()).unwrap_err().to_string()
        };
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(pipe).status().unwrap().success());
        std::fs::write(dir.path().join("long"), "#".repeat(1024 * 1024 + 1)).unwrap();
        std::fs::write(dir.path().join("latin"), b"node = \"caf\xe9\"").unwrap();
        assert!(told("pipe").ends_with("pipe: cannot be read: it is no regular file"));
        assert!(told("").ends_with("cannot be read: it is no regular file"));
        assert!(told("long").ends_with("it is longer than 1048576 bytes"));
        assert!(told("latin").contains("UTF-8"));
        assert!(told("none").contains("No such file"));
    }

    #[test]
    fn a_file_that_is_no_toml_is_refused_with_its_line() {
        assert!(
            read_text("node = \"a\"\nnode = = 1\n").unwrap_err().to_string().contains("longshore.toml:2: ")
        );
    }
}
