use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use longshore_api::{Affected, FailedDelivery, Failure, Handler, HandlerTest, HandlerTestReport};
use longshore_delivery::{Command, TestError, outline_of};
use longshore_model::BrokenHandler;
use tokio::sync::oneshot;

use super::body::Body;
use super::{Api, failure};

/// Lists the handlers and the state of their deliveries.
#[utoipa::path(
    get,
    path = "/v1/handlers",
    operation_id = "list_handlers",
    tag = "handlers",
    responses((status = 200, description = "The handlers, by name.", body = Vec<Handler>))
)]
pub(super) async fn handlers(State(api): State<Api>) -> Response {
    let Some(told) = api.ask(Command::List).await else { return not_yet() };
    let set = api.handlers.borrow().clone();
    let following = set.handlers.values().filter(|handler| !handler.job.counts_events());
    let mut all: Vec<Handler> =
        told.into_iter().chain(following.map(|handler| outline_of(handler))).collect();
    for (name, broken) in &set.broken {
        match all.iter_mut().find(|handler| handler.name == *name) {
            Some(handler) => handler.broken = Some(broken.error.clone()),
            None => all.push(outline_of_broken(name, broken)),
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Json(all).into_response()
}

/// Describes a handler that has never had a valid definition.
fn outline_of_broken(name: &str, broken: &BrokenHandler) -> Handler {
    let file = broken.origin.file.display();
    Handler {
        name: name.to_owned(),
        job: String::new(),
        origin: broken.origin.line.map_or_else(|| file.to_string(), |line| format!("{file}:{line}")),
        enabled: true,
        events: Vec::new(),
        pending: 0,
        running: 0,
        delivered: 0,
        failed: 0,
        trouble: None,
        broken: Some(broken.error.clone()),
    }
}

/// Lists the deliveries that failed permanently.
#[utoipa::path(
    get,
    path = "/v1/handlers/failed",
    operation_id = "list_failed_deliveries",
    tag = "handlers",
    responses((status = 200, description = "The deliveries, oldest first.", body = Vec<FailedDelivery>))
)]
pub(super) async fn failed(State(api): State<Api>) -> Response {
    match api.ask(Command::Failed).await {
        Some(failed) => Json(failed).into_response(),
        None => not_yet(),
    }
}

/// Retries deliveries that failed permanently.
#[utoipa::path(
    post,
    path = "/v1/handlers/failed/{id}/replay",
    operation_id = "replay_delivery",
    tag = "handlers",
    params(("id" = String, Path, description = "The delivery's id, or `all`.")),
    responses(
        (status = 200, description = "The number of deliveries to retry.", body = Affected),
        (status = 404, description = "No failed delivery has this id.", body = Failure)
    )
)]
pub(super) async fn replay(State(api): State<Api>, Path(id): Path<String>) -> Response {
    affected(&api, &id, Command::Replay).await
}

/// Discards deliveries that failed permanently.
#[utoipa::path(
    post,
    path = "/v1/handlers/failed/{id}/forget",
    operation_id = "forget_delivery",
    tag = "handlers",
    params(("id" = String, Path, description = "The delivery's id, or `all`.")),
    responses(
        (status = 200, description = "The number of discarded deliveries.", body = Affected),
        (status = 404, description = "No failed delivery has this id.", body = Failure)
    )
)]
pub(super) async fn forget(State(api): State<Api>, Path(id): Path<String>) -> Response {
    affected(&api, &id, Command::Forget).await
}

/// Runs a handler once with one event, ahead of its queue, or shows what it would be given.
#[utoipa::path(
    post,
    path = "/v1/handlers/{name}/test",
    operation_id = "test_handler",
    tag = "handlers",
    params(("name" = String, Path, description = "The handler's name.")),
    request_body(content = HandlerTest, description = "The event and its container."),
    responses(
        (status = 200, description = "The outcome of the attempt, also if the handler failed.", body = HandlerTestReport),
        (status = 400, description = "The event is unknown, or does not go with the container.", body = Failure),
        (status = 404, description = "The handler or the container is unknown.", body = Failure),
        (status = 409, description = "Several container ids begin with the given one.", body = Failure)
    )
)]
pub(super) async fn test(
    State(api): State<Api>,
    Path(name): Path<String>,
    Body(test): Body<HandlerTest>,
) -> Response {
    match api.ask(|answer| Command::Test(name, test, answer)).await {
        None => not_yet(),
        Some(Ok(report)) => Json(report).into_response(),
        Some(Err(error)) => {
            let status = match &error {
                TestError::Handler(_) | TestError::Container(_) => StatusCode::NOT_FOUND,
                TestError::Ambiguous(_) => StatusCode::CONFLICT,
                TestError::Follows { .. }
                | TestError::NoEvent(_)
                | TestError::NoneHasNoContainer
                | TestError::NoContainer(_) => StatusCode::BAD_REQUEST,
            };
            failure(status, error.to_string())
        }
    }
}

async fn affected(
    api: &Api,
    id: &str,
    command: impl FnOnce(Option<String>, oneshot::Sender<usize>) -> Command,
) -> Response {
    let one = (id != "all").then(|| id.to_owned());
    let is_one = one.is_some();
    match api.ask(|answer| command(one, answer)).await {
        None => not_yet(),
        Some(0) if is_one => failure(StatusCode::NOT_FOUND, format!("no failed delivery has the id {id}")),
        Some(count) => Json(Affected { count }).into_response(),
    }
}

fn not_yet() -> Response {
    failure(StatusCode::SERVICE_UNAVAILABLE, "deliveries are starting or shutting down: retry later")
}

impl Api {
    /// Sends a command to the deliveries; returns nothing if they do not run.
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.deliveries.send(command(answer)).ok()?;
        answered.await.ok()
    }
}
