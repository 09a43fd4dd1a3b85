//! Containers created on the hosts that run the fewest.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{StreamExt, TryStreamExt, stream};
use longshore_api::dockermod::{Create, Reply, Source, Unanswered};
use longshore_model::{Call, CallError, ContainerId, ContainerRef, HostId, NewContainer, PullPolicy, World};
use longshore_plan::spread;
use longshore_runtime::{Reply as CallReply, chain};
use serde_json::{Map, Value};

use super::{DockerMod, Member, SHOWN_TIMEOUT, refused, reply, unanswered};

/// How many containers are created on one host at once.
const AT_ONCE: usize = 8;
/// How long an image pull may take.
const PULL_TIMEOUT: Duration = Duration::from_secs(600);

impl DockerMod {
    pub(super) async fn create(&self, create: Create, hostname: Option<&str>) -> Result<Reply, Reply> {
        let body = match create.source {
            Source::Body(body) => body,
            Source::Template(name) => {
                let template = self.templates.get(&name).await;
                template.map_err(|error| Reply::error(error.status(), chain(&error)))?
            }
        };
        let order = NewOrder {
            image: body.get("Image").and_then(Value::as_str).map(str::to_owned),
            body: bytes(body),
            pull: create.pull,
        };
        let hosts = self.candidates(hostname)?;
        let world = self.world()?;
        let loads: Vec<_> = hosts.iter().map(|host| load(&world, host.id)).collect();
        let placed = spread(&loads, create.instances.unwrap_or(1));
        let batches = hosts.iter().zip(placed).filter(|(_, count)| *count > 0);
        let created = join_all(batches.map(|(host, count)| self.create_on(host, &order, count))).await;
        let mut created: Vec<Created> = created.into_iter().flatten().collect();
        self.wait_for(created.iter().filter_map(|created| created.container.clone()).collect()).await;
        match (create.instances, created.pop()) {
            (None, Some(only)) => Ok(only.reply),
            (_, last) => {
                Ok(Reply::created(created.into_iter().chain(last).map(|created| created.reply).collect()))
            }
        }
    }

    /// Returns the hosts that may take new containers.
    fn candidates(&self, hostname: Option<&str>) -> Result<Vec<Member>, Reply> {
        let Some(name) = hostname else {
            let takes = |host: &Member| host.alive && host.registered;
            let hosts: Vec<Member> = self.hosts.members().into_iter().filter(takes).collect();
            let error = "no live host takes new containers: register one";
            return if hosts.is_empty() { Err(Reply::error(503, error)) } else { Ok(hosts) };
        };
        let host = self.member(name)?;
        match host.registered {
            true => Ok(vec![host]),
            false => {
                Err(Reply::error_of(&host.name, 503, "this host is unregistered: it takes no new containers"))
            }
        }
    }

    /// Creates `count` containers on one host. A missing image is pulled once.
    async fn create_on(&self, host: &Member, order: &NewOrder, count: usize) -> Vec<Created> {
        // What the first one fails for, the others would fail for as well.
        let all_failed = |error: &Unanswered| {
            std::iter::repeat_n(error, count).map(|error| Created::failed(error.clone())).collect()
        };
        let mut first = self.create_one(host, order).await;
        if order.pull && first.as_ref().is_err_and(is_missing_image) {
            if let Err(error) = self.pull(host, order).await {
                return all_failed(&error);
            }
            first = self.create_one(host, order).await;
        }
        if let Err(error) = &first
            && (is_missing_image(error) || error.status >= 500)
        {
            return all_failed(error);
        }
        let others = stream::iter(1..count).map(|_| self.create_one(host, order)).buffer_unordered(AT_ONCE);
        let outcomes = stream::iter([first]).chain(others);
        outcomes.map(|outcome| outcome.unwrap_or_else(Created::failed)).collect().await
    }

    async fn create_one(&self, host: &Member, order: &NewOrder) -> Result<Created, Unanswered> {
        let container = NewContainer { body: order.body.clone(), name: None, pull: PullPolicy::Never };
        let answer = self.call(host, Call::CreateContainer(container), self.create_timeout).await?;
        let reply = reply(&host.name, 201, answer);
        let id = reply.body.get("Response").and_then(|response| response.pointer("/Body/Id"));
        let container = id.and_then(Value::as_str).map(|id| ContainerRef::new(host.id, ContainerId::new(id)));
        Ok(Created { reply, container })
    }

    async fn pull(&self, host: &Member, order: &NewOrder) -> Result<(), Unanswered> {
        let image = order.image.clone().unwrap_or_default();
        let pulled = async {
            let call = Call::PullImage { image };
            let CallReply::Stream(mut progress) = self.hosts.call(host.id, call, PULL_TIMEOUT).await? else {
                return Ok(());
            };
            while progress.try_next().await?.is_some() {}
            Ok(())
        };
        let pulled = tokio::time::timeout(PULL_TIMEOUT, pulled).await;
        let pulled = pulled.unwrap_or(Err(CallError::Timeout(PULL_TIMEOUT)));
        pulled.map_err(|error| unanswered(host, error))
    }

    /// Waits until World has these containers, for a moment.
    async fn wait_for(&self, mut containers: Vec<ContainerRef>) {
        let mut changes = self.world.subscribe();
        let shown = async {
            loop {
                if let Some(world) = self.world.snapshot() {
                    containers.retain(|container| world.container(container).is_none());
                }
                if containers.is_empty() {
                    return;
                }
                changes.next().await;
            }
        };
        let _ = tokio::time::timeout(SHOWN_TIMEOUT, shown).await;
    }
}

/// A container to create.
struct NewOrder {
    image: Option<String>,
    body: Bytes,
    pull: bool,
}

/// The outcome for one container.
struct Created {
    reply: Reply,
    container: Option<ContainerRef>,
}

impl Created {
    fn failed(error: Unanswered) -> Self {
        Self { reply: refused(error), container: None }
    }
}

/// Returns how busy a host is: by what it runs, then by what it has.
fn load(world: &World, host: HostId) -> (usize, usize) {
    let Some(host) = world.host(host) else { return (0, 0) };
    let running = host.containers.values().filter(|container| container.state.is_alive());
    (running.count(), host.containers.size())
}

fn bytes(body: Map<String, Value>) -> Bytes {
    Value::Object(body).to_string().into()
}

/// Returns whether Docker's error says that it does not have the image: 404 may be about something else.
fn is_missing_image(error: &Unanswered) -> bool {
    error.status == 404 && error.error.to_ascii_lowercase().contains("no such image")
}
