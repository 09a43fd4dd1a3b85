//! Orders to one container.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use longshore_api::{ContainerChange, ContainerCreated, Failure};
use longshore_model::{Call, ContainerOrder, NewContainer, PullPolicy};
use longshore_runtime::Reply;
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::IntoParams;

use super::Api;
use super::body::Body;
use super::containers::OnHost;
use super::errors::Refusal;
use super::params::{Params, invalid};
use super::target::{refused, unexpected};

/// How long an order may take.
const ORDER: Duration = Duration::from_secs(60);
/// How long one may take that waits for the container's end, if its own time is not known.
const PATIENT_ORDER: Duration = Duration::from_secs(600);

/// How a container is stopped.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the document's description of a parameter")]
pub(super) struct StopQuery {
    /// How many seconds to wait before it is killed; its own setting if absent, forever if negative.
    timeout: Option<i32>,
}

/// How a container is killed.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the document's description of a parameter")]
pub(super) struct KillQuery {
    /// The signal's name or number; SIGKILL if absent.
    signal: Option<String>,
}

/// How a container is created.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the document's description of parameters")]
pub(super) struct CreateQuery {
    /// Its name; Docker chooses one if absent.
    name: Option<String>,
    /// When its image is pulled: `missing` (the default), `always` or `never`.
    pull: Option<String>,
    /// The host's name or id; the agent's own if absent.
    host: Option<String>,
}

/// How a container is removed.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the document's description of parameters")]
pub(super) struct RemoveQuery {
    /// Kills it first, if it runs.
    force: Option<bool>,
    /// Removes its anonymous volumes too.
    volumes: Option<bool>,
}

/// Defines the endpoint of an order: it reads its parameters, and carries it out.
macro_rules! order {
    ($(#[$doc:meta])* $verb:ident, $path:tt, $id:tt, [$($query:ident),*], $read:expr) => {
        $(#[$doc])*
        #[utoipa::path(
            post,
            path = $path,
            operation_id = $id,
            tag = "containers",
            params(
                ("id" = String, Path, description = "The container's id, its name, or the beginning of its id."),
                OnHost,
                $($query),*
            ),
            responses((status = 200, description = "It is so.", body = ContainerChange))
        )]
        pub(super) async fn $verb(
            State(api): State<Api>,
            Path(id): Path<String>,
            params: Params,
        ) -> Result<Response, Refusal> {
            let read: fn(&Params) -> Result<(ContainerOrder, Duration), Refusal> = $read;
            let (wanted, limit) = read(&params)?;
            order(&api, &id, &params, wanted, limit).await
        }
    };
}

order!(
    /// Starts a container.
    start, "/v1/containers/{id}/start", "start_container", [], |_| Ok((ContainerOrder::Start, ORDER))
);
order!(
    /// Stops a container: its stop signal first, SIGKILL later.
    stop, "/v1/containers/{id}/stop", "stop_container", [StopQuery], |params| {
        let timeout = params.value("timeout")?;
        Ok((ContainerOrder::Stop { timeout }, patience(timeout)))
    }
);
order!(
    /// Stops a container and starts it again.
    restart, "/v1/containers/{id}/restart", "restart_container", [StopQuery], |params| {
        let timeout = params.value("timeout")?;
        Ok((ContainerOrder::Restart { timeout }, patience(timeout)))
    }
);
order!(
    /// Sends a container a signal.
    kill, "/v1/containers/{id}/kill", "kill_container", [KillQuery], |params| {
        let signal = params.text("signal").map(str::to_owned);
        Ok((ContainerOrder::Kill { signal }, ORDER))
    }
);
order!(
    /// Freezes a container's processes.
    pause, "/v1/containers/{id}/pause", "pause_container", [], |_| Ok((ContainerOrder::Pause, ORDER))
);
order!(
    /// Continues a container's processes.
    unpause, "/v1/containers/{id}/unpause", "unpause_container", [], |_| Ok((ContainerOrder::Unpause, ORDER))
);

/// Creates a container, from the body of Docker's own request.
#[utoipa::path(
    post,
    path = "/v1/containers",
    operation_id = "create_container",
    tag = "containers",
    params(CreateQuery),
    request_body(content = Object, description = "The body of Docker's `POST /containers/create`, which gets it unchanged."),
    responses(
        (status = 201, description = "It is there, and not started.", body = ContainerCreated),
        (status = 404, description = "There is no such image or host.", body = Failure),
        (status = 409, description = "The name is in use.", body = Failure)
    )
)]
pub(super) async fn create(
    State(api): State<Api>,
    params: Params,
    Body(body): Body<Box<RawValue>>,
) -> Result<Response, Refusal> {
    let pull = match params.text("pull") {
        None | Some("missing") => PullPolicy::Missing,
        Some("always") => PullPolicy::Always,
        Some("never") => PullPolicy::Never,
        Some(text) => return Err(invalid("pull", text, &"expected missing, always or never")),
    };
    let id = params.text("host").map_or(Ok(api.about.host), |host| api.host_named(host))?;
    let host = api.host_name(id);
    let name = params.text("name").map(str::to_owned);
    tracing::info!(host, name, ?pull, "a client of the API creates a container");
    let body = String::from(Box::<str>::from(body)).into();
    let call = Call::CreateContainer(NewContainer { body, name, pull });
    let reply = api.caller.call(id, call, PATIENT_ORDER).await.map_err(|error| refused(&host, &error))?;
    let created = match &reply {
        Reply::Json(json) => serde_json::from_slice::<Created>(json).ok(),
        _ => None,
    };
    match created {
        Some(Created { id, warnings }) => {
            let created = ContainerCreated { host, id, warnings: warnings.unwrap_or_default() };
            Ok((StatusCode::CREATED, Json(created)).into_response())
        }
        None => Err(unexpected(&host, &reply)),
    }
}

/// Docker's reply.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    id: String,
    warnings: Option<Vec<String>>,
}

/// Removes a container.
#[utoipa::path(
    delete,
    path = "/v1/containers/{id}",
    operation_id = "remove_container",
    tag = "containers",
    params(
        ("id" = String, Path, description = "The container's id, its name, or the beginning of its id."),
        OnHost,
        RemoveQuery
    ),
    responses((status = 200, description = "It is gone.", body = ContainerChange))
)]
pub(super) async fn remove(
    State(api): State<Api>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, Refusal> {
    let (force, volumes) = (params.flag("force", false)?, params.flag("volumes", false)?);
    order(&api, &id, &params, ContainerOrder::Remove { force, volumes }, ORDER).await
}

fn patience(timeout: Option<i32>) -> Duration {
    match timeout.map(u64::try_from) {
        Some(Ok(seconds)) => ORDER.saturating_add(Duration::from_secs(seconds)),
        Some(Err(_)) | None => PATIENT_ORDER,
    }
}

async fn order(
    api: &Api,
    id: &str,
    params: &Params,
    order: ContainerOrder,
    limit: Duration,
) -> Result<Response, Refusal> {
    let target = api.target(id, params.text("host"))?;
    tracing::info!(container = %target.name, host = %target.host, ?order, "a client of the API asked for this");
    let changed = match api.call(&target, order.into(), limit).await? {
        Reply::Done => true,
        Reply::Already => false,
        reply @ (Reply::Json(_) | Reply::Stream(_) | Reply::Session(_)) => {
            return Err(unexpected(&target.host, &reply));
        }
    };
    let id = target.container.id.as_str().to_owned();
    Ok(Json(ContainerChange { host: target.host, id, name: target.name, changed }).into_response())
}
