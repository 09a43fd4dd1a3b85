//! YAML as a tree with line numbers, read within limits that hold for hostile files.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Spanned};

/// The longest text accepted, in bytes: about ten thousand sidecars.
pub(super) const MAX_TEXT: usize = 1024 * 1024;

/// A value and its location.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// The line, counted from 1; 0 if it does not come from a text.
    pub(super) line: usize,
    pub(super) value: Value,
}

/// The content of a node. Numbers keep their text form, since they only become text or ports.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// An entry of a map.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) line: usize,
    pub(super) key: String,
    pub(super) value: Node,
}

/// Why a text is not valid YAML, and in which line.
#[derive(Clone, Debug)]
pub(super) struct Malformed {
    pub(super) line: Option<usize>,
    pub(super) message: String,
}

/// Reads one document.
pub(super) fn read(text: &str) -> Result<Node, Malformed> {
    if text.len() > MAX_TEXT {
        let message = format!("it is longer than {MAX_TEXT} bytes");
        return Err(Malformed { line: None, message });
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: 24, max_nodes: 50_000, max_aliases: 1_000, max_documents: 1 },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 50_000 },
        duplicate_keys: DuplicateKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
    };
    let read = serde_saphyr::from_str_with_options::<Option<Spanned<Value>>>(text, options);
    read.map(|node| node.map_or(Node { line: 1, value: Value::Null }, Node::from)).map_err(|error| {
        let line = error.location().and_then(|at| usize::try_from(at.line()).ok()).filter(|line| *line > 0);
        let message = error.without_snippet().to_string();
        Malformed { line, message: message.lines().next().unwrap_or_default().chars().take(200).collect() }
    })
}

impl Node {
    /// Creates a text node that does not come from a file.
    pub(super) fn text(text: &str) -> Self {
        Self { line: 0, value: Value::Text(text.to_owned()) }
    }

    /// Returns the kind of the node, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::Text(_) => "a string",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// Returns a single value as text.
    pub(super) fn scalar(&self) -> Option<String> {
        match &self.value {
            Value::Text(text) | Value::Number(text) => Some(text.clone()),
            Value::Bool(on) => Some(on.to_string()),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }
}

impl From<Spanned<Value>> for Node {
    fn from(spanned: Spanned<Value>) -> Self {
        Self { line: usize::try_from(spanned.referenced.line()).unwrap_or_default(), value: spanned.value }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Tree)
    }
}

struct Tree;

impl<'de> Visitor<'de> for Tree {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, on: bool) -> Result<Value, E> {
        Ok(Value::Bool(on))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.to_string()))
    }

    fn visit_i128<E>(self, number: i128) -> Result<Value, E> {
        Ok(Value::Number(number.to_string()))
    }

    fn visit_u128<E>(self, number: u128) -> Result<Value, E> {
        Ok(Value::Number(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Number(number.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element::<Spanned<Value>>()? {
            nodes.push(Node::from(node));
        }
        Ok(Value::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let line = usize::try_from(key.referenced.line()).unwrap_or_default();
            let value = map.next_value::<Spanned<Value>>()?;
            entries.push(Entry { line, key: key.value, value: Node::from(value) });
        }
        Ok(Value::Map(entries))
    }
}
