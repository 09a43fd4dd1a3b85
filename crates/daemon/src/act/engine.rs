use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use longshore_haproxy::{Haproxy, HaproxyError};
use longshore_model::{ContainerRef, Frontend, Protocol, RouteKey, RouteTable};
use longshore_net::relay::Relay;
use longshore_proxy::{Balancer, Observation};
use tokio::sync::mpsc;

use super::{Gateways, Traffic};
use crate::config::{BalancerSettings, EngineSettings};
use crate::start::Start;

/// Why the routes are not in force.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The built-in balancer has no threads or no timers.
    #[error("cannot start the built-in balancer")]
    BuiltIn(#[source] std::io::Error),
    /// HAProxy is missing, rejects its configuration, or does not answer.
    #[error(transparent)]
    Haproxy(#[from] HaproxyError),
}

/// What an engine reports by itself.
#[derive(Debug)]
pub(crate) enum Notice {
    /// The engine could not connect to this upstream.
    Suspect(ContainerRef, SocketAddr),
    /// The engine lost the routes, or has a pending step: [`Engine::apply`] must be called.
    Disturbed,
}

/// The outcome of applying a table.
#[derive(Debug, Default)]
pub(crate) struct ApplyReport {
    /// All frontends that could not be opened, and why.
    pub(crate) failed: Vec<(Frontend, String)>,
    /// Other frontends wait for a reload, which [`Notice::Disturbed`] announces, or for [`Engine::retry`].
    pub(crate) pending: bool,
    /// Why the routes in `unapplied` are not in force.
    pub(crate) error: Option<EngineError>,
    /// Routes that also belong to the next call's `changed`.
    pub(crate) unapplied: BTreeSet<RouteKey>,
}

/// The engine in use.
pub(crate) struct Engine {
    built_in: Balancer,
    observations: mpsc::UnboundedReceiver<Observation>,
    /// Frontends that the built-in engine failed to open on the last attempt.
    closed: BTreeMap<Frontend, String>,
    haproxy: Option<Haproxy>,
    /// Set if nothing is applied: for a dry run, or without a balancer.
    idle: Option<EngineSettings>,
    /// Addresses of this host that lead to containers of others, for HAProxy.
    gateways: Gateways,
}

impl Engine {
    /// Starts the configured engine. A dry one listens nowhere and accepts every table; a successor's shares
    /// its predecessor's ports.
    ///
    /// `relay` leads to containers of other hosts.
    pub(crate) async fn start(
        settings: &BalancerSettings,
        start: Start,
        relay: Arc<dyn Relay>,
    ) -> Result<Self, EngineError> {
        let dry = start == Start::Dry;
        let defaults = longshore_proxy::Settings::default();
        let bind = if settings.bind.is_empty() { defaults.bind.clone() } else { settings.bind.clone() };
        let (built_in, observations) = Balancer::start(longshore_proxy::Settings {
            bind,
            workers: settings.workers,
            trusted: settings.trusted.clone(),
            share_ports: start == Start::Successor,
            relay: Some(Arc::clone(&relay)),
            ..defaults
        })
        .map_err(EngineError::BuiltIn)?;
        let haproxy = match &settings.engine {
            EngineSettings::Haproxy(settings) if !dry => {
                let settings =
                    longshore_haproxy::Settings { retries: start != Start::Once, ..(**settings).clone() };
                Some(Haproxy::start(settings).await?)
            }
            _ => None,
        };
        let idle = (dry || settings.engine == EngineSettings::None).then(|| settings.engine.clone());
        Ok(Self {
            built_in,
            observations,
            closed: BTreeMap::new(),
            haproxy,
            idle,
            gateways: Gateways::new(relay),
        })
    }

    /// Returns the engine's name, as in `--balancer`.
    pub(crate) fn name(&self) -> &'static str {
        match (&self.haproxy, &self.idle) {
            (Some(_), _) => "haproxy",
            (None, Some(EngineSettings::None)) => "none",
            (None, _) => "built-in",
        }
    }

    /// Returns whether there is no balancer, so that no routes are wanted.
    pub(crate) fn is_absent(&self) -> bool {
        self.idle == Some(EngineSettings::None)
    }

    /// Returns the engine's traffic metrics.
    pub(crate) fn traffic(&self) -> Traffic {
        Traffic::new(self.built_in.clone(), self.haproxy.as_ref().map(Haproxy::meter))
    }

    /// Applies `table`; `changed` names the routes that may differ since the last call. The built-in data
    /// plane's part does not depend on HAProxy's.
    pub(crate) async fn apply(&mut self, table: &RouteTable, changed: &BTreeSet<RouteKey>) -> ApplyReport {
        let mut report = ApplyReport::default();
        if self.idle.is_some() {
            return report;
        }
        let mut own = changed.clone();
        if let Some(haproxy) = &mut self.haproxy {
            let (udp, others): (BTreeSet<_>, BTreeSet<_>) =
                own.into_iter().partition(|key| key.frontend.protocol == Protocol::Udp);
            own = udp;
            let local = self.gateways.open(table, &others).await;
            match haproxy.apply(local, &others).await {
                Ok(applied) => {
                    self.gateways.close_unused();
                    report.failed = applied.failed;
                    report.pending = !applied.pending.is_empty();
                }
                Err(error) => {
                    report.error = Some(error.into());
                    report.unapplied = others;
                }
            }
        }
        for key in &own {
            self.closed.remove(&key.frontend);
        }
        for (frontend, error) in self.built_in.apply(table, &own).await {
            self.closed.insert(frontend, error.to_string());
        }
        report.failed.extend(self.closed.clone());
        report
    }

    /// Makes the next [`Engine::apply`] retry what failed. The built-in data plane retries a frontend when one
    /// of its routes changed.
    pub(crate) fn retry(&mut self) {
        if let Some(haproxy) = &mut self.haproxy {
            haproxy.retry();
        }
    }

    /// Reads the engine's own files (HAProxy's template) again, for the next table.
    pub(crate) fn reread(&mut self) -> Result<(), EngineError> {
        match &mut self.haproxy {
            Some(haproxy) => Ok(haproxy.reread()?),
            None => Ok(()),
        }
    }

    /// Waits for the engine's next notice. Cancel-safe.
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

    /// Ends without stopping HAProxy. For a dry engine, returns the configuration that would have been written
    /// for `table`.
    pub(crate) async fn leave(self, table: &RouteTable) -> Result<Option<String>, EngineError> {
        if let Some(haproxy) = self.haproxy {
            haproxy.leave().await;
        }
        match &self.idle {
            Some(EngineSettings::Haproxy(settings)) => Ok(Some(Haproxy::render(settings, table)?)),
            _ => Ok(None),
        }
    }

    /// Stops accepting connections, gives open requests `grace` to finish, and ends.
    pub(crate) async fn drain(self, grace: Duration) {
        let haproxy = async {
            if let Some(haproxy) = self.haproxy {
                haproxy.shutdown(grace).await;
            }
        };
        tokio::join!(self.built_in.drain(grace), haproxy);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use longshore_cluster::relay::RelayClient;
    use longshore_haproxy::Mode;
    use longshore_model::{ContainerId, HostId, Route, Upstream, Way};
    use tokio::net::UdpSocket;

    use super::*;

    #[tokio::test]
    async fn udp_is_relayed_although_haproxy_cannot_be_started() {
        let dir = tempfile::tempdir().unwrap();
        let local = IpAddr::from(Ipv4Addr::LOCALHOST);
        let mut haproxy = longshore_haproxy::Settings::new(Mode::Own { dir: dir.path().join("haproxy") });
        haproxy.binary = "/nonexistent/haproxy".into();
        let settings = BalancerSettings {
            bind: vec![local],
            trusted: Vec::new(),
            workers: 1,
            engine: EngineSettings::Haproxy(Box::new(haproxy)),
        };
        let mut engine =
            Engine::start(&settings, Start::Fresh, Arc::new(RelayClient::default())).await.unwrap();
        let upstream = UdpSocket::bind((local, 0)).await.unwrap();
        let free = UdpSocket::bind((local, 0)).await.unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let route = |frontend: String| Route {
            key: RouteKey {
                frontend: frontend.parse().unwrap(),
                host: longshore_model::HostPattern::Any,
                prefix: Default::default(),
            },
            strip_prefix: false,
            upstreams: vec![Upstream {
                container: ContainerRef { host: HostId::from_u128(1), id: ContainerId::new("a") },
                name: "a".to_owned(),
                port: 53,
                way: Way::Direct(upstream.local_addr().unwrap()),
                weight: "1".parse().unwrap(),
            }],
            waiting: Vec::new(),
        };
        let table: RouteTable =
            [route(format!("udp:{port}")), route(format!("http:{port}"))].into_iter().collect();
        let changed: BTreeSet<RouteKey> = table.iter().map(|route| route.key.clone()).collect();
        let report = engine.apply(&table, &changed).await;
        assert!(report.error.is_some());
        assert_eq!(report.unapplied.len(), 1, "the route of HTTP");
        let client = UdpSocket::bind((local, 0)).await.unwrap();
        client.send_to(b"ping", (local, port)).await.unwrap();
        let mut datagram = [0; 8];
        let received = tokio::time::timeout(Duration::from_secs(10), upstream.recv(&mut datagram)).await;
        assert_eq!(received.unwrap().unwrap(), 4);
        engine.drain(Duration::ZERO).await;
    }
}
