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
        match self.places.get_mut(&id) {
            Some(place) => {
                if *place == Place::Running {
                    *place = Place::Stale;
                }
            }
            None => {
                self.places.insert(id.clone(), Place::Queued);
                self.queue.insert(id);
                self.begin();
            }
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
        Ok(inspected) => Ok(translate::container(inspected, include_env).map(Box::new)),
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
        Err(error) => Err(error),
    };
    (id, found)
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
