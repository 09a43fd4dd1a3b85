use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use longshore_api::{Affected, FailedDelivery, Failure, Handler, HandlerTest, HandlerTestReport};
use longshore_delivery::{Command, TestError, outline_of};
use tokio::sync::oneshot;

use super::{Api, failure};

/// All handlers, in order of their names, and how their deliveries go.
#[utoipa::path(get, path = "/v1/handlers", responses((status = 200, body = Vec<Handler>)))]
pub(super) async fn handlers(State(api): State<Api>) -> Response {
    let Some(told) = api.ask(Command::List).await else { return not_yet() };
    let set = api.handlers.borrow().clone();
    let following = set.handlers.values().filter(|handler| !handler.job.counts_events());
    let mut all: Vec<Handler> =
        told.into_iter().chain(following.map(|handler| outline_of(handler))).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Json(all).into_response()
}

/// The deliveries that were given up, oldest first.
#[utoipa::path(get, path = "/v1/handlers/failed", responses((status = 200, body = Vec<FailedDelivery>)))]
pub(super) async fn failed(State(api): State<Api>) -> Response {
    match api.ask(Command::Failed).await {
        Some(failed) => Json(failed).into_response(),
        None => not_yet(),
    }
}

/// Delivers one again that was given up, or all of them (`all`).
#[utoipa::path(
    post,
    path = "/v1/handlers/failed/{id}/replay",
    responses((status = 200, body = Affected), (status = 404, body = Failure))
)]
pub(super) async fn replay(State(api): State<Api>, Path(id): Path<String>) -> Response {
    affected(&api, &id, Command::Replay).await
}

/// Forgets one that was given up, or all of them (`all`).
#[utoipa::path(
    post,
    path = "/v1/handlers/failed/{id}/forget",
    responses((status = 200, body = Affected), (status = 404, body = Failure))
)]
pub(super) async fn forget(State(api): State<Api>, Path(id): Path<String>) -> Response {
    affected(&api, &id, Command::Forget).await
}

/// Tries one event on one handler, whatever waits for it; or only says what it would be given.
#[utoipa::path(
    post,
    path = "/v1/handlers/{name}/test",
    request_body = HandlerTest,
    responses(
        (status = 200, body = HandlerTestReport),
        (status = 400, body = Failure, description = "No such event can happen, or not to what is named."),
        (status = 404, body = Failure),
        (status = 409, body = Failure, description = "The beginning of an id that several containers share.")
    )
)]
pub(super) async fn test(
    State(api): State<Api>,
    Path(name): Path<String>,
    Json(test): Json<HandlerTest>,
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
    failure(StatusCode::SERVICE_UNAVAILABLE, "deliveries have not begun yet, or are ending: ask again")
}

impl Api {
    /// Asks the deliveries; nothing where there are none.
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.deliveries.send(command(answer)).ok()?;
        answered.await.ok()
    }
}
