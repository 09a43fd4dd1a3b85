use std::collections::BTreeSet;
use std::net::IpAddr;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use longshore_api::{BalancerStatus, ClosedFrontend, Counts, DockerStatus, Status};
use longshore_model::{Frontend, HostId, RunState};
use tokio::time::Instant;

use super::Api;

/// What does not change while the agent runs.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) node: String,
    pub(crate) host: HostId,
    /// The address at which other machines reach this host, if it has one.
    pub(crate) address: Option<IpAddr>,
    pub(crate) docker: String,
    pub(crate) engine: &'static str,
    pub(crate) dns: Option<String>,
    pub(crate) started: Started,
}

/// When the agent started, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Started {
    at: Timestamp,
    instant: Instant,
}

impl Started {
    /// Returns the current time, as an agent's start.
    pub(crate) fn now() -> Self {
        Self { at: Timestamp::now(), instant: Instant::now() }
    }

    /// Returns how long ago it was.
    pub(super) fn elapsed(self) -> std::time::Duration {
        self.instant.elapsed()
    }
}

/// Returns a summary of the agent.
#[utoipa::path(
    get,
    path = "/v1/status",
    operation_id = "status",
    tag = "agent",
    responses((status = 200, description = "The agent's status.", body = Status))
)]
pub(super) async fn status(State(api): State<Api>) -> Json<Status> {
    let about = &api.about;
    let error = api.docker.borrow().clone();
    let applied = api.routes.applied();
    let frontends: BTreeSet<Frontend> = applied.table.iter().map(|route| route.key.frontend).collect();
    let open = frontends.iter().filter(|frontend| !applied.refused.contains_key(frontend));
    let closed = applied
        .refused
        .iter()
        .map(|(frontend, error)| ClosedFrontend { frontend: frontend.to_string(), error: error.clone() });
    Json(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node: about.node.clone(),
        host: about.host.to_string(),
        started_at: about.started.at.to_string(),
        uptime_seconds: about.started.instant.elapsed().as_secs(),
        ready: *api.ready.borrow(),
        docker: DockerStatus {
            address: about.docker.clone(),
            connected: error.is_none(),
            error,
            version: Some(api.own.borrow().docker_version.clone()).filter(|version| !version.is_empty()),
        },
        balancer: BalancerStatus {
            engine: about.engine.to_owned(),
            frontends: open.map(ToString::to_string).collect(),
            closed: closed.collect(),
        },
        dns: about.dns.clone(),
        counts: counts(&api),
    })
}

fn counts(api: &Api) -> Counts {
    let world = api.world.snapshot();
    let containers = world.as_ref().map(|world| &world.own().containers);
    let is_running = |state: RunState| state == RunState::Running;
    Counts {
        containers: containers.map_or(0, |containers| containers.size()),
        running: containers.map_or(0, |all| all.values().filter(|c| is_running(c.state)).count()),
        routes: api.routes.applied().table.len(),
        handlers: api.handlers.borrow().handlers.values().filter(|handler| handler.enabled).count(),
        names: api.names.as_ref().map_or(0, |zones| zones.load().names().iter().count()),
        problems: api.problems.all().len(),
    }
}
