use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::uri::Authority;
use axum::response::{IntoResponse, Response};
use longshore_api::{Candidate, Explanation, Failure, Route, Verdict};
use longshore_model::Frontend;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Api, failure};

/// Lists the routes that the balancer carries.
#[utoipa::path(
    get,
    path = "/v1/routes",
    operation_id = "list_routes",
    tag = "routes",
    responses((status = 200, description = "The routes, by port, host and prefix.", body = Vec<Route>))
)]
pub(super) async fn routes(State(api): State<Api>) -> Json<Vec<Route>> {
    Json(api.routes.table().iter().map(|route| Route::from(&**route)).collect())
}

/// The request to explain.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RouteQuery {
    /// The request's host and path: `wp1.example.com/blog`. A port in it names the frontend.
    #[serde(default)]
    target: String,
    /// The frontend: `http:80` (the default), `tcp:5432`, `udp:53`.
    frontend: Option<String>,
}

/// Explains where a request goes, and why.
#[utoipa::path(
    get,
    path = "/v1/explain/route",
    operation_id = "explain_route",
    tag = "routes",
    params(RouteQuery),
    responses(
        (status = 200, description = "Where the request goes.", body = Explanation),
        (status = 400, description = "The target or the frontend is invalid.", body = Failure)
    )
)]
pub(super) async fn explain(State(api): State<Api>, Query(query): Query<RouteQuery>) -> Response {
    let target = query.target.strip_prefix("http://").unwrap_or(&query.target);
    let (authority, path) = match target.find('/') {
        Some(slash) => target.split_at(slash),
        None => (target, "/"),
    };
    let path = path.split(['?', '#']).next().unwrap_or("/");
    let authority = match authority {
        "" => None,
        text => match text.parse::<Authority>() {
            Ok(authority) => Some(authority),
            Err(_) => {
                return failure(
                    StatusCode::BAD_REQUEST,
                    format!("invalid host {text:?}: expected HOST/PATH"),
                );
            }
        },
    };
    let port = authority.as_ref().and_then(Authority::port_u16).unwrap_or(80);
    let frontend = query.frontend.unwrap_or_else(|| format!("http:{port}"));
    let frontend: Frontend = match frontend.parse() {
        Ok(frontend) => frontend,
        Err(error) => return failure(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let host = authority.as_ref().map_or("", |authority| authority.host());
    let Some(world) = api.world.snapshot() else {
        return failure(StatusCode::SERVICE_UNAVAILABLE, "Docker's containers have not been listed yet");
    };
    let explained = longshore_plan::explain(&world, &api.routes.table(), frontend, host, path);
    Json(explanation(explained)).into_response()
}

fn explanation(explained: longshore_plan::Explanation) -> Explanation {
    let verdict = match explained.verdict {
        longshore_plan::Verdict::Routed => Verdict::Routed,
        longshore_plan::Verdict::NoUpstream => Verdict::NoUpstream,
        longshore_plan::Verdict::NoRoute => Verdict::NoRoute,
    };
    let candidate =
        |c: longshore_plan::Candidate| Candidate { name: c.name, id: c.id, serves: c.serves, why: c.why };
    let candidates = explained.candidates.into_iter().map(candidate).collect();
    Explanation { verdict, route: explained.route, candidates }
}
