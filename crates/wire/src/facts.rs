//! One host's facts, as it sends them to its peers: a stream of JSON, one object per line.
//!
//! ```text
//! {"line":1,"type":"hello","format":1,"host":"0190…","epoch":7,"whole":true}
//! {"line":2,"type":"host","revision":3,"host":{"name":"h1",…}}
//! {"line":3,"type":"networks","revision":2,"networks":[…]}
//! {"line":4,"type":"container","revision":9,"container":{…}}
//! {"line":5,"type":"listed","revision":9}
//! {"line":6,"type":"gone","revision":10,"container":"c0ffee…"}
//! {"line":7,"type":"events","after":4}
//! {"line":8,"type":"event","number":5,"event":{"container":"c0ffee…","action":"start",…}}
//! {"line":9,"type":"beat"}
//! ```
//!
//! Lines are numbered, so that one that was lost, repeated or moved is noticed. A revision is a fact's version: a
//! reader that has everything up to one revision can ask for what came after it. Events are no facts: they are numbered
//! in each run, and only the last ones are kept.

mod container;
mod event;
mod host;

pub use container::{BadContainerId, ContainerRow, NetworkRow, container_id};
pub use event::EventRow;
pub use host::HostRow;

use serde::{Deserialize, Serialize};

/// The version of the stream. It is raised when an earlier version would misread it, but not when it would merely miss
/// a detail.
pub const FORMAT: u32 = 1;

/// The longest line, in bytes. A longer one is neither sent nor read.
pub const MAX_LINE: usize = 16 << 20;

/// Why a line cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the line cannot be read")]
pub struct LineError(#[from] serde_json::Error);

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FactRow {
    /// Whose facts follow, and from which of its runs. It is the first line.
    Hello {
        /// The stream's version.
        format: u32,
        /// The host's id.
        host: String,
        /// The run of its agent.
        epoch: u64,
        /// Whether the host's whole list follows, up to [`FactRow::Listed`], or only what changed.
        whole: bool,
    },
    /// What the host says of itself.
    Host {
        /// The fact's version.
        revision: u64,
        /// The fact.
        host: Box<HostRow>,
    },
    /// All networks of the host.
    Networks {
        /// The fact's version.
        revision: u64,
        /// The fact.
        networks: Vec<NetworkRow>,
    },
    /// One container of the host.
    Container {
        /// The fact's version.
        revision: u64,
        /// The fact.
        container: Box<ContainerRow>,
    },
    /// A container that is gone.
    Gone {
        /// The fact's version.
        revision: u64,
        /// The container's id.
        container: String,
    },
    /// The list is complete: what it lacks does not exist.
    Listed {
        /// The version that the reader now has.
        revision: u64,
    },
    /// Events follow among the facts, from the one after this number on.
    Events {
        /// The number.
        after: u64,
    },
    /// Something happened to a container.
    Event {
        /// The event's number in this run. Where one is missing, nothing is known of that event.
        number: u64,
        /// The event.
        event: Box<EventRow>,
    },
    /// Nothing changed; the host is still there.
    Beat,
    /// A later release's.
    #[serde(other)]
    Unknown,
}

/// One line of the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Its number in this stream, from 1.
    #[serde(rename = "line")]
    pub number: u64,
    /// What it says.
    #[serde(flatten)]
    pub fact: FactRow,
}

impl Line {
    /// Reads a line of this version, or of an earlier or a later one.
    ///
    /// # Errors
    /// It is not such a line.
    pub fn read(bytes: &[u8]) -> Result<Self, LineError> {
        Ok(serde_json::from_slice(bytes)?)
    }
}

impl FactRow {
    /// Returns the fact as JSON, to be sent to any number of readers.
    pub fn encode(&self) -> EncodedFact {
        // Text, numbers and maps with text keys can always be encoded as JSON.
        EncodedFact(serde_json::to_string(self).unwrap_or_default())
    }
}

/// A fact as JSON, which becomes a line by its number.
#[derive(Clone, PartialEq, Eq)]
pub struct EncodedFact(String);

impl std::fmt::Debug for EncodedFact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl EncodedFact {
    /// Returns the line with this number, and its end.
    pub fn line(&self, number: u64) -> Vec<u8> {
        let rest = self.0.strip_prefix('{').unwrap_or(&self.0);
        format!("{{\"line\":{number},{rest}\n").into_bytes()
    }

    /// Returns whether the line would be longer than readers allow.
    pub fn is_too_long(&self) -> bool {
        // The number's digits, and the text around it.
        self.0.len() + 32 > MAX_LINE
    }
}

#[cfg(test)]
#[path = "facts/tests.rs"]
mod tests;
