//! The socket through which root on this host reaches the agent without a token.
//!
//! Its file is its owner's alone, and the kernel tells which user connects: one who is neither root nor the agent's own
//! user is refused, whatever the modes of directories say.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use longshore_runtime::files::private_folder;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

/// How long another agent may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    /// Another agent listens there.
    #[error("another agent listens on {}", .0.display())]
    InUse(PathBuf),
    /// Something that is no socket has this path.
    #[error("{} exists and is not a socket", .0.display())]
    NoSocket(PathBuf),
    /// The system refuses.
    #[error("cannot listen on {}", .0.display())]
    Io(PathBuf, #[source] io::Error),
}

/// The listening socket. Its file is removed with it.
#[derive(Debug)]
pub(crate) struct RootSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode: a successor may have put its own file there.
    file: (u64, u64),
}

impl RootSocket {
    /// Listens at this path. What an agent that has ended left there is replaced.
    ///
    /// # Errors
    /// Every variant of [`SocketError`].
    pub(crate) async fn open(path: &Path) -> Result<Self, SocketError> {
        let failed = |error| SocketError::Io(path.to_owned(), error);
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(SocketError::NoSocket(path.to_owned()));
            }
            Ok(_) => match timeout(PATIENCE, UnixStream::connect(path)).await {
                Ok(Err(_)) => {}
                // One that is too busy to accept is alive as well.
                Ok(Ok(_)) | Err(_) => return Err(SocketError::InUse(path.to_owned())),
            },
            Err(_) => private_folder(path.parent().unwrap_or(Path::new("/"))).map_err(failed)?,
        }
        let mut new = path.as_os_str().to_owned();
        new.push(format!(".{}", std::process::id()));
        let new = PathBuf::from(new);
        let _ = std::fs::remove_file(&new);
        let listener = UnixListener::bind(&new).map_err(failed)?;
        let private = std::fs::Permissions::from_mode(0o600);
        let placed = std::fs::set_permissions(&new, private).and_then(|()| std::fs::rename(&new, path));
        if let Err(error) = placed {
            let _ = std::fs::remove_file(&new);
            return Err(failed(error));
        }
        let file = std::fs::symlink_metadata(path).map(|file| (file.dev(), file.ino())).map_err(failed)?;
        Ok(Self { listener, path: path.to_owned(), file })
    }

    /// Accepts a connection; `None` if it is from another user than root and the agent's own.
    pub(super) async fn accept(&self) -> io::Result<Option<UnixStream>> {
        let (stream, _) = self.listener.accept().await?;
        let (user, own) = (stream.peer_cred()?.uid(), rustix::process::geteuid().as_raw());
        let is_trusted = user == 0 || user == own;
        if !is_trusted {
            tracing::warn!(user, "a connection to the agent's socket was refused: it is for root only");
        }
        Ok(is_trusted.then_some(stream))
    }
}

impl Drop for RootSocket {
    fn drop(&mut self) {
        let file = std::fs::symlink_metadata(&self.path).map(|file| (file.dev(), file.ino()));
        if file.is_ok_and(|file| file == self.file) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_file_is_its_owners_and_goes_with_the_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/agent.sock");
        let socket = RootSocket::open(&path).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
        let (accepted, _client) = tokio::join!(socket.accept(), UnixStream::connect(&path));
        assert!(accepted.unwrap().is_some());
        drop(socket);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_live_agents_path_is_refused_and_a_dead_ones_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.sock");
        let live = RootSocket::open(&path).await.unwrap();
        assert!(matches!(RootSocket::open(&path).await, Err(SocketError::InUse(_))));
        // As after a kill: the file stays, and nobody listens.
        drop(std::os::unix::net::UnixListener::bind(dir.path().join("dead.sock")).unwrap());
        let replaced = RootSocket::open(&dir.path().join("dead.sock")).await.unwrap();
        drop((live, replaced));
        std::fs::write(&path, "mine").unwrap();
        assert!(matches!(RootSocket::open(&path).await, Err(SocketError::NoSocket(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }

    #[tokio::test]
    async fn a_successors_file_stays_when_its_predecessor_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.sock");
        let first = RootSocket::open(&path).await.unwrap();
        std::fs::remove_file(&path).unwrap();
        let _second = RootSocket::open(&path).await.unwrap();
        drop(first);
        assert!(UnixStream::connect(&path).await.is_ok());
    }
}
