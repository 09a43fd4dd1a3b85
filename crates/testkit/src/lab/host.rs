//! A host that a test has leased.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::Docker;
use bollard::models::NetworkCreateRequest;
use bollard::query_parameters::EventsOptions;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::process::Command;

use super::engine::{self, docker_error};
use super::layout::{Layout, Seat};
use super::lease::Lease;
use super::namespace::Namespace;
use super::process::{self, Process};
use super::{Container, ContainerSpec, EngineOptions, LabError, Network, Relay, command, images, wiring};
use crate::traffic::{Load, RequestBuilder, WebSocket, WebSocketError};

/// A Docker host that nobody else uses. Given back, and cleared of containers and networks, when dropped.
#[derive(Debug)]
pub struct Host {
    /// `h1`, `h2`, …
    pub name: String,
    /// Its network namespace, by its name in `/run/netns`.
    pub namespace: String,
    /// Its address on the lab's bridge, at which the other hosts reach it.
    pub address: IpAddr,
    /// Docker's socket, a path of the machine.
    pub docker_socket: PathBuf,
    layout: Layout,
    seat: Seat,
    options: EngineOptions,
    docker: Docker,
    inside: Arc<Namespace>,
    /// Released after the host is cleared: fields are dropped after `Drop::drop`.
    _lease: Lease,
}

impl Host {
    /// Repairs the host of this seat, whatever state it was left in, and clears it.
    pub(super) async fn take(
        layout: &Layout,
        seat: Seat,
        options: EngineOptions,
        lease: Lease,
    ) -> Result<Self, LabError> {
        if seat.namespace_file().exists() {
            wiring::connect(layout, &seat).await?;
        }
        let cleared = if engine::is_well(&seat, &options).await { clear(&seat).await } else { Ok(false) };
        // A host that cannot be cleared, for whatever reason, is recreated.
        if !matches!(cleared, Ok(true)) {
            engine::clear(&seat).await?;
            wiring::disconnect(&seat).await?;
            wiring::connect(layout, &seat).await?;
            engine::start(layout, &seat, &options).await?;
        }
        let docker = engine::client(&seat, 60)?;
        images::provide(&docker, &seat.name).await?;
        let inside = Arc::new(Namespace::enter(&seat)?);
        Ok(Self {
            name: seat.name.clone(),
            namespace: seat.namespace.clone(),
            address: seat.address,
            docker_socket: seat.socket(),
            docker,
            layout: layout.clone(),
            seat,
            options,
            inside,
            _lease: lease,
        })
    }

    /// Returns a client of its Docker, with a timeout of a minute per call.
    pub fn docker(&self) -> &Docker {
        &self.docker
    }

    /// Returns its Docker's address, as `--docker` and `DOCKER_HOST` expect it.
    pub fn docker_host(&self) -> String {
        format!("unix://{}", self.docker_socket.display())
    }

    /// Creates and starts a container.
    ///
    /// # Errors
    /// Docker's error.
    pub async fn run(&self, spec: ContainerSpec) -> Result<Container, LabError> {
        let mut container = self.create(spec).await?;
        container.start().await?;
        Ok(container)
    }

    /// Creates a container without starting it.
    ///
    /// # Errors
    /// Docker's error.
    pub async fn create(&self, spec: ContainerSpec) -> Result<Container, LabError> {
        Container::create(&self.docker, self.runtime(), &self.name, spec).await
    }

    /// Creates a user-defined bridge network.
    ///
    /// # Errors
    /// Docker's error.
    pub async fn network(&self, name: &str) -> Result<Network, LabError> {
        let request =
            NetworkCreateRequest { name: name.into(), driver: Some("bridge".into()), ..Default::default() };
        let made = self.docker.create_network(request).await.map_err(self.failed("make a network"))?;
        let (docker, host) = (self.docker.clone(), self.name.clone());
        Ok(Network { name: name.into(), id: made.id, docker, host })
    }

    /// Returns the names of all events of a container and of its networks that Docker still remembers, in Docker's
    /// order: what every subscriber should have received. Docker does not report the same actions in the same way
    /// each time: a pause that is undone at once, for example, may be reported twice.
    ///
    /// # Errors
    /// Docker's error.
    pub async fn events_of(&self, container: &str) -> Result<Vec<String>, LabError> {
        let filters = [("type".to_owned(), vec!["container".to_owned(), "network".to_owned()])].into();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let until = Some(format!("{}.{:09}", now.as_secs(), now.subsec_nanos()));
        let options = EventsOptions { since: Some("0".to_owned()), until, filters: Some(filters) };
        let told: Vec<_> =
            self.docker.events(Some(options)).try_collect().await.map_err(self.failed("ask for events"))?;
        let of_it = told.into_iter().filter_map(|event| {
            let actor = event.actor?;
            let joined = actor.attributes.as_ref().and_then(|attributes| attributes.get("container"));
            let action = event.action?;
            let name = action.split_once(": ").map_or(action.as_str(), |(name, _)| name).to_owned();
            (joined.or(actor.id.as_ref()).is_some_and(|id| id == container)).then_some(name)
        });
        Ok(of_it.collect())
    }

    /// Runs a future inside the host's network namespace: every socket that it opens is the host's.
    ///
    /// # Errors
    /// [`LabError::Namespace`] if the thread inside ended. A panic of the future resumes here.
    pub async fn inside<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, LabError> {
        self.inside.run(future).await
    }

    /// Returns the runtime inside the namespace, for background futures.
    pub fn runtime(&self) -> tokio::runtime::Handle {
        self.inside.handle().clone()
    }

    /// Returns a command that runs inside the host's network namespace; its process is the program itself.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.seat.namespace_file().display())).arg("--").arg(program);
        command.stdin(std::process::Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs a program inside the namespace to completion and returns its standard output.
    ///
    /// # Errors
    /// [`LabError::Command`] with all of its output, if it fails.
    pub async fn exec_in_namespace(&self, line: &[&str]) -> Result<String, LabError> {
        let enter = format!("--net={}", self.seat.namespace_file().display());
        let line: Vec<&str> = [enter.as_str(), "--"].into_iter().chain(line.iter().copied()).collect();
        command::run("nsenter", &line).await
    }

    /// Returns a GET of this URL (`http://ADDRESS[:PORT]/PATH`, an address, not a name) from inside the namespace.
    pub fn get(&self, url: impl Into<String>) -> RequestBuilder {
        self.request("GET", url)
    }

    /// Returns a POST of this URL from inside the namespace.
    pub fn post(&self, url: impl Into<String>) -> RequestBuilder {
        self.request("POST", url)
    }

    /// Returns any request of this URL from inside the namespace.
    pub fn request(&self, method: &str, url: impl Into<String>) -> RequestBuilder {
        RequestBuilder::from(self.runtime(), method, url.into())
    }

    /// Returns a load of requests of this URL from inside the namespace.
    pub fn load(&self, url: impl Into<String>) -> Load {
        Load::from(self.runtime(), url.into())
    }

    /// Opens a websocket to this URL (`http://ADDRESS[:PORT]/PATH`) with this Host header, from inside the namespace.
    ///
    /// # Errors
    /// Fails if the server rejects the handshake.
    pub async fn websocket(&self, url: &str, host_header: &str) -> Result<WebSocket, WebSocketError> {
        WebSocket::open(self.runtime(), url, host_header).await
    }

    /// Returns a port that is currently free on the namespace's loopback.
    ///
    /// # Errors
    /// Fails if the kernel has no free port.
    pub async fn free_port(&self) -> Result<u16, LabError> {
        let port = self.inside(async { free_port() }).await?;
        port.map_err(LabError::file("bind a port of", &self.name))
    }

    /// Returns a stand-in for Docker's socket that can be cut and stalled, see [`Relay`].
    ///
    /// # Errors
    /// Fails if its sockets cannot be created.
    pub async fn docker_relay(&self) -> Result<Relay, LabError> {
        Relay::before(&self.docker_socket, &self.inside).await
    }

    /// Kills dockerd with SIGKILL; its containers keep running until it starts again (or after that, with
    /// live-restore).
    ///
    /// # Errors
    /// Fails if it does not end.
    pub async fn kill_dockerd(&self) -> Result<(), LabError> {
        engine::kill(&self.seat).await
    }

    /// Stops dockerd with SIGTERM; its containers stop first, unless live-restore is on.
    ///
    /// # Errors
    /// Fails if it does not end.
    pub async fn stop_dockerd(&self) -> Result<(), LabError> {
        engine::stop(&self.seat).await
    }

    /// Starts dockerd and waits until it answers.
    ///
    /// # Errors
    /// Fails if it does not answer.
    pub async fn start_dockerd(&self) -> Result<(), LabError> {
        engine::start(&self.layout, &self.seat, &self.options).await
    }

    /// Freezes dockerd: its socket still accepts, and nothing answers.
    pub fn freeze_dockerd(&self) {
        engine::freeze(&self.seat);
    }

    /// Thaws dockerd.
    pub fn thaw_dockerd(&self) {
        engine::thaw(&self.seat);
    }

    /// Disconnects the host from the network.
    ///
    /// # Errors
    /// Fails if `ip` fails.
    pub async fn cut(&self) -> Result<(), LabError> {
        wiring::set_cable(&self.seat, false).await
    }

    /// Reconnects the host.
    ///
    /// # Errors
    /// Fails if `ip` fails.
    pub async fn heal(&self) -> Result<(), LabError> {
        wiring::set_cable(&self.seat, true).await
    }

    fn failed(&self, verb: &str) -> impl FnOnce(bollard::errors::Error) -> LabError + use<> {
        docker_error(&self.seat, verb)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if engine::process(&self.seat).is_none() {
            // The next lease recreates it.
            return;
        }
        engine::thaw(&self.seat);
        let (done, cleared) = std::sync::mpsc::sync_channel(1);
        let seat = self.seat.clone();
        self.inside.handle().spawn(async move {
            // Leftovers are found and cleared, and errors reported, when the host is next taken.
            let _ = clear(&seat).await;
            let _ = done.send(());
        });
        let _ = cleared.recv_timeout(Duration::from_secs(30));
    }
}

/// Removes all containers and networks and kills stray processes; false if some remain.
async fn clear(seat: &Seat) -> Result<bool, LabError> {
    use bollard::query_parameters::{ListContainersOptions, RemoveContainerOptions};
    let docker = engine::client(seat, 30)?;
    let mut empty = false;
    for _ in 0..50 {
        let all = Some(ListContainersOptions { all: true, ..Default::default() });
        let found = docker.list_containers(all).await.map_err(docker_error(seat, "list containers"))?;
        empty = found.is_empty();
        if empty {
            break;
        }
        stream::iter(found.into_iter().filter_map(|c| c.id))
            .for_each_concurrent(8, |id| {
                let docker = docker.clone();
                async move {
                    let options = RemoveContainerOptions { force: true, v: true, ..Default::default() };
                    // A container that somebody else is removing causes an error; the next round finds it gone.
                    let _ = docker.remove_container(&id, Some(options)).await;
                }
            })
            .await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let networks = docker.list_networks(None).await.map_err(docker_error(seat, "list networks"))?;
    for network in networks.into_iter().filter_map(|n| n.name) {
        if !matches!(network.as_str(), "bridge" | "host" | "none") {
            docker.remove_network(&network).await.map_err(docker_error(seat, "remove a network"))?;
        }
    }
    for stray in strays(seat) {
        stray.kill().await?;
    }
    Ok(empty)
}

/// Returns the processes in the host's namespace that are not Docker's: agents and balancers of a test that was
/// killed.
fn strays(seat: &Seat) -> Vec<Process> {
    let dockers = process::with_command_line(engine::is_dockers_own);
    process::inside_namespace(&seat.namespace_file()).into_iter().filter(|p| !dockers.contains(p)).collect()
}

/// Returns a TCP port that is currently free on the loopback.
///
/// # Errors
/// Fails if the kernel has no free port.
pub fn free_port() -> std::io::Result<u16> {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    Ok(std::net::TcpListener::bind(any)?.local_addr()?.port())
}
