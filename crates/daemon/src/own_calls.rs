//! Calls that this host carries out itself: its Docker's, and those for its agent.

use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use longshore_docker::DockerClient;
use longshore_model::{AgentCall, Call, CallError, ContainerId, HostId};
use longshore_runtime::state::{DockerObservation, Observation};
use longshore_runtime::{Execute, Reply};
use tokio::sync::mpsc;

use crate::cordon::Cordon;

/// Carries out calls on this host, whoever asks.
#[derive(Debug)]
pub(crate) struct OwnCalls {
    pub(crate) host: HostId,
    pub(crate) docker: DockerClient,
    pub(crate) observations: mpsc::UnboundedSender<Observation>,
    pub(crate) cordon: Cordon,
}

impl OwnCalls {
    async fn of_agent(&self, call: AgentCall) -> Result<Reply, CallError> {
        match call {
            AgentCall::Drain { container, limit } => {
                self.mark(&container, true);
                self.docker.drained(&container, limit).await;
            }
            AgentCall::Resume { container } => self.mark(&container, false),
            AgentCall::SetAvailability(availability) => {
                let kept = self.cordon.set(availability).await;
                kept.map_err(|error| {
                    CallError::Away(format!("the data directory cannot be written: {error}"))
                })?;
            }
        }
        Ok(Reply::Done)
    }

    /// Says that a container is about to be stopped, or no longer: that is a fact, which all hosts follow.
    fn mark(&self, container: &ContainerId, stopping: bool) {
        let observation = DockerObservation::Stopping { id: container.clone(), stopping };
        // Nobody listens once the agent shuts down.
        let _ = self.observations.send(Observation::Docker(self.host, observation));
    }
}

impl Execute for OwnCalls {
    fn execute(&self, call: Call, limit: Duration) -> BoxFuture<'_, Result<Reply, CallError>> {
        match call {
            Call::Agent(call) => {
                let done = self.of_agent(call);
                async move { tokio::time::timeout(limit, done).await.unwrap_or(Err(CallError::Timeout(limit))) }
                    .boxed()
            }
            call => self.docker.execute(call, limit),
        }
    }
}
