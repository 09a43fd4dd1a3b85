//! What this agent does for its peers, beside telling its facts.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use hyper::body::Incoming;
use hyper::{Request, Response};
use longshore_cluster::calls::CallServer;
use longshore_cluster::identity::Identity;
use longshore_cluster::members::{MemberState, Roster};
use longshore_cluster::peer::{Body, PeerHandler};
use longshore_cluster::relay::{PeerStream, RelayRequest, RelayServer, RelayTargets};
use longshore_model::{HostId, Peer, PeerAgent, PeerState, RelayRefusal};
use longshore_plan::BalancerLocation;
use longshore_runtime::state::Reader;

/// Answers peers in one membership.
pub(crate) struct PeerAnswers {
    pub(crate) identity: Identity,
    pub(crate) calls: CallServer,
    pub(crate) relay: RelayServer,
}

impl PeerHandler for PeerAnswers {
    async fn call(&self, from: HostId, call: Request<Incoming>) -> Response<Body> {
        self.calls.answer(from, call).await
    }

    async fn relay(&self, from: HostId, stream: PeerStream) {
        self.relay.serve(&self.identity, from, stream).await;
    }
}

/// This host's containers, as far as a route or a name leads to them.
pub(crate) struct OwnContainers {
    pub(crate) world: Reader,
    pub(crate) location: BalancerLocation,
}

impl RelayTargets for OwnContainers {
    fn find(&self, request: &RelayRequest) -> Result<Vec<SocketAddr>, RelayRefusal> {
        let world = self.world.snapshot().ok_or(RelayRefusal::NoContainer)?;
        let RelayRequest { container, port, transport } = request;
        longshore_plan::relay(&world, &self.location, container, *port, *transport)
    }
}

/// Returns the other hosts that have a place in the cluster, and a name of their own.
pub(crate) fn peers(roster: &Roster) -> BTreeMap<HostId, Peer> {
    let others = roster.members.iter().filter(|member| member.host != roster.me);
    others
        .filter(|member| member.name_taken_by.is_none())
        .filter_map(|member| {
            let state = match member.state {
                MemberState::Alive if member.unreachable_from_here => PeerState::Unreachable,
                MemberState::Alive => PeerState::Alive,
                MemberState::Suspect => PeerState::Suspect,
                MemberState::Restarting => PeerState::Restarting,
                MemberState::Dead | MemberState::Left => return None,
            };
            let agent = PeerAgent { address: member.address, run: member.epoch.run };
            Some((member.host, Peer { agent, state }))
        })
        .collect()
}
