use std::convert::Infallible;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{self, KeepAlive};
use futures_util::{Stream, stream};
use longshore_api::{ContainerEvent, Event, RouteEvent};
use longshore_model::{EventSummary, HostId};
use utoipa::IntoParams;

use super::Api;
use super::errors::Refusal;
use super::feed::{EventId, Happening};
use super::params::{Params, invalid};

/// The header in which a reader names the last event that it got.
const LAST_EVENT_ID: &str = "last-event-id";

/// Which events to stream.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the document's description of what `Filter` reads")]
pub(super) struct EventsQuery {
    /// The id of the last event that was read, as in `Last-Event-ID`, which is preferred.
    after: Option<String>,
    /// Only events of this kind: `container` or `route`; may be given several times.
    r#type: Option<Vec<String>>,
    /// Only events of this host's containers, by its name or id; may be given several times.
    host: Option<Vec<String>>,
    /// Only events of this container, by its name, its id or the beginning of its id; may be given several times.
    container: Option<Vec<String>>,
    /// Only events of containers with this name: `start`, `die`, …; may be given several times.
    event: Option<Vec<String>>,
}

/// Streams events of all hosts as they happen, as server-sent events.
///
/// The event's name is `container`, `route` or `lagged`; its data is an `Event` as JSON; its id, sent back as
/// `Last-Event-ID` or `after` to the same agent, lets a reader resume where it was disconnected. The agent keeps the last
/// 4096 events of the whole cluster. A `lagged` event means that some are missing, of one host or of all: read
/// `/v1/containers` and `/v1/routes` again. It is sent whatever the filters say.
///
/// Events of a host that was cut off arrive when it is back. Routes are those of the asked host's balancer.
#[utoipa::path(
    get,
    path = "/v1/events",
    operation_id = "watch_events",
    tag = "events",
    params(
        (
            "Last-Event-ID" = Option<String>,
            Header,
            description = "The id of the last event that was read; without it, the stream starts with the next event."
        ),
        EventsQuery
    ),
    responses((
        status = 200,
        description = "The stream, which lasts until one side closes it.",
        body = Event,
        content_type = "text/event-stream"
    ))
)]
pub(super) async fn events(
    State(api): State<Api>,
    headers: HeaderMap,
    params: Params,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>, Refusal> {
    let filter = Filter::read(&params)?;
    let header = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty());
    let last = match header.or_else(|| params.text("after")) {
        Some(text) => {
            let expected = &"expected the id of an event, such as 1732200000000-17";
            Some(text.parse::<EventId>().map_err(|_| invalid("event id", text, expected))?)
        }
        None => None,
    };
    let reader = api.feed.read(last);
    let events = stream::unfold((api, reader, filter), async |(api, mut reader, filter)| {
        loop {
            let (id, happening) = reader.next().await;
            if filter.matches(&happening, |host| api.host_name(host)) {
                let line = line(id, &event(&api, happening));
                return Some((Ok(line), (api, reader, filter)));
            }
        }
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

/// The events that are wanted.
#[derive(Debug, Default)]
struct Filter {
    types: Vec<String>,
    hosts: Vec<String>,
    containers: Vec<String>,
    events: Vec<String>,
}

impl Filter {
    fn read(params: &Params) -> Result<Self, Refusal> {
        let types = params.all("type");
        if let Some(wrong) = types.iter().find(|kind| !matches!(kind.as_str(), "container" | "route")) {
            return Err(invalid("type", wrong, &"expected container or route"));
        }
        let (hosts, containers) = (params.all("host"), params.all("container"));
        Ok(Self { types, hosts, containers, events: params.all("event") })
    }

    fn matches(&self, happening: &Happening, name_of: impl Fn(HostId) -> String) -> bool {
        let takes = |kind: &str| self.types.is_empty() || self.types.iter().any(|wanted| wanted == kind);
        match happening {
            Happening::Missed { .. } => true,
            Happening::Route(_) => {
                takes("route")
                    && self.hosts.is_empty()
                    && self.containers.is_empty()
                    && self.events.is_empty()
            }
            Happening::Container(host, event) => {
                takes("container")
                    && any(&self.hosts, |wanted| wanted == name_of(*host) || wanted == host.to_string())
                    && any(&self.events, |wanted| wanted == event.action)
                    && any(&self.containers, |wanted| {
                        wanted == event.name || event.container.as_str().starts_with(wanted)
                    })
            }
        }
    }
}

fn any(wanted: &[String], is: impl Fn(&str) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(|wanted| is(wanted))
}

fn event(api: &Api, happening: Happening) -> Event {
    match happening {
        Happening::Container(host, EventSummary { container, name, action, at }) => {
            Event::Container(ContainerEvent {
                host: api.host_name(host),
                container: container.as_str().to_owned(),
                name,
                action,
                at: jiff::Timestamp::from_nanosecond(at.into()).unwrap_or_default().to_string(),
            })
        }
        Happening::Missed { host, missed } => {
            Event::Lagged { missed, host: host.map(|host| api.host_name(host)) }
        }
        Happening::Route(key) => {
            let route = {
                let applied = api.routes.applied();
                applied.table.get(&key).map(|route| applied.shown(route))
            };
            Event::Route(RouteEvent { key: key.to_string(), route })
        }
    }
}

fn line(id: EventId, event: &Event) -> sse::Event {
    let name = match event {
        Event::Container(_) => "container",
        Event::Route(_) => "route",
        Event::Lagged { .. } => "lagged",
    };
    let data = serde_json::to_string(event).unwrap_or_default();
    sse::Event::default().id(id.to_string()).event(name).data(data)
}

#[cfg(test)]
mod tests {
    use longshore_model::{ContainerId, PathPrefix, RouteKey};

    use super::*;

    #[test]
    fn an_event_is_told_if_it_matches_each_kind_of_filter_and_a_gap_always() {
        let host = HostId::from_u128(7);
        let started = EventSummary {
            container: ContainerId::new("ab12"),
            name: "web".to_owned(),
            action: "start".to_owned(),
            at: 0,
        };
        let started = Happening::Container(host, started);
        let (frontend, pattern) = ("http:80".parse().unwrap(), "a.example".parse().unwrap());
        let route = Happening::Route(RouteKey { frontend, host: pattern, prefix: PathPrefix::default() });
        let gap = Happening::Missed { host: None, missed: None };
        let matches = |query: &str| {
            let filter = Filter::read(&Params::of(query)).unwrap();
            [&started, &route, &gap].map(|happening| filter.matches(happening, |_| "h1".to_owned()))
        };
        for (query, expected) in [
            ("", [true, true, true]),
            ("type=container", [true, false, true]),
            ("type=route", [false, true, true]),
            ("host=h1&container=web&event=die&event=start", [true, false, true]),
            (&format!("host={host}&container=ab"), [true, false, true]),
            ("host=h2", [false, false, true]),
            ("container=we", [false, false, true]),
            ("event=die", [false, false, true]),
        ] {
            assert_eq!(matches(query), expected, "{query}");
        }
        assert!(Filter::read(&Params::of("type=host")).is_err());
    }
}
