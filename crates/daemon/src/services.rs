//! What follows the containers beside the routes: sidecars, names, what is published, and the handlers.
//!
//! A dry agent has none of it running; a successor leaves the deliveries to its predecessor until that one gave the
//! journal up.

use std::path::Path;
use std::sync::Arc;

use longshore_delivery::{Command, Deliveries, Opened, Outcome, Parts};
use longshore_dns::{DnsPorts, DnsServer, SharedPorts, Zones};
use longshore_docker::{Attention, DockerClient};
use longshore_model::HandlerSet;
use longshore_plan::BalancerLocation;
use longshore_runtime::state::DockerEvent;
use longshore_runtime::{FollowerContext, Source};
use tokio::sync::{mpsc, watch as signal};
use tokio_util::task::AbortOnDropHandle;

use crate::config::{HandlerSettings, ReloadableSettings, Settings};
use crate::handlers::{self, Supervisor};
use crate::reconcile::{Publisher, SidecarFollower};
use crate::start::Start;

/// All that follows, running.
pub(crate) struct Services {
    context: FollowerContext,
    handler_settings: signal::Sender<HandlerSettings>,
    dns: Option<Dns>,
    deliveries: Option<Deliveries>,
    /// What deliveries are made from, until the predecessor gave its journal up.
    waiting: Option<Parts>,
    _publisher: Option<AbortOnDropHandle<Publisher>>,
    _sidecars: Option<AbortOnDropHandle<SidecarFollower>>,
    _handlers: [Option<AbortOnDropHandle<()>>; 2],
}

/// The DNS server, and what others need of it.
struct Dns {
    zones: Zones,
    ports: SharedPorts,
    task: AbortOnDropHandle<DnsServer>,
}

/// What others see of it.
pub(crate) struct Seen {
    /// The handlers that there are.
    pub(crate) handlers: signal::Receiver<Arc<HandlerSet>>,
    /// Where the deliveries are asked.
    pub(crate) deliveries: mpsc::UnboundedSender<Command>,
    /// The names that DNS has, where it is served.
    pub(crate) names: Option<Zones>,
    /// What Docker is asked for on the handlers' behalf.
    pub(crate) attention: signal::Receiver<Attention>,
    /// The time from which on Docker is listened to, in nanoseconds since 1970.
    pub(crate) heard: Option<i64>,
}

impl Services {
    /// Starts all of it. `told` is every event, in order; `inherited` are the DNS ports of a predecessor.
    pub(crate) fn start(
        settings: &Settings,
        start: Start,
        context: FollowerContext,
        docker: &DockerClient,
        live: &signal::Receiver<ReloadableSettings>,
        location: &BalancerLocation,
        told: mpsc::UnboundedReceiver<DockerEvent>,
        inherited: Option<DnsPorts>,
    ) -> (Self, Seen) {
        let acts = start != Start::Dry;
        let (handler_settings, handlers_live) = signal::channel(settings.handlers.clone());
        let (handlers, reading) = handlers::watch(handlers_live, context.problems.clone());
        let (wanted, attention) = signal::channel(Attention::default());
        let (commands, commanded) = mpsc::unbounded_channel();

        let opened = (start == Start::Fresh).then(|| Opened::journal(&settings.data_dir, &context));
        let heard = opened.as_ref().map(Opened::since);
        let parts = Parts {
            context: context.clone(),
            inspector: Arc::new(docker.inspections().clone()),
            examiner: Arc::new(docker.clone()),
            handlers: handlers.clone(),
            events: told,
            commands: commanded,
            data_dir: settings.data_dir.clone(),
            docker_host: settings.docker.address.to_string(),
        };
        let (deliveries, waiting) = match (start, opened) {
            (Start::Dry, _) => (None, None),
            (Start::Once, _) => (Some(Deliveries::once(parts)), None),
            (_, Some(opened)) => (Some(Deliveries::start(parts, opened)), None),
            (_, None) => (None, Some(parts)),
        };
        let dns = settings.dns.clone().filter(|_| acts).map(|dns| {
            let server = DnsServer::new(dns, &settings.node, location.clone(), inherited);
            Dns {
                zones: server.zones(),
                ports: server.ports(),
                task: context.follow(server, Source::Dns, context.stop.clone()),
            }
        });
        let names = dns.as_ref().map(|dns| Arc::clone(&dns.zones));
        let sidecars = settings.sidecars.as_ref().filter(|_| acts).map(|sidecars| {
            let follower = SidecarFollower::new(sidecars, docker.clone(), live.clone());
            context.follow(follower, Source::Sidecars, context.stop.clone())
        });
        let publisher = settings.publish.clone().filter(|_| acts).map(|job| {
            let publisher = Publisher::new(
                &context,
                docker.inspections().clone(),
                &settings.data_dir,
                settings.dns.as_ref(),
                None,
                job,
            );
            context.follow(publisher, Source::Publish, context.stop.clone())
        });
        let supervising = acts.then(|| {
            let (data_dir, dns) = (settings.data_dir.clone(), settings.dns.clone());
            let supervisor = Supervisor { context: context.clone(), docker: docker.clone(), data_dir, dns };
            AbortOnDropHandle::new(tokio::spawn(handlers::supervise(supervisor, handlers.clone(), wanted)))
        });
        let following = Self {
            context,
            handler_settings,
            dns,
            deliveries,
            waiting,
            _publisher: publisher,
            _sidecars: sidecars,
            _handlers: [Some(reading), supervising],
        };
        (following, Seen { handlers, deliveries: commands, names, attention, heard })
    }

    /// Waits until everything was looked at once, sidecars are as they should, as far as they can, and the handlers
    /// of a single pass had their event; how those did.
    pub(crate) async fn settled(&mut self) -> Outcome {
        let _ = self.context.unsettled.subscribe().wait_for(|count| *count == 0).await;
        match self.deliveries.take() {
            Some(deliveries) => deliveries.outcome().await,
            None => Vec::new(),
        }
    }

    /// Takes the deliveries over from a predecessor.
    pub(crate) fn succeed(&mut self, data_dir: &Path) {
        if let Some(parts) = self.waiting.take() {
            self.deliveries = Some(Deliveries::start(parts, Opened::journal(data_dir, &self.context)));
        }
    }

    /// The DNS server's ports, for a successor; nothing where none are open, or the system does not share them.
    pub(crate) fn dns_ports(&self) -> Option<DnsPorts> {
        let ports = self.dns.as_ref()?.ports.get()?;
        let shared = ports.share();
        shared.inspect_err(|error| tracing::warn!(%error, "the successor opens the DNS ports anew")).ok()
    }

    /// Takes over what may change while it runs.
    pub(crate) fn reload(&self, settings: &Settings) {
        self.handler_settings.send_replace(settings.handlers.clone());
    }

    /// Begins no delivery any more, lets those under way finish for a few seconds, and closes the journal. What
    /// follows ends with the agent's stop and leaves what it made.
    pub(crate) async fn stop(self) {
        if let Some(deliveries) = self.deliveries {
            deliveries.stop().await;
        }
        if let Some(dns) = self.dns
            && let Ok(server) = dns.task.await
        {
            server.end().await;
        }
    }
}
