use axum::Json;
use axum::extract::State;
use longshore_api::Problem;

use super::Api;

/// Everything that is asked for and not done, with the reason.
#[utoipa::path(get, path = "/v1/problems", responses((status = 200, body = Vec<Problem>)))]
pub(super) async fn problems(State(api): State<Api>) -> Json<Vec<Problem>> {
    Json(api.problems.all().iter().map(Problem::from).collect())
}
