use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use longshore_haproxy::{Haproxy, HaproxyError};
use longshore_model::{ContainerRef, Frontend, Protocol, RouteKey, RouteTable};
use longshore_proxy::{Balancer, Observation};
use tokio::sync::mpsc;

use super::Traffic;
use crate::config::{BalancerSettings, EngineSettings};
use crate::start::Start;

/// Why an engine does not carry the routes.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The built-in balancer has no threads or no timers.
    #[error("cannot start the built-in balancer")]
    BuiltIn(#[source] std::io::Error),
    /// HAProxy is absent, refuses its configuration or does not answer.
    #[error(transparent)]
    Haproxy(#[from] HaproxyError),
}

/// What an engine says by itself.
#[derive(Debug)]
pub(crate) enum Notice {
    /// It could not connect to this upstream.
    Suspect(ContainerRef, SocketAddr),
    /// It lost what it was told and wants all of it again.
    Disturbed,
}

/// What an engine made of a table.
#[derive(Debug)]
pub(crate) struct Carried {
    /// All frontends that could not be opened, and why.
    pub(crate) failed: Vec<(Frontend, String)>,
    /// Whether every other route is in force: a reload may be due, which [`Notice::Disturbed`] announces.
    pub(crate) complete: bool,
}

/// The engine in use.
pub(crate) struct Engine {
    built_in: Balancer,
    observations: mpsc::UnboundedReceiver<Observation>,
    /// Frontends that the built-in one could not open when they were last tried.
    closed: BTreeMap<Frontend, String>,
    haproxy: Option<Haproxy>,
    /// Nothing is done: only what would be is of interest, or not even that.
    idle: Option<EngineSettings>,
}

impl Engine {
    /// Starts what the settings name. A dry engine listens nowhere and accepts every table; a successor's listens
    /// beside its predecessor's.
    pub(crate) async fn start(settings: &BalancerSettings, start: Start) -> Result<Self, EngineError> {
        let dry = start == Start::Dry;
        let defaults = longshore_proxy::Settings::default();
        let bind = if settings.bind.is_empty() { defaults.bind.clone() } else { settings.bind.clone() };
        let (built_in, observations) = Balancer::start(longshore_proxy::Settings {
            bind,
            workers: settings.workers,
            trusted: settings.trusted.clone(),
            share_ports: start == Start::Successor,
            ..defaults
        })
        .map_err(EngineError::BuiltIn)?;
        let haproxy = match &settings.engine {
            EngineSettings::Haproxy(settings) if !dry => Some(Haproxy::start((**settings).clone()).await?),
            _ => None,
        };
        let idle = (dry || settings.engine == EngineSettings::None).then(|| settings.engine.clone());
        Ok(Self { built_in, observations, closed: BTreeMap::new(), haproxy, idle })
    }

    /// Its name, as `--balancer` has it.
    pub(crate) fn name(&self) -> &'static str {
        match (&self.haproxy, &self.idle) {
            (Some(_), _) => "haproxy",
            (None, Some(EngineSettings::None)) => "none",
            (None, _) => "built-in",
        }
    }

    /// Whether nobody wants routes.
    pub(crate) fn is_absent(&self) -> bool {
        self.idle == Some(EngineSettings::None)
    }

    /// What flows through it.
    pub(crate) fn traffic(&self) -> Traffic {
        Traffic::new(self.built_in.clone())
    }

    /// Carries `table`; `changed` names the routes that may differ since the last call that succeeded.
    pub(crate) async fn apply(
        &mut self,
        table: &RouteTable,
        changed: &BTreeSet<RouteKey>,
    ) -> Result<Carried, EngineError> {
        let mut carried = Carried { failed: Vec::new(), complete: true };
        if self.idle.is_some() {
            return Ok(carried);
        }
        let mut own = changed.clone();
        if let Some(haproxy) = &mut self.haproxy {
            let (udp, others): (BTreeSet<_>, BTreeSet<_>) =
                own.into_iter().partition(|key| key.frontend.protocol == Protocol::Udp);
            own = udp;
            let applied = haproxy.apply(table, &others).await?;
            carried = Carried { failed: applied.failed, complete: applied.pending.is_empty() };
        }
        for key in &own {
            self.closed.remove(&key.frontend);
        }
        for (frontend, error) in self.built_in.apply(table, &own).await {
            self.closed.insert(frontend, error.to_string());
        }
        carried.failed.extend(self.closed.clone());
        Ok(carried)
    }

    /// Reads the engine's own files (the template) again before the next table.
    pub(crate) fn reread(&mut self) -> Result<(), EngineError> {
        match &mut self.haproxy {
            Some(haproxy) => Ok(haproxy.reread()?),
            None => Ok(()),
        }
    }

    /// Waits for what the engine says by itself. May be dropped at any time.
    pub(crate) async fn notice(&mut self) -> Notice {
        let disturbed = async {
            match &mut self.haproxy {
                Some(haproxy) => haproxy.disturbed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = disturbed => Notice::Disturbed,
            observation = self.observations.recv() => match observation {
                Some(Observation::UpstreamFailed { container, address, .. }) => Notice::Suspect(container, address),
                None => std::future::pending().await,
            },
        }
    }

    /// Ends without ending a HAProxy; for a dry engine, what would have been written for `table`.
    pub(crate) async fn leave(self, table: &RouteTable) -> Result<Option<String>, EngineError> {
        if let Some(haproxy) = self.haproxy {
            haproxy.leave().await;
        }
        match &self.idle {
            Some(EngineSettings::Haproxy(settings)) => Ok(Some(Haproxy::render(settings, table)?)),
            _ => Ok(None),
        }
    }

    /// Takes no new work, lets open work finish for as long as `grace`, and ends.
    pub(crate) async fn drain(self, grace: Duration) {
        let haproxy = async {
            if let Some(haproxy) = self.haproxy {
                haproxy.shutdown(grace).await;
            }
        };
        tokio::join!(self.built_in.drain(grace), haproxy);
    }
}
