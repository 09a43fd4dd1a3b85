//! Who carries out calls: this host's Docker, or another host.

use std::fmt;
use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use longshore_model::{Call, CallError, HostId, Input, Output};
use tokio::sync::mpsc;

/// The pieces of a reply, as they come. It ends with the first error; dropping it ends the call.
pub type OutputStream = BoxStream<'static, Result<Output, CallError>>;

/// The reply to a call.
pub enum Reply {
    /// It is done.
    Done,
    /// There was nothing to do: Docker's 304.
    Already,
    /// Docker's JSON, as Docker wrote it.
    Json(Bytes),
    /// A stream of output.
    Stream(OutputStream),
    /// A stream both ways.
    Session(Session),
}

/// A stream both ways.
pub struct Session {
    /// What the command writes; the last piece is its exit code.
    pub output: OutputStream,
    /// Takes what the command reads.
    pub input: mpsc::Sender<Input>,
}

impl Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("Done"),
            Self::Already => f.write_str("Already"),
            Self::Json(json) => write!(f, "Json({} bytes)", json.len()),
            Self::Stream(_) => f.write_str("Stream"),
            Self::Session(_) => f.write_str("Session"),
        }
    }
}

/// Carries out calls on this host's Docker.
pub trait Execute: Debug + Send + Sync {
    /// Carries out a call. The reply, or the beginning of its stream, comes within `limit`.
    ///
    /// # Errors
    /// Docker refuses, does not answer, or not in time.
    fn execute(&self, call: Call, limit: Duration) -> BoxFuture<'_, Result<Reply, CallError>>;
}

/// Passes calls on to other hosts.
pub trait CallPeers: Debug + Send + Sync {
    /// Passes a call on to a host. The reply, or the beginning of its stream, comes within `limit`.
    ///
    /// # Errors
    /// Those of [`Execute::execute`] there, [`CallError::UnknownHost`] and [`CallError::Unreachable`].
    fn call(&self, host: HostId, call: Call, limit: Duration) -> BoxFuture<'_, Result<Reply, CallError>>;
}
