//! Another host of the cluster, as seen from this one.

use std::fmt;
use std::net::SocketAddr;

/// Another host of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its agent.
    pub agent: PeerAgent,
    /// Whether it can be relied on.
    pub state: PeerState,
}

/// One run of a peer's agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerAgent {
    /// Where it listens to its peers.
    pub address: SocketAddr,
    /// Which of its runs it is: connections through an earlier one are not used any more.
    pub run: u32,
}

/// Whether a peer can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerState {
    /// It answers this host.
    Alive,
    /// It answers others, but not this host.
    Unreachable,
    /// It answers nobody.
    Suspect,
    /// Its agent said that it restarts. Its containers run on.
    Restarting,
}

impl fmt::Display for PeerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Alive => "alive",
            Self::Unreachable => "unreachable from here",
            Self::Suspect => "suspect",
            Self::Restarting => "restarting",
        })
    }
}
