//! Atomic writes: a file is written beside its destination, then renamed.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::{NamedTempFile, TempPath};

use crate::HaproxyError;
use crate::command::map_file;
use crate::layout::{Map, State};
use crate::settings::Paths;

/// Writes this text to a temporary file beside `path`, with the permissions of the file at `path` (else 0600). The
/// file is deleted when dropped, unless [`put`] moves it.
pub(crate) fn beside(path: &Path, text: &str) -> Result<TempPath, HaproxyError> {
    let write = || {
        let dir = path.parent().unwrap_or(Path::new("/"));
        let mut file = NamedTempFile::with_prefix_in(".longshore-", dir)?;
        file.write_all(text.as_bytes())?;
        if let Ok(there) = std::fs::metadata(path) {
            file.as_file().set_permissions(there.permissions())?;
        }
        file.as_file().sync_data()?;
        Ok(file.into_temp_path())
    };
    write().map_err(HaproxyError::file("write", path))
}

/// Moves a temporary file to its destination.
pub(crate) fn put(file: TempPath, path: &Path) -> Result<(), HaproxyError> {
    file.persist(path).map_err(|error| HaproxyError::file("write", path)(error.error))
}

/// Writes a file atomically, unless it has this text.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), HaproxyError> {
    if std::fs::read(path).is_ok_and(|there| there == text.as_bytes()) {
        return Ok(());
    }
    put(beside(path, text)?, path)
}

/// Writes the map of each HTTP frontend of the state.
pub(crate) fn write_maps(paths: &Paths, state: &State) -> Result<(), HaproxyError> {
    for (port, map) in &state.maps {
        write(&paths.map(*port), &map_file(map, state.marked.contains(port)))?;
    }
    Ok(())
}

/// Creates missing maps, empty: `haproxy -c` needs every file that the configuration names.
pub(crate) fn touch_maps(paths: &Paths, state: &State) -> Result<(), HaproxyError> {
    for port in state.maps.keys() {
        let path = paths.map(*port);
        if !path.exists() {
            write(&path, &map_file(&Map::new(), false))?;
        }
    }
    Ok(())
}

/// Creates the directory of a file, if it is missing.
pub(crate) fn parent_dir(path: &Path) -> Result<(), HaproxyError> {
    match path.parent().filter(|parent| !parent.is_dir()) {
        Some(parent) => std::fs::create_dir_all(parent).map_err(HaproxyError::file("create", parent)),
        None => Ok(()),
    }
}

/// Creates a directory with mode 0700, if it is missing.
pub(crate) fn private_dir(path: &Path) -> Result<(), HaproxyError> {
    let make = || {
        std::fs::create_dir_all(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
    };
    make().map_err(HaproxyError::file("create", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_its_permissions_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        write(&path, "one").unwrap();
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        write(&path, "two").unwrap();
        drop(beside(&path, "three").unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(mode(), 0o640);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_has_the_text_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        write(&path, "one").unwrap();
        let inode = || std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&path).unwrap());
        let before = inode();
        write(&path, "one").unwrap();
        assert_eq!(inode(), before);
    }
}
