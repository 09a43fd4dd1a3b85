//! The process's limit of open files.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The highest limit to set: far more than a host's traffic needs, yet low enough for programs that the agent
/// runs and that close every possible descriptor.
const MAX_DESCRIPTORS: u64 = 524_288;

/// Raises the soft limit of open files to the hard one: each proxied connection takes two, and the usual soft
/// limit of 1024 is meant for programs that use `select`.
pub(crate) fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(MAX_DESCRIPTORS).min(MAX_DESCRIPTORS);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit }) {
        Ok(()) => tracing::debug!(from = limit.current, to = wanted, "raised the limit of open files"),
        Err(error) => tracing::warn!(%error, "cannot raise the limit of open files"),
    }
}
