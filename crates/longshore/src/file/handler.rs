//! `[[handler]]`: a handler as a table of the settings file, with the keys of an INI file's `[handler]`, a
//! `name`, and `params`. This module only extracts the text; its meaning is decided together with the INI
//! files'.

use std::collections::BTreeMap;
use std::path::Path;

use longshore_daemon::config::{Definition, Setting, Value as SettingValue};
use toml_edit::{Item, TableLike, Value};

use super::line_of;
use crate::config_error::{ConfigError, Source};

/// The file that is read.
pub(super) struct Place<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
}

impl Place<'_> {
    fn line(&self, span: Option<std::ops::Range<usize>>) -> Option<usize> {
        span.map(|span| line_of(self.text, span.start))
    }

    fn error(&self, line: Option<usize>, message: &str) -> ConfigError {
        ConfigError::of_key(Source::File { path: self.path.to_owned(), line }, "handler", message)
    }
}

/// Reads all handlers, or reports every error in them.
pub(super) fn read(item: &Item, place: &Place<'_>) -> Result<Vec<Definition>, Vec<ConfigError>> {
    let tables: Option<Vec<(&dyn TableLike, _)>> = match item {
        Item::ArrayOfTables(tables) => {
            Some(tables.iter().map(|table| (table as &dyn TableLike, table.span())).collect())
        }
        Item::Value(Value::Array(values)) => values
            .iter()
            .map(|value| Some((value.as_inline_table()? as &dyn TableLike, value.span())))
            .collect(),
        Item::None | Item::Table(_) | Item::Value(_) => None,
    };
    let Some(tables) = tables else {
        return Err(vec![place.error(place.line(item.span()), "expected [[handler]] and its keys below")]);
    };
    let mut handlers: Vec<Definition> = Vec::new();
    let mut errors = Vec::new();
    for (table, span) in tables {
        let line = place.line(span);
        let mut reader = Reader { place, errors: Vec::new() };
        let handler = reader.handler(table, line);
        if let Some(handler) = handler {
            if handlers.iter().any(|other| other.name == handler.name) {
                errors.push(place.error(line, &format!("duplicate handler {:?}", handler.name)));
            }
            handlers.push(handler);
        }
        errors.extend(reader.errors);
    }
    if errors.is_empty() { Ok(handlers) } else { Err(errors) }
}

struct Reader<'a> {
    place: &'a Place<'a>,
    errors: Vec<ConfigError>,
}

impl Reader<'_> {
    /// Reads one handler; returns `None` without a name.
    fn handler(&mut self, table: &dyn TableLike, line: Option<usize>) -> Option<Definition> {
        let mut head = BTreeMap::new();
        let mut params = BTreeMap::new();
        for (key, item) in table.iter() {
            if key == "params" {
                match item.as_table_like() {
                    Some(table) => params = self.all(table),
                    None => self.error(self.line(table, key), "params: expected a table"),
                }
            } else if let Some(setting) = self.setting(table, key, item) {
                head.insert(key.to_lowercase(), setting);
            }
        }
        let name = match head.remove("name") {
            Some(Setting { value: SettingValue::One(name), line }) => {
                if name.is_empty() || name.contains('/') || name.chars().any(char::is_control) {
                    self.error(line, "name: expected a name without slashes and control characters");
                }
                Some(name)
            }
            Some(Setting { line, .. }) => {
                self.error(line, "name: expected a string");
                None
            }
            None => {
                self.error(line, "name is missing");
                None
            }
        };
        let file = std::path::absolute(self.place.path).unwrap_or_else(|_| self.place.path.to_owned());
        let script_paths = Vec::new();
        Some(Definition { name: name?, file, line, is_ini: false, script_paths, head, params })
    }

    fn all(&mut self, table: &dyn TableLike) -> BTreeMap<String, Setting> {
        let settings = table
            .iter()
            .filter_map(|(key, item)| Some((key.to_lowercase(), self.setting(table, key, item)?)));
        settings.collect()
    }

    /// Reads the value of a key.
    fn setting(&mut self, table: &dyn TableLike, key: &str, item: &Item) -> Option<Setting> {
        let line = self.line(table, key);
        let value = match item.as_value() {
            Some(Value::Array(values)) => {
                values.iter().map(text).collect::<Option<Vec<String>>>().map(SettingValue::Many)
            }
            Some(value) => text(value).map(SettingValue::One),
            None => None,
        };
        if value.is_none() {
            self.error(line, &format!("{key}: expected a string, a number, true, false, or a list of them"));
        }
        Some(Setting { value: value?, line })
    }

    fn line(&self, table: &dyn TableLike, key: &str) -> Option<usize> {
        self.place.line(table.key(key).and_then(toml_edit::Key::span))
    }

    fn error(&mut self, line: Option<usize>, message: &str) {
        self.errors.push(self.place.error(line, message));
    }
}

/// Returns a scalar value as an INI file would write it.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.value().clone()),
        Value::Integer(number) => Some(number.value().to_string()),
        Value::Float(number) => Some(number.value().to_string()),
        Value::Boolean(on) => Some(on.value().to_string()),
        Value::Datetime(_) | Value::Array(_) | Value::InlineTable(_) => None,
    }
}
