//! Connections to containers through the agents of their hosts.
//!
//! Each is a TLS connection of its own with the protocol `longshore-relay`: a request names the container and the
//! port, the agent replies whether it opened the connection, and from then on the bytes are the container's. For UDP,
//! they are datagrams, each after its length.

mod client;
mod server;

use std::io;
use std::time::Duration;

use longshore_wire::relay::MAX_HEAD;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

pub use client::RelayClient;
pub use longshore_wire::relay::RelayRequest;
pub use server::{RelayServer, RelayTargets};

/// A peer's secure connection.
pub type PeerStream = TlsStream<TcpStream>;

/// How long a silent connection is trusted before the other side is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// How long sent bytes may go unacknowledged before the other side counts as gone.
const UNACKNOWLEDGED_LIMIT: Duration = Duration::from_secs(30);

/// Makes a connection notice that the other host is gone. A failure only costs time.
fn watch_over(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE));
    let _ = socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_LIMIT));
}

/// Reads a request or a reply, without its length.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let length = usize::from(stream.read_u16().await?);
    if length > MAX_HEAD {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the start of a relayed connection is too long",
        ));
    }
    let mut head = vec![0; length];
    stream.read_exact(&mut head).await?;
    Ok(head)
}

#[cfg(test)]
mod tests;
