//! Connections to containers of other hosts, through the agents there: what the balancer asks for, and nothing of how
//! it is done.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use longshore_model::{ContainerRef, Transport};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use crate::MAX_DATAGRAM;

/// A port of a container on another host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayTarget {
    /// The container.
    pub container: ContainerRef,
    /// Where the agent of its host listens.
    pub agent: SocketAddr,
    /// The port inside the container.
    pub port: u16,
    /// The transport protocol.
    pub transport: Transport,
}

/// The bytes of a connection, in both directions.
pub trait RelayIo: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> RelayIo for T {}

/// A connection to a container. For UDP, it carries [`datagrams`].
pub type RelayStream = Box<dyn RelayIo>;

/// A connection that is being opened.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<RelayStream>> + Send>>;

/// Connects to containers of other hosts.
pub trait Relay: fmt::Debug + Send + Sync + 'static {
    /// Opens a connection, on the caller's runtime. The future may be dropped at any await.
    ///
    /// It fails with [`io::ErrorKind::ConnectionRefused`] where the container or its host's agent refuses it, and with
    /// another kind where the agent cannot be reached or this host itself is at fault.
    fn connect(&self, target: RelayTarget) -> Connecting;
}

/// Returns a connection as a stream and a sink of datagrams, each after its length in two bytes.
pub fn datagrams<S: AsyncRead + AsyncWrite>(stream: S) -> Framed<S, LengthDelimitedCodec> {
    let mut codec = LengthDelimitedCodec::builder();
    codec.length_field_type::<u16>().max_frame_length(MAX_DATAGRAM);
    codec.new_framed(stream)
}
