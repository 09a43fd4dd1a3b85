//! The HTTP API: World, routes, problems and handlers as they are, and calls to the hosts.
//!
//! Loopback, or a bearer token: without a token, only requests that address this host by an IP address or
//! `localhost` are answered, so that a web page open in a local browser cannot read the API through a host name
//! of its own; and only root and the agent's own user may use Docker through it. Root on this host needs no token at
//! the socket for it.

mod access;
mod body;
mod cluster;
mod containers;
mod dockermod;
mod document;
mod errors;
mod events;
mod exec;
mod feed;
mod followers;
mod handlers;
mod health;
mod hosts;
mod images;
mod local_user;
mod names;
mod orders;
mod output;
mod params;
mod problems;
mod routes;
mod server;
mod silent;
mod socket;
mod status;
mod target;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::StatusCode;
use axum::{Router, middleware};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use utoipa_swagger_ui::SwaggerUi;

pub(crate) use self::access::NamesAllowed;
use self::errors::failure;
pub(crate) use self::feed::{Feed, summary};
use self::server::Limits;
pub(crate) use self::server::Listener;
pub(crate) use self::socket::RootSocket;
pub(crate) use self::status::{About, Started};
use crate::act::Traffic;
use crate::calls::Caller;
use crate::cluster::Membership;
use crate::dockermod::DockerMod;
use crate::host_labels::HostLabels;
use crate::reconcile::Routes;
use longshore_cluster::members::Roster;
use longshore_delivery::Command;
use longshore_dns::Zones;
use longshore_model::{HandlerSet, HostInfo};
use longshore_runtime::state::{DockerState, Reader};
use longshore_runtime::{Problems, StatusBoard};

/// All that the API shows.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) world: Reader,
    pub(crate) routes: Routes,
    /// The names that DNS has, where it is served.
    pub(crate) names: Option<Zones>,
    pub(crate) problems: Problems,
    pub(crate) feed: Feed,
    pub(crate) handlers: watch::Receiver<Arc<HandlerSet>>,
    pub(crate) deliveries: mpsc::UnboundedSender<Command>,
    pub(crate) docker: DockerState,
    /// This host, beside its containers.
    pub(crate) own: watch::Receiver<HostInfo>,
    /// The hosts of the cluster; `None` while this host is alone.
    pub(crate) roster: watch::Receiver<Option<Arc<Roster>>>,
    /// This host's part in a cluster of several.
    pub(crate) membership: Option<Membership>,
    /// This host's labels.
    pub(crate) labels: HostLabels,
    /// Calls this host and others.
    pub(crate) caller: Caller,
    /// A permit for each command inside a container.
    pub(crate) sessions: Arc<Semaphore>,
    pub(crate) statuses: StatusBoard,
    pub(crate) about: Arc<About>,
    pub(crate) ready: watch::Receiver<bool>,
    pub(crate) traffic: Traffic,
    pub(crate) metrics: PrometheusHandle,
    pub(crate) token: Option<String>,
    /// Names of this host that a request without a token may use, and whether it may use any.
    pub(crate) names_allowed: Arc<NamesAllowed>,
    pub(crate) dockermod: DockerMod,
}

impl Api {
    fn router(self) -> Router {
        let (router, document) = document::documented();
        router
            .merge(SwaggerUi::new("/docs").url("/openapi.json", document))
            .fallback(async || failure(StatusCode::NOT_FOUND, "no such path: see /docs"))
            .layer(middleware::from_fn_with_state(self.clone(), access::check))
            .layer(middleware::from_fn(errors::as_json))
            .with_state(self)
    }

    /// Answers requests until `stop`, then drains open ones.
    pub(crate) async fn serve(self, listener: Listener, stop: CancellationToken) {
        server::serve(listener, self.router(), Limits::of_process(), stop).await;
    }
}

/// Returns the permits for commands inside containers.
pub(crate) fn sessions() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(exec::MAX_SESSIONS))
}

/// Opens the API's port.
pub(crate) async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}
