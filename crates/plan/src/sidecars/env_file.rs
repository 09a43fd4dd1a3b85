//! Environment files, as compose reads them. Their values are secrets: no message quotes them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::mounts::normal;
use super::reader::{Reader, flag};
use super::yaml::{Node, Value};

/// An environment file of a sidecar.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct EnvFile {
    /// An absolute path.
    pub(super) path: String,
    /// Whether the file must exist.
    pub(super) required: bool,
    /// Whether quotes, comments and spaces are part of a value.
    pub(super) raw: bool,
}

/// The state of an environment file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvText {
    /// Its text.
    Text(String),
    /// The file does not exist.
    Missing,
    /// It cannot be read, for this reason.
    Unread(String),
}

/// Reads `env_file`: a path, or a list of paths and `{path, required, format}`.
pub(super) fn env_files(node: &Node, reader: &mut Reader<'_>) -> Result<Vec<EnvFile>, String> {
    match &node.value {
        Value::Null => Ok(Vec::new()),
        Value::List(items) => items.iter().map(|item| env_file(item, reader)).collect(),
        Value::Text(_) | Value::Map(_) | Value::Number(_) | Value::Bool(_) => {
            Ok(vec![env_file(node, reader)?])
        }
    }
}

fn env_file(node: &Node, reader: &mut Reader<'_>) -> Result<EnvFile, String> {
    let (mut path, mut required, mut raw) = (None, true, false);
    if matches!(node.value, Value::Map(_)) {
        for (key, value) in reader.entries(node, "env_file") {
            match (key, value.scalar().as_deref()) {
                ("path", Some(text)) => path = Some(text.to_owned()),
                ("required", _) => required = flag(value).ok_or("required: expected true or false")?,
                ("format", Some("raw")) => raw = true,
                ("format", _) => return Err("format: expected raw".to_owned()),
                _ => reader.unsupported(value.line, &format!("env_file.{key}")),
            }
        }
    } else {
        path = node.scalar();
    }
    let path = path.filter(|path| !path.is_empty() && !path.contains(['\0', '\n']));
    let path = path.ok_or_else(|| "an entry is not a path".to_owned())?;
    if path.starts_with('~') {
        return Err("~ is not expanded: use an absolute path".to_owned());
    }
    let dir = reader.dir.ok_or("allowed only in a file: a label's files are not read")?;
    Ok(EnvFile { path: normal(&dir.join(path)).display().to_string(), required, raw })
}

/// Why a text is not a valid environment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadLine {
    /// The line, counted from 1.
    pub(super) line: usize,
    pub(super) message: &'static str,
}

/// Returns the variables of a text; of duplicates, the last one wins. A name without a value takes the one
/// from `own`, if there is one.
pub(super) fn variables(
    text: &str,
    raw: bool,
    own: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, BadLine> {
    let mut found = BTreeMap::new();
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    while !rest.is_empty() {
        let line = text.len().saturating_sub(rest.len());
        let bad = |message| {
            let before = text.get(..line).unwrap_or_default();
            BadLine { line: before.matches('\n').count() + 1, message }
        };
        let (assignment, after) = assignment(rest, raw).map_err(bad)?;
        rest = after;
        let Some((name, value)) = assignment else { continue };
        let value = value.or_else(|| own.get(name).cloned());
        if value.as_ref().is_some_and(|value| value.contains('\0')) {
            return Err(bad("it contains a NUL byte"));
        }
        found.extend(value.map(|value| (name.to_owned(), value)));
    }
    Ok(found)
}

/// A name, and its value if it has one.
type Assignment<'a> = (&'a str, Option<String>);

/// Returns the assignment in the first line of a text, and the text after it.
fn assignment(text: &str, raw: bool) -> Result<(Option<Assignment<'_>>, &str), &'static str> {
    let (line, after) = text.split_once('\n').unwrap_or((text, ""));
    let line = line.trim_start();
    if line.is_empty() || line.starts_with('#') {
        return Ok((None, after));
    }
    let line = line.strip_prefix("export ").filter(|_| !raw).unwrap_or(line);
    let Some((name, value)) = line.split_once('=') else {
        return Ok((Some((variable(line)?, None)), after));
    };
    let name = variable(name)?;
    if raw {
        return Ok((Some((name, Some(value.trim_end_matches('\r').to_owned()))), after));
    }
    let Some(quote) = value.trim_start().chars().next().filter(|c| matches!(c, '"' | '\'')) else {
        return Ok((Some((name, Some(bare(value).to_owned()))), after));
    };
    // A quoted value may span several lines.
    let quoted =
        text.split_once('=').and_then(|(_, rest)| rest.split_once(quote)).map_or("", |(_, rest)| rest);
    let (value, rest) = unquoted(quoted, quote).ok_or("unclosed quote")?;
    let (end, after) = rest.split_once('\n').unwrap_or((rest, ""));
    let end = end.trim();
    if !end.is_empty() && !end.starts_with('#') {
        return Err("unexpected text after the closing quote");
    }
    Ok((Some((name, Some(value))), after))
}

fn variable(text: &str) -> Result<&str, &'static str> {
    let name = text.trim();
    let good = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control());
    if good { Ok(name) } else { Err("expected NAME=value") }
}

/// Returns a value without quotes, and without a comment that follows a space.
fn bare(value: &str) -> &str {
    let value = value.trim();
    if value.starts_with('#') {
        return "";
    }
    let comment = value
        .match_indices('#')
        .find(|(at, _)| value.get(..*at).is_some_and(|before| before.ends_with(char::is_whitespace)));
    comment.and_then(|(at, _)| value.get(..at)).unwrap_or(value).trim_end()
}

/// Returns a value up to its closing quote, and the text after that.
fn unquoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text.chars();
    loop {
        match rest.next()? {
            c if c == quote => return Some((value, rest.as_str())),
            '\\' if quote == '"' => match rest.next()? {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                c @ ('"' | '\\' | '$') => value.push(c),
                c => value.extend(['\\', c]),
            },
            c => value.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as expected")]

    use super::*;

    fn read(text: &str, raw: bool) -> Result<String, BadLine> {
        let own = BTreeMap::from([("OWN".to_owned(), "of the agent".to_owned())]);
        let pairs = variables(text, raw, &own)?;
        Ok(pairs.iter().map(|(name, value)| format!("{name}={value:?}")).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn variables_are_read_as_compose_reads_them() {
        for (text, expected) in [
            ("A=1\nB = two words \r\n# no\n\n  C=x # y\nD=x#y", r#"A="1" B="two words" C="x" D="x#y""#),
            ("A=1\nA=2", r#"A="2""#),
            ("A=\nB= # nothing", r#"A="" B="""#),
            ("\u{feff}export A='b # c' # d\nB=\"a\\n\\\"\\\\\\$\\w\"", r#"A="b # c" B="a\n\"\\$\\w""#),
            ("KEY=\"-----BEGIN\nabc=\n-----END\"\nB=1", r#"B="1" KEY="-----BEGIN\nabc=\n-----END""#),
            ("OWN\nABSENT\nURL=http://x/?a=b&c=${D}", r#"OWN="of the agent" URL="http://x/?a=b&c=${D}""#),
            ("A='it''", ""),
        ] {
            match read(text, false) {
                Ok(said) => assert_eq!(said, expected, "{text}"),
                Err(bad) => assert_eq!((expected, bad.line), ("", 1), "{text}: {}", bad.message),
            }
        }
        assert_eq!(read("A='b' # c\r\n", true).unwrap(), r#"A="'b' # c""#);
    }

    #[test]
    fn a_mistake_is_told_with_its_line_and_without_its_secret() {
        for (text, line) in [
            ("A=1\n=secret", 2),
            ("A='1\n2'\nB='secret\n", 3),
            ("my secret", 1),
            ("A='b' secret", 1),
            ("A=\0", 1),
        ] {
            let bad = read(text, false).unwrap_err();
            assert_eq!(bad.line, line, "{text}");
            assert!(!bad.message.contains("secret"));
        }
    }
}
