//! The hosts that DockerMod's API acts on.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use longshore_cluster::members::Roster;
use longshore_model::{AgentCall, Availability, Call, CallError, ContainerRef, HostId, World};
use longshore_runtime::Reply;
use longshore_runtime::state::Reader;
use tokio::sync::watch;

use super::SHOWN_TIMEOUT;
use crate::calls::Caller;

/// How long a host may take beside the wait that was asked of it.
const MARGIN: Duration = Duration::from_secs(5);

/// A host of the cluster that is neither dead nor gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) id: HostId,
    pub(crate) name: String,
    /// It answers, as far as is known.
    pub(crate) alive: bool,
    /// It takes new containers.
    pub(crate) registered: bool,
}

/// The hosts, and the way to them.
pub(crate) trait Hosts: Debug + Send + Sync {
    /// Returns the members of the cluster, in order of their ids.
    fn members(&self) -> Vec<Member>;

    /// Has a host carry out a call within `limit`.
    fn call(&self, host: HostId, call: Call, limit: Duration) -> BoxFuture<'_, Result<Reply, CallError>>;

    /// Takes a container out of all routes, and waits until nobody is connected to it, `limit` at most.
    fn drain(&self, container: ContainerRef, limit: Duration) -> BoxFuture<'_, Result<(), CallError>>;

    /// Undoes [`Hosts::drain`].
    fn resume(&self, container: ContainerRef) -> BoxFuture<'_, ()>;

    /// Decides whether a host takes new containers, also after its next start.
    fn register(
        &self,
        host: HostId,
        registered: bool,
        limit: Duration,
    ) -> BoxFuture<'_, Result<(), CallError>>;
}

/// The hosts of the cluster, or this one alone.
#[derive(Debug)]
pub(crate) struct KnownHosts {
    pub(crate) me: HostId,
    pub(crate) name: String,
    pub(crate) caller: Caller,
    pub(crate) world: Reader,
    pub(crate) roster: watch::Receiver<Option<Arc<Roster>>>,
}

impl KnownHosts {
    /// Has a host's agent do something.
    async fn order(&self, host: HostId, call: AgentCall, limit: Duration) -> Result<(), CallError> {
        match self.caller.call(host, Call::Agent(call), limit).await? {
            Reply::Done | Reply::Already => Ok(()),
            reply => Err(CallError::Broken(format!("unexpected reply {reply:?}"))),
        }
    }

    /// Waits until World says so too, for a moment: the next request is decided by World.
    async fn shown(&self, host: HostId, wanted: Availability) {
        let mut changes = self.world.subscribe();
        let shown = async {
            while !self.world.snapshot().is_some_and(|world| availability(&world, host) == Some(wanted)) {
                changes.next().await;
            }
        };
        let _ = tokio::time::timeout(SHOWN_TIMEOUT, shown).await;
    }
}

fn availability(world: &World, host: HostId) -> Option<Availability> {
    world.host(host).map(|host| host.info.availability)
}

/// Returns the members, in order of their ids: this host, and the others that have a place and a name of their own.
fn members(me: HostId, name: &str, roster: Option<&Roster>, world: Option<&World>) -> Vec<Member> {
    let known = |host| world.and_then(|world| availability(world, host));
    let own = Member {
        id: me,
        name: name.to_owned(),
        alive: true,
        registered: known(me) != Some(Availability::Cordoned),
    };
    let others = roster.into_iter().flat_map(|roster| &roster.members);
    let others = others.filter(|member| member.host != me && member.is_reliable());
    let mut members: Vec<Member> = others
        .map(|member| {
            let availability = known(member.host);
            Member {
                id: member.host,
                name: member.name.to_string(),
                // One that has not been listed yet may be full.
                alive: member.silence().is_none() && availability.is_some(),
                registered: availability != Some(Availability::Cordoned),
            }
        })
        .chain([own])
        .collect();
    members.sort_by_key(|member| member.id);
    members
}

impl Hosts for KnownHosts {
    fn members(&self) -> Vec<Member> {
        let roster = self.roster.borrow().clone();
        members(self.me, &self.name, roster.as_deref(), self.world.snapshot().as_deref())
    }

    fn call(&self, host: HostId, call: Call, limit: Duration) -> BoxFuture<'_, Result<Reply, CallError>> {
        Box::pin(self.caller.call(host, call, limit))
    }

    fn drain(&self, container: ContainerRef, limit: Duration) -> BoxFuture<'_, Result<(), CallError>> {
        let call = AgentCall::Drain { container: container.id, limit };
        Box::pin(self.order(container.host, call, limit.saturating_add(MARGIN)))
    }

    fn resume(&self, container: ContainerRef) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let call = AgentCall::Resume { container: container.id };
            if let Err(error) = self.order(container.host, call, MARGIN).await {
                tracing::warn!(%error, "a container may stay out of the routes");
            }
        })
    }

    fn register(
        &self,
        host: HostId,
        registered: bool,
        limit: Duration,
    ) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(async move {
            let wanted = if registered { Availability::Active } else { Availability::Cordoned };
            self.order(host, AgentCall::SetAvailability(wanted), limit).await?;
            self.shown(host, wanted).await;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use longshore_cluster::members::{Epoch, Member as Known, MemberState};
    use longshore_model::{Host, HostInfo};

    use super::*;

    #[test]
    fn those_that_answer_and_were_listed_take_containers_and_the_dead_are_no_members() {
        let id = HostId::from_u128;
        let member = |number: u128, state| Known {
            host: id(number),
            name: format!("h{number}").parse().unwrap(),
            address: "192.0.2.1:7052".parse().unwrap(),
            epoch: Epoch::default(),
            state,
            since: Instant::now(),
            unreachable_from_here: number == 7,
            name_taken_by: (number == 8).then(|| id(1)),
            clock_ahead: 0,
        };
        use MemberState::{Alive, Dead, Left, Restarting, Suspect};
        let states = [Alive, Alive, Suspect, Restarting, Dead, Left, Alive, Alive, Alive];
        let members_of = (1..).zip(states).map(|(number, state)| member(number, state)).collect();
        let roster = Roster { me: id(2), members: members_of, id_in_use_elsewhere: false };
        let mut world = World::new(id(2), Host::default());
        for number in [1, 3, 4, 7, 8] {
            world.put_host(id(number), Host::default());
        }
        let cordoned = HostInfo { availability: Availability::Cordoned, ..HostInfo::default() };
        world.put_host(id(1), Host { info: Arc::new(cordoned), ..Host::default() });
        let shown: Vec<_> = members(id(2), "me", Some(&roster), Some(&world))
            .into_iter()
            .map(|member| (member.name, member.alive, member.registered))
            .collect();
        let text = |name: &str, alive, registered| (name.to_owned(), alive, registered);
        let expected = [
            text("h1", true, false),
            text("me", true, true),
            text("h3", false, true),
            text("h4", false, true),
            text("h7", false, true),
            text("h9", false, true),
        ];
        assert_eq!(shown, expected);
        assert_eq!(members(id(2), "me", None, None).len(), 1);
    }
}
