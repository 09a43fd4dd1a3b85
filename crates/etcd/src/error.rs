//! Errors, and what they mean for the next attempt.

use std::error::Error as StdError;
use std::time::Duration;

use tonic::{Code, ConnectError, Status};

use crate::settings::AccessError;

/// Messages of the libraries when the other end answers with HTTP/1, or only one end uses TLS.
const NOT_ETCD: [&str; 5] = [
    "FRAME_SIZE_ERROR",
    "frame with invalid size",
    "InvalidContentType",
    "tls handshake eof",
    "HTTP/2 was not negotiated",
];

/// A request that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings name no endpoint.
    #[error("no etcd endpoint is configured")]
    NoEndpoints,
    /// An endpoint is not a URL.
    #[error("invalid etcd endpoint {endpoint:?}: expected http://HOST:PORT or https://HOST:PORT")]
    InvalidEndpoint {
        /// As it was configured.
        endpoint: String,
    },
    /// The credentials could not be loaded.
    #[error("cannot load the credentials for etcd")]
    Access(#[source] AccessError),
    /// The certificates cannot be used.
    #[error("cannot set up TLS for {endpoint}: {why}")]
    Tls {
        /// The endpoint.
        endpoint: String,
        /// The problem.
        why: String,
    },
    /// An endpoint did not answer in time.
    #[error("cannot {action}: {endpoint} did not answer within {limit:?}")]
    TimedOut {
        /// The operation.
        action: &'static str,
        /// The endpoint.
        endpoint: String,
        /// The time limit.
        limit: Duration,
    },
    /// There is no connection to an endpoint, or it broke.
    #[error("cannot {action}: no connection to {endpoint}: {why}")]
    Unreachable {
        /// The operation.
        action: &'static str,
        /// The endpoint.
        endpoint: String,
        /// The cause.
        why: String,
    },
    /// An endpoint answered that it cannot serve, such as a member that has lost its leader, or a proxy without a
    /// backend.
    #[error("cannot {action}: etcd at {endpoint} is unavailable: {why}")]
    Unavailable {
        /// The operation.
        action: &'static str,
        /// The endpoint.
        endpoint: String,
        /// etcd's reason.
        why: String,
    },
    /// The endpoint answered, but is not etcd.
    #[error(
        "cannot {action}: {endpoint} does not speak etcd's API ({why}): check host, port and http:// or https://"
    )]
    NotEtcd {
        /// The operation.
        action: &'static str,
        /// The endpoint.
        endpoint: String,
        /// The answer.
        why: String,
    },
    /// etcd refuses, and every endpoint would: missing permissions, a wrong password, a request that is too large, a
    /// full database.
    #[error("etcd at {endpoint} refuses to {action}: {why}")]
    Refused {
        /// The operation.
        action: &'static str,
        /// The endpoint.
        endpoint: String,
        /// etcd's reason.
        why: String,
    },
    /// The lease has expired or was revoked.
    #[error("etcd does not know the lease: it has expired or was revoked")]
    LeaseNotFound,
    /// etcd no longer has that revision: list again, and watch from the listing's.
    #[error("etcd has compacted its history beyond revision {wanted}")]
    Compacted {
        /// The requested revision.
        wanted: i64,
    },
    /// etcd's data is older than what it returned before: it was restored from a backup, or lost. List again.
    #[error("etcd is at revision {current}, but was at {seen} before: it was wiped or restored")]
    HistoryLost {
        /// The latest revision that was seen.
        seen: i64,
        /// etcd's current revision.
        current: i64,
    },
    /// The connection was lost while a change was under way. etcd may have applied it, so it is not sent again: read,
    /// and decide.
    #[error("the outcome is unknown, as etcd may have made the change")]
    OutcomeUnknown(#[source] Box<Error>),
}

impl Error {
    /// Returns true if the endpoint is at fault: another one, or the same one later, may do better.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::TimedOut { .. }
            | Self::Unreachable { .. }
            | Self::Unavailable { .. }
            | Self::NotEtcd { .. } => true,
            Self::OutcomeUnknown(cause) => cause.is_unreachable(),
            _ => false,
        }
    }

    /// Converts the status that a call ended with.
    pub(crate) fn of_status(action: &'static str, endpoint: &str, status: &Status) -> Self {
        let endpoint = endpoint.to_owned();
        let message = status.message();
        if let Some(code) = http_status(message) {
            return Self::NotEtcd { action, endpoint, why: format!("HTTP status {code}") };
        }
        if let Some(cause) = status.source() {
            return Self::of_transport(action, endpoint, cause);
        }
        let why = message.strip_prefix("etcdserver: ").unwrap_or(message).to_owned();
        match status.code() {
            Code::NotFound if message.contains("lease not found") => Self::LeaseNotFound,
            Code::ResourceExhausted if message.contains("too many requests") => {
                Self::Unavailable { action, endpoint, why }
            }
            Code::ResourceExhausted if message.contains("database space exceeded") => {
                let next = "compact and defragment it, then `etcdctl alarm disarm`";
                Self::Refused { action, endpoint, why: format!("{why} ({next})") }
            }
            Code::Unimplemented => Self::NotEtcd { action, endpoint, why },
            Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Internal
            | Code::Unknown
            | Code::Cancelled
            | Code::Aborted => Self::Unavailable { action, endpoint, why },
            _ => Self::Refused { action, endpoint, why },
        }
    }

    /// Converts the error of a broken or missing connection.
    pub(crate) fn of_transport(action: &'static str, endpoint: String, cause: &dyn StdError) -> Self {
        let why = chain(cause);
        if NOT_ETCD.iter().any(|sign| why.contains(sign)) {
            return Self::NotEtcd { action, endpoint, why };
        }
        Self::Unreachable { action, endpoint, why }
    }
}

/// Returns true if the request cannot have reached etcd's log: sending it again is safe.
pub(crate) fn is_unsent(status: &Status) -> bool {
    if status.source().is_none() {
        return status.message().contains("etcdserver: no leader") || http_status(status.message()).is_some();
    }
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Returns true if etcd no longer accepts the token, or requires one because users were enabled.
pub(crate) fn is_stale_token(status: &Status) -> bool {
    let message = status.message();
    let signs = ["invalid auth token", "revision of auth store is old", "user name is empty"];
    status.source().is_none() && signs.iter().any(|sign| message.contains(sign))
}

/// Returns the HTTP status of an answer that is not gRPC, such as a web server's.
fn http_status(message: &str) -> Option<&str> {
    message.split_once("mapped from HTTP status code ").map(|(_, code)| code.trim())
}

/// Returns an error and its causes, leaving out causes that only repeat the text before them.
pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = if next.contains(&text) { next } else { format!("{text}: {next}") };
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: Code, message: &str) -> Error {
        Error::of_status("write", "http://e:2379", &Status::new(code, message))
    }

    #[test]
    fn a_refusal_is_told_apart_from_an_endpoint_that_cannot_serve() {
        let refused = of(Code::PermissionDenied, "etcdserver: permission denied");
        assert_eq!(refused.to_string(), "etcd at http://e:2379 refuses to write: permission denied");
        assert!(!refused.is_unreachable());
        let away = of(Code::Unavailable, "etcdserver: no leader");
        assert_eq!(away.to_string(), "cannot write: etcd at http://e:2379 is unavailable: no leader");
        assert!(away.is_unreachable());
        assert!(matches!(of(Code::NotFound, "etcdserver: requested lease not found"), Error::LeaseNotFound));
    }

    #[test]
    fn a_full_database_says_what_to_do() {
        let full = of(Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded").to_string();
        assert!(full.contains("database space exceeded") && full.contains("etcdctl alarm disarm"), "{full}");
    }

    #[test]
    fn an_answer_of_a_web_server_is_not_etcds() {
        let message = "grpc-status header missing, mapped from HTTP status code 404";
        let error = of(Code::Unimplemented, message);
        assert!(error.is_unreachable(), "the next endpoint may be etcd");
        let text = "cannot write: http://e:2379 does not speak etcd's API (HTTP status 404): check host, port and http:// or https://";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn only_what_never_reached_the_log_may_be_sent_again() {
        assert!(is_unsent(&Status::unavailable("etcdserver: no leader")));
        assert!(!is_unsent(&Status::unavailable("etcdserver: leader changed")));
        assert!(!is_unsent(&Status::unavailable("etcdserver: request timed out")));
    }
}
