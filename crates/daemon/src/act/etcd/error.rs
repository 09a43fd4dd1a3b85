//! What goes wrong with etcd.

use std::error::Error as _;
use std::path::PathBuf;
use std::time::Duration;

use longshore_plan::KeyChange;
use longshore_runtime::chain;
use longshore_runtime::files::ReadError;

/// gRPC's codes, as numbers: the crate that names them is etcd-client's own affair.
const NOT_FOUND: i32 = 5;
const DEADLINE_EXCEEDED: i32 = 4;
const UNKNOWN: i32 = 2;
const INTERNAL: i32 = 13;
const UNAVAILABLE: i32 = 14;

/// A step that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EtcdError {
    /// Nobody said where etcd is.
    #[error("no member of etcd is named")]
    NoMembers,
    /// A user and no password.
    #[error("etcd's user is given and no file with the password")]
    NoPassword,
    /// A file of ours cannot be read.
    #[error("cannot read {}", path.display())]
    File { path: PathBuf, source: ReadError },
    /// A member did not answer.
    #[error("{endpoint} did not answer within {limit:?} when asked to {what}")]
    Late { what: &'static str, endpoint: String, limit: Duration },
    /// A member cannot be reached, or cannot answer for the others.
    #[error("cannot {what} at {endpoint}: {why}")]
    Away { what: &'static str, endpoint: String, why: String },
    /// etcd's answer is no, and every member's would be.
    #[error("etcd at {endpoint} refuses to {what}: {why}")]
    Refused { what: &'static str, endpoint: String, why: String },
    /// etcd does not know the lease.
    #[error("etcd does not know the lease any more")]
    LeaseLost,
}

impl EtcdError {
    /// What became of a call.
    pub(super) fn of_call(what: &'static str, endpoint: &str, error: &etcd_client::Error) -> Self {
        use etcd_client::Error;
        let endpoint = endpoint.to_owned();
        match error {
            Error::GRpcStatus(status) => {
                let code = status.code() as i32;
                let message = status.message();
                if code == NOT_FOUND && message.contains("lease not found") {
                    return Self::LeaseLost;
                }
                let why = match status.source() {
                    Some(cause) => chain(cause),
                    None => message.to_owned(),
                };
                if matches!(code, UNAVAILABLE | DEADLINE_EXCEEDED | INTERNAL | UNKNOWN) {
                    Self::Away { what, endpoint, why }
                } else {
                    Self::Refused { what, endpoint, why }
                }
            }
            // The only way in which etcd-client says that a lease is not there when it is to be kept alive.
            Error::LeaseKeepAliveError(why) if why.contains("lease not found") => Self::LeaseLost,
            Error::TransportError(cause) => Self::Away { what, endpoint, why: chain(cause) },
            other => Self::Away { what, endpoint, why: chain(other) },
        }
    }

    /// Names the first of the changes that were refused together.
    pub(super) fn about(self, change: Option<&KeyChange>) -> Self {
        match (self, change) {
            (Self::Refused { what, endpoint, why }, Some(change)) => Self::Refused {
                what,
                endpoint,
                why: format!("{why} ({} and what goes with it)", change.key()),
            },
            (error, _) => error,
        }
    }

    /// Whether the member cannot answer, and another one may do better.
    pub(crate) fn is_the_members(&self) -> bool {
        matches!(self, Self::Late { .. } | Self::Away { .. })
    }
}
