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
    /// Running, and World knows better than what it will find: to be done again, and not told.
    Refuted,
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
            Some(place @ Place::Running) => *place = Place::Stale,
            Some(_) => {}
            None => {
                self.places.insert(id.clone(), Place::Queued);
                self.queue.insert(id);
                self.begin();
            }
        }
    }

    /// What an inspection under way finds is not so any more: it is told to nobody, and followed by another. Where none
    /// is under way, there is nothing to look at again.
    pub(super) fn refute(&mut self, id: &ContainerId) {
        if let Some(place) = self.places.get_mut(id).filter(|place| **place != Place::Queued) {
            *place = Place::Refuted;
        }
    }

    /// The next inspection that ended; pends while none is asked for.
    pub(super) async fn next(&mut self) -> Inspected {
        while let Some((id, found)) = self.running.next().await {
            let place = self.places.remove(&id);
            if matches!(place, Some(Place::Stale | Place::Refuted)) {
                self.ask(id.clone());
            }
            self.begin();
            if place != Some(Place::Refuted) {
                return (id, found);
            }
        }
        std::future::pending().await
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// An engine whose answers a test gives itself.
    struct Engine(TcpListener);

    impl Engine {
        async fn start() -> (Self, Inspections) {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = format!("tcp://{}", listener.local_addr().unwrap());
            let docker = Docker::connect_with_http(&address, 10, bollard::API_DEFAULT_VERSION).unwrap();
            (Self(listener), Inspections::new(docker, false))
        }

        /// Takes the next request to inspect.
        async fn asked(&self, inspections: &mut Inspections) -> TcpStream {
            let request = async {
                let (mut stream, _) = self.0.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await.unwrap());
                }
                stream
            };
            tokio::select! {
                stream = request => stream,
                _ = inspections.next() => panic!("an answer that nobody gave"),
            }
        }
    }

    async fn answer(mut stream: TcpStream, status: &str) {
        let body = format!(r#"{{"Id":"ab","Name":"/wp1","State":{{"Status":"{status}"}}}}"#);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
        let text = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(text.as_bytes()).await.unwrap();
    }

    async fn found(inspections: &mut Inspections) -> String {
        let found = tokio::time::timeout(Duration::from_secs(10), inspections.next()).await.unwrap();
        found.1.unwrap().unwrap().state.to_string()
    }

    #[tokio::test]
    async fn an_answer_that_was_refuted_meanwhile_is_told_to_nobody_and_asked_for_again() {
        let (engine, mut inspections) = Engine::start().await;
        let id = ContainerId::new("ab");
        inspections.ask(id.clone());
        let first = engine.asked(&mut inspections).await;
        inspections.refute(&id);
        inspections.ask(id);
        answer(first, "running").await;
        let second = engine.asked(&mut inspections).await;
        answer(second, "exited").await;
        assert_eq!(found(&mut inspections).await, "exited");
    }

    #[tokio::test]
    async fn an_answer_that_may_be_old_is_told_and_followed_by_another() {
        let (engine, mut inspections) = Engine::start().await;
        let id = ContainerId::new("ab");
        inspections.ask(id.clone());
        let first = engine.asked(&mut inspections).await;
        inspections.ask(id);
        answer(first, "created").await;
        assert_eq!(found(&mut inspections).await, "created");
        let second = engine.asked(&mut inspections).await;
        answer(second, "running").await;
        assert_eq!(found(&mut inspections).await, "running");
    }
}
