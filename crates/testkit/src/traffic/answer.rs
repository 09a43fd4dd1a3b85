//! What came back.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, read to its end.
    pub body: Bytes,
}

/// What the test server says that it was asked.
#[derive(Clone, Debug, Deserialize)]
pub struct Echo {
    /// The container's name when it was created.
    pub name: String,
    /// The method.
    pub method: String,
    /// The path as it came over the wire.
    pub path: String,
    /// The query, without the question mark; empty without one.
    pub query: String,
    /// `HTTP/1.1`, `HTTP/2.0`.
    pub version: String,
    /// Who connected, as `address:port`.
    pub peer: String,
    /// The port that was connected to.
    pub port: u16,
    /// All headers by lower-case name, each with all its values.
    pub headers: BTreeMap<String, Vec<String>>,
}

impl Echo {
    /// Returns the first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.first().map(String::as_str)
    }
}

impl Answer {
    /// Returns the body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Returns the first value of a header, as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns the body as JSON.
    ///
    /// # Errors
    /// Where it is none.
    pub fn json(&self) -> Result<serde_json::Value, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }

    /// Returns what the test server was asked.
    ///
    /// # Errors
    /// Where it was not the test server that answered.
    pub fn echo(&self) -> Result<Echo, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }

    /// Returns which container answered, where it was the test server.
    pub fn name(&self) -> Option<&str> {
        self.header("x-container")
    }
}
