//! File locks: one user per host, one builder at a time. The kernel releases them when their holder dies.

use std::fs::{self, File};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::LabError;

/// A lock held until it is dropped.
#[derive(Debug)]
pub(super) struct Lease(#[expect(dead_code, reason = "held open, never read")] File);

fn open(path: &Path) -> Result<File, LabError> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(LabError::file("make", dir))?;
    }
    File::options().create(true).truncate(false).write(true).open(path).map_err(LabError::file("open", path))
}

/// Takes the lock, if nobody holds it.
pub(super) fn try_take(path: &Path) -> Result<Option<Lease>, LabError> {
    let file = open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Lease(file))),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(e) => Err(LabError::file("lock", path)(e.into())),
    }
}

/// Takes the lock, waiting for its current holder.
pub(super) async fn take(path: &Path) -> Result<Lease, LabError> {
    loop {
        if let Some(lease) = try_take(path)? {
            return Ok(lease);
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_taken_once_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/lease");
        let first = try_take(&path).unwrap();
        assert!(first.is_some());
        assert!(try_take(&path).unwrap().is_none());
        drop(first);
        assert!(try_take(&path).unwrap().is_some());
    }
}
