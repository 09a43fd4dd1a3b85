//! DockerMod's API at `/`.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use longshore_api::Failure;
use longshore_api::dockermod::Reply;
use tokio::time::timeout;

use super::Api;
use super::errors::IsDockerMods;

/// How long a client may take to send its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Says what answers here.
#[utoipa::path(
    get,
    path = "/",
    operation_id = "dockermod_greeting",
    tag = "dockermod",
    responses((status = 200, description = "A text.", body = String, content_type = "text/plain"))
)]
pub(super) async fn greet(State(api): State<Api>) -> String {
    let (version, node) = (env!("CARGO_PKG_VERSION"), &api.about.node);
    format!(
        "Longshore {version} on {node}\nPOST {{\"action\": \"list-containers\", \"all\": true}} here, or see /docs.\n"
    )
}

/// Carries out a request of DockerMod's API.
///
/// The body is read as JSON whatever its `Content-Type`, and may contain comments. Every reply has `statusCode`, which
/// is also the HTTP status (200 where it is 204 or 304, as those have no body), and `dockerInstance`, the host.
#[utoipa::path(
    post,
    path = "/",
    operation_id = "dockermod",
    tag = "dockermod",
    request_body(content = serde_json::Value, description = "The action and its fields.",
        example = json!({ "action": "create-container", "image": "ubuntu", "instances": 2 })),
    responses(
        (status = 200, description = "Docker's answer, or the answers of all hosts.", body = serde_json::Value),
        (status = 201, description = "The containers were created.", body = serde_json::Value),
        (status = 207, description = "Some of the containers were created.", body = serde_json::Value),
        (status = 400, description = "The body is not a request; the error names the field.", body = Failure),
        (status = 404, description = "No such container, host, template or image.", body = Failure),
        (status = 409, description = "Several containers have this name, or Docker refuses.", body = Failure),
        (status = 503, description = "The host, or its Docker, cannot be reached.", body = Failure),
        (status = 504, description = "The host did not answer in time.", body = Failure)
    )
)]
pub(super) async fn act(State(api): State<Api>, Body(body): Body) -> Response {
    respond(api.dockermod.answer(&body).await)
}

/// A request's body, of whatever type.
pub(super) struct Body(Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let read: Result<Bytes, BytesRejection> = timeout(BODY_TIMEOUT, Bytes::from_request(request, state))
            .await
            .map_err(|_| respond(Reply::error(408, "the request's body did not arrive in time")))?;
        let refused =
            |error: BytesRejection| respond(Reply::error(error.status().as_u16(), error.body_text()));
        read.map(Self).map_err(refused)
    }
}

fn respond(reply: Reply) -> Response {
    let status = StatusCode::from_u16(reply.http_status()).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut response = (status, Json(reply.body)).into_response();
    response.extensions_mut().insert(IsDockerMods);
    response
}
