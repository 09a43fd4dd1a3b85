//! The followers other than the routes: sidecars, names, publishers, and the handlers.
//!
//! A dry agent runs none of them; a successor leaves the deliveries to its predecessor until that releases the
//! journal.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use longshore_delivery::{Command, Deliveries, Opened, Outcome, Parts};
use longshore_dns::{DnsPorts, DnsServer, SharedPorts, Zones};
use longshore_docker::{Attention, DockerClient};
use longshore_model::HandlerSet;
use longshore_plan::BalancerLocation;
use longshore_runtime::state::DockerEvent;
use longshore_runtime::{Examine, FollowerContext, Inspect, Source};
use tokio::sync::{mpsc, watch as signal};
use tokio_util::task::AbortOnDropHandle;

use crate::config::{HandlerSettings, ReloadableSettings, Settings};
use crate::handlers::{self, Supervisor};
use crate::reconcile::{Publisher, SidecarFollower};
use crate::relay::Relay;
use crate::start::Start;

/// All running services.
pub(crate) struct Services {
    context: FollowerContext,
    handler_settings: signal::Sender<HandlerSettings>,
    dns: Option<Dns>,
    deliveries: Option<Deliveries>,
    /// What deliveries are created from, while another agent has the journal.
    waiting: Option<Parts>,
    /// What later deliveries are created from, in addition to the relayed channels.
    spare: SpareParts,
    _publisher: Option<AbortOnDropHandle<Publisher>>,
    _sidecars: Option<AbortOnDropHandle<SidecarFollower>>,
    _handlers: [Option<AbortOnDropHandle<()>>; 2],
}

/// The reusable parts that deliveries are created from.
struct SpareParts {
    context: FollowerContext,
    inspector: Arc<dyn Inspect>,
    examiner: Arc<dyn Examine>,
    handlers: signal::Receiver<Arc<HandlerSet>>,
    told: Relay<DockerEvent>,
    commands: Relay<Command>,
    data_dir: PathBuf,
    docker_host: String,
}

impl SpareParts {
    fn parts(
        &self,
        told: mpsc::UnboundedReceiver<DockerEvent>,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> Parts {
        Parts {
            context: self.context.clone(),
            inspector: Arc::clone(&self.inspector),
            examiner: Arc::clone(&self.examiner),
            handlers: self.handlers.clone(),
            events: told,
            commands,
            data_dir: self.data_dir.clone(),
            docker_host: self.docker_host.clone(),
        }
    }
}

/// The DNS server, and what others need from it.
struct Dns {
    zones: Zones,
    ports: SharedPorts,
    task: AbortOnDropHandle<DnsServer>,
}

/// What others need from the services.
pub(crate) struct Handles {
    /// The current handlers.
    pub(crate) handlers: signal::Receiver<Arc<HandlerSet>>,
    /// Receives requests about the deliveries.
    pub(crate) deliveries: mpsc::UnboundedSender<Command>,
    /// The names that DNS has, where it is served.
    pub(crate) names: Option<Zones>,
    /// Which events the handlers need from Docker.
    pub(crate) attention: signal::Receiver<Attention>,
    /// The time from which Docker's events are read, in nanoseconds since 1970.
    pub(crate) heard: Option<i64>,
}

/// What the services are connected to.
pub(crate) struct Wiring<'a> {
    pub(crate) context: FollowerContext,
    pub(crate) docker: &'a DockerClient,
    pub(crate) live: &'a signal::Receiver<ReloadableSettings>,
    pub(crate) location: &'a BalancerLocation,
    /// Every event of Docker's, in order.
    pub(crate) events: mpsc::UnboundedReceiver<DockerEvent>,
    /// The DNS ports of a predecessor.
    pub(crate) inherited: Option<DnsPorts>,
}

impl Services {
    /// Starts all services.
    pub(crate) fn start(settings: &Settings, start: Start, wiring: Wiring<'_>) -> (Self, Handles) {
        let Wiring { context, docker, live, location, events: told, inherited } = wiring;
        let acts = start != Start::Dry;
        let (handler_settings, handlers_live) = signal::channel(settings.handlers.clone());
        let (handlers, reading) = handlers::watch(handlers_live, context.problems.clone());
        let (wanted, attention) = signal::channel(Attention::default());
        let (commands, commanded) = mpsc::unbounded_channel();

        let opened = (start == Start::Fresh).then(|| Opened::journal(&settings.data_dir, &context));
        let heard = opened.as_ref().map(Opened::since);
        let (told, first_told) = Relay::new(told);
        let (relayed, first_commands) = Relay::new(commanded);
        let spare = SpareParts {
            context: context.clone(),
            inspector: Arc::new(docker.inspections().clone()),
            examiner: Arc::new(docker.clone()),
            handlers: handlers.clone(),
            told,
            commands: relayed,
            data_dir: settings.data_dir.clone(),
            docker_host: settings.docker.address.to_string(),
        };
        let parts = spare.parts(first_told, first_commands);
        let (deliveries, waiting) = match (start, opened) {
            (Start::Dry, _) => (None, None),
            (Start::Once, _) => (Some(Deliveries::once(parts)), None),
            (_, Some(opened)) => (Some(Deliveries::start(parts, opened)), None),
            (_, None) => (None, Some(parts)),
        };
        // A single pass serves no clients.
        let serves = start.serves();
        let dns = settings.dns.clone().filter(|_| serves).map(|dns| {
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
                &job,
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
            spare,
            _publisher: publisher,
            _sidecars: sidecars,
            _handlers: [Some(reading), supervising],
        };
        (following, Handles { handlers, deliveries: commands, names, attention, heard })
    }

    /// Waits until every follower has made a pass, the sidecars have converged as far as possible, and the
    /// handlers of a single pass have had their event; returns how those did.
    pub(crate) async fn settled(&mut self) -> Outcome {
        let _ = self.context.unsettled.subscribe().wait_for(|count| *count == 0).await;
        match self.deliveries.take() {
            Some(deliveries) => deliveries.outcome().await,
            None => Vec::new(),
        }
    }

    /// Ends the deliveries and closes the journal, for a successor that takes both over. Later events wait in
    /// case the successor fails.
    pub(crate) async fn hand_over(&mut self) {
        let Some(deliveries) = self.deliveries.take() else { return };
        self.waiting = Some(self.spare.parts(self.spare.told.replace(), self.spare.commands.replace()));
        deliveries.stop().await;
    }

    /// Takes the deliveries over from another agent.
    pub(crate) fn take_over(&mut self, data_dir: &Path) {
        if let Some(parts) = self.waiting.take() {
            self.deliveries = Some(Deliveries::start(parts, Opened::journal(data_dir, &self.context)));
        }
    }

    /// Returns the DNS server's ports, for a successor; nothing if none are open, or the system cannot share
    /// them.
    pub(crate) fn dns_ports(&self) -> Option<DnsPorts> {
        let ports = self.dns.as_ref()?.ports.get()?;
        let shared = ports.share();
        shared.inspect_err(|error| tracing::warn!(%error, "the successor opens the DNS ports again")).ok()
    }

    /// Applies the settings that may change at run time.
    pub(crate) fn reload(&self, settings: &Settings) {
        self.handler_settings.send_replace(settings.handlers.clone());
    }

    /// Starts no more deliveries, drains those in progress for a few seconds, and closes the journal. The
    /// followers end with the agent and leave what they created.
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
