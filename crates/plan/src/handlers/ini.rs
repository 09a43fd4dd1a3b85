use std::collections::BTreeMap;
use std::path::Path;

use configparser::ini::{Ini, IniDefault};
use longshore_model::{Problem, Subject};

use super::definition::{Definition, Setting, Value};
use super::reader::shown;

/// The section of keys that precede the first section.
const NOWHERE: &str = "";

/// Reads an INI file as Python's `RawConfigParser` does: `key=value` or `key: value`, case-insensitive keys,
/// comments after `#` or `;` at the beginning of a line and after ` ;` behind a value, indented continuation
/// lines, defaults from `[DEFAULT]`, and no interpolation of `%`. Sections other than `[handler]` and
/// `[params]` belong to the handler.
///
/// # Errors
/// The problems, if the text is not such a file.
pub fn read_ini(name: &str, file: &Path, text: &str) -> Result<Definition, Vec<Problem>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let problem = |line, message: String, hint: Option<&str>| Problem {
        subject: Subject::File { path: file.display().to_string(), line },
        key: None,
        message,
        hint: hint.map(str::to_owned),
    };
    let sections = parser().read(without_remarks(text)).map_err(|why| {
        let (line, why) = line_and_reason(&why);
        vec![problem(line, format!("not an INI file: {why}"), None)]
    })?;
    let mut problems = Vec::new();
    for (section, keys) in &sections {
        for (key, value) in keys {
            let message = if section == NOWHERE {
                format!("{} is before the first section", shown(key))
            } else if value.is_none() {
                format!("missing = in {}", shown(key))
            } else {
                continue;
            };
            problems.push(problem(line_of(text, section, key), message, None));
        }
    }
    if !sections.contains_key("handler") {
        let hint = "add a section [handler] with class and events";
        problems.push(problem(None, "no section [handler]".to_owned(), Some(hint)));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let section = |wanted: &str| -> BTreeMap<String, Setting> {
        let parts = ["default", wanted].into_iter().filter_map(|name| Some((name, sections.get(name)?)));
        let keys = parts.flat_map(|(name, keys)| keys.iter().map(move |(key, value)| (name, key, value)));
        keys.map(|(name, key, value)| {
            let text_of = match value.as_deref() {
                Some("\"\"") | None => String::new(),
                Some(value) => value.to_owned(),
            };
            (key.clone(), Setting { value: Value::One(text_of), line: line_of(text, name, key) })
        })
        .collect()
    };
    Ok(Definition {
        name: name.to_owned(),
        file: file.to_owned(),
        line: None,
        is_ini: true,
        script_paths: Vec::new(),
        head: section("handler"),
        params: section("params"),
    })
}

fn parser() -> Ini {
    let mut rules = IniDefault::default();
    rules.default_section = NOWHERE.to_owned();
    rules.multiline = true;
    rules.enable_inline_comments = false;
    Ini::new_from_defaults(rules)
}

/// Returns the text without comments after values. Only the first semicolon of a line can begin one, and only
/// after a space, as in Python 2.
fn without_remarks(text: &str) -> String {
    let kept = |line: &'_ str| -> usize {
        let remark = line.find(';').filter(|at| {
            let before = line.get(..*at).unwrap_or_default();
            before.ends_with(char::is_whitespace) && !before.trim().is_empty()
        });
        remark.unwrap_or(line.len())
    };
    text.lines().flat_map(|line| [line.get(..kept(line)).unwrap_or_default(), "\n"]).collect()
}

/// Splits the parser's `line 3: why` into line and reason.
fn line_and_reason(why: &str) -> (Option<usize>, &str) {
    let parts = why.strip_prefix("line ").and_then(|rest| rest.split_once(": "));
    let Some((number, reason)) = parts else { return (None, why) };
    let digits = number.split(':').next().unwrap_or_default();
    (digits.parse().ok(), reason)
}

/// Returns the last line that sets a key, which is the one that counts.
fn line_of(text: &str, section: &str, key: &str) -> Option<usize> {
    let mut inside = section == NOWHERE;
    let mut found = None;
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        if let Some(rest) = line.strip_prefix('[') {
            let name = rest.rsplit_once(']').map_or(rest, |(name, _)| name);
            inside = name.trim().to_lowercase() == section;
        } else if inside && line.split(['=', ':']).next().unwrap_or_default().trim().to_lowercase() == key {
            found = Some(number);
        }
    }
    found
}
