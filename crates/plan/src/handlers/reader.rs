use std::path::PathBuf;
use std::time::Duration;

use longshore_model::{Problem, Subject};

use super::definition::{Definition, Setting, Value};

/// How much of a user's text a problem quotes.
const SHOWN: usize = 80;

/// Reads values from a definition and collects the problems with them.
pub(crate) struct Reader<'a> {
    pub(crate) definition: &'a Definition,
    pub(crate) problems: Vec<Problem>,
    /// Whether a problem makes the handler unusable.
    pub(crate) broken: bool,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(definition: &'a Definition) -> Self {
        Self { definition, problems: Vec::new(), broken: false }
    }

    /// Returns a value under `[handler]`. Hyphens and underscores are equivalent.
    pub(crate) fn head(&self, key: &str) -> Option<&'a Setting> {
        find(&self.definition.head, key)
    }

    /// Returns a value under `[params]`. Hyphens and underscores are equivalent.
    pub(crate) fn param(&self, key: &str) -> Option<&'a Setting> {
        find(&self.definition.params, key)
    }

    /// Returns a parameter that is a single text; `None` if it is absent or empty.
    pub(crate) fn text(&mut self, key: &str) -> Option<&'a str> {
        let setting = self.param(key)?;
        self.one(key, setting).map(str::trim).filter(|text| !text.is_empty())
    }

    /// Returns a required parameter.
    pub(crate) fn needed(&mut self, key: &str) -> Option<&'a str> {
        let before = self.broken;
        let text = self.text(key);
        if text.is_none() && self.broken == before {
            self.wrong(None, key, "missing in [params]: the handler does not run".to_owned(), None);
        }
        text
    }

    /// Returns a parameter that names a file; a relative path is resolved against the definition's folder.
    pub(crate) fn file(&mut self, key: &str) -> Option<PathBuf> {
        self.text(key).map(|text| self.beside(text))
    }

    /// Returns an absolute path; a relative one is resolved against the definition's folder.
    pub(crate) fn beside(&self, path: &str) -> PathBuf {
        self.definition.file.parent().map_or_else(|| path.into(), |folder| folder.join(path))
    }

    /// Returns a parameter that consists of words: a list as it is, a text split as a shell would; `None` if
    /// absent or invalid.
    pub(crate) fn words(&mut self, key: &str) -> Option<Vec<String>> {
        let setting = self.param(key)?;
        let text = match &setting.value {
            Value::Many(words) => return Some(words.clone()),
            Value::One(text) => text,
        };
        let words = shlex::split(text);
        if words.is_none() {
            self.wrong(setting.line, key, "unclosed quote".to_owned(), None);
        }
        words
    }

    /// Returns a single text, not a list.
    pub(crate) fn one(&mut self, key: &str, setting: &'a Setting) -> Option<&'a str> {
        match &setting.value {
            Value::One(text) => Some(text),
            Value::Many(_) => {
                self.wrong(setting.line, key, "expected a string, not a list".to_owned(), None);
                None
            }
        }
    }

    /// Returns a flag under `[handler]`, as Python reads it.
    pub(crate) fn flag(&mut self, key: &str, default: bool) -> bool {
        self.head(key).map_or(default, |setting| self.truth(key, setting, default))
    }

    /// Reads a flag from any section.
    pub(crate) fn truth(&mut self, key: &str, setting: &'a Setting, default: bool) -> bool {
        let Some(text) = self.one(key, setting) else { return default };
        match text.trim().to_ascii_lowercase().as_str() {
            "1" | "yes" | "true" | "on" => true,
            "0" | "no" | "false" | "off" => false,
            _ => {
                self.wrong(setting.line, key, format!("invalid flag {}: expected 1 or 0", shown(text)), None);
                default
            }
        }
    }

    /// Returns a whole number under `[handler]`.
    pub(crate) fn number<N>(&mut self, key: &str, default: N, least: N, most: N) -> N
    where
        N: Copy + PartialOrd + std::str::FromStr + std::fmt::Display,
    {
        let Some(setting) = self.head(key) else { return default };
        let Some(text) = self.one(key, setting) else { return default };
        match text.trim().parse() {
            Ok(number) if (least..=most).contains(&number) => number,
            _ => {
                let message = format!("invalid number {}: expected {least} to {most}", shown(text));
                self.wrong(setting.line, key, message, None);
                default
            }
        }
    }

    /// Reads a duration: `30s`, `2m`.
    pub(crate) fn time(&mut self, key: &str, setting: &'a Setting, least: Duration) -> Option<Duration> {
        let text = self.one(key, setting)?;
        match humantime::parse_duration(text.trim()) {
            Ok(time) if time >= least && time <= Duration::from_secs(24 * 3600) => Some(time),
            Ok(_) => {
                let least = humantime::format_duration(least);
                self.wrong(setting.line, key, format!("out of range: expected {least} to 1day"), None);
                None
            }
            Err(_) => {
                let hint = Some("expected 30s or 2m".to_owned());
                self.wrong(setting.line, key, format!("invalid time {}", shown(text)), hint);
                None
            }
        }
    }

    /// Notes a problem that makes the handler unusable.
    pub(crate) fn wrong(&mut self, line: Option<usize>, key: &str, message: String, hint: Option<String>) {
        self.broken = true;
        self.remark(line, key, message, hint);
    }

    /// Notes a problem despite which the handler works.
    pub(crate) fn remark(&mut self, line: Option<usize>, key: &str, message: String, hint: Option<String>) {
        let subject = Subject::File {
            path: self.definition.file.display().to_string(),
            line: line.or(self.definition.line),
        };
        self.problems.push(Problem { subject, key: Some(key.to_owned()), message, hint });
    }
}

fn find<'a>(map: &'a std::collections::BTreeMap<String, Setting>, key: &str) -> Option<&'a Setting> {
    map.get(key).or_else(|| map.get(&key.replace('-', "_")))
}

/// Returns untrusted text for a log line: quoted, escaped and of bounded length.
pub(crate) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

/// Returns a hint with the known word that a misspelt one was probably meant to be.
pub(crate) fn nearest(word: &str, known: &[&str]) -> Option<String> {
    // Comparing costs the product of the lengths.
    if word.len() > 32 {
        return None;
    }
    let near = known.iter().map(|k| (strsim::damerau_levenshtein(word, k), k)).min()?;
    (near.0 <= 2).then(|| format!("did you mean {:?}?", near.1))
}
