//! Files that decide what runs as root: read whole, within limits, and only where not everybody can write to them.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::OFlags;
use tokio::io::AsyncReadExt;

/// How long reading may take: a file system of another machine may answer nothing.
const READ: Duration = Duration::from_secs(5);

/// The text of a file of at most `longest` bytes.
///
/// # Errors
/// Where it cannot be read, is no regular file, is longer or no UTF-8, or where everybody can write to it. None of
/// them says anything of what is in it.
pub(crate) async fn read(path: &Path, longest: u64) -> io::Result<String> {
    let slow = |_| io::Error::new(io::ErrorKind::TimedOut, "it took too long");
    tokio::time::timeout(READ, whole(path, longest)).await.map_err(slow)?
}

async fn whole(path: &Path, longest: u64) -> io::Result<String> {
    // A pipe would not open until somebody writes into it.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = tokio::fs::OpenOptions::new().read(true).custom_flags(flags).open(path).await?;
    let about = file.metadata().await?;
    if !about.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    if about.mode() & 0o002 != 0 {
        let why = "everybody can write to it, and so could choose what the agent runs: chmod o-w";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    let mut bytes = Vec::new();
    file.take(longest + 1).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 > longest {
        return Err(io::Error::other(format!("it is longer than {longest} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is no UTF-8"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as expected")]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    async fn refused(path: &Path) -> String {
        read(path, 10).await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn what_is_no_plain_short_text_of_few_writers_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "0123456789").unwrap();
        assert_eq!(read(&path, 10).await.unwrap(), "0123456789");
        std::fs::write(&path, "0123456789+").unwrap();
        assert_eq!(refused(&path).await, "it is longer than 10 bytes");
        std::fs::write(&path, b"\xff").unwrap();
        assert_eq!(refused(&path).await, "it is no UTF-8");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(refused(&path).await.starts_with("everybody can write to it"));
        assert_eq!(refused(folder.path()).await, "it is no regular file");
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert_eq!(refused(&pipe).await, "it is no regular file");
        assert_eq!(refused(Path::new("/dev/zero")).await, "it is no regular file");
    }
}
