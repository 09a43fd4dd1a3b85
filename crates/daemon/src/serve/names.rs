use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use longshore_api::{Failure, Name};

use super::{Api, failure};

/// Lists the names of containers and services that the DNS server answers.
#[utoipa::path(
    get,
    path = "/v1/names",
    operation_id = "list_names",
    tag = "names",
    responses(
        (status = 200, description = "The names.", body = Vec<Name>),
        (status = 404, description = "This agent runs no DNS server.", body = Failure)
    )
)]
pub(super) async fn names(State(api): State<Api>) -> Response {
    let Some(zones) = &api.names else {
        return failure(StatusCode::NOT_FOUND, "this agent runs no DNS server: start it with --dns ADDRESS");
    };
    let zone = zones.load();
    let domain = zone.domain();
    let names: Vec<Name> = zone.names().iter().map(|(key, entry)| Name::of(key, entry, domain)).collect();
    Json(names).into_response()
}
