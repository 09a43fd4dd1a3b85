use axum::Json;
use axum::extract::State;
use longshore_api::Problem;

use super::Api;

/// Lists what is configured but not done, and why.
#[utoipa::path(
    get,
    path = "/v1/problems",
    operation_id = "list_problems",
    tag = "problems",
    responses((status = 200, description = "The problems, by source.", body = Vec<Problem>))
)]
pub(super) async fn problems(State(api): State<Api>) -> Json<Vec<Problem>> {
    Json(api.problems.all().iter().map(Problem::from).collect())
}
