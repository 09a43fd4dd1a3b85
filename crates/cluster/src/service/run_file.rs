//! Counts the starts of the agent. No clock takes part: one that is set back must not make a run look old.

use std::io;
use std::path::Path;

use longshore_runtime::files;

const FILE: &str = "cluster-run";

/// Returns the number of a start that begins, above every one before, once it is on the disk.
///
/// A damaged file counts as none: whoever knows a later run of this host says so, and the core goes above it.
pub(super) fn begin(data_dir: &Path) -> io::Result<u32> {
    let last: u32 = match std::fs::read_to_string(data_dir.join(FILE)) {
        Ok(text) => text.trim().parse().unwrap_or_else(|_| {
            tracing::warn!(file = %data_dir.join(FILE).display(), "damaged: counting this host's starts from 1 again");
            0
        }),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => 0,
        Err(error) => return Err(error),
    };
    let run = last.checked_add(1).ok_or_else(|| io::Error::other("too many starts"))?;
    save(data_dir, run)?;
    Ok(run)
}

/// Puts a number on the disk, whole or not at all.
pub(super) fn save(data_dir: &Path, run: u32) -> io::Result<()> {
    files::replace(&data_dir.join(FILE), format!("{run}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_start_has_a_higher_number() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!([begin(dir.path()).unwrap(), begin(dir.path()).unwrap()], [1, 2]);
        save(dir.path(), 40).unwrap();
        assert_eq!(begin(dir.path()).unwrap(), 41);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_file_begins_again_and_an_unwritable_directory_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        for content in [&b"-1"[..], b"", b"\xff", b"99999999999"] {
            std::fs::write(dir.path().join(FILE), content).unwrap();
            assert_eq!(begin(dir.path()).unwrap(), 1);
        }
        assert!(begin(&dir.path().join("none")).is_err());
        save(dir.path(), u32::MAX).unwrap();
        assert!(begin(dir.path()).is_err());
    }
}
