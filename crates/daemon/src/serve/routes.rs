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

/// All routes that the balancer carries, in order of port, host and prefix.
#[utoipa::path(get, path = "/v1/routes", responses((status = 200, body = Vec<Route>)))]
pub(super) async fn routes(State(api): State<Api>) -> Json<Vec<Route>> {
    Json(api.routes.table().iter().map(|route| Route::from(&**route)).collect())
}

#[derive(Deserialize, IntoParams)]
pub(super) struct Asked {
    /// The request's host and path: `wp1.example.com/blog`. A port in it names the frontend.
    #[serde(default)]
    target: String,
    /// The frontend: `http:80` (the default), `tcp:5432`, `udp:53`.
    frontend: Option<String>,
}

/// Where a request goes, and why.
#[utoipa::path(
    get,
    path = "/v1/explain/route",
    params(Asked),
    responses((status = 200, body = Explanation), (status = 400, body = Failure))
)]
pub(super) async fn explain(State(api): State<Api>, Query(asked): Query<Asked>) -> Response {
    let target = asked.target.strip_prefix("http://").unwrap_or(&asked.target);
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
                return failure(StatusCode::BAD_REQUEST, format!("{text:?} is no host: write HOST/PATH"));
            }
        },
    };
    let port = authority.as_ref().and_then(Authority::port_u16).unwrap_or(80);
    let frontend = asked.frontend.unwrap_or_else(|| format!("http:{port}"));
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
