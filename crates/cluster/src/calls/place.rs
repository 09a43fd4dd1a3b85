use std::net::SocketAddr;

/// Where a peer is, and whether it can be called. Calls that are under way end when any of this changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerPlace {
    /// Its name, for errors.
    pub name: String,
    /// Where it listens to its peers.
    pub address: SocketAddr,
    /// The run of its agent.
    pub run: u64,
    /// It is alive, but did not answer this host: it is called nevertheless, on new connections.
    pub is_cut: bool,
    /// Why it is not called at all: `it is dead`.
    pub lost: Option<String>,
}
