use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use longshore_api::{Container, ContainerDetails};
use longshore_model as model;
use longshore_model::{ContainerCall, ContainerId, ContainerRef, HostId};
use longshore_runtime::Reply;
use utoipa::IntoParams;

use super::errors::Refusal;
use super::params::{Params, invalid};
use super::target::{QUESTION, unexpected};
use super::{Api, silent};

/// Which containers to list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the document's description of what `Filter` reads")]
pub(super) struct ListQuery {
    /// Only those of this host, by name or id; may be given several times.
    host: Option<Vec<String>>,
    /// Only those with this label, `key` or `key=value`; each one given must be there.
    label: Option<Vec<String>>,
    /// Only those in this state: `running`, `exited`, …; may be given several times.
    state: Option<Vec<String>>,
    /// Only those with this text in their name; may be given several times.
    name: Option<Vec<String>>,
    /// At most this many. The `Link` header has the address of the next page, if there is one.
    limit: Option<usize>,
    /// Where to continue: from the `Link` of the page before.
    cursor: Option<String>,
}

/// Lists the containers of all hosts, running or not.
#[utoipa::path(
    get,
    path = "/v1/containers",
    operation_id = "list_containers",
    tag = "containers",
    params(ListQuery),
    responses((
        status = 200,
        description = "The containers, by host and id.",
        body = Vec<Container>,
        headers(
            ("Link" = Option<String>, description = "The next page: `<…>; rel=\"next\"`."),
            (
                "Longshore-Silent-Hosts" = Option<String>,
                description = "Hosts that do not answer, whose containers are shown as last known, or not at all: `\"web2\";why=\"it is suspect\"`."
            )
        )
    ))
)]
pub(super) async fn containers(
    State(api): State<Api>,
    uri: Uri,
    params: Params,
) -> Result<Response, Refusal> {
    let filter = Filter::read(&params)?;
    let limit = params.value::<usize>("limit")?.unwrap_or(usize::MAX).max(1);
    let after = params.text("cursor").map(cursor).transpose()?;
    let world = api.world.snapshot();
    let hosts = world.iter().flat_map(|world| world.hosts());
    let names: BTreeMap<HostId, String> = hosts.map(|(id, _)| (id, api.host_name(id))).collect();
    let all = world.iter().flat_map(|world| world.containers());
    let all = all.skip_while(|(id, _)| after.as_ref().is_some_and(|after| id <= after));
    let mut wanted = all.filter_map(|(id, container)| {
        let host = names.get(&id.host)?;
        filter.matches(&id, host, container).then(|| (id, Container::of(host, container)))
    });
    let mut page = Vec::new();
    let mut last = None;
    for (id, container) in wanted.by_ref().take(limit) {
        last = Some(id);
        page.push(container);
    }
    let mut headers = HeaderMap::new();
    headers.extend(silent::header(&api.silent_hosts(|id, name| filter.takes_host(id, name))));
    if let Some(last) = last.filter(|_| wanted.next().is_some()) {
        let query = params.replaced("cursor", &format!("{}/{}", last.host, last.id.as_str()));
        let link = HeaderValue::try_from(format!("<{}?{query}>; rel=\"next\"", uri.path()));
        headers.extend(link.ok().map(|link| (header::LINK, link)));
    }
    Ok((headers, Json(page)).into_response())
}

/// Reads a cursor: the last container of the page before.
fn cursor(text: &str) -> Result<ContainerRef, Refusal> {
    let read = || {
        let (host, id) = text.split_once('/')?;
        Some(ContainerRef::new(host.parse().ok()?, ContainerId::new(id)))
    };
    read().ok_or_else(|| invalid("cursor", text, &"expected one from a Link header"))
}

/// The containers that are wanted.
#[derive(Debug, Default)]
struct Filter {
    hosts: Vec<String>,
    labels: Vec<(String, Option<String>)>,
    states: Vec<String>,
    names: Vec<String>,
}

impl Filter {
    fn read(params: &Params) -> Result<Self, Refusal> {
        const STATES: [&str; 7] =
            ["created", "running", "paused", "restarting", "exited", "removing", "dead"];
        let states = params.all("state");
        if let Some(wrong) = states.iter().find(|state| !STATES.contains(&state.as_str())) {
            return Err(invalid("state", wrong, &format!("expected one of {}", STATES.join(", "))));
        }
        let label = |label: String| match label.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (label, None),
        };
        Ok(Self {
            hosts: params.all("host"),
            labels: params.all("label").into_iter().map(label).collect(),
            states,
            names: params.all("name"),
        })
    }

    fn takes_host(&self, id: HostId, name: &str) -> bool {
        self.hosts.is_empty() || self.hosts.iter().any(|wanted| wanted == name || *wanted == id.to_string())
    }

    fn matches(&self, id: &ContainerRef, host: &str, container: &model::Container) -> bool {
        let any = |wanted: &[String], is: &dyn Fn(&str) -> bool| {
            wanted.is_empty() || wanted.iter().any(|wanted| is(wanted))
        };
        self.takes_host(id.host, host)
            && any(&self.states, &|wanted| container.state.to_string() == wanted)
            && any(&self.names, &|wanted| container.name.contains(wanted))
            && self.labels.iter().all(|(key, value)| {
                let known = container.labels.get(key);
                known.is_some_and(|known| value.as_ref().is_none_or(|value| value == known))
            })
    }
}

/// A container by the name of its host.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the document's description of a parameter")]
pub(super) struct OnHost {
    /// The host's name or id, where several hosts have a container of this name.
    host: Option<String>,
}

/// Shows a container, as Docker does and as Longshore sees it.
#[utoipa::path(
    get,
    path = "/v1/containers/{id}",
    operation_id = "inspect_container",
    tag = "containers",
    params(("id" = String, Path, description = "The container's id, its name, or the beginning of its id."), OnHost),
    responses((status = 200, description = "The container.", body = ContainerDetails))
)]
pub(super) async fn inspect(
    State(api): State<Api>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, Refusal> {
    let target = api.target(&id, params.text("host"))?;
    let reply = api.call(&target, ContainerCall::Inspect, QUESTION).await?;
    let inspection = match &reply {
        Reply::Json(json) => serde_json::from_slice(json).ok(),
        _ => None,
    };
    let known = api.listed()?.container(&target.container).map(|known| Container::of(&target.host, known));
    match inspection.zip(known) {
        Some((inspection, container)) => Ok(Json(ContainerDetails { container, inspection }).into_response()),
        None => Err(unexpected(&target.host, &reply)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_listed_if_it_matches_each_kind_of_filter() {
        let host = HostId::from_u128(7);
        let mut web = model::Container::new(ContainerId::new("ab12"), "web1", "nginx");
        web.labels.insert("tier".to_owned(), "front".to_owned());
        web.state = model::RunState::Running;
        let id = ContainerRef::new(host, web.id.clone());
        let matches = |query: &str| {
            let filter = Filter::read(&Params::of(query)).unwrap();
            filter.matches(&id, "h1", &web)
        };
        for good in [
            "",
            "host=h1",
            &format!("host={host}"),
            "host=h2&host=h1",
            "label=tier",
            "label=tier%3Dfront&name=eb",
            "state=exited&state=running",
        ] {
            assert!(matches(good), "{good}");
        }
        for bad in [
            "host=h2",
            "label=tier%3Dback",
            "label=tier&label=x",
            "state=exited",
            "name=db",
            "host=h1&name=db",
        ] {
            assert!(!matches(bad), "{bad}");
        }
        assert!(Filter::read(&Params::of("state=happy")).is_err());
    }

    #[test]
    fn a_cursor_is_the_last_container_of_a_page() {
        let id = ContainerRef::new(HostId::from_u128(7), ContainerId::new("ab12"));
        let text = format!("{}/{}", id.host, id.id.as_str());
        assert_eq!(cursor(&text).unwrap(), id);
        assert!(cursor("x").is_err() && cursor("x/y").is_err());
    }
}
