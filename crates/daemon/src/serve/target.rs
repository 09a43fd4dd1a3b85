//! From a request to the host and the container that it is about, and from what they say to a response.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::http::StatusCode;
use longshore_model::{Call, CallError, Container, ContainerCall, ContainerRef, HostId, World};
use longshore_plan::AddressError;
use longshore_runtime::Reply;

use super::Api;
use super::errors::Refusal;

/// How long a question may take.
pub(super) const QUESTION: Duration = Duration::from_secs(20);
/// How many containers an error names.
const MAX_NAMED: usize = 10;

/// The container that a request is about.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) container: ContainerRef,
    /// The container's name.
    pub(super) name: String,
    /// Its host's name.
    pub(super) host: String,
}

impl Api {
    /// Returns a host's name.
    pub(super) fn host_name(&self, host: HostId) -> String {
        if host == self.about.host {
            return self.about.node.clone();
        }
        let roster = self.roster.borrow().clone();
        let member = roster.as_ref().and_then(|roster| roster.get(host));
        let told = || {
            let world = self.world.snapshot()?;
            Some(world.host(host)?.info.name.clone()).filter(|name| !name.is_empty())
        };
        let name = member.map(|member| member.name.to_string()).or_else(told);
        name.unwrap_or_else(|| host.to_string())
    }

    /// Returns the hosts that should answer: this one, and all others that have a place in the cluster.
    pub(super) fn all_hosts(&self) -> Vec<HostId> {
        let roster = self.roster.borrow().clone();
        let members = roster.iter().flat_map(|roster| &roster.members);
        let others = members.filter(|member| member.is_reliable()).map(|member| member.host);
        let hosts: BTreeSet<HostId> = others.chain([self.about.host]).collect();
        hosts.into_iter().collect()
    }

    /// Returns the host with this name or id, also one that is dead: a call says so.
    pub(super) fn host_named(&self, text: &str) -> Result<HostId, Refusal> {
        let roster = self.roster.borrow().clone();
        let members = roster.iter().flat_map(|roster| &roster.members).map(|member| member.host);
        // The name of a dead host may be another's by now.
        let mut hosts = self.all_hosts().into_iter().chain(members);
        hosts.find(|id| self.host_name(*id) == text || id.to_string() == text).ok_or_else(|| {
            Refusal::new(StatusCode::NOT_FOUND, CallError::UnknownHost(text.to_owned()).to_string())
        })
    }

    /// Returns World.
    pub(super) fn listed(&self) -> Result<std::sync::Arc<World>, Refusal> {
        let unlisted =
            || Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "Docker's containers have not been listed yet");
        self.world.snapshot().ok_or_else(unlisted)
    }

    /// Returns the container that `text` names, on the host with this name if it is given.
    pub(super) fn target(&self, text: &str, host: Option<&str>) -> Result<Target, Refusal> {
        let world = self.listed()?;
        let host = host.map(|host| self.host_named(host)).transpose()?;
        let container =
            longshore_plan::address(&world, host, text).map_err(|error| self.no_target(&error))?;
        let name = world
            .container(&container)
            .map_or(String::new(), |known: &std::sync::Arc<Container>| known.name.clone());
        let host = self.host_name(container.host);
        Ok(Target { container, name, host })
    }

    fn no_target(&self, error: &AddressError) -> Refusal {
        match error {
            AddressError::Unknown(_) => Refusal::new(StatusCode::NOT_FOUND, error.to_string()),
            AddressError::Ambiguous { matches, .. } => {
                let named = matches.iter().take(MAX_NAMED);
                let named = named.map(|(id, name)| format!("{id} ({name} on {})", self.host_name(id.host)));
                let more = if matches.len() > MAX_NAMED { ", …" } else { "" };
                let named = named.collect::<Vec<_>>().join(", ");
                let advice = "give more of the id, or the host";
                Refusal::new(StatusCode::CONFLICT, format!("{error}: {named}{more}; {advice}"))
            }
        }
    }

    /// Calls the container's host.
    pub(super) async fn call(
        &self,
        target: &Target,
        call: ContainerCall,
        limit: Duration,
    ) -> Result<Reply, Refusal> {
        let ContainerRef { host, id } = target.container.clone();
        let reply = self.caller.call(host, Call::Container { id, call }, limit).await;
        reply.map_err(|error| refused(&target.host, &error))
    }
}

/// Returns the response for a failed call to a host: Docker's own status and message where Docker refused.
pub(super) fn refused(host: &str, error: &CallError) -> Refusal {
    let status = match error {
        CallError::Docker { status, .. } => match StatusCode::from_u16(*status) {
            // The caller's own token is another matter.
            Ok(status) if status.is_client_error() && status != StatusCode::UNAUTHORIZED => status,
            Ok(status) if status.is_server_error() => status,
            _ => StatusCode::BAD_GATEWAY,
        },
        CallError::Away(_) => StatusCode::SERVICE_UNAVAILABLE,
        CallError::Invalid(_) => StatusCode::BAD_REQUEST,
        CallError::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
        CallError::Broken(_) | CallError::Unreachable { .. } => StatusCode::BAD_GATEWAY,
        CallError::UnknownHost(_) => StatusCode::NOT_FOUND,
    };
    Refusal::new(status, explained(host, error))
}

/// Returns an error with the name of its host, unless it is Docker's own message or has the name already.
pub(super) fn explained(host: &str, error: &CallError) -> String {
    match error {
        CallError::Docker { .. }
        | CallError::Invalid(_)
        | CallError::UnknownHost(_)
        | CallError::Unreachable { .. } => error.to_string(),
        CallError::Away(_) | CallError::Timeout(_) | CallError::Broken(_) => format!("host {host}: {error}"),
    }
}

/// Returns the response for a reply of another kind than the call's: the other host has another version.
pub(super) fn unexpected(host: &str, reply: &Reply) -> Refusal {
    Refusal::new(StatusCode::BAD_GATEWAY, format!("host {host} gave an unexpected reply: {reply:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_status_and_message_are_passed_on_and_other_failures_name_the_host() {
        let docker = |status| CallError::Docker { status, message: "No such container: web".to_owned() };
        for (error, status, text) in [
            (docker(404), 404, "No such container: web"),
            (docker(409), 409, "No such container: web"),
            (docker(500), 500, "No such container: web"),
            (docker(401), 502, "No such container: web"),
            (docker(302), 502, "No such container: web"),
            (CallError::Away("refused".to_owned()), 503, "host h1: Docker is not responding: refused"),
            (CallError::Timeout(QUESTION), 504, "host h1: no answer within 20s"),
            (CallError::Invalid("bad image".to_owned()), 400, "bad image"),
            (CallError::UnknownHost("h9".to_owned()), 404, "no such host: h9"),
        ] {
            assert_eq!(refused("h1", &error).status.as_u16(), status, "{error}");
            assert_eq!(explained("h1", &error), text);
        }
    }
}
