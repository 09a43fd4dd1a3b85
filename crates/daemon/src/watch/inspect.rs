//! Inspections: one at a time for a container, several containers at once.

use std::collections::{BTreeMap, BTreeSet};

use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::InspectContainerOptions;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use longshore_model::{Container, ContainerId};

use super::translate;

/// How many inspections run at once: Docker answers one in 0.4 ms and works on several in parallel.
const AT_ONCE: usize = 16;

/// What an inspection found: the container, or that it is gone.
pub(super) type Inspected = (ContainerId, Result<Option<Box<Container>>, Error>);

/// Where a container stands with its inspection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Queued,
    Running,
    /// Running, and something happened since it began: to be done again.
    Stale,
}

/// The inspections that are asked for and those that run.
pub(super) struct Inspections {
    docker: Docker,
    include_env: bool,
    places: BTreeMap<ContainerId, Place>,
    queue: BTreeSet<ContainerId>,
    running: FuturesUnordered<BoxFuture<'static, Inspected>>,
}

impl Inspections {
    pub(super) fn new(docker: Docker, include_env: bool) -> Self {
        Self {
            docker,
            include_env,
            places: BTreeMap::new(),
            queue: BTreeSet::new(),
            running: FuturesUnordered::new(),
        }
    }

    /// Asks for an inspection that begins after this call.
    pub(super) fn ask(&mut self, id: ContainerId) {
        if self.places.contains_key(&id) {
            self.outdate(&id);
        } else {
            self.places.insert(id.clone(), Place::Queued);
            self.queue.insert(id);
            self.begin();
        }
    }

    /// What an inspection under way finds may be out of date: it is followed by another. Where none is, there is
    /// nothing to look at again.
    pub(super) fn outdate(&mut self, id: &ContainerId) {
        if let Some(place) = self.places.get_mut(id).filter(|place| **place == Place::Running) {
            *place = Place::Stale;
        }
    }

    /// The next inspection that ended; pends while none is asked for.
    pub(super) async fn next(&mut self) -> Inspected {
        let Some((id, found)) = self.running.next().await else { return std::future::pending().await };
        if self.places.remove(&id) == Some(Place::Stale) {
            self.ask(id.clone());
        }
        self.begin();
        (id, found)
    }

    fn begin(&mut self) {
        while self.running.len() < AT_ONCE {
            let Some(id) = self.queue.pop_first() else { return };
            self.places.insert(id.clone(), Place::Running);
            self.running.push(Box::pin(inspect(self.docker.clone(), id, self.include_env)));
        }
    }
}

async fn inspect(docker: Docker, id: ContainerId, include_env: bool) -> Inspected {
    let answer = docker.inspect_container(id.as_str(), None::<InspectContainerOptions>).await;
    let found = match answer {
        Ok(inspected) => {
            let image = inspected.image.clone();
            let mut container = translate::container(inspected, include_env).map(Box::new);
            if let Some(container) = &mut container {
                container.baked = baked(&docker, image, &container.labels).await;
            }
            Ok(container)
        }
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
        Err(error) => Err(error),
    };
    (id, found)
}

/// The labels that ask for sidecars and are the image's own; all that ask for some, where Docker does not say.
async fn baked(
    docker: &Docker,
    image: Option<String>,
    labels: &BTreeMap<String, String>,
) -> BTreeSet<String> {
    let asking = |label: &&String| label.starts_with("longshore.sidecar.");
    let mut baked: BTreeSet<String> = labels.keys().filter(asking).cloned().collect();
    if !baked.is_empty()
        && let Ok(image) = docker.inspect_image(&image.unwrap_or_default()).await
    {
        let own = image.config.and_then(|config| config.labels).unwrap_or_default();
        baked.retain(|label| own.get(label) == labels.get(label));
    }
    baked
}

/// Inspects all of `ids`, several at once; those that are gone by then are left out.
pub(super) async fn inspect_all(
    docker: &Docker,
    ids: Vec<ContainerId>,
    include_env: bool,
) -> Result<Vec<Container>, Error> {
    let mut found = Vec::with_capacity(ids.len());
    let inspections = ids.into_iter().map(|id| inspect(docker.clone(), id, include_env));
    let mut answers = futures_util::stream::iter(inspections).buffer_unordered(AT_ONCE);
    while let Some((_, answer)) = answers.next().await {
        found.extend(answer?.map(|container| *container));
    }
    Ok(found)
}
