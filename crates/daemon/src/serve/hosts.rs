use axum::Json;
use axum::extract::State;
use longshore_api::{Host, HostCapacity, HostLoad};
use longshore_cluster::members::{Member, MemberState};
use longshore_model::{self as model, HostId, RunState};

use super::Api;

/// Lists the hosts of the cluster.
#[utoipa::path(
    get,
    path = "/v1/hosts",
    operation_id = "list_hosts",
    tag = "hosts",
    responses((status = 200, description = "The hosts, by id.", body = Vec<Host>))
)]
pub(super) async fn hosts(State(api): State<Api>) -> Json<Vec<Host>> {
    let world = api.world.snapshot();
    let known = |id: HostId| world.as_ref().and_then(|world| world.host(id));
    let roster = api.roster.borrow().clone();
    let members = roster.iter().flat_map(|roster| &roster.members);
    let others = members.filter(|member| member.host != api.about.host);
    let mut hosts: Vec<Host> =
        others.map(|member| of_member(member, known(member.host))).chain([own(&api)]).collect();
    hosts.sort_by(|a, b| a.id.cmp(&b.id));
    Json(hosts)
}

/// Returns the host that was asked, about which it knows some things before World does.
fn own(api: &Api) -> Host {
    let own = api.own.borrow().clone();
    let world = api.world.snapshot();
    let known = world.as_ref().map(|world| world.own());
    Host {
        id: api.about.host.to_string(),
        name: api.about.node.clone(),
        address: api.about.address.map(|address| address.to_string()),
        state: MemberState::Alive.to_string(),
        unreachable_from_here: false,
        labels: known.map(|host| host.info.labels.clone()).unwrap_or_default(),
        capacity: own.capacity.map(capacity),
        load: own.load.map(load),
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        docker_version: own.docker_version,
        containers: known.map_or(0, |host| host.containers.size()),
        running: known.map_or(0, running),
    }
}

fn of_member(member: &Member, known: Option<&model::Host>) -> Host {
    let info = known.map(|host| &host.info);
    // A host whose Docker has not answered yet has told no capacity.
    let described = info.filter(|info| info.capacity.cpus > 0);
    Host {
        id: member.host.to_string(),
        name: member.name.to_string(),
        address: Some(member.address.ip().to_string()),
        state: member.state.to_string(),
        unreachable_from_here: member.unreachable_from_here,
        labels: info.map(|info| info.labels.clone()).unwrap_or_default(),
        capacity: described.map(|info| capacity(info.capacity)),
        load: described.map(|info| load(info.load)),
        version: info.map(|info| info.version.clone()),
        docker_version: described.map(|info| info.docker_version.clone()),
        containers: known.map_or(0, |host| host.containers.size()),
        running: known.map_or(0, running),
    }
}

fn capacity(all: model::Capacity) -> HostCapacity {
    HostCapacity { cpus: all.cpus, memory: all.memory }
}

fn load(used: model::Load) -> HostLoad {
    HostLoad { millicpus: used.millicpus, memory: used.memory }
}

fn running(host: &model::Host) -> usize {
    host.containers.values().filter(|container| container.state == RunState::Running).count()
}
