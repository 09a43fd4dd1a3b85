use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use longshore_api::Failure;

use super::{Api, failure};

/// Whether the agent runs at all.
#[utoipa::path(get, path = "/healthz", responses((status = 200, body = String)))]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether Docker's containers have been listed and their routes carried once.
#[utoipa::path(get, path = "/readyz", responses((status = 200, body = String), (status = 503, body = Failure)))]
pub(super) async fn readyz(State(api): State<Api>) -> Response {
    if *api.ready.borrow() {
        return "ready\n".into_response();
    }
    let away = api.docker.borrow().clone();
    let why = match away {
        Some(why) => format!("Docker does not answer: {why}"),
        None => "the first routes are being made".to_owned(),
    };
    failure(StatusCode::SERVICE_UNAVAILABLE, why)
}

/// Figures for Prometheus.
#[utoipa::path(get, path = "/metrics", responses((status = 200, body = String)))]
pub(super) async fn metrics(State(api): State<Api>) -> Response {
    api.traffic.publish();
    let docker = f64::from(u8::from(api.docker.borrow().is_none()));
    metrics::gauge!("longshore_docker_connected").set(docker);
    api.metrics.run_upkeep();
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], api.metrics.render()).into_response()
}
