use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters::InspectContainerOptions;
use futures_util::future::BoxFuture;
use longshore_model::ContainerId;
use longshore_runtime::{Evidence, Inspect};
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::evidence::evidence;
use crate::{DockerClient, DockerSettings};

/// How long Docker may take to show a container: a handler is told of the event all the same.
const INSPECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long it may take to show all that are in doubt, and to list the events that it remembers.
const EVIDENCE_TIMEOUT: Duration = Duration::from_secs(30);

/// How many containers are inspected at once.
pub(crate) const MAX_CONCURRENT: usize = 16;

/// Inspects containers, some at once. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Inspector {
    docker: DockerClient,
    include_env: bool,
    permits: Arc<Semaphore>,
}

impl Inspector {
    /// Makes one that asks this engine.
    pub fn new(docker: DockerClient, settings: &DockerSettings) -> Self {
        let permits = Arc::new(Semaphore::new(MAX_CONCURRENT));
        Self { docker, include_env: settings.include_env, permits }
    }
}

impl Inspect for Inspector {
    fn inspect<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, Option<Arc<RawValue>>> {
        Box::pin(async {
            let _permit = self.permits.acquire().await.ok()?;
            inspect(self.docker.get().ok()?, id).await
        })
    }

    fn evidence<'a>(&'a self, containers: &'a [ContainerId]) -> BoxFuture<'a, Option<Evidence>> {
        Box::pin(async {
            let docker = self.docker.get().ok()?;
            timeout(EVIDENCE_TIMEOUT, evidence(docker, containers, self.include_env)).await.ok()?
        })
    }
}

async fn inspect(docker: &Docker, id: &ContainerId) -> Option<Arc<RawValue>> {
    let call = docker.inspect_container(id.as_str(), None::<InspectContainerOptions>);
    let inspected = timeout(INSPECT_TIMEOUT, call).await.ok()?.ok()?;
    serde_json::value::to_raw_value(&inspected).ok().map(Arc::from)
}
