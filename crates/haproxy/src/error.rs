//! What can go wrong between a route table and an HAProxy that carries it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A step that failed. Whatever the step, HAProxy goes on with the routes that it had.
#[derive(Debug, thiserror::Error)]
pub enum HaproxyError {
    /// A path of the settings has a character that HAProxy's configuration would need quoted.
    #[error("{path:?} has {found:?} in it, which HAProxy cannot take in a path")]
    PathCharacter {
        /// The path as it was given.
        path: PathBuf,
        /// The first such character.
        found: char,
    },
    /// A socket's path is longer than the kernel takes.
    #[error("{path:?} is too long for a socket: {limit} bytes at most")]
    PathLength {
        /// The path of the socket.
        path: PathBuf,
        /// Most bytes that it may have.
        limit: usize,
    },
    /// The file of extra arguments says something that is no shell assignment.
    #[error("{path:?}, line {line}: {reason}")]
    Rc {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong there.
        reason: &'static str,
    },
    /// A template is missing, is no Jinja2, or fails while it is rendered.
    #[error("the template {name:?} cannot be rendered")]
    Template {
        /// Its name, as it was searched for.
        name: String,
        /// What the template engine says, with the line.
        source: minijinja::Error,
    },
    /// A file or directory cannot be read or written.
    #[error("cannot {action} {path:?}")]
    File {
        /// What was tried: `read`, `write`, `create`.
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A program could not be started.
    #[error("cannot run {program:?}")]
    Run {
        /// The program.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// A program did not end in time, and was killed.
    #[error("{program:?} did not end within {limit:?}")]
    RunTimeout {
        /// The program.
        program: String,
        /// How long it was given.
        limit: Duration,
    },
    /// `haproxy -c` refuses the configuration. The good one goes on.
    #[error("haproxy refuses the configuration: {complaint}")]
    Rejected {
        /// What it wrote, line by line.
        complaint: String,
    },
    /// HAProxy ended while it was starting.
    #[error("haproxy did not start: {complaint}")]
    Start {
        /// What it wrote meanwhile.
        complaint: String,
    },
    /// A step failed before, and is not repeated before [`crate::Haproxy::retry`].
    #[error("{reason}")]
    Held {
        /// How it failed.
        reason: String,
    },
    /// The way to reload an HAProxy that runs already cannot be read.
    #[error(
        "invalid reload command {text:?}: expected a command, or the path of HAProxy's master socket; check the quotes"
    )]
    ReloadCommand {
        /// As it was given.
        text: String,
    },
    /// The configuration is in its file, and the HAProxy that should take it over did not.
    #[error("wrote {path:?}, but HAProxy did not take it over")]
    NotTakenOver {
        /// The configuration file.
        path: PathBuf,
        /// Why not.
        source: Box<HaproxyError>,
    },
    /// A reload did not bring the written configuration into force. The one before goes on.
    #[error("the reload failed: {reason}")]
    Reload {
        /// What is known of why.
        reason: String,
    },
    /// A socket of HAProxy's cannot be talked to.
    #[error("cannot talk to haproxy at {path:?}")]
    Socket {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// HAProxy answered a command with something else than success.
    #[error("haproxy answers {answer:?} to {command:?}")]
    Refused {
        /// The command.
        command: String,
        /// The answer.
        answer: String,
    },
}

impl HaproxyError {
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}
