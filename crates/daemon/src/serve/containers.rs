use axum::Json;
use axum::extract::State;
use longshore_api::Container;

use super::Api;

/// Lists the containers of this host, running or not.
#[utoipa::path(
    get,
    path = "/v1/containers",
    operation_id = "list_containers",
    tag = "containers",
    responses((status = 200, description = "The containers, by id.", body = Vec<Container>))
)]
pub(super) async fn containers(State(api): State<Api>) -> Json<Vec<Container>> {
    let world = api.world.snapshot();
    let containers = world.iter().flat_map(|world| world.own().containers.values());
    Json(containers.map(|container| Container::from(&**container)).collect())
}
