//! Finds out what happened to containers that no event explains.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::{EventsOptionsBuilder, InspectContainerOptions};
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, TryStreamExt};
use longshore_model::{Container, ContainerId};
use longshore_runtime::state::DockerEvent;
use longshore_runtime::{Evidence, Examine};
use tokio::time::timeout;

use crate::DockerClient;
use crate::watch::translate::{self, nanoseconds};

/// How long Docker may take to inspect all containers in doubt, and to list the events that it remembers.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum number of concurrent inspections.
const MAX_CONCURRENT: usize = 16;

/// The watch's own inspections are not usable here: they are as old as the events in doubt.
impl Examine for DockerClient {
    fn examine<'a>(&'a self, containers: &'a [ContainerId]) -> BoxFuture<'a, Option<Evidence>> {
        Box::pin(async {
            let docker = self.ready().await.ok()?;
            let include_env = self.settings().include_env;
            timeout(TIMEOUT, evidence(&docker, containers, include_env)).await.ok()?
        })
    }
}

/// Returns Docker's inspections of these containers, then the events that it remembers: some may be newer than an
/// inspection, and no older one is missing. `None` unless it answers everything.
async fn evidence(docker: &Docker, containers: &[ContainerId], include_env: bool) -> Option<Evidence> {
    let look = |id: ContainerId| async move {
        let container = inspect(docker, &id, include_env).await?;
        Ok::<_, Error>((id, container))
    };
    let containers = futures_util::stream::iter(containers.to_vec())
        .map(look)
        .buffer_unordered(MAX_CONCURRENT)
        .try_collect::<BTreeMap<_, _>>();
    let evidence = async {
        let containers = containers.await?;
        let until = docker.info().await?.system_time.as_deref().map_or(0, nanoseconds);
        Ok::<_, Error>(Evidence { containers, events: events(docker, until).await?, until })
    };
    evidence
        .await
        .inspect_err(|error| tracing::debug!(%error, "cannot ask Docker for the containers' state"))
        .ok()
}

async fn inspect(docker: &Docker, id: &ContainerId, include_env: bool) -> Result<Option<Container>, Error> {
    match docker.inspect_container(id.as_str(), None::<InspectContainerOptions>).await {
        Ok(inspected) => Ok(translate::container(inspected, include_env)),
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns all events of containers and networks that Docker remembers up to this time.
async fn events(docker: &Docker, until: i64) -> Result<Vec<DockerEvent>, Error> {
    let filters = HashMap::from([("type", vec!["container", "network"])]);
    let until = format!("{}.{:09}", until / 1_000_000_000, until % 1_000_000_000);
    let options = EventsOptionsBuilder::default().since("0").until(&until).filters(&filters).build();
    let messages: Vec<_> = docker.events(Some(options)).try_collect().await?;
    Ok(messages.into_iter().filter_map(translate::event).collect())
}
