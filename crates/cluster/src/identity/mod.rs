//! Who a host is to its peers: TLS 1.3 both ways, under an authority that only hosts of the cluster can derive.
//!
//! The authority's key comes from the cluster's secret. Each host issues itself a short-lived certificate with it, for
//! its id, and accepts only certificates of an authority on its ring. A client names in its first message the
//! authorities that it accepts; if there is none of its own among them, a server ends the connection without showing
//! its certificate.
//!
//! There are no sessions to resume: a connection is never older than the keys that it was accepted with.

mod authority;
mod certificates;
mod configs;

use std::fmt;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use longshore_model::HostId;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use configs::Configs;

/// What is spoken on a connection between hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerProtocol {
    /// HTTP/2: facts and calls.
    Http2,
    /// The bytes of a connection to a container.
    Relay,
}

impl PeerProtocol {
    const fn alpn(self) -> &'static [u8] {
        match self {
            Self::Http2 => b"h2",
            Self::Relay => b"longshore-relay",
        }
    }

    fn of(alpn: Option<&[u8]>) -> Option<Self> {
        [Self::Http2, Self::Relay].into_iter().find(|protocol| Some(protocol.alpn()) == alpn)
    }
}

/// Why this host has no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The ring is empty.
    #[error("the cluster has no key")]
    NoKey,
    /// A key or a certificate cannot be made.
    #[error("cannot issue a certificate")]
    Issue(#[from] rcgen::Error),
    /// TLS does not accept the keys.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
    /// TLS does not accept the authorities.
    #[error("cannot set up the check of peers' certificates")]
    Verifier(#[from] rustls::client::VerifierBuilderError),
}

/// A connection to a peer whose identity is proven.
#[derive(Debug)]
pub struct Secured<S> {
    /// The peer.
    pub peer: HostId,
    /// What is spoken.
    pub protocol: PeerProtocol,
    /// The connection.
    pub stream: TlsStream<S>,
}

/// This host, as its peers know it. Cheap to clone.
#[derive(Clone)]
pub struct Identity(Arc<Inner>);

struct Inner {
    host: HostId,
    clock: Arc<dyn TimeProvider>,
    configs: ArcSwap<Configs>,
    /// How often a key was removed from the ring.
    removals: watch::Sender<u64>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.0.host).finish()
    }
}

impl Identity {
    /// Creates the identity of a host in a cluster. `ring` has the seeds of the authorities' keys, the preferred one
    /// first.
    ///
    /// # Errors
    /// The ring is empty, or the system has no random numbers.
    pub fn new(host: HostId, ring: &[[u8; 32]]) -> Result<Self, IdentityError> {
        Self::with_clock(host, ring, Arc::new(DefaultTimeProvider))
    }

    fn with_clock(
        host: HostId,
        ring: &[[u8; 32]],
        clock: Arc<dyn TimeProvider>,
    ) -> Result<Self, IdentityError> {
        let configs = ArcSwap::from_pointee(Configs::new(host, ring, &clock)?);
        Ok(Self(Arc::new(Inner { host, clock, configs, removals: watch::Sender::new(0) })))
    }

    /// Returns this host's id.
    pub fn host(&self) -> HostId {
        self.0.host
    }

    /// Replaces the ring. If a key was removed, [`Removals`] say so: what it let in must go.
    ///
    /// # Errors
    /// As [`Self::new`]; the ring stays as it was.
    pub fn set_ring(&self, ring: &[[u8; 32]]) -> Result<(), IdentityError> {
        let configs = Configs::new(self.0.host, ring, &self.0.clock)?;
        let before = self.0.configs.load_full();
        let is_removed = !before.is_covered_by(&configs);
        self.0.configs.store(Arc::new(configs));
        if is_removed {
            self.0.removals.send_modify(|count| *count += 1);
        }
        Ok(())
    }

    /// Watches for keys that are removed from here on.
    pub fn removals(&self) -> Removals {
        Removals(self.0.removals.subscribe())
    }

    /// Makes an accepted connection secure.
    ///
    /// # Errors
    /// The peer is not of this cluster, or speaks no protocol that is known.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> io::Result<Secured<S>> {
        let configs = self.0.configs.load_full();
        let stream = TlsAcceptor::from(Arc::clone(&configs.server)).accept(stream).await?;
        let (_, session) = stream.get_ref();
        let peer = session.peer_certificates().and_then(|chain| certificates::host_of(chain.first()?));
        let protocol = PeerProtocol::of(session.alpn_protocol());
        let (Some(peer), Some(protocol)) = (peer, protocol) else {
            return Err(refused("the peer names no host or no protocol"));
        };
        Ok(Secured { peer, protocol, stream: stream.into() })
    }

    /// Makes a connection to a peer secure.
    ///
    /// # Errors
    /// It is not this peer that answers, or it does not accept this host.
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        peer: HostId,
        protocol: PeerProtocol,
    ) -> io::Result<Secured<S>> {
        let configs = self.0.configs.load_full();
        let config = match protocol {
            PeerProtocol::Http2 => &configs.http2,
            PeerProtocol::Relay => &configs.relay,
        };
        let name = certificates::server_name(peer).map_err(refused)?;
        let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await?;
        if PeerProtocol::of(stream.get_ref().1.alpn_protocol()) != Some(protocol) {
            return Err(refused("the peer does not speak this protocol"));
        }
        Ok(Secured { peer, protocol, stream: stream.into() })
    }
}

fn refused(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Says when a key was removed from the ring.
#[derive(Clone, Debug)]
pub struct Removals(watch::Receiver<u64>);

impl Removals {
    /// Waits until a key is removed.
    pub async fn removed(&mut self) {
        if self.0.changed().await.is_err() {
            // Without an identity, nothing can be removed.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests;
