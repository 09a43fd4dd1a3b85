use std::convert::Infallible;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{self, KeepAlive};
use futures_util::{Stream, stream};
use longshore_api::{Event, RouteEvent};

use super::Api;
use super::feed::{EventId, Happening};

/// The header in which a reader names the last event that it got.
const LAST_EVENT_ID: &str = "last-event-id";

/// Streams events as they happen, as server-sent events.
///
/// The event's name is `container`, `route` or `lagged`; its data is an `Event` as JSON; its id, sent back as
/// `Last-Event-ID`, lets a reader resume where it was disconnected. The agent keeps the last 4096 events. A `lagged`
/// event means that some are missing: read `/v1/containers` and `/v1/routes` again.
#[utoipa::path(
    get,
    path = "/v1/events",
    operation_id = "watch_events",
    tag = "events",
    params((
        "Last-Event-ID" = Option<String>,
        Header,
        description = "The id of the last event that was read; without it, the stream starts with the next event."
    )),
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
) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let last = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok());
    let last = last.and_then(|id| id.parse::<EventId>().ok());
    let reader = api.feed.read(last);
    let events = stream::unfold((api, reader), async |(api, mut reader)| {
        let (id, happening) = reader.next().await;
        let line = line(id, &event(&api, happening));
        Some((Ok(line), (api, reader)))
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}

fn event(api: &Api, happening: Happening) -> Event {
    match happening {
        Happening::Container(event) => Event::Container(event),
        Happening::Missed(missed) => Event::Lagged { missed },
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
