//! DockerMod's API, carried out: which host a request goes to, and what its user reads.
//!
//! A request about a container goes to the host that has it, one for a list to the host that it names, and one for
//! all lists to every host at once. Requests and replies are `longshore-api`'s; where containers are placed is
//! `longshore-plan`'s decision.

mod create;
mod hosts;
mod templates;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use longshore_api::dockermod::{Action, Order, Reply, Request, Resource, Unanswered};
use longshore_model::{Call, CallError, ContainerCall, ContainerOrder, ContainerRef, World};
use longshore_plan::{AddressError, address};
use longshore_runtime::state::Reader;
use longshore_runtime::{Reply as CallReply, chain};
use serde_json::Value;
use tokio::time::Instant;

use crate::config::DockerModSettings;
pub(crate) use hosts::{Hosts, KnownHosts, Member};
use templates::Templates;

/// How long Docker waits between stop signal and SIGKILL unless the container or the request specifies it, in seconds.
const DEFAULT_GRACE: u64 = 10;
/// The longest that a request waits for a container's own time to stop, in seconds.
const MAX_GRACE: u64 = 24 * 3600;
/// How long a reply waits for World to show what was done, so that the next request is decided by it.
const SHOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// Carries out requests to DockerMod's API.
#[derive(Clone)]
pub(crate) struct DockerMod {
    hosts: Arc<dyn Hosts>,
    world: Reader,
    templates: Templates,
    /// How long a host may take to answer.
    task_timeout: Duration,
    /// How long a host may take to create a container, once it has the image.
    create_timeout: Duration,
}

impl DockerMod {
    pub(crate) fn new(hosts: Arc<dyn Hosts>, world: Reader, settings: &DockerModSettings) -> Self {
        Self {
            hosts,
            world,
            templates: Templates::new(&settings.templates),
            task_timeout: settings.task_timeout,
            create_timeout: settings.create_timeout,
        }
    }

    /// Answers a request, given its body.
    pub(crate) async fn answer(&self, body: &[u8]) -> Reply {
        match Request::parse(body) {
            Ok(request) => self.carry_out(request).await.unwrap_or_else(|refusal| refusal),
            Err(error) => Reply::error(400, error.to_string()),
        }
    }

    /// Carries out a request. A reply that ends it early is an error.
    async fn carry_out(&self, request: Request) -> Result<Reply, Reply> {
        let Request { hostname, action } = request;
        match action {
            Action::Register { hostname } => self.register(&hostname, true).await,
            Action::Unregister { hostname } => self.register(&hostname, false).await,
            Action::Create(create) => self.create(create, hostname.as_deref()).await,
            Action::Container { id, order } => self.order(&id, order, hostname.as_deref()).await,
            Action::List { of, all: true } if hostname.is_none() => Ok(self.list_all(of).await),
            Action::List { of, .. } => {
                let host = match hostname {
                    Some(name) => self.member(&name)?,
                    None => self.me()?,
                };
                Ok(self.list(&host, of).await.unwrap_or_else(refused))
            }
        }
    }

    async fn register(&self, hostname: &str, registered: bool) -> Result<Reply, Reply> {
        let host = self.member(hostname)?;
        let done = self.hosts.register(host.id, registered, self.task_timeout).await;
        done.map(|()| Reply::done(&host.name)).map_err(|error| refused(unanswered(&host, error)))
    }

    async fn order(&self, id: &str, order: Order, hostname: Option<&str>) -> Result<Reply, Reply> {
        let (host, container) = self.locate(id, hostname)?;
        let timeout = |timeout: Option<u32>| timeout.and_then(|seconds| i32::try_from(seconds).ok());
        let (call, grace) = match order {
            Order::Start => (ContainerOrder::Start.into(), None),
            Order::Stop { timeout: given } => {
                (ContainerOrder::Stop { timeout: timeout(given) }.into(), Some(given))
            }
            Order::Shutdown { timeout: given } => return self.shutdown(host, container, given).await,
            Order::Restart { timeout: given } => {
                (ContainerOrder::Restart { timeout: timeout(given) }.into(), Some(given))
            }
            Order::Delete { force } => (ContainerOrder::Remove { force, volumes: false }.into(), None),
            Order::Inspect => (ContainerCall::Inspect, None),
        };
        let grace = match grace {
            None => Duration::ZERO,
            Some(given) => self.grace(&host, &container, given).await?,
        };
        let call = Call::Container { id: container.id, call };
        let answer = self.call(&host, call, self.task_timeout + grace).await.map_err(refused)?;
        Ok(reply(&host.name, 200, answer))
    }

    /// Takes a container out of the routes, lets its connections finish for half of its time, and stops it.
    async fn shutdown(
        &self,
        host: Member,
        container: ContainerRef,
        given: Option<u32>,
    ) -> Result<Reply, Reply> {
        let grace = self.grace(&host, &container, given).await?;
        let this = self.clone();
        // A client that leaves must not leave the container without routes.
        let stopped = tokio::spawn(async move {
            let begun = Instant::now();
            let stopped = match this.hosts.drain(container.clone(), grace / 2).await {
                Ok(()) => {
                    let rest = grace.saturating_sub(begun.elapsed());
                    let timeout = i32::try_from(rest.as_millis().div_ceil(1000)).ok();
                    let call = Call::Container {
                        id: container.id.clone(),
                        call: ContainerOrder::Stop { timeout }.into(),
                    };
                    this.hosts.call(host.id, call, this.task_timeout + rest).await
                }
                Err(error) => Err(error),
            };
            if stopped.is_err() {
                this.hosts.resume(container).await;
            }
            stopped
                .map(|answer| reply(&host.name, 200, answer))
                .map_err(|error| refused(unanswered(&host, error)))
        });
        stopped.await.unwrap_or_else(|_| Err(Reply::error(500, "the shutdown was interrupted")))
    }

    /// Returns how long a container may take to stop: what the request gives it, else its own setting.
    async fn grace(
        &self,
        host: &Member,
        container: &ContainerRef,
        given: Option<u32>,
    ) -> Result<Duration, Reply> {
        match given {
            Some(seconds) => Ok(Duration::from_secs(seconds.into())),
            None => self.own_grace(host, container).await.map_err(refused),
        }
    }

    /// Returns how long a container may take to stop by its own settings.
    async fn own_grace(&self, host: &Member, container: &ContainerRef) -> Result<Duration, Unanswered> {
        let call = Call::Container { id: container.id.clone(), call: ContainerCall::Inspect };
        let CallReply::Json(json) = self.call(host, call, self.task_timeout).await? else {
            return Ok(Duration::from_secs(DEFAULT_GRACE));
        };
        let shown: Value = serde_json::from_slice(&json).unwrap_or_default();
        let own = shown.pointer("/Config/StopTimeout").and_then(Value::as_i64);
        // A negative one is endless.
        let seconds = own.map_or(DEFAULT_GRACE, |own| u64::try_from(own).unwrap_or(MAX_GRACE).min(MAX_GRACE));
        Ok(Duration::from_secs(seconds))
    }

    async fn list_all(&self, of: Resource) -> Reply {
        let members = self.hosts.members();
        let replies = join_all(members.iter().map(|host| self.list(host, of))).await;
        let asked = self.me().map_or_else(|_| String::new(), |me| me.name);
        let merged = Reply::merged(&asked, replies);
        match of {
            Resource::Containers => merged,
            Resource::Images => merged.with_response_code(),
        }
    }

    async fn list(&self, host: &Member, of: Resource) -> Result<Reply, Unanswered> {
        let call = match of {
            Resource::Containers => Call::ListContainers,
            Resource::Images => Call::ListImages,
        };
        let answer = self.call(host, call, self.task_timeout).await?;
        let listed = reply(&host.name, 200, answer);
        Ok(match of {
            Resource::Containers => listed,
            Resource::Images => listed.with_response_code(),
        })
    }

    async fn call(&self, host: &Member, call: Call, limit: Duration) -> Result<CallReply, Unanswered> {
        self.hosts.call(host.id, call, limit).await.map_err(|error| unanswered(host, error))
    }

    /// Returns this agent's own host.
    fn me(&self) -> Result<Member, Reply> {
        let me = self.world()?.me();
        let mut members = self.hosts.members().into_iter();
        members
            .find(|member| member.id == me)
            .ok_or_else(|| Reply::error(503, "this host is leaving the cluster"))
    }

    /// Returns a host by its name.
    fn member(&self, name: &str) -> Result<Member, Reply> {
        let members = self.hosts.members();
        let names = || members.iter().map(|member| member.name.clone()).collect::<Vec<_>>().join(", ");
        let found = members.iter().find(|member| member.name.eq_ignore_ascii_case(name)).cloned();
        found.ok_or_else(|| Reply::error(404, format!("unknown host {name:?}: the hosts are {}", names())))
    }

    /// Returns a container by its id, the beginning of its id or its name, and its host.
    fn locate(&self, id: &str, hostname: Option<&str>) -> Result<(Member, ContainerRef), Reply> {
        let only = hostname.map(|name| self.member(name)).transpose()?;
        let world = self.world()?;
        let found = address(&world, only.map(|host| host.id), id);
        let container = found.map_err(|error| self.not_addressed(&error))?;
        let mut members = self.hosts.members().into_iter();
        let host = members.find(|member| member.id == container.host);
        host.map(|host| (host, container))
            .ok_or_else(|| Reply::error(503, format!("the host of {id} is gone")))
    }

    fn not_addressed(&self, error: &AddressError) -> Reply {
        match error {
            AddressError::Unknown(_) => Reply::error(404, error.to_string()),
            AddressError::Ambiguous { matches, .. } => {
                let members = self.hosts.members();
                let of = |container: &ContainerRef| {
                    let host = members.iter().find(|member| member.id == container.host);
                    host.map_or_else(|| container.host.to_string(), |host| host.name.clone())
                };
                let shown = matches.iter().map(|(container, name)| {
                    format!("{} ({name}) on {}", container.id.as_str(), of(container))
                });
                Reply::error(409, format!("{error}: {}", shown.collect::<Vec<_>>().join(", ")))
            }
        }
    }

    fn world(&self) -> Result<Arc<World>, Reply> {
        let error = "the containers have not been listed yet, since Docker is not responding: retry later";
        self.world.snapshot().ok_or_else(|| Reply::error(503, error))
    }
}

/// Returns a host's answer as DockerMod's users read it; `status` is that of an answer with a body.
fn reply(host: &str, status: u16, answer: CallReply) -> Reply {
    let date = ("Date".to_owned(), httpdate::fmt_http_date(SystemTime::now()));
    match answer {
        CallReply::Done => Reply::of_docker(host, 204, [date], None),
        CallReply::Already => Reply::of_docker(host, 304, [date], None),
        CallReply::Json(json) => match serde_json::from_slice(&json) {
            Ok(body) => {
                let length = ("Content-Length".to_owned(), json.len().to_string());
                let kind = ("Content-Type".to_owned(), "application/json".to_owned());
                Reply::of_docker(host, status, [length, kind, date], Some(body))
            }
            Err(error) => Reply::error_of(host, 502, format!("Docker's answer is not JSON: {error}")),
        },
        CallReply::Stream(_) | CallReply::Session(_) => {
            Reply::error_of(host, 502, "the host answered with a stream")
        }
    }
}

fn refused(host: Unanswered) -> Reply {
    let Unanswered { host, status, error } = host;
    Reply::error_of(&host, status, error)
}

fn unanswered(host: &Member, error: CallError) -> Unanswered {
    let status = match &error {
        CallError::Docker { status, .. } => *status,
        CallError::Invalid(_) => 400,
        CallError::Broken(_) => 502,
        CallError::Away(_) | CallError::UnknownHost(_) | CallError::Unreachable { .. } => 503,
        CallError::Timeout(_) => 504,
    };
    let error = match error {
        CallError::Docker { message, .. } | CallError::Invalid(message) => message,
        error @ CallError::Unreachable { .. } => error.to_string(),
        error => format!("{}: {}", host.name, chain(&error)),
    };
    Unanswered { host: host.name.clone(), status, error }
}
