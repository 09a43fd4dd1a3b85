//! The data directory: only the agent may write to it.
//!
//! It holds the journal, the host's id and HAProxy's control socket: a user who can write there can make the
//! agent act on their behalf.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The file whose lock shows that an agent uses the directory.
const LOCK: &str = "lock";

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It cannot be created, read or written.
    #[error("cannot use the data directory {}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another agent uses it.
    #[error("the data directory {} is in use by another agent: give this one its own with --data-dir", .0.display())]
    InUse(PathBuf),
    /// It belongs to another user.
    #[error(
        "the data directory {} belongs to user {owner}, and the agent runs as user {user}: chown it, or choose another with \
         --data-dir",
        path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// The owner's user id.
        owner: u32,
        /// The agent's user id.
        user: u32,
    },
    /// Everyone may write there.
    #[error("every user can write to the data directory {} (mode {mode:04o}): run chmod o-w on it", path.display())]
    Writable {
        /// The directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

/// Takes the directory for this agent alone, for as long as the returned file is open. Creates it if it does
/// not exist.
///
/// # Errors
/// Every variant of [`DataDirError`].
pub(crate) fn take(path: &Path) -> Result<File, DataDirError> {
    let failed = |source| DataDirError::Io { path: path.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
    check(path)?;
    let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path.join(LOCK));
    let lock = lock.map_err(failed)?;
    lock.try_lock().map_err(|_| DataDirError::InUse(path.to_owned()))?;
    Ok(lock)
}

/// Rejects a directory that others can write to. A missing one is fine.
///
/// # Errors
/// [`DataDirError::Foreign`], [`DataDirError::Writable`], and [`DataDirError::Io`] where it cannot be
/// inspected.
pub(crate) fn check(path: &Path) -> Result<(), DataDirError> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(DataDirError::Io { path: path.to_owned(), source }),
    };
    let user = rustix::process::geteuid().as_raw();
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if owner != user && owner != 0 {
        return Err(DataDirError::Foreign { path: path.to_owned(), owner, user });
    }
    if mode & 0o002 != 0 {
        return Err(DataDirError::Writable { path: path.to_owned(), mode });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn with_mode(mode: u32) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(mode)).unwrap();
        dir
    }

    #[test]
    fn a_directory_that_everyone_can_write_to_is_refused() {
        for mode in [0o777, 0o1777, 0o702] {
            let dir = with_mode(mode);
            let error = take(dir.path()).unwrap_err().to_string();
            assert!(error.contains(&format!("mode {mode:04o}")) && error.contains("chmod o-w"), "{error}");
            assert!(!dir.path().join(LOCK).exists(), "nothing is written there");
        }
        for mode in [0o700, 0o755, 0o770] {
            take(with_mode(mode).path()).unwrap();
        }
    }

    #[test]
    fn a_directory_of_another_user_is_refused() {
        if !rustix::process::geteuid().is_root() {
            // Only root can give a directory away.
            return;
        }
        let dir = with_mode(0o700);
        std::os::unix::fs::chown(dir.path(), Some(4321), None).unwrap();
        let error = take(dir.path()).unwrap_err();
        assert!(matches!(error, DataDirError::Foreign { owner: 4321, user: 0, .. }), "{error}");
    }

    #[test]
    fn a_directory_is_made_for_its_agent_and_is_one_agents() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        check(&path).unwrap();
        assert!(!path.exists(), "a check makes nothing");
        let held = take(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        assert!(matches!(take(&path), Err(DataDirError::InUse(_))));
        drop(held);
        take(&path).unwrap();
    }
}
