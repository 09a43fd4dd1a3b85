//! The errors of the HAProxy engine, one for each step.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A step that failed. HAProxy keeps the routes that it had.
#[derive(Debug, thiserror::Error)]
pub enum HaproxyError {
    /// A path of the settings has a character that would have to be quoted in HAProxy's configuration.
    #[error("invalid path {path:?}: HAProxy's configuration does not allow {found:?} in a path")]
    PathCharacter {
        /// The path as specified.
        path: PathBuf,
        /// The first such character.
        found: char,
    },
    /// A socket's path is longer than the kernel allows.
    #[error("socket path {path:?} is too long: expected at most {limit} bytes")]
    PathLength {
        /// The path of the socket.
        path: PathBuf,
        /// The most bytes that it may have.
        limit: usize,
    },
    /// The file of extra arguments has a line that is not an assignment.
    #[error("{path:?}, line {line}: {reason}")]
    Rc {
        /// The file's path.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The problem.
        reason: &'static str,
    },
    /// A template is missing, has a syntax error, or fails to render.
    #[error("cannot render the template {name:?}")]
    Template {
        /// The template's name.
        name: String,
        /// The template engine's error, with the line.
        source: minijinja::Error,
    },
    /// A file or directory cannot be read or written.
    #[error("cannot {action} {path:?}")]
    File {
        /// The operation: `read`, `write`, `create`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A program could not be started.
    #[error("cannot run {program:?}")]
    Run {
        /// The program.
        program: String,
        /// The cause.
        source: io::Error,
    },
    /// A program did not exit in time, and was killed.
    #[error("{program:?} did not exit within {limit:?}")]
    RunTimeout {
        /// The program.
        program: String,
        /// The time limit.
        limit: Duration,
    },
    /// `haproxy -c` rejected the configuration. The previous one stays in force.
    #[error("HAProxy rejects the configuration: {complaint}")]
    Rejected {
        /// HAProxy's messages, line by line.
        complaint: String,
    },
    /// HAProxy exited while it started.
    #[error("HAProxy did not start: {complaint}")]
    Start {
        /// Its output.
        complaint: String,
    },
    /// A step failed earlier, and is only repeated after [`crate::Haproxy::retry`].
    #[error("{reason}")]
    RetryPending {
        /// The earlier error.
        reason: String,
    },
    /// The setting for reloading an HAProxy that is already running cannot be read.
    #[error(
        "invalid reload command {text:?}: expected a command, or the path of HAProxy's master socket; check the quotes"
    )]
    ReloadCommand {
        /// The setting as specified.
        text: String,
    },
    /// The configuration is in its file, and HAProxy could not be started or reloaded with it.
    #[error("wrote {path:?}, but HAProxy does not run with it yet")]
    NotLoaded {
        /// The configuration file.
        path: PathBuf,
        /// The cause.
        source: Box<HaproxyError>,
    },
    /// A reload failed. The previous configuration stays in force.
    #[error("reload failed: {reason}")]
    Reload {
        /// The cause, if known.
        reason: String,
    },
    /// A socket of HAProxy does not answer.
    #[error("cannot reach HAProxy at {path:?}")]
    Socket {
        /// The socket.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// HAProxy rejected a command.
    #[error("HAProxy answered {answer:?} to {command:?}")]
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
