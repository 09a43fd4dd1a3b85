use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use longshore_api::{Host, HostCapacity, HostLoad};
use longshore_model as model;
use longshore_model::{Capacity, HostId, RunState};

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
    let Some(world) = api.world.snapshot() else {
        let own = model::Host { info: Arc::new(api.own.borrow().clone()), ..model::Host::default() };
        return Json(vec![described(&api, api.about.host, &own)]);
    };
    Json(world.hosts().map(|(id, host)| described(&api, id, host)).collect())
}

fn described(api: &Api, id: HostId, host: &model::Host) -> Host {
    let info = &host.info;
    let is_own = id == api.about.host;
    let address = info.addresses.first().copied().or(api.about.address.filter(|_| is_own));
    let runs = host.containers.values().filter(|container| container.state == RunState::Running);
    let Capacity { cpus, memory } = info.capacity;
    let used = info.load;
    Host {
        id: id.to_string(),
        name: api.host_name(id),
        address: address.map(|address| address.to_string()),
        state: "alive".to_owned(),
        // No host has no memory, or uses none: it is not known yet.
        capacity: (memory > 0).then_some(HostCapacity { cpus, memory }),
        load: (used.memory > 0).then_some(HostLoad { millicpus: used.millicpus, memory: used.memory }),
        version: info.version.clone(),
        docker_version: Some(info.docker_version.clone()).filter(|version| !version.is_empty()),
        containers: host.containers.size(),
        running: runs.count(),
    }
}
