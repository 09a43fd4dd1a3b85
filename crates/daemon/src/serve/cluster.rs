//! The cluster: how it looks, who leaves it, labels of hosts, and its secret.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use longshore_api::{
    Cluster, ClusterHost, Failure, HostLabels, HostLeft, LabelChanges, RotatedHost, Rotation, RotationRequest,
};
use longshore_cluster::members::MemberState;
use longshore_model::{CallError, HostId};
use longshore_runtime::chain;

use super::Api;
use super::body::Body;
use super::errors::Refusal;
use crate::cluster::{Absent, Membership, OrderError, RotateError, Rotated};

/// Describes the cluster: its hosts, how each of them sees the others, and which secrets they use.
#[utoipa::path(
    get,
    path = "/v1/cluster",
    operation_id = "cluster",
    tag = "hosts",
    responses((status = 200, description = "The cluster.", body = Cluster))
)]
pub(super) async fn cluster(State(api): State<Api>) -> Json<Cluster> {
    let joined = api.membership.as_ref().filter(|membership| membership.roster().is_some());
    let Some(membership) = joined else {
        return Json(Cluster { name: None, hosts: vec![alone(&api)] });
    };
    let looks = membership.looks().await;
    let names: BTreeMap<String, String> =
        looks.iter().map(|(member, _)| (member.host.to_string(), member.name.to_string())).collect();
    let hosts = looks.into_iter().map(|(member, look)| {
        let answered = look.is_some();
        let look = look.unwrap_or_default();
        let name = |id: &String| names.get(id).unwrap_or(id).clone();
        ClusterHost {
            id: member.host.to_string(),
            name: member.name.to_string(),
            address: member.address.to_string(),
            state: member.state.to_string(),
            since_seconds: member.since.elapsed().as_secs(),
            answered,
            secrets: look.secrets,
            secret_file: look.secret_file,
            unreachable: look.unreachable.iter().map(name).collect(),
            clock_ahead_seconds: member.clock_ahead,
        }
    });
    Json(Cluster { name: Some(membership.cluster_name()), hosts: hosts.collect() })
}

fn alone(api: &Api) -> ClusterHost {
    ClusterHost {
        id: api.about.host.to_string(),
        name: api.about.node.clone(),
        address: api.about.address.map(|address| address.to_string()).unwrap_or_default(),
        state: MemberState::Alive.to_string(),
        since_seconds: api.about.started.elapsed().as_secs(),
        answered: true,
        secrets: Vec::new(),
        secret_file: None,
        unreachable: Vec::new(),
        clock_ahead_seconds: 0,
    }
}

/// Replaces the cluster's secret on all hosts, without a gap.
#[utoipa::path(
    post,
    path = "/v1/cluster/rotate",
    operation_id = "rotate_secret",
    tag = "hosts",
    request_body(content = RotationRequest, description = "What to do about hosts that do not answer."),
    responses(
        (status = 200, description = "All these hosts use the new secret, and no other.", body = Rotation),
        (status = 409, description = "It was not begun, or stopped: the error says why, and what to do.", body = Failure)
    )
)]
pub(super) async fn rotate(
    State(api): State<Api>,
    Body(request): Body<RotationRequest>,
) -> Result<Json<Rotation>, Refusal> {
    let conflict = |error: &RotateError| Refusal::new(StatusCode::CONFLICT, chain(error));
    let membership = api.membership.as_ref().ok_or_else(|| conflict(&RotateError::Alone))?;
    let absent = if request.leave_out_absent { Absent::LeaveOut } else { Absent::Refuse };
    // A client that goes away does not stop it half way.
    let rotating = tokio::spawn({
        let membership = membership.clone();
        async move { membership.rotate(absent).await }
    });
    let rotated = rotating.await.map_err(|error| Refusal::new(StatusCode::CONFLICT, error.to_string()))?;
    let Rotated { fingerprint, hosts, left_out } = rotated.map_err(|error| conflict(&error))?;
    let hosts = hosts.into_iter().map(|(name, secret_file)| RotatedHost { name, secret_file }).collect();
    Ok(Json(Rotation { fingerprint, hosts, left_out }))
}

/// Has a host give up its place in the cluster at once; its agent runs on as a cluster of one.
#[utoipa::path(
    post,
    path = "/v1/hosts/{host}/leave",
    operation_id = "leave_cluster",
    tag = "hosts",
    params(("host" = String, Path, description = "The host's name or id.")),
    responses(
        (status = 200, description = "It has left.", body = HostLeft),
        (status = 404, description = "There is no such host.", body = Failure),
        (status = 409, description = "It is in no cluster, or refused.", body = Failure),
        (status = 502, description = "It cannot be reached.", body = Failure)
    )
)]
pub(super) async fn leave(
    State(api): State<Api>,
    Path(host): Path<String>,
) -> Result<Json<HostLeft>, Refusal> {
    let id = api.member_named(&host)?;
    let Some(membership) = api.joined() else {
        return Err(Refusal::new(StatusCode::CONFLICT, "this host is a cluster of one"));
    };
    let name = api.member_name(id);
    membership.have_leave(id).await.map_err(|error| refused(&name, &error))?;
    Ok(Json(HostLeft { host: name }))
}

/// Changes labels of a host, also for its next start.
#[utoipa::path(
    post,
    path = "/v1/hosts/{host}/labels",
    operation_id = "label_host",
    tag = "hosts",
    params(("host" = String, Path, description = "The host's name or id.")),
    request_body(content = LabelChanges, description = "The new values by their keys; `null` removes a label."),
    responses(
        (status = 200, description = "All labels of the host.", body = HostLabels),
        (status = 404, description = "There is no such host.", body = Failure),
        (status = 409, description = "A label is invalid, or cannot be saved.", body = Failure),
        (status = 502, description = "The host cannot be reached.", body = Failure)
    )
)]
pub(super) async fn label(
    State(api): State<Api>,
    Path(host): Path<String>,
    Body(LabelChanges(changes)): Body<LabelChanges>,
) -> Result<Json<HostLabels>, Refusal> {
    let id = api.member_named(&host)?;
    let labels = match api.joined().filter(|_| id != api.about.host) {
        Some(membership) => {
            let changed = membership.label(id, changes).await;
            changed.map_err(|error| refused(&api.member_name(id), &error))?
        }
        None => {
            api.labels.change(&changes).map_err(|error| Refusal::new(StatusCode::CONFLICT, chain(&error)))?
        }
    };
    Ok(Json(HostLabels { labels }))
}

fn refused(host: &str, error: &OrderError) -> Refusal {
    let status = match error {
        OrderError::Unknown => StatusCode::NOT_FOUND,
        OrderError::Unreachable(_) => StatusCode::BAD_GATEWAY,
        OrderError::Silent(_) => StatusCode::GATEWAY_TIMEOUT,
        OrderError::Refused(_) => StatusCode::CONFLICT,
    };
    Refusal::new(status, format!("{host}: {error}"))
}

impl Api {
    /// Returns this host's membership while it is in a cluster.
    fn joined(&self) -> Option<&Membership> {
        self.membership.as_ref().filter(|membership| membership.roster().is_some())
    }

    /// Returns the member with this name or id.
    fn member_named(&self, text: &str) -> Result<HostId, Refusal> {
        if text == self.about.node || text == self.about.host.to_string() {
            return Ok(self.about.host);
        }
        let roster = self.roster.borrow().clone();
        let mut members = roster.iter().flat_map(|roster| &roster.members);
        // A host that is refused its name is meant by its id only.
        let found = members.find(|member| {
            member.host.to_string() == text || member.name.as_str() == text && member.name_taken_by.is_none()
        });
        let unknown = CallError::UnknownHost(text.to_owned()).to_string();
        found.map(|member| member.host).ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, unknown))
    }

    fn member_name(&self, host: HostId) -> String {
        let roster = self.roster.borrow().clone();
        let member = roster.as_ref().and_then(|roster| roster.get(host));
        member.map_or_else(|| self.about.node.clone(), |member| member.name.to_string())
    }
}
