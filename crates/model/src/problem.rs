//! A request of the user that cannot be fulfilled, explained.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Container, ContainerId};

/// What a problem is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum Subject {
    /// A container.
    Container {
        /// Its id.
        id: ContainerId,
        /// Its name when the problem was detected.
        name: String,
    },
    /// A port that the balancer should listen on.
    Frontend {
        /// The text form of [`crate::Frontend`]: `http:80`.
        frontend: String,
    },
    /// The Docker Engine.
    Docker {
        /// The address that was tried.
        address: String,
    },
    /// The engine that serves the routes.
    Balancer {
        /// Its name: `built-in` or `haproxy`.
        engine: String,
    },
    /// A handler.
    Handler {
        /// Its name.
        name: String,
    },
    /// A host of the cluster.
    Host {
        /// Its name.
        name: String,
    },
    /// The DNS server.
    Dns {
        /// The address it should listen on.
        listen: String,
    },
    /// A file and, where known, the line in it.
    File {
        /// The path as configured.
        path: String,
        /// The line, counted from 1.
        line: Option<usize>,
    },
}

impl From<&Container> for Subject {
    fn from(container: &Container) -> Self {
        Self::Container { id: container.id.clone(), name: container.name.clone() }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container { id, name } => write!(f, "container {name} ({id})"),
            Self::Frontend { frontend } => write!(f, "frontend {frontend}"),
            Self::Docker { address } => write!(f, "Docker at {address}"),
            Self::Balancer { engine } => write!(f, "balancer {engine}"),
            Self::Handler { name } => write!(f, "handler {}", name.escape_debug()),
            Self::Host { name } => write!(f, "host {}", name.escape_debug()),
            Self::Dns { listen } => write!(f, "DNS at {listen}"),
            Self::File { path, line: Some(line) } => write!(f, "{path}:{line}"),
            Self::File { path, line: None } => f.write_str(path),
        }
    }
}

/// One problem: its subject and source, what is wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Problem {
    /// What it is about.
    pub subject: Subject,
    /// The label or setting that causes it, if any.
    pub key: Option<String>,
    /// What is wrong and what follows from it, in one sentence without a final period.
    pub message: String,
    /// What to do about it, if the message does not make that obvious.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.subject)?;
        if let Some(key) = &self.key {
            // Label names are untrusted text: escaped so that they cannot forge a log line.
            write!(f, "{}: ", key.escape_debug())?;
        }
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}
