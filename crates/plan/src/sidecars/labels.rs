//! Sidecars requested by a main container's own labels: `longshore.sidecar.<name>.<key>`.

use std::collections::{BTreeMap, BTreeSet};

use longshore_model::{Container, Problem};

use super::definition::{Definition, MAX_SIDECARS};
use super::reader::{KEYS, Reader, is_name};
use super::yaml::{self, Entry, Node, Value};
use crate::claim::shown;

/// The prefix of these labels.
const PREFIX: &str = "longshore.sidecar.";

/// Keys whose values are lists; the flag says whether commas separate items too.
const LISTS: [(&str, bool); 12] = [
    ("cap_add", true),
    ("cap_drop", true),
    ("depends_on", true),
    ("dns", true),
    ("environment", false),
    ("expose", true),
    ("extra_hosts", true),
    ("labels", false),
    ("links", true),
    ("networks", true),
    ("ports", true),
    ("volumes", false),
];

/// Reads the labels of a main: its sidecars, and a problem for each invalid label. An invalid label costs the
/// sidecar that it belongs to.
pub(super) fn sidecars(main: &Container) -> (BTreeMap<String, Definition>, Vec<Problem>) {
    let mut reading = Reading { main, problems: Vec::new() };
    let mut drafts: BTreeMap<&str, Vec<Entry>> = BTreeMap::new();
    let mut lost: BTreeSet<&str> = BTreeSet::new();
    let ours = main.labels.range(PREFIX.to_owned()..).take_while(|(label, _)| label.starts_with(PREFIX));
    for (label, text) in ours {
        let Some((name, key)) = label.get(PREFIX.len()..).and_then(|rest| rest.rsplit_once('.')) else {
            reading.problem(label, "ignored: expected longshore.sidecar.NAME.KEY, such as …db.image");
            continue;
        };
        if main.image_labels.contains(label) {
            reading.problem(label, "ignored, as it comes from the image: set it on the container");
            lost.insert(name);
            continue;
        }
        if !is_name(name) {
            reading.problem(
                label,
                "the name is not letters, digits, '_', '.' and '-': the sidecar is not created",
            );
            continue;
        }
        match node(key, text) {
            Ok(value) => drafts.entry(name).or_default().push(Entry { line: 0, key: key.to_owned(), value }),
            Err(message) => {
                reading.problem(label, &format!("{message}: the sidecar is not created"));
                lost.insert(name);
            }
        }
    }
    if drafts.len() > MAX_SIDECARS {
        let message = format!("more than {MAX_SIDECARS} sidecars requested: none is created");
        reading.problem(PREFIX, &message);
        drafts.clear();
    }
    let mut found = BTreeMap::new();
    for (name, entries) in drafts.into_iter().filter(|(name, _)| !lost.contains(name)) {
        let mut reader = Reader { dir: None, environment: None, by_label: true, flaws: Vec::new() };
        let definition = reader.definition(&Node { line: 0, value: Value::Map(entries) });
        for flaw in reader.flaws {
            let then = if flaw.fatal { ": the sidecar is not created" } else { "" };
            reading.problem(&format!("{PREFIX}{name}.{}", flaw.key), &format!("{}{then}", flaw.message));
        }
        found.extend(definition.map(|definition| (name.to_owned(), definition)));
    }
    (found, reading.problems)
}

/// Returns a label's value: YAML if it begins like a list or map, lines if a list is expected, otherwise
/// text.
fn node(key: &str, text: &str) -> Result<Node, String> {
    let text = text.trim();
    let may_be_yaml = !matches!(key, "image" | "user" | "working_dir") && KEYS.contains(&key);
    if may_be_yaml && text.starts_with(['[', '{']) {
        return yaml::read(text)
            .map_err(|malformed| format!("invalid YAML: {}", crate::claim::quoted(&malformed.message)));
    }
    let Some((_, commas)) = LISTS.iter().find(|(list, _)| *list == key) else { return Ok(Node::text(text)) };
    let parts = text.split(|c| c == '\n' || (c == ',' && *commas));
    let items = parts.map(str::trim).filter(|part| !part.is_empty()).map(Node::text).collect();
    Ok(Node { line: 0, value: Value::List(items) })
}

struct Reading<'a> {
    main: &'a Container,
    problems: Vec<Problem>,
}

impl Reading<'_> {
    fn problem(&mut self, label: &str, message: &str) {
        let subject = self.main.into();
        let message = message.to_owned();
        self.problems.push(Problem { subject, key: Some(shown(label)), message, hint: None });
    }
}
