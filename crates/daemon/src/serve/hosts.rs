use axum::Json;
use axum::extract::State;
use longshore_api::{Host, HostCapacity, HostLoad};
use longshore_model::RunState;

use super::Api;

/// Lists the hosts.
#[utoipa::path(
    get,
    path = "/v1/hosts",
    operation_id = "list_hosts",
    tag = "hosts",
    responses((status = 200, description = "The hosts, by id.", body = Vec<Host>))
)]
pub(super) async fn hosts(State(api): State<Api>) -> Json<Vec<Host>> {
    let world = api.world.snapshot();
    let own = api.own.borrow().clone();
    let containers = world.as_ref().map(|world| &world.own().containers);
    let runs = |state: RunState| state == RunState::Running;
    Json(vec![Host {
        id: api.about.host.to_string(),
        name: api.about.node.clone(),
        address: api.about.address.map(|address| address.to_string()),
        state: "alive".to_owned(),
        capacity: own.capacity.map(|all| HostCapacity { cpus: all.cpus, memory: all.memory }),
        load: own.load.map(|used| HostLoad { millicpus: used.millicpus, memory: used.memory }),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        docker_version: own.docker_version,
        containers: containers.map_or(0, |all| all.size()),
        running: containers.map_or(0, |all| all.values().filter(|c| runs(c.state)).count()),
    }])
}
