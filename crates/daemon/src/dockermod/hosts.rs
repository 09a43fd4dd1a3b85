//! The hosts that DockerMod's API acts on.

use std::fmt::Debug;
use std::time::Duration;

use futures_util::future::BoxFuture;
use longshore_docker::DockerClient;
use longshore_model::{Call, CallError, ContainerRef, HostId};
use longshore_runtime::Reply;
use longshore_runtime::state::{DockerObservation, Observation};
use tokio::sync::mpsc;

use super::cordon::Cordon;
use crate::calls::Caller;

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

/// A cluster of one: this agent's own host.
#[derive(Debug)]
pub(crate) struct OwnHost {
    pub(crate) id: HostId,
    pub(crate) name: String,
    pub(crate) caller: Caller,
    pub(crate) docker: DockerClient,
    pub(crate) observations: mpsc::UnboundedSender<Observation>,
    pub(crate) cordon: Cordon,
}

impl OwnHost {
    fn mark(&self, container: &ContainerRef, stopping: bool) {
        let observation = DockerObservation::Stopping { id: container.id.clone(), stopping };
        // Nobody listens once the agent shuts down.
        let _ = self.observations.send(Observation::Docker(self.id, observation));
    }
}

impl Hosts for OwnHost {
    fn members(&self) -> Vec<Member> {
        let registered = !self.cordon.is_set();
        vec![Member { id: self.id, name: self.name.clone(), alive: true, registered }]
    }

    fn call(&self, host: HostId, call: Call, limit: Duration) -> BoxFuture<'_, Result<Reply, CallError>> {
        Box::pin(self.caller.call(host, call, limit))
    }

    fn drain(&self, container: ContainerRef, limit: Duration) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(async move {
            if container.host != self.id {
                return Err(CallError::UnknownHost(container.host.to_string()));
            }
            self.mark(&container, true);
            self.docker.drained(&container.id, limit).await;
            Ok(())
        })
    }

    fn resume(&self, container: ContainerRef) -> BoxFuture<'_, ()> {
        Box::pin(async move { self.mark(&container, false) })
    }

    fn register(&self, host: HostId, registered: bool, _: Duration) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(async move {
            if host != self.id {
                return Err(CallError::UnknownHost(host.to_string()));
            }
            self.cordon.set(!registered).await.map_err(|error| CallError::Away(error.to_string()))
        })
    }
}
