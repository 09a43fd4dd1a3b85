use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters::InspectContainerOptions;
use futures_util::future::BoxFuture;
use longshore_model::ContainerId;
use longshore_runtime::Inspect;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;

use crate::DockerClient;

/// How long Docker may take to show a container: a handler is told of the event all the same.
const INSPECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How many containers are inspected at once.
const MAX_CONCURRENT: usize = 16;

/// Inspects containers, some at once. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Inspector {
    docker: DockerClient,
    permits: Arc<Semaphore>,
}

impl Inspector {
    /// Makes one that asks this engine.
    pub fn new(docker: DockerClient) -> Self {
        Self { docker, permits: Arc::new(Semaphore::new(MAX_CONCURRENT)) }
    }
}

impl Inspect for Inspector {
    fn inspect<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, Option<Arc<RawValue>>> {
        Box::pin(async {
            let _permit = self.permits.acquire().await.ok()?;
            inspect(self.docker.get().ok()?, id).await
        })
    }
}

async fn inspect(docker: &Docker, id: &ContainerId) -> Option<Arc<RawValue>> {
    let call = docker.inspect_container(id.as_str(), None::<InspectContainerOptions>);
    let inspected = tokio::time::timeout(INSPECT_TIMEOUT, call).await.ok()?.ok()?;
    serde_json::value::to_raw_value(&inspected).ok().map(Arc::from)
}
