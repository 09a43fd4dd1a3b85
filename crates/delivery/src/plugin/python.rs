//! The Python package for plugins: embedded in the binary, and written where Python can find it.
//!
//! Each version has its own folder, named by its content, so an upgraded agent does not disturb the running plugins
//! of its predecessor. An intact folder is not written again.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Embeds a file of the package.
macro_rules! carried {
    ($path:literal) => {
        ($path, include_str!(concat!("../../../../plugins/python/", $path)))
    };
}

/// The package's files, relative to its root.
const FILES: [(&str, &str); 8] = [
    carried!("DockerGlue/__init__.py"),
    carried!("DockerGlue/handlers/__init__.py"),
    carried!("longshore_plugin/__init__.py"),
    carried!("longshore_plugin/agent.py"),
    carried!("longshore_plugin/events.py"),
    carried!("longshore_plugin/glue.py"),
    carried!("longshore_plugin/runner.py"),
    carried!("longshore_plugin/wire.py"),
];

/// Only the agent's user can change what its plugins run.
const FILE_MODE: u32 = 0o644;
const FOLDER_MODE: u32 = 0o755;

/// Returns the package's folder below `data_dir`, and writes it unless it is already there.
///
/// # Errors
/// Returns an error if the folder cannot be written.
pub(super) fn provide(data_dir: &Path) -> io::Result<PathBuf> {
    let parent = data_dir.join("python");
    let folder = parent.join(name());
    if is_intact(&folder) {
        return Ok(folder);
    }
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(&parent)?;
    let made = tempfile::Builder::new().prefix(".new-").tempdir_in(&parent)?;
    for (path, text) in FILES {
        write(&made.path().join(path), made.path(), text)?;
    }
    fs::set_permissions(made.path(), Permissions::from_mode(FOLDER_MODE))?;
    if fs::symlink_metadata(&folder).is_ok() {
        // Damaged, or not ours.
        let aside = tempfile::Builder::new().prefix(".old-").tempdir_in(&parent)?;
        fs::rename(&folder, aside.path().join("package"))?;
    }
    match fs::rename(made.path(), &folder) {
        Ok(()) => {
            // It was moved, so nothing is left to remove at its old path.
            let _ = made.keep();
        }
        // Another plugin of this agent was first.
        Err(_) if is_intact(&folder) => {}
        Err(error) => return Err(error),
    }
    Ok(folder)
}

/// Returns the value of `PYTHONPATH` that includes this folder, after the agent's own entries.
pub(super) fn search_path(own: Option<std::ffi::OsString>, folder: &Path) -> std::ffi::OsString {
    match own {
        Some(mut own) if !own.is_empty() => {
            own.push(":");
            own.push(folder);
            own
        }
        _ => folder.into(),
    }
}

/// Returns the folder's name: the version, and a digest of the contents.
fn name() -> String {
    let mut digest = Sha256::new();
    for (path, text) in FILES {
        digest.update(path);
        digest.update([0]);
        digest.update(text);
        digest.update([0]);
    }
    let hex: String = digest.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{hex}", env!("CARGO_PKG_VERSION"))
}

/// Returns whether every file is there with its text, and only its owner can change it.
fn is_intact(folder: &Path) -> bool {
    let is_safe = |path: &Path, is_folder: bool| {
        fs::symlink_metadata(path).is_ok_and(|found| {
            let is_kind = if is_folder { found.is_dir() } else { found.is_file() };
            is_kind && found.mode() & 0o022 == 0 && found.uid() == rustix::process::geteuid().as_raw()
        })
    };
    let is_whole = |(path, text): &(&str, &str)| {
        let path = folder.join(path);
        let folders = path.ancestors().skip(1).take_while(|above| above.starts_with(folder));
        is_safe(&path, false)
            && folders.into_iter().all(|above| is_safe(above, true))
            && fs::read_to_string(&path).is_ok_and(|found| found == *text)
    };
    FILES.iter().all(is_whole)
}

fn write(path: &Path, root: &Path, text: &str) -> io::Result<()> {
    let above = path.parent().unwrap_or(root);
    for folder in above.ancestors().take_while(|folder| *folder != root).collect::<Vec<_>>().iter().rev() {
        match DirBuilder::new().mode(FOLDER_MODE).create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            // The process's umask may have removed permissions.
            _ => fs::set_permissions(folder, Permissions::from_mode(FOLDER_MODE))?,
        }
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)?;
    file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn python_files(root: &Path, folder: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                python_files(root, &path, found);
            } else if path.extension().is_some_and(|extension| extension == "py") {
                found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }

    #[test]
    fn every_file_of_the_package_is_carried() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/python");
        let mut found = BTreeSet::new();
        for package in ["DockerGlue", "longshore_plugin"] {
            python_files(&root, &root.join(package), &mut found);
        }
        assert_eq!(found, FILES.iter().map(|(path, _)| (*path).to_owned()).collect());
    }

    #[test]
    fn the_package_is_written_once_and_nobody_else_can_change_it() {
        let data = tempfile::tempdir().unwrap();
        let folder = provide(data.path()).unwrap();
        let inode = || fs::metadata(folder.join("longshore_plugin/wire.py")).unwrap().ino();
        let first = inode();
        assert_eq!(provide(data.path()).unwrap(), folder);
        assert_eq!(inode(), first);
        let mode = |path: &str| fs::metadata(folder.join(path)).unwrap().mode() & 0o777;
        assert_eq!((mode(""), mode("DockerGlue/handlers")), (0o755, 0o755));
        assert_eq!(mode("longshore_plugin/wire.py"), 0o644);
        assert_eq!(
            fs::read_dir(data.path().join("python")).unwrap().count(),
            1,
            "nothing else is left there"
        );
    }

    #[test]
    fn a_package_that_was_changed_or_may_have_been_is_written_again() {
        let data = tempfile::tempdir().unwrap();
        let folder = provide(data.path()).unwrap();
        let file = folder.join("longshore_plugin/wire.py");
        let own = fs::read_to_string(&file).unwrap();
        fs::write(&file, "import os").unwrap();
        provide(data.path()).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), own);
        fs::set_permissions(folder.join("longshore_plugin"), Permissions::from_mode(0o777)).unwrap();
        provide(data.path()).unwrap();
        assert_eq!(fs::metadata(folder.join("longshore_plugin")).unwrap().mode() & 0o777, 0o755);
        fs::remove_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink("/tmp", &folder).unwrap();
        provide(data.path()).unwrap();
        assert!(!fs::symlink_metadata(&folder).unwrap().is_symlink());
        assert_eq!(fs::read_dir(data.path().join("python")).unwrap().count(), 1);
    }

    #[test]
    fn the_agents_own_search_path_goes_first() {
        let folder = Path::new("/data/python/1");
        assert_eq!(search_path(None, folder), "/data/python/1");
        assert_eq!(search_path(Some("".into()), folder), "/data/python/1");
        assert_eq!(search_path(Some("/a:/b".into()), folder), "/a:/b:/data/python/1");
    }
}
