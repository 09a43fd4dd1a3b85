//! Identifies this host across restarts: an id that is created at the first start and kept in the data
//! directory.

use std::io;
use std::path::{Path, PathBuf};

use longshore_model::{HostId, HostIdError};
use longshore_runtime::files;
use uuid::Uuid;

/// The file's name in the data directory.
const FILE: &str = "host-id";

/// Why a host has no id.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file exists and cannot be read.
    #[error("cannot read {0}")]
    Read(PathBuf, #[source] io::Error),
    /// The file cannot be written.
    #[error("cannot write {0}")]
    Write(PathBuf, #[source] io::Error),
    /// The file does not contain an id.
    #[error("{0} is damaged; delete it, and the host gets a new id")]
    Damaged(PathBuf, #[source] HostIdError),
}

/// What happens to a newly created id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// It is saved for the next agent.
    Always,
    /// It is discarded with this agent, which must not write anything.
    Never,
}

/// Returns the id of the host that this data directory belongs to.
///
/// # Errors
/// If the file exists and cannot be read or is not an id, or if it cannot be written.
pub(crate) fn host_id(data_dir: &Path, keeping: Keeping) -> Result<HostId, IdentityError> {
    let path = data_dir.join(FILE);
    if let Some(known) = read(&path)? {
        return Ok(known);
    }
    let made = HostId::from_u128(Uuid::now_v7().as_u128());
    if keeping == Keeping::Never {
        return Ok(made);
    }
    match files::create_new(&path, format!("{made}\n").as_bytes()) {
        Ok(()) => Ok(made),
        // A predecessor or a successor was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(read(&path)?.unwrap_or(made)),
        Err(error) => Err(IdentityError::Write(path, error)),
    }
}

fn read(path: &Path) -> Result<Option<HostId>, IdentityError> {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            text.trim().parse().map(Some).map_err(|error| IdentityError::Damaged(path.to_owned(), error))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(IdentityError::Read(path.to_owned(), error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_the_same_id_after_every_restart_and_no_other_has_it() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let id = host_id(one.path(), Keeping::Always).unwrap();
        assert_eq!(host_id(one.path(), Keeping::Always).unwrap(), id);
        assert_eq!(host_id(one.path(), Keeping::Never).unwrap(), id);
        assert_ne!(host_id(other.path(), Keeping::Always).unwrap(), id);
    }

    #[test]
    fn an_agent_that_must_not_write_needs_no_data_directory() {
        let dir = tempfile::tempdir().unwrap();
        host_id(&dir.path().join("none"), Keeping::Never).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_damaged_id_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), "not an id\n").unwrap();
        let error = host_id(dir.path(), Keeping::Always).unwrap_err();
        assert!(error.to_string().contains("delete it"), "{error}");
    }
}
