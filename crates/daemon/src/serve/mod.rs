//! The HTTP API: World, routes, problems and handlers as they are.
//!
//! Loopback, or a bearer token: without a token only requests that name this host by an address or `localhost` are
//! answered, so that a web page that a person on this host has open cannot read it through a name of its own.

mod access;
mod containers;
mod events;
mod handlers;
mod health;
mod names;
mod problems;
mod routes;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router, middleware};
use longshore_api::Failure;
use longshore_delivery::Command;
use longshore_dns::Zones;
use longshore_model::{ContainerEvent, HandlerSet};
use longshore_runtime::Problems;
use longshore_runtime::state::{DockerState, Reader};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

use crate::act::Traffic;
use crate::reconcile::{RouteEvents, Routes};

/// All that the API shows.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) world: Reader,
    pub(crate) routes: Routes,
    /// The names that DNS has, where it is served.
    pub(crate) names: Option<Zones>,
    pub(crate) problems: Problems,
    pub(crate) container_events: broadcast::Sender<ContainerEvent>,
    pub(crate) route_events: RouteEvents,
    pub(crate) handlers: watch::Receiver<Arc<HandlerSet>>,
    pub(crate) deliveries: mpsc::UnboundedSender<Command>,
    pub(crate) docker: DockerState,
    pub(crate) ready: watch::Receiver<bool>,
    pub(crate) traffic: Traffic,
    pub(crate) metrics: PrometheusHandle,
    pub(crate) token: Option<String>,
}

#[derive(OpenApi)]
#[openapi(info(
    title = "Longshore",
    description = "What one agent knows of its host's containers, and what it makes of it.",
    license(name = "Apache-2.0", identifier = "Apache-2.0")
))]
struct Document;

impl Api {
    fn router(self) -> Router {
        let (router, document) = OpenApiRouter::with_openapi(Document::openapi())
            .routes(routes!(containers::containers))
            .routes(routes!(routes::routes))
            .routes(routes!(routes::explain))
            .routes(routes!(names::names))
            .routes(routes!(problems::problems))
            .routes(routes!(handlers::handlers))
            .routes(routes!(handlers::failed))
            .routes(routes!(handlers::replay))
            .routes(routes!(handlers::forget))
            .routes(routes!(handlers::test))
            .routes(routes!(events::events))
            .routes(routes!(health::healthz))
            .routes(routes!(health::readyz))
            .routes(routes!(health::metrics))
            .split_for_parts();
        router
            .merge(SwaggerUi::new("/docs").url("/openapi.json", document))
            .fallback(async || {
                failure(StatusCode::NOT_FOUND, "there is nothing here; /docs shows what there is")
            })
            .layer(middleware::from_fn_with_state(self.clone(), access::check))
            .with_state(self)
    }

    /// Answers until told to stop; then lets open answers finish.
    pub(crate) async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let server = axum::serve(listener, self.router()).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = server.await {
            tracing::error!(%error, "the API ended");
        }
    }
}

/// Opens the API's port.
pub(crate) async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

fn failure(status: StatusCode, error: impl Into<String>) -> Response {
    (status, Json(Failure { error: error.into() })).into_response()
}
