use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use longshore_api::{Candidate, Explanation, Failure, RequestTarget, Route, Verdict};
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
    /// The request's host and path, or its URL: `wp1.example.com/blog`. Its port is the frontend's.
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
    let target: RequestTarget = match asked.target.parse() {
        Ok(target) => target,
        Err(error) => return failure(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let frontend = asked.frontend.unwrap_or_else(|| format!("http:{}", target.port));
    let frontend: Frontend = match frontend.parse() {
        Ok(frontend) => frontend,
        Err(error) => return failure(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let RequestTarget { host, path, .. } = &target;
    let explained = longshore_plan::explain(&api.world.snapshot(), &api.routes.table(), frontend, host, path);
    Json(explanation(frontend, explained)).into_response()
}

fn explanation(frontend: Frontend, explained: longshore_plan::Explanation) -> Explanation {
    let verdict = match explained.verdict {
        longshore_plan::Verdict::Routed => Verdict::Routed,
        longshore_plan::Verdict::NoUpstream => Verdict::NoUpstream,
        longshore_plan::Verdict::NoRoute => Verdict::NoRoute,
    };
    let candidate =
        |c: longshore_plan::Candidate| Candidate { name: c.name, id: c.id, serves: c.serves, why: c.why };
    let candidates = explained.candidates.into_iter().map(candidate).collect();
    Explanation { frontend: frontend.to_string(), verdict, route: explained.route, candidates }
}
