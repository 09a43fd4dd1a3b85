use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use longshore_api::{Failure, Name};

use super::{Api, failure};

/// All names that the DNS server has: containers and services, those of one host together.
#[utoipa::path(
    get,
    path = "/v1/names",
    responses((status = 200, body = Vec<Name>), (status = 404, body = Failure))
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
