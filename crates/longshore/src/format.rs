//! `--format`: how a list is printed.

use std::str::FromStr;

use minijinja::{Environment, UndefinedBehavior};
use serde_json::Value;

use crate::table::printable;

/// How a list is printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// A table, for people.
    Table,
    /// One JSON array.
    Json,
    /// A line for each item, by a Jinja template.
    Template(String),
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "table" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            template if template.replace(' ', "").contains("{{.") => {
                Err("fields are written without a dot: '{{ name }}'".to_owned())
            }
            template if template.contains("{{") || template.contains("{%") => {
                // As docker does, since a shell's quotes leave these as they are.
                let template = template.replace("\\t", "\t").replace("\\n", "\n");
                match environment().template_from_str(&template) {
                    Ok(_) => Ok(Self::Template(template)),
                    Err(error) => Err(format!("invalid template: {error}")),
                }
            }
            _ => Err("expected table, json or a template such as '{{ name }}'".to_owned()),
        }
    }
}

/// Returns the environment of the templates, in which an unknown field is an error, as it is misspelt.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment
}

/// Renders the template for one item.
pub(crate) fn render(template: &str, item: Value) -> anyhow::Result<String> {
    let fields = match &item {
        Value::Object(fields) => fields.keys().cloned().collect::<Vec<_>>().join(", "),
        _ => String::new(),
    };
    let rendered = environment().render_str(template, minijinja::value::Serde(safe(item)));
    rendered.map_err(|error| anyhow::anyhow!("--format: {error}; the fields are {fields}"))
}

/// Returns the item with control characters escaped: its texts may be untrusted.
fn safe(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(printable(&text)),
        Value::Array(values) => values.into_iter().map(safe).collect(),
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(key, value)| (printable(&key), safe(value))).collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_template_is_rendered_for_each_item_with_its_fields() {
        let Ok(Format::Template(template)) = "{{ name }}\\t{{ labels['a.b'] }}".parse() else { panic!() };
        let item = json!({ "name": "web\u{1b}[2J", "labels": { "a.b": "c" } });
        assert_eq!(render(&template, item).unwrap(), "web\\u{1b}[2J\tc");
    }

    #[test]
    fn a_format_that_is_wrong_says_what_is_expected() {
        let error = |text: &str| text.parse::<Format>().unwrap_err();
        assert!(error("{{.Name}}").contains("without a dot"));
        assert!(error("yaml").contains("expected table, json or a template"));
        assert!(error("{{ name").contains("invalid template"));
        let error = render("{{ nmae }}", json!({ "name": "a", "state": "b" })).unwrap_err().to_string();
        assert!(error.contains("the fields are name, state"), "{error}");
    }
}
