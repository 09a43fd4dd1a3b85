//! Keeps one stream of facts to each live member.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use longshore_model::HostId;
use longshore_runtime::state::{Observation, PeerObservation};
use longshore_runtime::{backoff, chain};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::client::follow_stream;
use crate::facts::{EventCursor, PeerEvent, Replica};
use crate::identity::Identity;

const FIRST_DELAY: Duration = Duration::from_millis(50);
const MAX_DELAY: Duration = Duration::from_secs(2);

/// Another host of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Where it listens to its peers.
    pub address: SocketAddr,
    /// Whether it is alive. If it is suspect, its facts are kept but not followed: the connection is opened again when
    /// it is alive again, and not left to TCP's patience.
    pub is_live: bool,
}

/// The other hosts whose facts are wanted. Those of a host that is not listed any more are dropped.
pub type Members = BTreeMap<HostId, Member>;

/// How it stands with the stream of a member's facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// It is being opened for the first time.
    Opening,
    /// Facts are coming.
    Open,
    /// It broke, and is opened again after a back-off.
    Broken(String),
}

/// How it stands with the streams of all live members.
pub type Links = BTreeMap<HostId, LinkState>;

/// Takes what happens on other hosts.
pub type OnEvent = Box<dyn Fn(HostId, PeerEvent) + Send + Sync>;

/// Follows the facts of all live members, until the list of members or the receiver of observations is dropped. `events`
/// takes what happens to their containers.
pub async fn follow(
    identity: Identity,
    mut members: watch::Receiver<Members>,
    observations: mpsc::UnboundedSender<Observation>,
    links: watch::Sender<Links>,
    events: OnEvent,
) {
    let mut peers: BTreeMap<HostId, Peer> = BTreeMap::new();
    // A host that is gone for a while has kept what happened meanwhile.
    let mut followed: BTreeMap<HostId, EventCursor> = BTreeMap::new();
    let context = Arc::new(Context { identity, observations, links, events });
    loop {
        let mut wanted = members.borrow_and_update().clone();
        wanted.remove(&context.identity.host());
        let gone: Vec<_> = peers.keys().filter(|host| !wanted.contains_key(host)).copied().collect();
        for host in gone {
            let Some(mut peer) = peers.remove(&host) else { continue };
            peer.stop(&context, host);
            // Held while the task lives, even after it was aborted: nothing that it observed comes after this.
            let over = peer.replica.lock().await;
            followed.extend(over.events().map(|events| (host, events)));
            let _ = context.observations.send(Observation::Peer(host, PeerObservation::Dropped));
        }
        for (host, member) in wanted {
            let peer = peers.entry(host).or_insert_with(|| Peer::new(host, followed.remove(&host)));
            let address = member.is_live.then_some(member.address);
            if peer.followed_at() != address {
                peer.stop(&context, host);
                if let Some(address) = address {
                    peer.start(&context, host, address);
                }
            }
        }
        if members.changed().await.is_err() {
            return;
        }
    }
}

struct Context {
    identity: Identity,
    observations: mpsc::UnboundedSender<Observation>,
    links: watch::Sender<Links>,
    events: OnEvent,
}

/// One member.
struct Peer {
    /// What is known survives the streams. Only one stream at a time holds it.
    replica: Arc<Mutex<Replica>>,
    following: Option<(SocketAddr, AbortOnDropHandle<()>)>,
}

impl Peer {
    fn new(host: HostId, events: Option<EventCursor>) -> Self {
        let replica = Replica::after_events(host, events);
        Self { replica: Arc::new(Mutex::new(replica)), following: None }
    }

    fn followed_at(&self) -> Option<SocketAddr> {
        self.following.as_ref().map(|(address, _)| *address)
    }

    fn stop(&mut self, context: &Context, host: HostId) {
        if self.following.take().is_some() {
            context.links.send_modify(|links| drop(links.remove(&host)));
        }
    }

    fn start(&mut self, context: &Arc<Context>, host: HostId, address: SocketAddr) {
        context.links.send_modify(|links| drop(links.insert(host, LinkState::Opening)));
        let (context, replica) = (Arc::clone(context), Arc::clone(&self.replica));
        let follow = async move {
            let mut replica = replica.lock().await;
            follow_peer(&context, host, address, &mut replica).await;
        };
        self.following = Some((address, AbortOnDropHandle::new(tokio::spawn(follow))));
    }
}

/// Follows one member's facts, however often the stream breaks.
async fn follow_peer(context: &Context, host: HostId, address: SocketAddr, replica: &mut Replica) {
    let mut delays = backoff::exponential(FIRST_DELAY, MAX_DELAY);
    loop {
        let mut is_open = false;
        let on_line = |observation: Option<PeerObservation>, events: Vec<PeerEvent>| {
            if !std::mem::replace(&mut is_open, true) {
                set(&context.links, host, LinkState::Open);
            }
            if let Some(observation) = observation {
                // If nobody wants them any more, the agent ends.
                let _ = context.observations.send(Observation::Peer(host, observation));
            }
            events.into_iter().for_each(|event| (context.events)(host, event));
        };
        let Err(error) = follow_stream(&context.identity, address, host, replica, on_line).await;
        if is_open {
            delays = backoff::exponential(FIRST_DELAY, MAX_DELAY);
        }
        let why = chain(&error);
        tracing::debug!(%host, %why, "the facts of a peer are not followed");
        set(&context.links, host, LinkState::Broken(why));
        sleep(delays.next().unwrap_or(MAX_DELAY)).await;
    }
}

/// Sets the state of a link that is still wanted.
fn set(links: &watch::Sender<Links>, host: HostId, state: LinkState) {
    links.send_if_modified(|links| match links.get_mut(&host) {
        Some(known) if *known != state => {
            *known = state;
            true
        }
        _ => false,
    });
}
