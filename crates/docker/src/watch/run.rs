//! The shell around a [`Session`]: makes the calls that it requests, and passes it the results.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::{InspectContainerOptions, ListContainersOptionsBuilder, ListNetworksOptions};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use longshore_model::{ContainerId, Problem, Subject};
use longshore_runtime::{Source, chain};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tokio::time::sleep_until;

use super::session::{Effect, Failure, Happening, Inspection, Listing, Session};
use super::stream::{self, Item, Stream};
use super::{Watched, translate};
use crate::client;

/// Why a session could not begin.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("cannot connect")]
    Connect(#[source] Error),
    #[error("cannot read its clock")]
    Info(#[source] Error),
}

/// Watches over one connection until it breaks. Returns the reason.
///
/// # Errors
/// Returns an error if there is no connection.
pub(super) async fn run(watched: &mut Watched) -> Result<String, ConnectError> {
    let docker = watched.docker.reconnect().await.map_err(ConnectError::Connect)?;
    let info = docker.info().await.map_err(ConnectError::Info)?;
    let began = info.system_time.as_deref().map_or(0, translate::nanoseconds);
    tracing::info!(docker = %watched.docker.settings().address, version = client::version(&docker), "watching Docker");
    watched.docker.inspections().back();
    let resync = watched.live.borrow_and_update().resync;
    let (session, effects) = Session::begin(watched.host, began, watched.resume, resync, Instant::now());
    let shell = Shell { docker, session, stream: None, calls: FuturesUnordered::new(), watched };
    Ok(shell.run(effects).await)
}

struct Shell<'a> {
    docker: Docker,
    session: Session,
    stream: Option<Stream>,
    calls: FuturesUnordered<BoxFuture<'static, Happening>>,
    watched: &'a mut Watched,
}

impl Shell<'_> {
    async fn run(mut self, effects: Vec<Effect>) -> String {
        let mut ended = self.carry_out(effects);
        loop {
            self.watched.resume = Some(self.session.heard_at());
            if let Some(why) = ended {
                return why;
            }
            let happening = self.next().await;
            let effects = self.session.take(happening, Instant::now());
            ended = self.carry_out(effects);
        }
    }

    /// Waits for the next input. Events go first: they may explain the rest.
    async fn next(&mut self) -> Happening {
        loop {
            let item = async {
                match &mut self.stream {
                    Some(stream) => stream.items.recv().await,
                    None => std::future::pending().await,
                }
            };
            return tokio::select! {
                biased;
                item = item => match item {
                    Some(Item::Heard(event)) => Happening::Heard(event),
                    Some(Item::Unreadable(why)) => {
                        self.stream = None;
                        tracing::warn!("Docker sent an event that cannot be read; skipping it: {why}");
                        Happening::Unreadable
                    }
                    Some(Item::Broken(error)) => {
                        Happening::StreamEnded(format!("the event stream broke: {}", chain(&error)))
                    }
                    None => Happening::StreamEnded("the event stream ended".to_owned()),
                },
                Ok(()) = self.watched.attention.changed() => Happening::AttentionChanged,
                Ok(()) = self.watched.live.changed() => {
                    Happening::ResyncEvery(self.watched.live.borrow_and_update().resync)
                }
                Some(happening) = self.calls.next() => happening,
                id = self.watched.docker.inspections().wanted() => Happening::Wanted(id),
                () = sleep_until(self.session.due().into()) => Happening::Due,
                else => continue,
            };
        }
    }

    /// Carries out effects. Returns why the session is over, if it is.
    fn carry_out(&mut self, effects: Vec<Effect>) -> Option<String> {
        for effect in effects {
            let docker = self.docker.clone();
            match effect {
                Effect::Observe(observation) => {
                    if self.watched.tell(observation).is_err() {
                        return Some("the agent is shutting down".to_owned());
                    }
                }
                Effect::Show(id, shown) => self.watched.docker.inspections().show(id, shown),
                Effect::Subscribe(since) => {
                    let attention = self.watched.attention.borrow_and_update().clone();
                    self.stream = Some(stream::open(docker, since, &attention));
                }
                Effect::List => {
                    let world = self.watched.world.clone();
                    self.calls.push(Box::pin(async move {
                        let options = ListContainersOptionsBuilder::default().all(true).build();
                        let listed = entries(docker.list_containers(Some(options)).await, &["Id", "Names"]);
                        Happening::Listed(listed.map_err(|error| failure(&error)).map(|found| Listing {
                            containers: found.into_iter().filter_map(translate::summary).collect(),
                            world: world.snapshot(),
                        }))
                    }));
                }
                Effect::ListNetworks => self.calls.push(Box::pin(async move {
                    let networks = docker.list_networks(None::<ListNetworksOptions>).await;
                    let networks =
                        entries(networks, &["Id", "Name", "Driver"]).map_err(|error| failure(&error));
                    let networks = networks.map(|all| all.into_iter().filter_map(translate::network));
                    Happening::Networks(networks.map(Iterator::collect))
                })),
                Effect::Inspect(id) => {
                    let (env, json) = (
                        self.watched.docker.settings().include_env,
                        self.watched.docker.inspections().is_used(),
                    );
                    self.calls.push(Box::pin(async move {
                        let found = inspect(&docker, &id, env, json).await;
                        Happening::Inspected(id, found)
                    }));
                }
                Effect::Ping => self.calls.push(Box::pin(async move {
                    Happening::Ponged(docker.ping().await.map(drop).map_err(|error| failure(&error)))
                })),
                Effect::Refused(refused) => {
                    let problems = refused.into_iter().map(|(id, (name, why))| Problem {
                        subject: Subject::Container { id, name },
                        key: None,
                        message: format!("Docker does not show it, so it is left out: {why}"),
                        hint: Some("retrying; see `docker inspect`".to_owned()),
                    });
                    self.watched.problems.set(Source::Inspections, problems);
                }
                Effect::Unlisted(whys) => {
                    let address = self.watched.docker.settings().address.to_string();
                    let problems = whys.into_iter().map(|message| Problem {
                        subject: Subject::Docker { address: address.clone() },
                        key: None,
                        message,
                        hint: Some("retrying; events are still followed".to_owned()),
                    });
                    self.watched.problems.set(Source::Lists, problems);
                }
                Effect::End(why) => return Some(why),
            }
        }
        None
    }
}

/// Classifies an error: a bad answer affects only its own call; no answer means that the engine is gone. Docker
/// delays a container's answer while it works on the container, so a time-out is of the first kind.
fn failure(error: &Error) -> Failure {
    let is_bad = matches!(
        error,
        Error::DockerResponseServerError { .. }
            | Error::JsonDataError { .. }
            | Error::JsonSerdeError { .. }
            | Error::RequestTimeoutError
    );
    Failure { why: chain(error), is_lost: !is_bad }
}

/// Reads a list entry by entry if it does not decode as a whole. Of an entry that does not decode, only the fields to
/// `keep` are read.
fn entries<T: DeserializeOwned>(listed: Result<Vec<T>, Error>, keep: &[&str]) -> Result<Vec<T>, Error> {
    let Err(Error::JsonDataError { contents, .. }) = &listed else { return listed };
    let Ok(all) = serde_json::from_str::<Vec<Map<String, Value>>>(contents) else { return listed };
    let read = |entry: Map<String, Value>| {
        let mut kept = entry.clone();
        serde_json::from_value(Value::Object(entry)).or_else(|error| {
            kept.retain(|key, _| keep.contains(&key.as_str()));
            tracing::warn!(%error, entry = ?kept, "Docker listed something that cannot be read in full");
            serde_json::from_value(Value::Object(kept))
        })
    };
    Ok(all.into_iter().filter_map(|entry| read(entry).ok()).collect())
}

async fn inspect(
    docker: &Docker,
    id: &ContainerId,
    include_env: bool,
    json: bool,
) -> Result<Option<Inspection>, Failure> {
    let answer = docker.inspect_container(id.as_str(), None::<InspectContainerOptions>).await;
    let inspected = match answer {
        Ok(inspected) => inspected,
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => return Ok(None),
        Err(error) => return Err(failure(&error)),
    };
    let json = if json { serde_json::value::to_raw_value(&inspected).ok() } else { None };
    let image = inspected.image.clone();
    let Some(mut container) = translate::container(inspected, include_env).map(Box::new) else {
        return Err(Failure { why: "its inspection has no id or no name".to_owned(), is_lost: false });
    };
    container.image_labels = image_labels(docker, image, &container.labels).await;
    Ok(Some(Inspection { container, json: json.map(Arc::<RawValue>::from) }))
}

/// Returns the sidecar labels that come from the image itself; all sidecar labels if Docker does not answer.
async fn image_labels(
    docker: &Docker,
    image: Option<String>,
    labels: &BTreeMap<String, String>,
) -> BTreeSet<String> {
    let asking = |label: &&String| label.starts_with("longshore.sidecar.");
    let mut own: BTreeSet<String> = labels.keys().filter(asking).cloned().collect();
    if !own.is_empty()
        && let Ok(image) = docker.inspect_image(&image.unwrap_or_default()).await
    {
        let known = image.config.and_then(|config| config.labels).unwrap_or_default();
        own.retain(|label| known.get(label) == labels.get(label));
    }
    own
}

#[cfg(test)]
mod tests {
    use bollard::models::ContainerSummary;

    use super::*;

    fn listed(text: &str) -> Result<Vec<ContainerSummary>, Error> {
        let whole = serde_json::from_str(text).map_err(|error| Error::JsonDataError {
            message: error.to_string(),
            contents: text.to_owned(),
            column: error.column(),
        });
        entries(whole, &["Id", "Names"])
    }

    #[test]
    fn an_entry_of_a_list_that_cannot_be_read_costs_only_its_details() {
        let text = r#"[
            {"Id": "ab", "Names": ["/web"], "State": "running"},
            {"Id": "cd", "Names": ["/db"], "State": "levitating"},
            {"Id": 7}
        ]"#;
        let found: Vec<_> = listed(text).unwrap().into_iter().filter_map(translate::summary).collect();
        let shown: Vec<_> =
            found.iter().map(|it| (it.id.as_str(), it.name.as_deref(), it.state.as_deref())).collect();
        assert_eq!(shown, [("ab", Some("web"), Some("running")), ("cd", Some("db"), None)]);
        assert!(!failure(&listed("surprise").unwrap_err()).is_lost);
    }
}
