//! Why a client has no answer.

use http::StatusCode;

/// Why an agent gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The agent's address is not `host:port`.
    #[error("invalid agent address {0:?}: expected HOST:PORT, such as 127.0.0.1:7051")]
    Address(String),
    /// The token file cannot be used.
    #[error("cannot read the token file {path}")]
    Token {
        /// The file.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// Nothing answers at the address.
    #[error("no agent answers at {address}: {cause}")]
    Unreachable {
        /// The agent's address.
        address: String,
        /// The cause, in plain words.
        cause: String,
    },
    /// The answer took too long.
    #[error("the agent at {address} did not answer within {seconds} s")]
    Timeout {
        /// The agent's address.
        address: String,
        /// How long it was given.
        seconds: u64,
    },
    /// The answer broke off, or is longer than 64 MiB.
    #[error("the connection to the agent at {address} broke during its answer: {cause}")]
    Body {
        /// The agent's address.
        address: String,
        /// The cause, in plain words.
        cause: String,
    },
    /// The agent requires a token, and received none or a different one.
    #[error("the agent at {address} requires {}", if *.sent { "another token" } else { "a token" })]
    Unauthorized {
        /// The agent's address.
        address: String,
        /// A token was sent.
        sent: bool,
    },
    /// The agent refused.
    #[error("{message} (the agent at {address} answered {status})")]
    Refused {
        /// The agent's address.
        address: String,
        /// The status of its answer.
        status: StatusCode,
        /// Its reason.
        message: String,
    },
    /// What the agent passed on from a host broke off.
    #[error("{0}")]
    BrokeOff(String),
    /// The answer is of a kind that this version does not know.
    #[error("the agent at {address} gave an answer that this version does not understand")]
    Answer {
        /// The agent's address.
        address: String,
        /// The cause.
        source: serde_json::Error,
    },
}

/// Returns the root cause of an error, in plain words. The levels above it name parts of an HTTP client.
pub(crate) fn plain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    match deepest.downcast_ref::<std::io::Error>() {
        Some(error) if error.raw_os_error().is_some() => error.kind().to_string(),
        _ => deepest.to_string(),
    }
}
