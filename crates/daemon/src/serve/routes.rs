use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use longshore_api::{Candidate, Explanation, Failure, RequestTarget, Route, Verdict};
use longshore_model::Frontend;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Api, failure};
use crate::reconcile::AppliedRoutes;

/// Lists the routes in force.
#[utoipa::path(
    get,
    path = "/v1/routes",
    operation_id = "list_routes",
    tag = "routes",
    responses((status = 200, description = "The routes, by port, host and prefix.", body = Vec<Route>))
)]
pub(super) async fn routes(State(api): State<Api>) -> Json<Vec<Route>> {
    let applied = api.routes.applied();
    Json(applied.table.iter().map(|route| applied.shown(route)).collect())
}

/// The request to explain.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RouteQuery {
    /// The request's host and path, or its URL: `wp1.example.com/blog`. Its port selects the frontend.
    #[serde(default = "any_host")]
    target: String,
    /// The frontend: `http:80` (the default), `tcp:5432`, `udp:53`.
    frontend: Option<String>,
}

/// Returns the default target: a frontend that is not HTTP needs none.
fn any_host() -> String {
    "/".to_owned()
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
    let target: RequestTarget = match query.target.parse() {
        Ok(target) => target,
        Err(error) => return failure(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let frontend = query.frontend.unwrap_or_else(|| format!("http:{}", target.port));
    let frontend: Frontend = match frontend.parse() {
        Ok(frontend) => frontend,
        Err(error) => return failure(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let Some(world) = api.world.snapshot() else {
        return failure(StatusCode::SERVICE_UNAVAILABLE, "Docker's containers have not been listed yet");
    };
    let RequestTarget { host, path, .. } = &target;
    let applied = api.routes.applied();
    let explained = longshore_plan::explain(&world, &applied.table, frontend, host, path);
    Json(explanation(frontend, explained, applied.refused.get(&frontend).cloned())).into_response()
}

impl AppliedRoutes {
    /// Returns a route as the API shows it.
    pub(super) fn shown(&self, route: &longshore_model::Route) -> Route {
        Route { frontend_error: self.refused.get(&route.key.frontend).cloned(), ..Route::from(route) }
    }
}

/// Builds the answer. `refused` is why the frontend is not open, if it is not: then no container gets the
/// request, whatever the route says.
fn explanation(
    frontend: Frontend,
    explained: longshore_plan::Explanation,
    refused: Option<String>,
) -> Explanation {
    let verdict = match explained.verdict {
        longshore_plan::Verdict::NoRoute => Verdict::NoRoute,
        _ if refused.is_some() => Verdict::FrontendClosed,
        longshore_plan::Verdict::Routed => Verdict::Routed,
        longshore_plan::Verdict::NoUpstream => Verdict::NoUpstream,
    };
    let is_open = refused.is_none();
    let candidate = |c: longshore_plan::Candidate| Candidate {
        name: c.name,
        id: c.id,
        serves: c.serves && is_open,
        why: c.why,
    };
    let candidates = explained.candidates.into_iter().map(candidate).collect();
    let frontend_error = refused.filter(|_| verdict == Verdict::FrontendClosed);
    Explanation {
        frontend: frontend.to_string(),
        verdict,
        route: explained.route,
        frontend_error,
        candidates,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_routed_through_a_frontend_that_is_not_open() {
        let routed = || longshore_plan::Explanation {
            verdict: longshore_plan::Verdict::Routed,
            route: Some("tcp:9999".to_owned()),
            candidates: vec![longshore_plan::Candidate {
                name: "db".to_owned(),
                id: "0123".to_owned(),
                serves: true,
                why: "takes 100%".to_owned(),
            }],
        };
        let open = explanation("tcp:9999".parse().unwrap(), routed(), None);
        assert!(open.verdict == Verdict::Routed && open.candidates[0].serves);
        let taken = explanation("tcp:9999".parse().unwrap(), routed(), Some("address in use".to_owned()));
        assert_eq!(
            (taken.verdict, taken.frontend_error.as_deref()),
            (Verdict::FrontendClosed, Some("address in use"))
        );
        assert!(!taken.candidates[0].serves);
    }
}
