//! One connection to Docker, from the first list to the break.

use std::collections::BTreeSet;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::{ListContainersOptionsBuilder, ListNetworksOptions};
use longshore_model::{ContainerEvent, ContainerId, EventKind, Network};
use longshore_runtime::state::DockerObservation;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use super::Watched;
use super::inspect::{Inspected, Inspections, inspect_all};
use super::stream::{self, Item, Stream};
use super::translate::{self, Heard};
use crate::client;

/// How long the stream may be silent before Docker is asked whether it is still there: a half-dead engine leaves
/// the connection open and says nothing.
const SILENCE: Duration = Duration::from_secs(5);

/// How a session ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error("cannot connect")]
    Connect(#[source] Error),
    #[error("cannot ask for its time")]
    Info(#[source] Error),
    #[error("cannot list its containers")]
    List(#[source] Error),
    #[error("cannot list its networks")]
    Networks(#[source] Error),
    #[error("the event stream broke")]
    Stream(#[source] Error),
    #[error("the event stream ended")]
    Ended,
    #[error("it no longer answers a ping")]
    Ping(#[source] Error),
    #[error("the agent ends")]
    Closed,
}

pub(super) struct Session<'a> {
    docker: Docker,
    stream: Stream,
    inspections: Inspections,
    /// Containers that the resync has doubts about, and no event has spoken of since.
    doubted: BTreeSet<ContainerId>,
    /// Docker's time when the session began, in nanoseconds since 1970.
    began: i64,
    watched: &'a mut Watched,
}

impl<'a> Session<'a> {
    /// Connects, subscribes, lists, and hands the list over. `resume` is the time of the last event heard.
    pub(super) async fn open(watched: &'a mut Watched) -> Result<Self, SessionError> {
        let settings = &watched.settings;
        let docker = client::connect(settings).await.map_err(SessionError::Connect)?;
        let began = now(&docker).await?;
        // A clock that was set back must not silence Docker until it has caught up.
        let since = watched.resume.map_or(began, |at| at.min(began));
        watched.resume = Some(since);
        let stream = stream::open(docker.clone(), since, &watched.attention.borrow_and_update());
        let containers = inspect_all(&docker, ids(&docker).await?, settings.include_env)
            .await
            .map_err(SessionError::List)?;
        let networks = networks(&docker).await?;
        watched.tell(DockerObservation::Listed { containers, networks }).map_err(|_| SessionError::Closed)?;
        let inspections = Inspections::new(docker.clone(), settings.include_env);
        Ok(Self { docker, stream, inspections, doubted: BTreeSet::new(), began, watched })
    }

    /// The API version agreed on.
    pub(super) fn version(&self) -> String {
        let version = self.docker.client_version();
        format!("{}.{}", version.major_version, version.minor_version)
    }

    /// Hears and looks until the connection breaks; why it did.
    pub(super) async fn run(&mut self) -> SessionError {
        let mut compared = Instant::now();
        let mut silence = interval_at(Instant::now() + SILENCE, SILENCE);
        silence.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let resync = compared + self.watched.live.borrow().resync;
            let step = tokio::select! {
                item = self.stream.items.recv() => {
                    silence.reset();
                    self.hear(item).await
                }
                inspected = self.inspections.next() => self.found(inspected),
                () = sleep_until(resync) => {
                    compared = Instant::now();
                    self.compare().await
                }
                Ok(()) = self.watched.attention.changed() => {
                    self.listen_anew();
                    Ok(())
                }
                _ = silence.tick() => self.docker.ping().await.map(drop).map_err(SessionError::Ping),
            };
            if let Err(error) = step {
                return error;
            }
        }
    }

    /// Other events matter from here on. What was heard and not taken yet is told again by the other stream.
    fn listen_anew(&mut self) {
        let since = self.watched.resume.unwrap_or_default();
        self.stream = stream::open(self.docker.clone(), since, &self.watched.attention.borrow_and_update());
    }

    async fn hear(&mut self, item: Option<Item>) -> Result<(), SessionError> {
        match item {
            None => Err(SessionError::Ended),
            Some(Item::Broken(error)) => Err(SessionError::Stream(error)),
            Some(Item::Heard(Heard::Network(event))) => {
                self.watched.resume = Some(event.at);
                self.send(DockerObservation::NetworkEvent(event))?;
                let networks = networks(&self.docker).await?;
                self.send(DockerObservation::Networks(networks))
            }
            Some(Item::Heard(Heard::Container(event))) => {
                self.watched.resume = Some(event.at);
                let id = event.container.clone();
                self.doubted.remove(&id);
                let (look, believed) = (needs_a_look(&event), is_believed(&event));
                let past = event.at < self.began;
                self.send(DockerObservation::Event { event, past })?;
                if believed && !past {
                    // One that began before a removal would put the container back.
                    self.inspections.refute(&id);
                }
                if look && !past {
                    self.inspections.ask(id);
                }
                Ok(())
            }
        }
    }

    fn found(&mut self, (id, found): Inspected) -> Result<(), SessionError> {
        match found {
            Ok(container) => {
                let resync = self.doubted.remove(&id);
                self.send(DockerObservation::Inspected { id, container, resync })
            }
            Err(error) if is_connection(&error) => Err(SessionError::Stream(error)),
            Err(error) => {
                // The next resync asks again.
                tracing::warn!(container = %id, %error, "Docker refused to inspect a container");
                Ok(())
            }
        }
    }

    /// Lists all containers and has those inspected of which World says something else.
    async fn compare(&mut self) -> Result<(), SessionError> {
        let options = ListContainersOptionsBuilder::default().all(true).build();
        let summaries = self.docker.list_containers(Some(options)).await.map_err(SessionError::List)?;
        let world = self.watched.world.snapshot();
        let known = world.as_ref().and_then(|world| world.host(self.watched.host));
        let known = known.map(|host| &host.containers);
        let mut listed = BTreeSet::new();
        let mut doubtful = Vec::new();
        for summary in &summaries {
            let Some(id) = summary.id.as_deref().map(ContainerId::new) else { continue };
            if known.and_then(|known| known.get(&id)).is_none_or(|known| translate::differs(summary, known)) {
                doubtful.push(id.clone());
            }
            listed.insert(id);
        }
        let known = known.into_iter().flat_map(|known| known.keys());
        doubtful.extend(known.filter(|id| !listed.contains(*id)).cloned());
        for id in doubtful {
            self.doubted.insert(id.clone());
            self.inspections.ask(id);
        }
        let networks = networks(&self.docker).await?;
        self.send(DockerObservation::Networks(networks))
    }

    fn send(&self, observation: DockerObservation) -> Result<(), SessionError> {
        self.watched.tell(observation).map_err(|_| SessionError::Closed)
    }
}

/// Whether an event leaves open what the container is like: a kill changes nothing yet, a destroy everything, and
/// what is done inside a container or with a copy of it changes nothing.
fn needs_a_look(event: &ContainerEvent) -> bool {
    match &event.kind {
        EventKind::Kill(_) | EventKind::Destroy => false,
        EventKind::Other(action) => stream::CHANGING.contains(&action.as_str()),
        _ => true,
    }
}

/// Whether World takes the event's word for what the container is like.
fn is_believed(event: &ContainerEvent) -> bool {
    matches!(event.kind, EventKind::Die | EventKind::Pause | EventKind::Unpause | EventKind::Destroy)
}

/// An answer that is not one: the engine went away in the middle.
fn is_connection(error: &Error) -> bool {
    !matches!(error, Error::DockerResponseServerError { .. } | Error::JsonDataError { .. })
}

/// The engine's clock, in nanoseconds since 1970: events are asked for by it.
async fn now(docker: &Docker) -> Result<i64, SessionError> {
    let info = docker.info().await.map_err(SessionError::Info)?;
    Ok(info.system_time.as_deref().map_or(0, translate::nanoseconds))
}

async fn ids(docker: &Docker) -> Result<Vec<ContainerId>, SessionError> {
    let options = ListContainersOptionsBuilder::default().all(true).build();
    let summaries = docker.list_containers(Some(options)).await.map_err(SessionError::List)?;
    Ok(summaries.into_iter().filter_map(|summary| summary.id.map(ContainerId::new)).collect())
}

async fn networks(docker: &Docker) -> Result<Vec<(String, Network)>, SessionError> {
    let networks = docker.list_networks(None::<ListNetworksOptions>).await.map_err(SessionError::Networks)?;
    Ok(networks.into_iter().filter_map(translate::network).collect())
}
