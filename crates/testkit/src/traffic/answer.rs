//! Answers to requests.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;

/// A complete answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, read to its end.
    pub body: Bytes,
}

/// The request, as the test server reports it.
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
    /// The client's address, as `address:port`.
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

    /// Parses the body as JSON.
    ///
    /// # Errors
    /// Fails if it is not JSON.
    pub fn json(&self) -> Result<serde_json::Value, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }

    /// Returns the request as the test server received it.
    ///
    /// # Errors
    /// Fails if the answer is not the test server's.
    pub fn echo(&self) -> Result<Echo, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }

    /// Returns the name of the container that answered, if it was the test server.
    pub fn name(&self) -> Option<&str> {
        self.header("x-container")
    }
}
