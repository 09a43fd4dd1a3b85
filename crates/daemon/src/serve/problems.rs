use axum::Json;
use axum::extract::State;
use longshore_api::Problem;

use super::Api;

/// Lists what was asked for and is not done, and why.
#[utoipa::path(
    get,
    path = "/v1/problems",
    operation_id = "list_problems",
    tag = "problems",
    responses((status = 200, description = "The problems, by what found them.", body = Vec<Problem>))
)]
pub(super) async fn problems(State(api): State<Api>) -> Json<Vec<Problem>> {
    Json(api.problems.all().iter().map(Problem::from).collect())
}
