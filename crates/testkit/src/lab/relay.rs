//! A stand-in for Docker's socket that misbehaves on demand: it cuts streams and stalls.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::LabError;
use super::namespace::Namespace;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Fair,
    Stalled,
    Cut,
}

/// A relay in front of a host's Docker: at [`Relay::unix`] and, from inside the namespace, at [`Relay::tcp`].
#[derive(Debug)]
pub struct Relay {
    dir: tempfile::TempDir,
    tcp: SocketAddr,
    mood: watch::Sender<Mood>,
    task: tokio::task::AbortHandle,
}

impl Relay {
    pub(super) async fn before(docker: &Path, inside: &Arc<Namespace>) -> Result<Self, LabError> {
        let dir = tempfile::tempdir().map_err(LabError::file("make", "a temporary directory"))?;
        let path = dir.path().join("docker.sock");
        let (mood, moods) = watch::channel(Mood::Fair);
        let listen = {
            let path = path.clone();
            async move { Ok((UnixListener::bind(path)?, TcpListener::bind("127.0.0.1:0").await?)) }
        };
        let bound: std::io::Result<_> = inside.run(listen).await?;
        let (unix, tcp) = bound.map_err(LabError::file("listen on", &path))?;
        let address = tcp.local_addr().map_err(LabError::file("listen on", &path))?;
        let task = inside.handle().spawn(serve(unix, tcp, docker.to_owned(), moods)).abort_handle();
        Ok(Self { dir, tcp: address, mood, task })
    }

    /// Returns the Unix socket, as `--docker` takes it.
    pub fn unix(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Returns the Unix socket's path.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("docker.sock")
    }

    /// Returns the TCP address within the host's namespace, as `--docker` takes it.
    pub fn tcp(&self) -> String {
        format!("tcp://{}", self.tcp)
    }

    /// Closes every connection, current and new, until [`Relay::heal`].
    pub fn cut(&self) {
        self.mood.send_replace(Mood::Cut);
    }

    /// Keeps every connection open but moves no bytes, until [`Relay::heal`].
    pub fn stall(&self) {
        self.mood.send_replace(Mood::Stalled);
    }

    /// Relays normally again.
    pub fn heal(&self) {
        self.mood.send_replace(Mood::Fair);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(unix: UnixListener, tcp: TcpListener, docker: PathBuf, moods: watch::Receiver<Mood>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((client, _)) = unix.accept() => {
                connections.spawn(relay(client, docker.clone(), moods.clone()));
            }
            Ok((client, _)) = tcp.accept() => {
                connections.spawn(relay(client, docker.clone(), moods.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn relay(client: impl AsyncRead + AsyncWrite, docker: PathBuf, moods: watch::Receiver<Mood>) {
    let Ok(server) = UnixStream::connect(docker).await else { return };
    let (client_read, client_write) = tokio::io::split(client);
    let (server_read, server_write) = server.into_split();
    let mut cut = moods.clone();
    let both = async {
        tokio::join!(
            copy(client_read, server_write, moods.clone()),
            copy(server_read, client_write, moods.clone())
        )
    };
    tokio::select! {
        _ = both => {}
        _ = cut.wait_for(|mood| *mood == Mood::Cut) => {}
    }
}

/// Copies until an end is closed, and pauses while stalled.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut moods: watch::Receiver<Mood>,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if moods.wait_for(|mood| *mood != Mood::Stalled).await.is_err() {
            return;
        }
        let Some(chunk) = buffer.get(..count) else { return };
        if to.write_all(chunk).await.is_err() {
            return;
        }
    }
    // A half-closed connection stays half open, as hijacked Docker streams require.
    let _ = to.shutdown().await;
}
