use std::net::IpAddr;

use axum::Json;
use axum::extract::State;
use longshore_api::{Host, HostCapacity, HostLoad};
use longshore_cluster::members::{Member, MemberState};
use longshore_model::{self as model, Capacity, HostId, HostInfo, RunState};

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
    let mut hosts: Vec<Host> = members
        .filter(|member| member.host != api.about.host)
        .map(|member| other(member, known(member.host)))
        .collect();
    hosts.push(own(&api, known(api.about.host)));
    hosts.sort_by(|a, b| a.id.cmp(&b.id));
    Json(hosts)
}

/// Describes the host that was asked.
fn own(api: &Api, known: Option<&model::Host>) -> Host {
    let info = api.own.borrow().clone();
    let state = MemberState::Alive.to_string();
    described(api.about.host, &info, known, info.name.clone(), api.about.address, state)
}

fn other(member: &Member, known: Option<&model::Host>) -> Host {
    let (name, address) = (member.name.to_string(), Some(member.address.ip()));
    let nothing = HostInfo::default();
    let info = known.map_or(&nothing, |host| &host.info);
    let host = described(member.host, info, known, name, address, member.state.to_string());
    Host { unreachable_from_here: member.unreachable_from_here, ..host }
}

fn described(
    id: HostId,
    info: &HostInfo,
    known: Option<&model::Host>,
    name: String,
    address: Option<IpAddr>,
    state: String,
) -> Host {
    let Capacity { cpus, memory } = info.capacity;
    let used = info.load;
    let told = |version: &String| Some(version.clone()).filter(|version| !version.is_empty());
    let running = |host: &model::Host| {
        host.containers.values().filter(|container| container.state == RunState::Running).count()
    };
    Host {
        id: id.to_string(),
        name,
        address: address.map(|address| address.to_string()),
        state,
        unreachable_from_here: false,
        labels: info.labels.clone(),
        // No host has no memory, or uses none: it is not known yet.
        capacity: (memory > 0).then_some(HostCapacity { cpus, memory }),
        load: (used.memory > 0).then_some(HostLoad { millicpus: used.millicpus, memory: used.memory }),
        version: told(&info.version),
        docker_version: told(&info.docker_version),
        containers: known.map_or(0, |host| host.containers.size()),
        running: known.map_or(0, running),
    }
}
