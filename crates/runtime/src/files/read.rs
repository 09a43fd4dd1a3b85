use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use super::bounded::{soon, within_time};

/// Who must not have access to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// It controls the agent: it must not be world-writable.
    Writers,
    /// It is a secret: only its owner and root may have any access.
    Readers,
    /// It is the agent's own secret: like `Readers`, and its owner is the agent's user or root.
    Strangers,
}

/// Why a file was not read. No message contains any of its contents.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system refused to read it.
    #[error(transparent)]
    System(#[from] io::Error),
    /// It is not a regular file, but a folder, a pipe or a device.
    #[error("not a regular file")]
    Kind,
    /// Anybody on this host could have written it.
    #[error("anyone can write to it and so decide what the agent runs: chmod o-w")]
    Writable,
    /// Its mode gives others than its owner access.
    #[error("others can read it (mode {0:o}): chmod 600")]
    Readable(u32),
    /// Its owner is neither the agent's user nor root.
    #[error("it belongs to user {owner}, who can read and change it: chown {user}")]
    Foreign {
        /// The owner's user id.
        owner: u32,
        /// The agent's user id.
        user: u32,
    },
    /// It has more bytes than this.
    #[error("longer than {0} bytes")]
    Length(u64),
    /// It is not UTF-8.
    #[error("not UTF-8 (iconv -f latin1 -t utf8 converts it)")]
    Encoding,
}

impl ReadError {
    /// Returns whether the file does not exist.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::System(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

/// Returns the text of a file of at most `longest` bytes.
///
/// # Errors
/// Every variant of [`ReadError`].
pub fn read(path: &Path, longest: u64, guard: Guard) -> Result<String, ReadError> {
    // Opening a pipe would block until somebody writes to it.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(ReadError::Kind);
    }
    match guard {
        Guard::Writers if about.mode() & 0o002 != 0 => return Err(ReadError::Writable),
        Guard::Readers | Guard::Strangers if about.mode() & 0o077 != 0 => {
            return Err(ReadError::Readable(about.mode() & 0o777));
        }
        Guard::Strangers => {
            let (owner, user) = (about.uid(), rustix::process::geteuid().as_raw());
            if owner != user && owner != 0 {
                return Err(ReadError::Foreign { owner, user });
            }
        }
        Guard::Writers | Guard::Readers => {}
    }
    let mut bytes = Vec::new();
    file.take(longest.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > longest {
        return Err(ReadError::Length(longest));
    }
    String::from_utf8(bytes).map_err(|_| ReadError::Encoding)
}

/// Reads like [`read`], without blocking and within [`FILE_TIMEOUT`](super::FILE_TIMEOUT).
///
/// # Errors
/// Every variant of [`ReadError`].
pub async fn read_soon(path: &Path, longest: u64, guard: Guard) -> Result<String, ReadError> {
    let file = path.to_owned();
    soon(path, move || read(&file, longest, guard)).await?
}

/// Reads like [`read`], within [`FILE_TIMEOUT`](super::FILE_TIMEOUT).
///
/// # Errors
/// Every variant of [`ReadError`].
pub fn read_within_time(path: &Path, longest: u64, guard: Guard) -> Result<String, ReadError> {
    let file = path.to_owned();
    within_time(path, move || read(&file, longest, guard))?
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn refused(path: &Path, guard: Guard) -> String {
        read(path, 10, guard).unwrap_err().to_string()
    }

    #[tokio::test]
    async fn what_is_no_plain_short_text_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "0123456789").unwrap();
        assert_eq!(read_soon(&path, 10, Guard::Writers).await.unwrap(), "0123456789");
        std::fs::write(&path, "0123456789+").unwrap();
        assert_eq!(refused(&path, Guard::Writers), "longer than 10 bytes");
        std::fs::write(&path, b"\xff").unwrap();
        assert!(refused(&path, Guard::Writers).starts_with("not UTF-8"));
        assert_eq!(refused(folder.path(), Guard::Writers), "not a regular file");
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert_eq!(refused(&pipe, Guard::Writers), "not a regular file");
        assert_eq!(refused(Path::new("/dev/zero"), Guard::Writers), "not a regular file");
        assert!(read(&folder.path().join("none"), 10, Guard::Writers).unwrap_err().is_absence());
    }

    #[test]
    fn what_decides_has_few_writers_and_what_is_secret_one_reader() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "text").unwrap();
        let mode = |mode| std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        mode(0o664);
        assert_eq!(read(&path, 10, Guard::Writers).unwrap(), "text");
        assert_eq!(refused(&path, Guard::Readers), "others can read it (mode 664): chmod 600");
        mode(0o666);
        assert!(refused(&path, Guard::Writers).starts_with("anyone can write to it"));
        assert_eq!(refused(&path, Guard::Strangers), "others can read it (mode 666): chmod 600");
        mode(0o600);
        for guard in [Guard::Readers, Guard::Strangers] {
            assert_eq!(read(&path, 10, guard).unwrap(), "text");
        }
    }

    #[test]
    fn the_agents_own_secret_is_not_another_users() {
        let user = rustix::process::geteuid().as_raw();
        if user != 0 {
            // Only root can give a file away.
            return;
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::os::unix::fs::chown(file.path(), Some(4321), None).unwrap();
        assert_eq!(
            refused(file.path(), Guard::Strangers),
            "it belongs to user 4321, who can read and change it: chown 0"
        );
        assert_eq!(read(file.path(), 10, Guard::Readers).unwrap(), "");
    }
}
