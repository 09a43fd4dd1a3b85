//! The settings file: each key is the flag of that name, so there is one parser and one set of rules.

mod handler;

use std::path::Path;

use clap::ArgAction;
use longshore_daemon::config::Definition;
use longshore_runtime::files::{self, Guard};
use toml_edit::{Document, Item, Value};

use crate::config_error::{ConfigError, ConfigErrors, Source};
use crate::given::{Given, settings};

/// The default path of the settings file.
pub(crate) const DEFAULT: &str = "/etc/longshore/longshore.toml";

/// The key of handlers, the only one that is not a flag.
const HANDLER: &str = "handler";

/// Maximum length of the file, in bytes.
const MAX_LENGTH: u64 = 1024 * 1024;

/// What a file contains.
#[derive(Debug, Default)]
pub(crate) struct File {
    /// Its settings, in order of its keys.
    pub(crate) given: Vec<Given>,
    /// Keys that are not settings.
    pub(crate) unknown: Vec<ConfigError>,
    /// Its handlers, `[[handler]]`, in order.
    pub(crate) handlers: Vec<Definition>,
}

/// Reads a file for the flags of `command`. Reports every error in it.
pub(crate) fn read(path: &Path, command: &clap::Command) -> Result<File, ConfigErrors> {
    let at = |line| Source::File { path: path.to_owned(), line };
    let error = |line, message: String| ConfigError { source: at(line), key: None, message, hint: None };
    let text = files::read(path, MAX_LENGTH, Guard::Writers)
        .map_err(|cause| ConfigErrors(vec![error(None, format!("cannot be read: {cause}"))]))?;
    let document = Document::parse(text.as_str()).map_err(|cause| {
        let line = cause.span().map(|span| line_of(&text, span.start));
        ConfigErrors(vec![error(line, cause.message().to_owned())])
    })?;
    let mut file = File::default();
    let mut errors = Vec::new();
    for (key, item) in document.iter() {
        let span = document.key(key).and_then(toml_edit::Key::span).or_else(|| item.span());
        let source = at(span.map(|span| line_of(&text, span.start)));
        if key == HANDLER {
            match handler::read(item, &handler::Place { path, text: &text }) {
                Ok(handlers) => file.handlers = handlers,
                Err(more) => errors.extend(more),
            }
            continue;
        }
        let Some((_, flag)) = settings(command).find(|(known, _)| *known == key) else {
            file.unknown.push(unknown(key, source, command));
            continue;
        };
        match given(command, key, flag, item, &source) {
            Ok(given) => file.given.extend(given),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(file) } else { Err(ConfigErrors([errors, file.unknown].concat())) }
}

/// Returns the text of one key, for commands that need nothing else from the file and leave its errors to the
/// agent.
pub(crate) fn text(path: &Path, key: &str) -> Option<String> {
    let text = files::read(path, MAX_LENGTH, Guard::Writers).ok()?;
    let document = Document::parse(text.as_str()).ok()?;
    document.get(key)?.as_str().map(str::to_owned)
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1
}

fn unknown(key: &str, source: Source, command: &clap::Command) -> ConfigError {
    let known = settings(command).map(|(known, _)| known).chain([HANDLER]);
    let near = known.map(|known| (strsim::damerau_levenshtein(key, known), known)).min();
    let hint = near.filter(|(distance, _)| *distance <= 3).map(|(_, near)| format!("did you mean {near:?}?"));
    ConfigError { source, key: None, message: format!("unknown setting {key:?} is ignored"), hint }
}

/// Returns the values of a key.
fn given(
    command: &clap::Command,
    key: &str,
    flag: &clap::Arg,
    item: &Item,
    source: &Source,
) -> Result<Vec<Given>, ConfigError> {
    let expected = |what: &str| ConfigError::of_key(source.clone(), key, format!("expected {what}"));
    let one = |value: &Value| {
        let text = match value {
            Value::String(text) => text.value().clone(),
            Value::Integer(number) => number.value().to_string(),
            Value::Boolean(on)
                if flag.get_possible_values().iter().any(|value| value.matches("true", false)) =>
            {
                on.value().to_string()
            }
            Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Array(_)
            | Value::InlineTable(_) => return Err(expected("a string or a whole number")),
        };
        Given::with_value(command, key, text.as_ref(), source.clone())
    };
    match (flag.get_action(), item.as_value()) {
        (_, None) => Err(expected("a value, found a table")),
        (ArgAction::SetTrue, Some(Value::Boolean(on))) if *on.value() => {
            Ok(vec![Given::on(command, key, source.clone())?])
        }
        (ArgAction::SetTrue, Some(Value::Boolean(_))) => Ok(Vec::new()),
        (ArgAction::SetTrue, Some(_)) => Err(expected("true or false")),
        (ArgAction::Append, Some(Value::Array(values))) => values.iter().map(one).collect(),
        (_, Some(value)) => Ok(vec![one(value)?]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_daemon::config::Value as Said;

    fn read_text(text: &str) -> Result<File, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("longshore.toml");
        std::fs::write(&path, text).unwrap();
        let command = crate::cli::command();
        read(&path, command.find_subcommand("run").unwrap())
            .map_err(|errors| errors.to_string().replace(&format!("{}/", dir.path().display()), ""))
    }

    #[test]
    fn a_key_is_the_flag_of_that_name() {
        let file =
            read_text("resync = \"1m\"\nbind = [\"10.0.0.1\", \"::1\"]\ninclude-env = true\nworkers = 3\n")
                .unwrap();
        let arguments: Vec<_> =
            file.given.iter().map(|given| given.argument.to_string_lossy().into_owned()).collect();
        assert_eq!(
            arguments,
            ["--resync=1m", "--bind=10.0.0.1", "--bind=::1", "--include-env", "--workers=3"]
        );
        assert!(matches!(file.given[4].source, Source::File { line: Some(4), .. }));
    }

    #[test]
    fn every_error_is_reported_at_once_with_its_line_and_what_is_expected() {
        let errors = read_text(
            "resync = \"soon\"\n\nworkers = 0\nlisten = true\nresinc = \"1s\"\nbalancer = \"nginx\"\n\
             bind = [\"10.0.0.1\", \"x\"]\nlog = \"verbose\"\ninclude-env = 1\n",
        )
        .unwrap_err();
        for part in [
            "longshore.toml:1: resync: invalid value \"soon\": expected a duration such as 500ms, 30s or 5m",
            "longshore.toml:3: workers: invalid value \"0\": 0 is not in 1..=256",
            "longshore.toml:4: listen: expected a string or a whole number",
            "longshore.toml:5: unknown setting \"resinc\" is ignored (did you mean \"resync\"?)",
            "longshore.toml:6: balancer: invalid value \"nginx\": expected none, built-in or haproxy",
            "longshore.toml:7: bind: invalid value \"x\": expected an IP address",
            "longshore.toml:8: log: invalid value \"verbose\": expected one of off, error, warn",
            "longshore.toml:9: include-env: expected true or false",
        ] {
            assert!(errors.contains(part), "{part:?} not in\n{errors}");
        }
        assert!(!errors.contains("--"), "a key is named by its name and not by the flag's: {errors}");
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
        assert_eq!((file.given.len(), file.unknown.len()), (1, 0));
        let short = read_text("handler = [{ name = \"x\", class = \"balancer\" }]\n").unwrap();
        assert_eq!(short.handlers[0].name, "x");
    }

    #[test]
    fn an_invalid_handler_is_reported_with_its_line() {
        let errors = read_text(
            "[[handler]]\nclass = \"plugin\"\n\n[[handler]]\nname = \"two\"\nevents = [[1]]\nimages = 2020-01-01\n\
             params = 3\n\n[[handler]]\nname = \"a\\nb\"\n[handler.filter]\nx = 1\n\n[[handler]]\nname = \"two\"\n",
        )
        .unwrap_err();
        for part in [
            "longshore.toml:1: handler: name is missing",
            "longshore.toml:6: handler: events: ",
            "longshore.toml:7: handler: images: ",
            "longshore.toml:8: handler: params: ",
            "longshore.toml:11: handler: name: ",
            "longshore.toml:12: handler: filter: ",
            "longshore.toml:15: handler: duplicate handler \"two\"",
        ] {
            assert!(errors.contains(part), "{part:?} not in\n{errors}");
        }
        assert!(
            read_text("handler = 3\n")
                .unwrap_err()
                .contains("longshore.toml:1: handler: expected [[handler]] and its keys below")
        );
        let near = read_text("[[handlers]]\nname = \"x\"\n").unwrap();
        assert!(near.unknown[0].to_string().contains("did you mean \"handler\"?"), "{:?}", near.unknown);
    }

    #[test]
    fn what_is_not_a_settings_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let command = crate::cli::command();
        let error = |name: &str| {
            let path = dir.path().join(name);
            read(&path, command.find_subcommand("run").unwrap()).unwrap_err().to_string()
        };
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(pipe).status().unwrap().success());
        std::fs::write(dir.path().join("long"), "#".repeat(1024 * 1024 + 1)).unwrap();
        std::fs::write(dir.path().join("latin"), b"node = \"caf\xe9\"").unwrap();
        assert!(error("pipe").ends_with("pipe: cannot be read: not a regular file"));
        assert!(error("").ends_with("cannot be read: not a regular file"));
        assert!(error("long").ends_with("longer than 1048576 bytes"));
        assert!(error("latin").contains("UTF-8"));
        assert!(error("none").contains("No such file"));
    }

    #[test]
    fn a_file_that_is_not_toml_is_refused_with_its_line() {
        assert!(read_text("node = \"a\"\nnode = = 1\n").unwrap_err().contains("longshore.toml:2: "));
    }
}
