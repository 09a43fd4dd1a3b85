//! Opens connections to this host's containers for its peers.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use longshore_model::{HostId, RelayRefusal, Transport};
use longshore_net::MAX_DATAGRAM;
use longshore_net::relay::datagrams;
use longshore_wire::relay::{RelayReply, RelayRequest, encode_reply};
use tokio::io::{AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_rustls::TlsStream;
use tokio_util::task::TaskTracker;

use super::{read_head, watch_over};
use crate::identity::Identity;

/// How long a peer may take to say what it wants.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);

/// How long a container may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// How many bytes are read at once in each direction.
const BUFFER: usize = 32 * 1024;

/// Knows where a peer's request may lead.
pub trait RelayTargets: Send + Sync + 'static {
    /// Returns the addresses of what a peer asked for, the most likely first.
    ///
    /// # Errors
    /// Nothing leads there, or not from here.
    fn find(&self, request: &RelayRequest) -> Result<Vec<SocketAddr>, RelayRefusal>;
}

/// Opens connections to this host's containers. Clones share the connections, which outlive the membership in which
/// they were opened.
#[derive(Clone)]
pub struct RelayServer {
    targets: Arc<dyn RelayTargets>,
    connections: TaskTracker,
}

impl RelayServer {
    /// Creates a server that leads where `targets` says.
    pub fn new(targets: impl RelayTargets) -> Self {
        Self { targets: Arc::new(targets), connections: TaskTracker::new() }
    }

    /// Serves a peer's connection until it ends, or until a key is removed from `identity`. If the future is dropped,
    /// the connection stays.
    pub async fn serve(&self, identity: &Identity, from: HostId, stream: TlsStream<TcpStream>) {
        let (targets, mut removals) = (Arc::clone(&self.targets), identity.removals());
        let served = self.connections.spawn(async move {
            tokio::select! {
                served = relay(&*targets, stream) => if let Err(error) = served {
                    tracing::debug!(%from, %error, "a relayed connection ended with an error");
                },
                () = removals.removed() => {}
            }
        });
        // It fails only with the runtime.
        let _ = served.await;
    }

    /// Waits until the connections have ended, at most for `grace`.
    pub async fn drain(&self, grace: Duration) {
        self.connections.close();
        let _ = timeout(grace, self.connections.wait()).await;
    }
}

async fn relay(targets: &dyn RelayTargets, mut stream: TlsStream<TcpStream>) -> io::Result<()> {
    watch_over(stream.get_ref().0);
    let head = timeout(REQUEST_LIMIT, read_head(&mut stream)).await??;
    let request =
        RelayRequest::read(&head).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let found = targets.find(&request);
    let addresses = match found {
        Ok(addresses) => addresses,
        Err(refusal) => {
            tracing::debug!(container = %request.container, port = request.port, %refusal, "a peer was refused");
            return reply(&mut stream, Err(refusal)).await;
        }
    };
    match request.transport {
        Transport::Tcp => match connect(&addresses).await {
            Ok(mut upstream) => {
                reply(&mut stream, Ok(())).await?;
                copy_bidirectional_with_sizes(&mut stream, &mut upstream, BUFFER, BUFFER).await?;
                Ok(())
            }
            Err(error) => {
                let is_refused = error.kind() == io::ErrorKind::ConnectionRefused;
                let refusal = if is_refused { RelayRefusal::Refused } else { RelayRefusal::Unreachable };
                reply(&mut stream, Err(refusal)).await
            }
        },
        Transport::Udp => match socket_to(&addresses).await {
            Ok(upstream) => {
                reply(&mut stream, Ok(())).await?;
                relay_datagrams(stream, &upstream).await
            }
            Err(_) => reply(&mut stream, Err(RelayRefusal::Unreachable)).await,
        },
    }
}

async fn reply(stream: &mut TlsStream<TcpStream>, reply: RelayReply) -> io::Result<()> {
    stream.write_all(&encode_reply(reply)).await?;
    stream.flush().await?;
    if reply.is_err() {
        stream.shutdown().await?;
    }
    Ok(())
}

/// Connects to the first address that accepts.
async fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::HostUnreachable);
    for address in addresses {
        match timeout(CONNECT_LIMIT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

async fn socket_to(addresses: &[SocketAddr]) -> io::Result<UdpSocket> {
    let address = addresses.first().ok_or(io::ErrorKind::HostUnreachable)?;
    let any = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(address).await?;
    Ok(socket)
}

/// Carries datagrams until either side fails. A datagram that the container refuses ends the connection: the peer
/// then tries another container.
async fn relay_datagrams(stream: TlsStream<TcpStream>, upstream: &UdpSocket) -> io::Result<()> {
    let (mut to_peer, mut from_peer) = datagrams(stream).split();
    let there = async {
        while let Some(data) = from_peer.next().await {
            upstream.send(&data?).await?;
        }
        Ok(())
    };
    let back = async {
        let mut buffer = vec![0; MAX_DATAGRAM];
        loop {
            let length = upstream.recv(&mut buffer).await?;
            let data = buffer.get(..length).unwrap_or_default();
            to_peer.send(bytes::Bytes::copy_from_slice(data)).await?;
        }
    };
    tokio::select! {
        ended = there => ended,
        ended = back => ended,
    }
}
