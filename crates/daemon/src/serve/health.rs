use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use longshore_api::Failure;

use super::{Api, failure};

/// Answers 200 while the agent is running.
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "health",
    tag = "agent",
    security(()),
    responses((status = 200, description = "The agent is running.", body = String, content_type = "text/plain"))
)]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Answers 200 once Docker's containers have been listed and their routes applied.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "readiness",
    tag = "agent",
    security(()),
    responses(
        (status = 200, description = "The agent is ready.", body = String, content_type = "text/plain"),
        (status = 503, description = "The agent is starting; the error names what it is waiting for.", body = Failure)
    )
)]
pub(super) async fn readyz(State(api): State<Api>) -> Response {
    if *api.ready.borrow() {
        return "ready\n".into_response();
    }
    let away = api.docker.borrow().clone();
    let why = match away {
        Some(why) => format!("Docker is not responding: {why}"),
        None => "the first routes are not applied yet".to_owned(),
    };
    failure(StatusCode::SERVICE_UNAVAILABLE, why)
}

/// Returns the metrics in Prometheus's text format.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "metrics",
    tag = "agent",
    responses((status = 200, description = "The metrics.", body = String, content_type = "text/plain"))
)]
pub(super) async fn metrics(State(api): State<Api>) -> Response {
    let durations = api.traffic.publish().await;
    let docker = f64::from(u8::from(api.docker.borrow().is_none()));
    metrics::gauge!("longshore_docker_connected").set(docker);
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], crate::metrics::render(&api.metrics) + &durations).into_response()
}
