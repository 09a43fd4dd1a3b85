use std::collections::{BTreeMap, HashMap};

use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::{EventsOptionsBuilder, InspectContainerOptions};
use futures_util::{StreamExt, TryStreamExt};
use longshore_model::{Container, ContainerId};
use longshore_runtime::Evidence;
use longshore_runtime::state::DockerEvent;

use crate::inspector::MAX_CONCURRENT;
use crate::watch::translate::{self, Heard, nanoseconds};

/// Returns what Docker says of these containers, and then the events that it remembers: some may be newer than what a
/// container is shown as, and none that is older is missing. Nothing if it does not answer all of it.
pub(crate) async fn evidence(
    docker: &Docker,
    containers: &[ContainerId],
    include_env: bool,
) -> Option<Evidence> {
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
        .inspect_err(|error| tracing::debug!(%error, "Docker does not say what became of containers"))
        .ok()
}

async fn inspect(docker: &Docker, id: &ContainerId, include_env: bool) -> Result<Option<Container>, Error> {
    match docker.inspect_container(id.as_str(), None::<InspectContainerOptions>).await {
        Ok(inspected) => Ok(translate::container(inspected, include_env)),
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns all events of containers and networks that Docker remembers, up to this time.
async fn events(docker: &Docker, until: i64) -> Result<Vec<DockerEvent>, Error> {
    let filters = HashMap::from([("type", vec!["container", "network"])]);
    let until = format!("{}.{:09}", until / 1_000_000_000, until % 1_000_000_000);
    let options = EventsOptionsBuilder::default().since("0").until(&until).filters(&filters).build();
    let messages: Vec<_> = docker.events(Some(options)).try_collect().await?;
    let event = |heard| match heard {
        Heard::Container(event) => DockerEvent::Container(event),
        Heard::Network(event) => DockerEvent::Network(event),
    };
    Ok(messages.into_iter().filter_map(translate::event).map(event).collect())
}
