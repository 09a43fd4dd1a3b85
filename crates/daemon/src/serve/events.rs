use std::convert::Infallible;

use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{self, KeepAlive};
use futures_util::{Stream, stream};
use longshore_api::{ContainerEvent, Event, Route, RouteEvent};
use longshore_model::RouteKey;
use tokio::sync::broadcast::error::RecvError;

use super::Api;

/// What happens, as server-sent events: the event's name is `container`, `route` or `lagged`, its data JSON.
///
/// A reader that is too slow loses events, and is told how many by a `lagged`.
#[utoipa::path(get, path = "/v1/events", responses((status = 200, body = Event, content_type = "text/event-stream")))]
pub(super) async fn events(
    State(api): State<Api>,
) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let containers = api.container_events.subscribe();
    let routes = api.route_events.subscribe();
    let events = stream::unfold((api, containers, routes), async |(api, mut containers, mut routes)| {
        let event = tokio::select! {
            event = containers.recv() => match event {
                Ok(event) => Event::Container(ContainerEvent::from(&event)),
                Err(RecvError::Lagged(missed)) => Event::Lagged { missed },
                Err(RecvError::Closed) => return None,
            },
            key = routes.recv() => match key {
                Ok(key) => route_event(&api, &key),
                Err(RecvError::Lagged(missed)) => Event::Lagged { missed },
                Err(RecvError::Closed) => return None,
            },
        };
        Some((Ok(line(&event)), (api, containers, routes)))
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}

fn route_event(api: &Api, key: &RouteKey) -> Event {
    let route = api.routes.table().get(key).map(|route| Route::from(&**route));
    Event::Route(RouteEvent { key: key.to_string(), route })
}

fn line(event: &Event) -> sse::Event {
    let name = match event {
        Event::Container(_) => "container",
        Event::Route(_) => "route",
        Event::Lagged { .. } => "lagged",
    };
    let data = serde_json::to_string(event).unwrap_or_default();
    sse::Event::default().event(name).data(data)
}
