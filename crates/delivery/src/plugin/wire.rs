//! The protocol's lines, written to and read from a plugin. `docs/plugins.md` specifies them.
//!
//! One JSON object per line, in UTF-8. A reader ignores unknown keys, so either side can add some without a new
//! version.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::attempt::Message;

/// The version of the protocol.
pub(super) const PROTOCOL: u32 = 1;

/// Most bytes of a line without its end, in either direction.
pub(super) const LONGEST: usize = 1024 * 1024;

/// What the agent writes.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum AgentMessage<'a> {
    Hello {
        protocol: u32,
        node: &'a str,
        handler: &'a str,
        params: &'a BTreeMap<String, String>,
        ini: Option<&'a Path>,
    },
    Event(Message<'a>),
    Shutdown,
}

/// What a plugin writes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum PluginMessage {
    /// The answer to the agent's.
    Hello {
        /// The version that it speaks.
        protocol: u32,
        /// What it calls itself.
        name: Option<String>,
        /// How many events it accepts at once; as many as the handler's rules allow if absent.
        parallel: Option<NonZeroUsize>,
    },
    /// The event is handled.
    Ack {
        /// The event's id.
        id: String,
        /// The attempt that this answers; the latest if absent.
        attempt: Option<u32>,
    },
    /// The event could not be handled.
    Nack {
        /// The event's id.
        id: String,
        /// The attempt that this answers; the latest if absent.
        attempt: Option<u32>,
        /// The reason, for a person.
        #[serde(default)]
        reason: String,
        /// Whether a retry may help.
        #[serde(default = "yes")]
        retry: bool,
    },
    /// A message for the log.
    Log {
        /// `debug`, `info`, `warning`, `error`.
        #[serde(default)]
        level: String,
        /// The text; each of its lines becomes one log line.
        message: String,
    },
    /// A type that this version does not know.
    #[serde(other)]
    Unknown,
}

fn yes() -> bool {
    true
}

/// Returns the line that greets a plugin.
pub(super) fn hello(
    node: &str,
    handler: &str,
    params: &BTreeMap<String, String>,
    ini: Option<&Path>,
) -> Vec<u8> {
    let hello = AgentMessage::Hello { protocol: PROTOCOL, node, handler, params, ini };
    // A path that is not UTF-8 cannot be sent; the rest still can.
    let without = || AgentMessage::Hello { protocol: PROTOCOL, node, handler, params, ini: None };
    line(&hello).or_else(|_| line(&without())).unwrap_or_default()
}

/// Returns the line for an event. An inspection that makes it too long is left out.
///
/// # Errors
/// Returns why the event cannot be sent: even so it is too long, or it cannot be written as JSON.
pub(super) fn event(message: Message<'_>) -> Result<Vec<u8>, String> {
    let mut told = AgentMessage::Event(message);
    let mut text = line(&told).map_err(|error| format!("the event cannot be written as JSON: {error}"))?;
    if text.len() > LONGEST + 1
        && let AgentMessage::Event(message) = &mut told
    {
        message.inspection = None;
        text = line(&told).map_err(|error| format!("the event cannot be written as JSON: {error}"))?;
    }
    if text.len() > LONGEST + 1 {
        return Err(format!("the event has {} bytes as JSON, and a plugin takes {LONGEST}", text.len()));
    }
    Ok(text)
}

/// Returns the line that asks a plugin to end.
pub(super) fn shutdown() -> Vec<u8> {
    line(&AgentMessage::Shutdown).unwrap_or_default()
}

fn line(told: &AgentMessage<'_>) -> serde_json::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(told)?;
    text.push(b'\n');
    Ok(text)
}

/// Parses a line from a plugin.
pub(super) fn parse(line: &[u8]) -> serde_json::Result<PluginMessage> {
    serde_json::from_slice(line)
}

#[cfg(test)]
mod tests {
    use longshore_model::{ContainerFacts, ContainerId};
    use proptest::prelude::*;
    use serde_json::value::RawValue;
    use serde_json::{Value, json};

    use super::*;

    fn message<'a>(facts: &'a ContainerFacts, inspection: Option<&'a RawValue>) -> Message<'a> {
        static NOTHING: BTreeMap<String, String> = BTreeMap::new();
        Message {
            id: "7-c0ffee-start",
            event: "start",
            at: "2026-01-01T00:00:00Z".to_owned(),
            node: "n1",
            handler: "demo",
            attempt: 2,
            redelivered: true,
            synthetic: false,
            made_up: false,
            container: Some(facts),
            network: None,
            attributes: &NOTHING,
            inspection,
        }
    }

    fn facts(value: &str) -> ContainerFacts {
        ContainerFacts {
            id: ContainerId::new("c0ffee"),
            name: "web".to_owned(),
            image: "nginx".to_owned(),
            labels: [("k".to_owned(), value.to_owned())].into(),
        }
    }

    fn read(line: &[u8]) -> Value {
        assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1), "one line");
        serde_json::from_slice(line).unwrap()
    }

    #[test]
    fn a_hello_says_who_where_and_with_which_options() {
        let params = [("custom_param".to_owned(), "x\ny".to_owned())].into();
        let told = read(&hello("n1", "demo", &params, Some(Path::new("/etc/a.ini"))));
        let expected = json!({
            "type": "hello", "protocol": 1, "node": "n1", "handler": "demo",
            "params": {"custom_param": "x\ny"}, "ini": "/etc/a.ini",
        });
        assert_eq!(told, expected);
    }

    #[test]
    fn an_event_is_the_message_with_its_type() {
        let facts = facts("v");
        let inspection: Box<RawValue> = serde_json::from_str(r#"{"Id": "c0ffee"}"#).unwrap();
        let told = read(&event(message(&facts, Some(&inspection))).unwrap());
        let expected = json!({
            "type": "event", "id": "7-c0ffee-start", "event": "start", "at": "2026-01-01T00:00:00Z", "node": "n1",
            "handler": "demo", "attempt": 2, "redelivered": true, "synthetic": false, "made_up": false,
            "container": {"id": "c0ffee", "name": "web", "image": "nginx", "labels": {"k": "v"}},
            "attributes": {}, "inspection": {"Id": "c0ffee"},
        });
        assert_eq!(told, expected);
    }

    #[test]
    fn an_inspection_that_is_too_long_is_left_out_and_an_event_that_is_too_long_refused() {
        let small = facts("v");
        let inspection: Box<RawValue> =
            serde_json::from_str(&format!("{{\"a\": \"{}\"}}", "x".repeat(LONGEST))).unwrap();
        let told = read(&event(message(&small, Some(&inspection))).unwrap());
        assert_eq!((told["container"]["name"].as_str(), told.get("inspection")), (Some("web"), None));
        let large = facts(&"x".repeat(LONGEST));
        let refused = event(message(&large, None)).unwrap_err();
        assert!(refused.contains("and a plugin takes 1048576"), "{refused}");
    }

    #[test]
    fn what_a_plugin_leaves_out_has_a_default_and_what_it_adds_is_ignored() {
        let said = |text: &str| parse(text.as_bytes()).unwrap();
        let hello = PluginMessage::Hello { protocol: 1, name: None, parallel: None };
        assert_eq!(said(r#"{"type":"hello","protocol":1,"colour":"red"}"#), hello);
        assert_eq!(
            said(r#"{"id":"a","type":"ack"}"#),
            PluginMessage::Ack { id: "a".to_owned(), attempt: None }
        );
        let nack =
            PluginMessage::Nack { id: "a".to_owned(), attempt: Some(3), reason: String::new(), retry: true };
        assert_eq!(said(r#"{"type":"nack","id":"a","attempt":3}"#), nack);
        assert_eq!(said(r#"{"type":"dance"}"#), PluginMessage::Unknown);
        assert!(parse(br#"{"type":"hello","protocol":1,"parallel":0}"#).is_err());
        assert!(parse(br#"{"type":"ack"}"#).is_err());
        assert!(parse(b"[1]").is_err());
    }

    proptest! {
        #[test]
        fn no_line_of_a_plugin_is_more_than_a_message_or_an_error(line in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&line);
        }

        #[test]
        fn whatever_a_label_says_an_event_is_one_line(value in any::<String>()) {
            let facts = facts(&value);
            let told = read(&event(message(&facts, None)).unwrap());
            prop_assert_eq!(told["container"]["labels"]["k"].as_str(), Some(value.as_str()));
        }
    }
}
