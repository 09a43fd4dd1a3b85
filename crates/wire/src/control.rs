//! What hosts ask each other about the cluster itself: `POST /peer/control`, one JSON object each way.
//!
//! A host that does not know an order answers 400, and one that refuses it 409, each with a sentence. So a later
//! release may add orders, and fields with defaults to those that there are.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The path of the orders.
pub const CONTROL: &str = "/peer/control";

/// The longest order or reply, in bytes.
pub const MAX_CONTROL: usize = 1 << 20;

/// An order or a question to another host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ControlRow {
    /// How does the cluster look from there?
    Look,
    /// Open with this secret, too.
    Accept {
        /// The secret.
        secret: SecretRow,
    },
    /// Seal with the secret of this fingerprint.
    Prefer {
        /// The fingerprint.
        fingerprint: String,
    },
    /// Forget all secrets but the one of this fingerprint.
    Keep {
        /// The fingerprint.
        fingerprint: String,
    },
    /// Give up the place in the cluster.
    Leave,
    /// Change the host's labels.
    Label {
        /// The new values by their keys; `null` removes a label.
        changes: BTreeMap<String, Option<String>>,
    },
}

/// How the cluster looks from a host. It is the reply to [`ControlRow::Look`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookRow {
    /// The fingerprints of its secrets, the one that seals first.
    #[serde(default)]
    pub secrets: Vec<String>,
    /// The file of the secrets, if the agent does not write it itself.
    #[serde(default)]
    pub secret_file: Option<String>,
    /// The ids of the hosts that are alive, but do not answer it.
    #[serde(default)]
    pub unreachable: Vec<String>,
}

/// The text of a secret, which no log shows and which is overwritten in memory when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretRow(pub Zeroizing<String>);

impl fmt::Debug for SecretRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretRow(…)")
    }
}

impl Serialize for SecretRow {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SecretRow {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Zeroizing::new(String::deserialize(deserializer)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the first release writes, a line for each.
    const FIRST: &str = include_str!("control/first.jsonl");

    fn rows() -> Vec<ControlRow> {
        let fingerprint = || "0123456789ab".to_owned();
        vec![
            ControlRow::Look,
            ControlRow::Accept { secret: SecretRow(Zeroizing::new("longshore-secret-1-a".to_owned())) },
            ControlRow::Prefer { fingerprint: fingerprint() },
            ControlRow::Keep { fingerprint: fingerprint() },
            ControlRow::Leave,
            ControlRow::Label {
                changes: [("disk".to_owned(), None), ("zone".to_owned(), Some("a".to_owned()))].into(),
            },
        ]
    }

    #[test]
    fn orders_of_the_first_release_are_read_and_written_as_they_were() {
        let written: Vec<String> = rows().iter().map(|row| serde_json::to_string(row).unwrap()).collect();
        assert_eq!(written, FIRST.lines().collect::<Vec<_>>());
        let read: Vec<ControlRow> = FIRST.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(read, rows());
    }

    #[test]
    fn later_fields_are_ignored_missing_ones_have_defaults_and_unknown_orders_are_errors() {
        let later = r#"{"type":"leave","quickly":true}"#;
        assert_eq!(serde_json::from_str::<ControlRow>(later).unwrap(), ControlRow::Leave);
        assert_eq!(serde_json::from_str::<LookRow>(r#"{"moon":"full"}"#).unwrap(), LookRow::default());
        assert!(serde_json::from_str::<ControlRow>(r#"{"type":"dance"}"#).is_err());
    }

    #[test]
    fn no_debug_output_has_a_secret() {
        let shown = format!("{:?}", rows());
        assert!(shown.contains("SecretRow(…)") && !shown.contains("longshore-secret"), "{shown}");
    }
}
