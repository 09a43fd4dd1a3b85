//! Shared parts of parsing a definition: context, flaws, and values in compose's forms.

use std::collections::BTreeMap;
use std::path::Path;

use super::yaml::{Node, Value};

/// The supported keys.
pub(super) const KEYS: [&str; 27] = [
    "cap_add",
    "cap_drop",
    "command",
    "depends_on",
    "dns",
    "entrypoint",
    "env_file",
    "environment",
    "expose",
    "extra_hosts",
    "healthcheck",
    "hostname",
    "image",
    "init",
    "labels",
    "links",
    "network_mode",
    "networks",
    "ports",
    "privileged",
    "read_only",
    "restart",
    "stop_grace_period",
    "stop_signal",
    "user",
    "volumes",
    "working_dir",
];

/// The most items of one list.
pub(super) const MAX_ITEMS: usize = 1024;

/// A flaw in a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    /// The line; 0 if unknown.
    pub(super) line: usize,
    /// The key below the sidecar: `ports`, or empty for the sidecar itself.
    pub(super) key: String,
    /// What is wrong, in one sentence.
    pub(super) message: String,
    /// Whether it makes the sidecar unusable.
    pub(super) fatal: bool,
}

/// Reads one definition and collects its flaws.
pub(super) struct Reader<'a> {
    /// The folder that relative paths start at; labels have none.
    pub(super) dir: Option<&'a Path>,
    /// Where variables without a value are looked up; labels must not read it.
    pub(super) environment: Option<&'a BTreeMap<String, String>>,
    /// Whether the definition comes from labels: then an unknown key costs the sidecar, and the command may
    /// be absent.
    pub(super) by_label: bool,
    pub(super) flaws: Vec<Flaw>,
}

impl Reader<'_> {
    pub(super) fn fatal(&mut self, line: usize, key: &str, message: impl Into<String>) {
        self.flaws.push(Flaw { line, key: key.to_owned(), message: message.into(), fatal: true });
    }

    /// Notes an unsupported key.
    pub(super) fn unsupported(&mut self, line: usize, key: &str) {
        let known = KEYS.iter().map(|known| {
            (strsim::damerau_levenshtein(&key.chars().take(40).collect::<String>(), known), known)
        });
        let near = known.min().filter(|(distance, _)| *distance <= 2).map(|(_, known)| known);
        let message = match near {
            Some(near) => format!("unknown key: ignored; did you mean {near:?}?"),
            None => "unknown or unsupported key: ignored".to_owned(),
        };
        let key = key.chars().take(120).collect();
        self.flaws.push(Flaw { line, key, message, fatal: self.by_label });
    }

    /// Returns the entries of a map; notes a flaw if the node is not a map.
    pub(super) fn entries<'n>(&mut self, node: &'n Node, key: &str) -> Vec<(&'n str, &'n Node)> {
        match &node.value {
            Value::Map(entries) => entries.iter().map(|e| (e.key.as_str(), &e.value)).collect(),
            Value::Null => Vec::new(),
            Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) => {
                self.fatal(node.line, key, format!("it is {}, not a map", node.kind()));
                Vec::new()
            }
        }
    }
}

/// Returns the entries of a list; a single value counts as a list of one.
pub(super) fn items(node: &Node) -> Result<Vec<&Node>, String> {
    let items: Vec<&Node> = match &node.value {
        Value::List(items) => items.iter().collect(),
        Value::Null => Vec::new(),
        Value::Text(_) | Value::Number(_) => vec![node],
        Value::Bool(_) | Value::Map(_) => return Err(format!("it is {}, not a list", node.kind())),
    };
    if items.len() > MAX_ITEMS { Err(format!("more than {MAX_ITEMS} entries")) } else { Ok(items) }
}

/// Returns the texts of a list.
pub(super) fn texts(node: &Node) -> Result<Vec<String>, String> {
    let text = |item: &Node| match item.scalar().filter(|text| !text.is_empty() && !text.contains('\0')) {
        Some(text) => Ok(text),
        None => Err(format!("an entry is {}, not a string", item.kind())),
    };
    items(node)?.into_iter().map(text).collect()
}

pub(super) fn text(node: &Node) -> Result<String, String> {
    let text = node.scalar().filter(|text| !text.is_empty() && !text.contains(['\0', '\n']));
    text.ok_or_else(|| format!("it is {}, not a string of one line", node.kind()))
}

/// Returns a YAML boolean, or its text form in a label.
pub(super) fn flag(node: &Node) -> Option<bool> {
    match &node.value {
        Value::Bool(on) => Some(*on),
        Value::Text(text) => truth(text),
        Value::Null | Value::Number(_) | Value::List(_) | Value::Map(_) => None,
    }
}

/// Returns the boolean that a text stands for.
fn truth(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some(true),
        "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// Returns whether a text can be part of a container's name.
pub(super) fn is_name(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    text.len() <= 100 && text.chars().all(good) && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}
