//! The peers that can be called.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use longshore_model::{Call, CallError, HostId};
use longshore_runtime::{CallPeers, Reply};
use longshore_wire::call::CallRow;

use super::peer::Peer;
use super::place::PeerPlace;
use crate::identity::Identity;

/// Calls peers. Connections are opened when they are needed, shared by many calls, and replaced when they break. Cheap to
/// clone.
#[derive(Clone, Debug)]
pub struct PeerCalls(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    identity: Identity,
    /// The run of this host's agent: no two runs make the same key.
    run: u64,
    calls: AtomicU64,
    peers: ArcSwap<BTreeMap<HostId, Arc<Peer>>>,
}

impl PeerCalls {
    /// Creates a pool without peers, for this run of the host's agent.
    pub fn new(identity: Identity, run: u64) -> Self {
        Self(Arc::new(Inner { identity, run, calls: AtomicU64::new(0), peers: ArcSwap::default() }))
    }

    /// Replaces the list of peers. Only one task may do so.
    pub fn set(&self, places: BTreeMap<HostId, PeerPlace>) {
        let before = self.0.peers.load_full();
        let peer = |(host, place): (HostId, PeerPlace)| {
            let known = before.get(&host).filter(|peer| *peer.place() == place).cloned();
            (host, known.unwrap_or_else(|| Arc::new(Peer::new(host, place))))
        };
        let peers: BTreeMap<_, _> = places.into_iter().map(peer).collect();
        let now = Arc::new(peers);
        self.0.peers.store(Arc::clone(&now));
        for (host, peer) in &*before {
            match now.get(host) {
                Some(same) if Arc::ptr_eq(same, peer) => {}
                other => peer.end(other.map(|peer| peer.place())),
            }
        }
    }

    async fn carry(&self, host: HostId, call: Call, limit: Duration) -> Result<Reply, CallError> {
        let peer = self.0.peers.load().get(&host).cloned();
        let peer = peer.ok_or_else(|| CallError::UnknownHost(host.to_string()))?;
        let row =
            CallRow::new(&call, limit).map_err(|_| CallError::Invalid("the body is not JSON".to_owned()))?;
        let row = match call.is_order() {
            true => row.with_key(format!("{}-{}", self.0.run, self.0.calls.fetch_add(1, Relaxed))),
            false => row,
        };
        peer.call(&self.0.identity, &call, &row).await
    }
}

impl CallPeers for PeerCalls {
    fn call(&self, host: HostId, call: Call, limit: Duration) -> BoxFuture<'_, Result<Reply, CallError>> {
        let carried = self.carry(host, call, limit);
        async move { tokio::time::timeout(limit, carried).await.unwrap_or(Err(CallError::Timeout(limit))) }
            .boxed()
    }
}
