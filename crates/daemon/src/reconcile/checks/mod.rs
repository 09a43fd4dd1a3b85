//! Port checks: whether a container without a health check of its own accepts connections.
//!
//! Nothing announces that a server starts to listen, so a port that a route depends on is checked often until
//! it accepts; after that rarely, and at once when the balancer could not connect ([`Checks::suspect`]).
//! [`schedule`] decides when.

mod schedule;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use longshore_model::ContainerRef;
use longshore_runtime::ReloadableSettings;
use longshore_runtime::state::Observation;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep_until, timeout};
use tokio_util::task::AbortOnDropHandle;

use self::schedule::Schedule;

/// How long a port may take to accept.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

enum Command {
    Set(ContainerRef, Vec<(SocketAddr, bool)>),
    Suspect(ContainerRef, SocketAddr),
}

/// The checks, which run until this is dropped.
pub(crate) struct Checks {
    commands: mpsc::UnboundedSender<Command>,
    _task: AbortOnDropHandle<()>,
}

impl Checks {
    /// Starts without any checks. Sends findings to `observations`.
    pub(crate) fn new(
        live: watch::Receiver<ReloadableSettings>,
        observations: mpsc::UnboundedSender<Observation>,
    ) -> Self {
        let (commands, commanded) = mpsc::unbounded_channel();
        let task = tokio::spawn(check(live, observations, commanded));
        Self { commands, _task: AbortOnDropHandle::new(task) }
    }

    /// Checks exactly these ports of a container, each with whether World has a finding for it: a check whose
    /// finding was discarded (another run of the container) starts over.
    pub(crate) fn set(&self, id: &ContainerRef, ports: impl IntoIterator<Item = (SocketAddr, bool)>) {
        let _ = self.commands.send(Command::Set(id.clone(), ports.into_iter().collect()));
    }

    /// Checks a port at once: the balancer could not connect to it.
    pub(crate) fn suspect(&self, id: &ContainerRef, address: SocketAddr) {
        let _ = self.commands.send(Command::Suspect(id.clone(), address));
    }
}

async fn check(
    live: watch::Receiver<ReloadableSettings>,
    observations: mpsc::UnboundedSender<Observation>,
    mut commands: mpsc::UnboundedReceiver<Command>,
) {
    let mut schedule = Schedule::new(Instant::now());
    let mut looks = FuturesUnordered::new();
    loop {
        while let Some(look) = schedule.begin(Instant::now()) {
            looks.push(async move {
                let accepts = accepts(look.address).await;
                (look, accepts)
            });
        }
        let due = schedule.due();
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Set(id, ports)) => schedule.set(&id, &ports, Instant::now()),
                Some(Command::Suspect(id, address)) => schedule.suspect(&id, address, Instant::now()),
                None => return,
            },
            Some((look, accepts)) = looks.next() => {
                let interval = live.borrow().check_interval;
                if let Some(state) = schedule.end(&look, accepts, interval, Instant::now()) {
                    let (container, address) = (look.container, look.address);
                    let _ = observations.send(Observation::Port { container, address, state });
                }
            }
            () = sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => {}
        }
    }
}

async fn accepts(address: SocketAddr) -> bool {
    matches!(timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await, Ok(Ok(_)))
}
