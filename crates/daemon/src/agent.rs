//! The wiring: which parts start in which order, and what stops them.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::join_all;
use longshore_cluster::relay::{RelayClient, RelayServer};
use longshore_docker::{DockerAddress, DockerClient, Watched, watch};
use longshore_model::{ContainerId, ContainerRef, HostId, HostInfo, Problem, RouteTable, Subject, Transport};
use longshore_plan::{BalancerLocation, Readiness, RoutePlan, RouteSettings};
use longshore_runtime::state::{DockerState, State, Writer};
use longshore_runtime::{FollowerContext, OwnThread, Problems, Source, StatusBoard, chain, local_addr};
use tokio::sync::{broadcast, mpsc, watch as signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::act::{Engine, EngineError};
use crate::calls::Caller;
use crate::cluster::{ClusterError, ClusterParts, Membership, advertised, expects_others};
use crate::config::{DockerSettings, EngineSettings, ReloadableSettings, Settings};
use crate::cordon::Cordon;
use crate::data_dir::{self, DataDirError};
use crate::dockermod::{DockerMod, KnownHosts};
use crate::dry_run::{DryRun, Plans};
use crate::host_labels::{self, HostLabels};
use crate::identity::{IdentityError, Keeping, host_id};
use crate::metrics;
use crate::own_calls::OwnCalls;
use crate::own_host;
use crate::peers::OwnContainers;
use crate::ports::Ports;
use crate::reconcile::{Checks, RouteFeeds, RouteFollower, Routes};
use crate::serve::{self, About, Api, Feed, Listener, NamesAllowed, RootSocket, Started};
use crate::services::{Services, Wiring};
use crate::start::Start;

/// How many route changes the event feed may lag behind.
const MAX_ROUTE_EVENTS: usize = 4096;

/// How long a predecessor may take to release what cannot be shared.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(20);

/// How long the first routes wait for the containers of the other hosts.
const PEERS_TIMEOUT: Duration = Duration::from_secs(2);

/// How long those of a successor do, which first has to take over its predecessor's place in the cluster.
const SUCCESSOR_PEERS_TIMEOUT: Duration = Duration::from_secs(10);

/// How long open answers of the API may take when it shuts down.
const LAST_ANSWERS: Duration = Duration::from_millis(200);

/// How long other hosts' connections to containers may take to end where no successor takes over.
const RELAY_GRACE: Duration = Duration::from_secs(5);

/// Why an agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The host's id, kept in the data directory, cannot be read or written.
    #[error("the host has no id")]
    Identity(#[from] IdentityError),
    /// The API cannot listen: its port is taken, for example.
    #[error("cannot listen on {address} for the API: is another agent running?")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The host cannot be part of its cluster.
    #[error("cannot join the cluster")]
    Cluster(#[from] ClusterError),
    /// The Docker host's name cannot be resolved.
    #[error("cannot find the Docker host {host:?}")]
    DockerHost {
        /// The name.
        host: String,
        /// Why.
        source: std::io::Error,
    },
    /// The balancer cannot be started.
    #[error("cannot start the balancer")]
    Engine(#[from] EngineError),
    /// The system cannot create a thread.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    /// This process has a metrics recorder already.
    #[error("cannot set up metrics")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    /// A single pass needs Docker to respond.
    #[error("Docker at {address} is not responding: {why} ({advice})")]
    Docker {
        /// Its address.
        address: String,
        /// The cause.
        why: String,
        /// What to do.
        advice: &'static str,
    },
}

/// The outcome of a single pass.
#[derive(Debug)]
pub struct Pass {
    /// The routes.
    pub routes: RouteTable,
    /// What was requested and is not done.
    pub problems: Vec<Problem>,
    /// The handlers that received the dummy event `none`, each with its error if it failed.
    pub handlers: Vec<(String, Option<String>)>,
}

/// A running agent: Docker watched, routes carried, the API served.
pub struct Agent {
    docker: DockerState,
    ready: signal::Receiver<bool>,
    tried: signal::Receiver<bool>,
    problems: Problems,
    routes: Routes,
    stop: CancellationToken,
    grace: Duration,
    live: signal::Sender<ReloadableSettings>,
    started: Settings,
    location: BalancerLocation,
    balancing: AbortOnDropHandle<RouteFollower>,
    api: Api,
    /// The API, on each of its ports.
    serving: Vec<AbortOnDropHandle<()>>,
    /// Stops only the API.
    serving_stop: CancellationToken,
    lock: Option<std::fs::File>,
    services: Services,
    /// The membership, in a cluster of several.
    cluster: Option<Membership>,
    /// The other hosts' connections to this one's containers, which may outlive the membership.
    relay_server: RelayServer,
    _background: Vec<AbortOnDropHandle<()>>,
    /// Reads Docker's events, which Docker drops if nobody reads them in time.
    _docker_thread: OwnThread,
}

impl Agent {
    /// Starts an agent. Waits for Docker as long as it takes. `inherited` are the ports that its predecessor
    /// left open.
    ///
    /// # Errors
    /// Every variant of [`AgentError`] but [`AgentError::Docker`].
    pub async fn start(settings: Settings, start: Start, inherited: Ports) -> Result<Self, AgentError> {
        let lock = match start {
            Start::Fresh | Start::Once => Some(data_dir::take(&settings.data_dir)?),
            // Held by the predecessor.
            Start::Successor => None,
            Start::Dry => {
                data_dir::check(&settings.data_dir)?;
                None
            }
        };
        let listeners = if start == Start::Fresh { listen(&settings).await? } else { Vec::new() };
        let keeping = if start == Start::Dry { Keeping::Never } else { Keeping::Always };
        let host = host_id(&settings.data_dir, keeping)?;
        let (location, addresses) = locate(&settings.docker, host).await?;
        let relay_client = RelayClient::default();
        let engine = Engine::start(&settings.balancer, start, Arc::new(relay_client.clone())).await?;
        // After the steps that may fail: a process has one recorder, and may start an agent again.
        let metrics = metrics::install()?;

        let stop = CancellationToken::new();
        let problems = Problems::default();
        problems.set(Source::Settings, settings.ignored.clone());
        let routes = Routes::default();
        let statuses = StatusBoard::default();
        let (live, live_settings) = signal::channel(settings.live());
        let (route_events, _) = broadcast::channel(MAX_ROUTE_EVENTS);
        let (ready_set, ready) = signal::channel(false);
        let (tried_set, tried) = signal::channel(false);
        let (observations, observed) = mpsc::unbounded_channel();
        let (told, told_feed) = mpsc::unbounded_channel();
        let (roster_shown, roster) = signal::channel(None);
        let serves = start.serves();
        let clustered = settings.cluster.clone().filter(|_| serves);
        let advertise = match &clustered {
            Some(cluster) => Some(advertised(cluster).await?),
            None => None,
        };
        let advertised = advertise.map(|address| address.ip());
        let address =
            advertised.or_else(|| addresses.first().copied()).or_else(|| local_addr::addresses().next());
        // Other machines reach the ports that a Docker elsewhere publishes there, and not at its agent's address.
        let addresses = if addresses.is_empty() { advertised.into_iter().collect() } else { addresses };
        let given_labels = clustered.as_ref().map(|cluster| cluster.labels.clone()).unwrap_or_default();
        let cordon = Cordon::read(&settings.data_dir);
        let own = HostInfo {
            name: settings.node.clone(),
            addresses,
            labels: host_labels::at_start(&settings.data_dir, &given_labels),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            availability: *cordon.watch().borrow(),
            ..HostInfo::default()
        };
        let (writer, world, docker) = Writer::new(State::new(host, own.clone()), told);
        let feed = Feed::new();
        let container_events = writer.events();
        let traffic = engine.traffic();
        let about = About {
            node: settings.node.clone(),
            host,
            address,
            docker: settings.docker.address.to_string(),
            engine: engine.name(),
            dns: settings.dns.as_ref().map(|dns| dns.listen.to_string()),
            started: Started::now(),
        };

        let context = FollowerContext {
            node: settings.node.clone(),
            world: world.clone(),
            problems: problems.clone(),
            statuses: statuses.clone(),
            stop: stop.clone(),
            unsettled: signal::Sender::default(),
        };
        let client = DockerClient::new(settings.docker.clone());
        let own_calls = OwnCalls { host, docker: client.clone(), observations: observations.clone(), cordon };
        let (own_set, own) = signal::channel(own);
        let labels = HostLabels::new(&settings.data_dir, given_labels, own_set.clone());
        let availability = own_calls.cordon.watch();
        let observe_own =
            own_host::observe(own_set, client.clone(), docker.clone(), availability, observations.clone());
        let caller = Caller::new(host, Arc::new(own_calls));
        let (services, seen) = Services::start(
            &settings,
            start,
            Wiring {
                context: context.clone(),
                docker: &client,
                live: &live_settings,
                location: &location,
                events: told_feed,
                inherited: inherited.dns,
            },
        );
        let hosts = KnownHosts {
            me: host,
            name: settings.node.clone(),
            caller: caller.clone(),
            world: world.clone(),
            roster: roster.clone(),
        };
        let dockermod = DockerMod::new(Arc::new(hosts), world.clone(), &settings.dockermod);
        let plan = RoutePlan::new(RouteSettings {
            location: location.clone(),
            reserved: reserved(&settings),
            readiness: readiness(&settings, start),
        });
        let checks = Checks::new(live_settings.clone(), observations.clone());
        let feeds = RouteFeeds {
            routes: routes.clone(),
            events: route_events.clone(),
            ready: ready_set,
            tried: tried_set,
        };
        let peers_awaited = clustered.as_ref().filter(|cluster| expects_others(cluster, &settings.data_dir));
        let peers_awaited = peers_awaited.map(|_| match start {
            Start::Successor => SUCCESSOR_PEERS_TIMEOUT,
            Start::Fresh | Start::Once | Start::Dry => PEERS_TIMEOUT,
        });
        let follower = RouteFollower::new(plan, checks, engine, feeds, live_settings.clone(), peers_awaited);
        let balancing = context.follow(follower, Source::Routes, stop.clone());
        let port_of_peers = inherited.peers.filter(|port| port.local_addr().ok() == advertise);
        let relay_server =
            RelayServer::new(OwnContainers { world: world.clone(), location: location.clone() });
        let cluster = clustered.zip(advertise).map(|(cluster, advertise)| {
            Membership::new(ClusterParts {
                settings: cluster,
                advertise,
                host,
                node: settings.node.clone(),
                data_dir: settings.data_dir.clone(),
                world: world.clone(),
                observations: observations.clone(),
                problems: problems.clone(),
                labels: labels.clone(),
                roster: roster_shown,
                caller: caller.clone(),
                feed: feed.clone(),
                events: container_events.clone(),
                port: port_of_peers.map(OnceLock::from).unwrap_or_default(),
                relay_client,
                relay_server: relay_server.clone(),
            })
        });
        if let Some(cluster) = cluster.as_ref().filter(|_| start == Start::Fresh) {
            cluster.join().await?;
        }
        let docker_thread = OwnThread::start("docker-events").map_err(AgentError::Thread)?;
        let background = vec![
            spawn(feed.clone().collect(
                host,
                container_events.subscribe(),
                route_events.subscribe(),
                world.clone(),
            )),
            spawn(writer.run(observed)),
            docker_thread.spawn(watch(Watched {
                docker: client,
                live: live_settings,
                attention: seen.attention,
                world: world.clone(),
                host,
                problems: problems.clone(),
                observations,
                resume: seen.heard,
            })),
            spawn(observe_own),
            spawn(metrics::keep_up(metrics.clone())),
            spawn(report_docker(settings.docker.address.clone(), docker.clone(), problems.clone())),
        ];
        let api = Api {
            world,
            routes: routes.clone(),
            names: seen.names,
            problems: problems.clone(),
            handlers: seen.handlers,
            deliveries: seen.deliveries,
            feed,
            docker: docker.clone(),
            own,
            roster,
            membership: cluster.clone(),
            labels,
            caller,
            sessions: serve::sessions(),
            statuses,
            about: Arc::new(about),
            ready: ready.clone(),
            traffic,
            metrics,
            token: settings.token.clone(),
            names_allowed: Arc::new(match settings.insecure {
                true => NamesAllowed::Any,
                false => NamesAllowed::own(&settings.names),
            }),
            dockermod,
        };
        let serving_stop = stop.child_token();
        let socket = if start == Start::Fresh { open_socket(&settings, &problems).await } else { None };
        let serving = serve_on(listeners.into_iter().chain(socket), &api, &serving_stop);
        Ok(Self {
            docker,
            ready,
            tried,
            problems,
            routes,
            stop,
            grace: settings.grace,
            live,
            started: settings,
            location,
            balancing,
            api,
            serving,
            serving_stop,
            lock,
            services,
            cluster,
            relay_server,
            _background: background,
            _docker_thread: docker_thread,
        })
    }

    /// Waits until the first routes were applied or failed, the sidecars have converged as far as possible,
    /// every other follower has made one pass, and the handlers of the dummy event `none` have run.
    ///
    /// # Errors
    /// [`AgentError::Docker`] as soon as Docker fails to respond.
    pub async fn pass(&mut self) -> Result<Pass, AgentError> {
        let mut attempts = self.docker.clone();
        attempts.mark_unchanged();
        loop {
            tokio::select! {
                done = self.tried.wait_for(|tried| *tried) => {
                    drop(done);
                    let handlers = self.services.settled().await;
                    let routes = self.routes.applied().table.clone();
                    return Ok(Pass { routes, problems: self.problems.all(), handlers });
                }
                Ok(()) = attempts.changed() => {
                    let why = attempts.borrow_and_update().clone();
                    if let Some(why) = why {
                        let docker = &self.started.docker.address;
                        return Err(AgentError::Docker { address: docker.to_string(), why, advice: docker.advice() });
                    }
                }
            }
        }
    }

    /// Makes every plan for the current containers, executes none of them, and ends: for an agent that was
    /// started with [`Start::Dry`].
    ///
    /// # Errors
    /// As [`Agent::pass`], and [`AgentError::Engine`] where the balancer's configuration cannot be rendered.
    pub async fn dry_run(mut self) -> Result<DryRun, AgentError> {
        let Pass { routes, mut problems, .. } = self.pass().await?;
        let handlers = self.api.handlers.borrow().clone();
        let docker = DockerClient::new(self.started.docker.clone());
        let plan = match self.api.world.snapshot() {
            Some(world) => {
                let (settings, location) = (&self.started, &self.location);
                let plans = Plans { settings, world: &world, handlers: &handlers, location, docker: &docker };
                plans.make().await
            }
            None => DryRun::default(),
        };
        problems.extend(plan.problems);
        let configuration = self.leave().await?;
        Ok(DryRun { routes, problems, configuration, ..plan })
    }

    /// For a successor: waits until its routes are applied, asks the predecessor to hand over with `ask`, and
    /// takes over what two agents cannot share: the data directory, the deliveries and the API's port. The
    /// predecessor still carries its routes, and takes everything back if this fails or the process ends.
    ///
    /// # Errors
    /// [`AgentError::DataDir`] or [`AgentError::Listen`] where they are not free within 20 seconds.
    pub async fn succeed(&mut self, ask: impl FnOnce()) -> Result<(), AgentError> {
        if self.cluster.is_none() {
            let _ = self.ready.wait_for(|ready| *ready).await;
        } else {
            // Its routes are those of the whole cluster, in which it has no place yet.
            let _ = self.docker.wait_for(Option::is_none).await;
        }
        ask();
        let deadline = Instant::now() + HANDOVER_TIMEOUT;
        loop {
            match self.take_over().await {
                Ok(()) => {
                    let _ = tokio::time::timeout_at(deadline, self.ready.wait_for(|ready| *ready)).await;
                    return Ok(());
                }
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Releases what two agents cannot share, for a successor, and keeps carrying the routes.
    pub async fn hand_over(&mut self) {
        self.serving_stop.cancel();
        last_answers(std::mem::take(&mut self.serving)).await;
        self.services.hand_over().await;
        // Late: from here on until the successor has joined, other hosts' connections wait.
        if let Some(cluster) = &self.cluster {
            cluster.stop().await;
        }
        self.lock = None;
    }

    /// Takes over what a predecessor handed over: everything, or nothing yet.
    async fn take_over(&mut self) -> Result<(), AgentError> {
        let lock = data_dir::take(&self.started.data_dir)?;
        let listeners = listen(&self.started).await?;
        self.join().await?;
        self.deliver(lock);
        self.serve(listeners).await;
        Ok(())
    }

    /// Joins the cluster, unless this agent is in it, has left it or belongs to none.
    async fn join(&self) -> Result<(), ClusterError> {
        match &self.cluster {
            Some(cluster) => cluster.join().await,
            None => Ok(()),
        }
    }

    /// Takes back what was handed over to a successor that failed, as far as it is free; may be repeated.
    ///
    /// # Errors
    /// [`AgentError::DataDir`] while another agent has the data directory; nothing is taken back then.
    /// [`AgentError::Cluster`] and [`AgentError::Listen`] while another process has a port; what is free is taken back.
    pub async fn take_back(&mut self) -> Result<(), AgentError> {
        if self.lock.is_none() {
            let lock = data_dir::take(&self.started.data_dir)?;
            self.deliver(lock);
        }
        self.join().await?;
        if self.serving.is_empty() {
            let listeners = listen(&self.started).await?;
            self.serve(listeners).await;
        }
        Ok(())
    }

    /// Delivers from the journal in the data directory, which `lock` holds.
    fn deliver(&mut self, lock: std::fs::File) {
        self.lock = Some(lock);
        self.services.take_over(&self.started.data_dir);
    }

    async fn serve(&mut self, listeners: Vec<Listener>) {
        self.serving_stop = self.stop.child_token();
        let socket = open_socket(&self.started, &self.problems).await;
        self.serving = serve_on(listeners.into_iter().chain(socket), &self.api, &self.serving_stop);
    }

    /// Returns the open ports that a successor inherits: what comes to them waits until it answers.
    pub fn ports(&self) -> Ports {
        let peers = self.cluster.as_ref().and_then(Membership::port);
        Ports { dns: self.services.dns_ports(), peers }
    }

    /// Returns whether the balancer keeps running when the agent ends without a drain: a HAProxy does.
    pub fn outlived_by_balancer(&self) -> bool {
        matches!(self.started.balancer.engine, EngineSettings::Haproxy(_) | EngineSettings::None)
    }

    /// Applies the settings that may change while the agent runs. `fixed` are the names of settings that
    /// changed and may not; each becomes a problem.
    pub fn reload(&self, settings: &Settings, fixed: &[String]) {
        let fixed = fixed.iter().map(|name| Problem {
            subject: Subject::File { path: "settings".to_owned(), line: None },
            key: Some(name.clone()),
            message: "changed, and the old value stays in use".to_owned(),
            hint: Some("restart the agent to apply it".to_owned()),
        });
        self.problems.set(Source::Settings, fixed.chain(settings.ignored.iter().cloned()));
        self.live.send_replace(settings.live());
        self.services.reload(settings);
        if let Some(cluster) = self.cluster.clone() {
            tokio::spawn(async move { cluster.reload().await });
        }
        tracing::info!("settings reloaded");
    }

    /// Keeps the current settings, because the new ones have these errors.
    pub fn reject_settings(&self, errors: &[Problem]) {
        let rejected = |error: &Problem| {
            let hint = Some("the old settings stay in use; fix it and send SIGHUP".to_owned());
            Problem { hint, ..error.clone() }
        };
        self.problems.set(Source::Settings, errors.iter().map(rejected));
    }

    /// Ends, and leaves everything in place: after a single pass, HAProxy keeps its routes. Returns the
    /// configuration that a dry pass would have written.
    ///
    /// # Errors
    /// [`AgentError::Engine`] where there is such a configuration and it cannot be rendered.
    pub async fn leave(self) -> Result<Option<String>, AgentError> {
        self.stop.cancel();
        if let Some(cluster) = self.cluster {
            cluster.stop().await;
        }
        self.services.stop().await;
        match self.balancing.await {
            Ok(follower) => Ok(follower.into_engine().leave(&self.routes.applied().table).await?),
            Err(_) => Ok(None),
        }
    }

    /// Accepts no new work, drains open work within `grace` (the setting, if `None`), and ends. Meanwhile, releases
    /// the API's port and the data directory as soon as deliveries have ended.
    pub async fn stop(self, grace: Option<Duration>) {
        self.stop.cancel();
        // The other hosts' balancers keep connections open as long as they can. A restart must not take as long as they
        // wait for one.
        let relay_grace = grace.unwrap_or(self.grace.min(RELAY_GRACE));
        let grace = grace.unwrap_or(self.grace);
        let balancer = async {
            if let Ok(follower) = self.balancing.await {
                follower.into_engine().drain(grace).await;
            }
        };
        let others = async {
            if let Some(cluster) = self.cluster {
                cluster.stop().await;
            }
            self.services.stop().await;
            drop(self.lock);
            last_answers(self.serving).await;
            self.relay_server.drain(relay_grace).await;
        };
        tokio::join!(balancer, others);
    }
}

fn spawn(task: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(task))
}

/// Serves the API on every listener.
fn serve_on(
    listeners: impl Iterator<Item = Listener>,
    api: &Api,
    stop: &CancellationToken,
) -> Vec<AbortOnDropHandle<()>> {
    listeners.map(|listener| spawn(api.clone().serve(listener, stop.clone()))).collect()
}

/// Waits for open answers of the API; an open event stream never ends by itself.
async fn last_answers(serving: Vec<AbortOnDropHandle<()>>) {
    let _ = tokio::time::timeout(LAST_ANSWERS, join_all(serving)).await;
}

/// Returns the addresses of the API.
fn api_addresses(settings: &Settings) -> impl Iterator<Item = SocketAddr> {
    let rest = |listen: SocketAddr| Some(SocketAddr::new(listen.ip(), settings.dockermod.rest_port?));
    let rest = settings.listen.and_then(rest).filter(|rest| Some(*rest) != settings.listen);
    settings.listen.into_iter().chain(rest)
}

/// Opens the socket for root. An agent goes without it where another one has its path.
async fn open_socket(settings: &Settings, problems: &Problems) -> Option<Listener> {
    let path = settings.socket.as_ref()?;
    let (socket, problem) = match RootSocket::open(path).await {
        Ok(socket) => (Some(Listener::Root(socket)), None),
        Err(error) => (
            None,
            Some(Problem {
                subject: Subject::File { path: path.display().to_string(), line: None },
                key: Some("socket".to_owned()),
                message: chain(&error),
                hint: Some("the API's port stays; give this agent another path with --socket".to_owned()),
            }),
        ),
    };
    problems.set(Source::Socket, problem);
    socket
}

async fn listen(settings: &Settings) -> Result<Vec<Listener>, AgentError> {
    let mut listeners = Vec::new();
    for address in api_addresses(settings) {
        let listener = serve::listen(address).await;
        listeners.push(Listener::Port(listener.map_err(|source| AgentError::Listen { address, source })?));
    }
    Ok(listeners)
}

/// Returns where the balancer runs, and the addresses at which it reaches the published ports of a Docker on another
/// machine.
async fn locate(docker: &DockerSettings, me: HostId) -> Result<(BalancerLocation, Vec<IpAddr>), AgentError> {
    let Some(host) = docker.remote() else {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let own = own_container(&mounts).map(|id| BalancerLocation::Container(ContainerRef::new(me, id)));
        return Ok((own.unwrap_or(BalancerLocation::Host(me)), Vec::new()));
    };
    let failed = |source| AgentError::DockerHost { host: host.to_owned(), source };
    let mut found = tokio::net::lookup_host((host, 0)).await.map_err(failed)?;
    let address = found.next().ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))?;
    Ok((BalancerLocation::Outside, vec![address.ip()]))
}

/// Returns the container that this process runs in: Docker mounts a file from the container's own directory at
/// `/etc/hostname`.
fn own_container(mounts: &str) -> Option<ContainerId> {
    let mut fields = mounts.lines().map(|line| line.split(' ').skip(3));
    let root = fields.find_map(|mut fields| {
        let root = fields.next()?;
        (fields.next()? == "/etc/hostname").then_some(root)
    })?;
    let id = root.strip_suffix("/hostname")?.rsplit('/').next()?;
    let is_id = id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit());
    is_id.then(|| ContainerId::new(id))
}

/// Returns how newly started containers are treated. A HAProxy that a single pass leaves behind checks its
/// servers itself: nobody would add one that becomes ready later.
fn readiness(settings: &Settings, start: Start) -> Readiness {
    match (start, &settings.balancer.engine) {
        (Start::Once, EngineSettings::Haproxy(_)) => Readiness::Assumed,
        _ => Readiness::Awaited,
    }
}

/// Returns the ports that no label may use.
fn reserved(settings: &Settings) -> std::collections::BTreeMap<(Transport, u16), String> {
    let mut reserved = std::collections::BTreeMap::new();
    if let Some(dns) = &settings.dns {
        for transport in [Transport::Tcp, Transport::Udp] {
            reserved.insert((transport, dns.listen.port()), "Longshore's DNS server".to_owned());
        }
    }
    for listen in api_addresses(settings) {
        reserved.insert((Transport::Tcp, listen.port()), "Longshore's API".to_owned());
    }
    reserved
}

/// Reports that Docker is not responding: one problem from the first failure to the next success, with the
/// first cause.
async fn report_docker(address: DockerAddress, mut docker: DockerState, problems: Problems) {
    let mut away = false;
    while docker.changed().await.is_ok() {
        let why = docker.borrow_and_update().clone();
        if away && why.is_some() {
            continue;
        }
        away = why.is_some();
        let problem = why.map(|why| Problem {
            subject: Subject::Docker { address: address.to_string() },
            key: None,
            message: format!("not responding; keeping the last known state: {why}"),
            hint: Some(format!("retrying; {}", address.advice())),
        });
        problems.set(Source::Docker, problem);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_container_is_found_by_its_hostname_file_and_a_host_has_none() {
        let id = "0123456789abcdef".repeat(4);
        let inside = format!(
            "612 590 0:48 / / rw - overlay overlay rw\n620 612 8:1 /var/lib/docker/containers/{id}/hostname /etc/hostname rw - ext4 /dev/vda rw\n"
        );
        assert_eq!(own_container(&inside), Some(ContainerId::new(&id)));
        let host = format!("30 1 0:48 / /var/lib/docker/containers/{id}/mounts/shm rw - tmpfs shm rw\n");
        assert_eq!(own_container(&host), None);
    }
}
