//! The lab's errors.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A step of the lab that failed.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// `LONGSHORE_LAB` is not a number from 1 to 254.
    #[error(
        "LONGSHORE_LAB is {0:?}: write a number from 1 to 254, the second byte of the lab's addresses 10.N.0.0/24"
    )]
    Number(String),
    /// The lab has no more addresses.
    #[error("all {0} hosts of the lab are in use")]
    Full(u8),
    /// A program could not be started.
    #[error("cannot run {program}: install what `cargo xtask setup` names")]
    Spawn {
        /// Its name.
        program: String,
        /// The cause.
        source: io::Error,
    },
    /// A program failed.
    #[error("{command} failed: {output}")]
    Command {
        /// The whole command line.
        command: String,
        /// Its output.
        output: String,
    },
    /// A program did not exit in time and was killed.
    #[error("{command} did not end within {limit:?}")]
    CommandTimeout {
        /// The whole command line.
        command: String,
        /// The time limit.
        limit: Duration,
    },
    /// A file of the lab could not be read or written.
    #[error("cannot {verb} {}", path.display())]
    File {
        /// The operation.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A daemon of the lab did not answer in time.
    #[error("{what} did not answer within {limit:?}; its log ends:\n{log}")]
    NotUp {
        /// The daemon.
        what: String,
        /// The time limit.
        limit: Duration,
        /// The end of its log.
        log: String,
    },
    /// A process outlived SIGKILL.
    #[error("process {0} does not end")]
    Immortal(i32),
    /// Docker returned an error.
    #[error("Docker on {host} cannot {verb}")]
    Docker {
        /// The host's name.
        host: String,
        /// The operation.
        verb: String,
        /// Docker's error.
        #[source]
        source: bollard::errors::Error,
    },
    /// The image's program has not been built.
    #[error("there is no {}: run `cargo build -p longshore-testkit --bin testserver`, or set LONGSHORE_TESTSERVER", .0.display())]
    NoTestServer(PathBuf),
    /// The thread inside a host's namespace could not be started, or ended.
    #[error("no thread inside the namespace of {0}")]
    Namespace(String, #[source] Option<io::Error>),
    /// A container exited that should be running.
    #[error("container {name} does not run; its log ends:\n{log}")]
    NotRunning {
        /// Its name.
        name: String,
        /// The end of its log.
        log: String,
    },
}

impl LabError {
    /// Converts the error of a file operation, for `map_err`.
    pub(crate) fn file(verb: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { verb, path, source }
    }
}
