//! Port checks: whether a container without a health check of its own accepts connections.
//!
//! A task for each port that decides over a route. Until the port accepts, it is tried often, as nothing tells when
//! a server begins to listen; from then on seldom, and at once when the balancer could not connect
//! ([`Checks::suspect`]).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use longshore_model::{ContainerRef, PortState};
use longshore_runtime::state::Observation;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::config::ReloadableSettings;

/// How long a port may take to accept.
const CONNECT: Duration = Duration::from_secs(1);
/// How many looks in a row must fail before an open port counts as closed, and how far apart they are.
const FALL: u32 = 3;
const FALL_GAP: Duration = Duration::from_millis(200);
/// How often a port that is not open is tried, by how long it has been tried for.
const TRIES: &[(Duration, Duration)] = &[
    (Duration::from_secs(5), Duration::from_millis(5)),
    (Duration::from_secs(60), Duration::from_millis(50)),
    (Duration::from_secs(600), Duration::from_millis(500)),
];
const TRIES_LATER: Duration = Duration::from_secs(2);

struct Check {
    suspect: Arc<Notify>,
    _task: AbortOnDropHandle<()>,
}

/// The checks that run.
pub(crate) struct Checks {
    live: watch::Receiver<ReloadableSettings>,
    seen: mpsc::UnboundedSender<Observation>,
    running: BTreeMap<ContainerRef, BTreeMap<SocketAddr, Check>>,
}

impl Checks {
    pub(crate) fn new(
        live: watch::Receiver<ReloadableSettings>,
        seen: mpsc::UnboundedSender<Observation>,
    ) -> Self {
        Self { live, seen, running: BTreeMap::new() }
    }

    /// Checks exactly these ports of a container, each with whether World knows anything of it: a check whose
    /// finding was forgotten (another run of the container) begins anew.
    pub(crate) fn set(&mut self, id: &ContainerRef, ports: impl IntoIterator<Item = (SocketAddr, bool)>) {
        let mut before = self.running.remove(id).unwrap_or_default();
        let mut checks = BTreeMap::new();
        for (address, known) in ports {
            let check = match before.remove(&address) {
                Some(check) if known => check,
                _ => self.begin(id.clone(), address),
            };
            checks.insert(address, check);
        }
        if !checks.is_empty() {
            self.running.insert(id.clone(), checks);
        }
    }

    /// The balancer could not connect there: look at once.
    pub(crate) fn suspect(&self, id: &ContainerRef, address: SocketAddr) {
        if let Some(check) = self.running.get(id).and_then(|checks| checks.get(&address)) {
            check.suspect.notify_one();
        }
    }

    fn begin(&self, container: ContainerRef, address: SocketAddr) -> Check {
        let suspect = Arc::new(Notify::new());
        let task = check(container, address, self.live.clone(), suspect.clone(), self.seen.clone());
        Check { suspect, _task: AbortOnDropHandle::new(tokio::spawn(task)) }
    }
}

async fn check(
    container: ContainerRef,
    address: SocketAddr,
    live: watch::Receiver<ReloadableSettings>,
    suspect: Arc<Notify>,
    seen: mpsc::UnboundedSender<Observation>,
) {
    let mut said = None;
    let mut say = |state| {
        if said.replace(state) != Some(state) {
            let _ = seen.send(Observation::Port { container: container.clone(), address, state });
        }
    };
    let mut closed = PortState::NotOpen;
    loop {
        let since = Instant::now();
        while !accepts(address).await {
            say(closed);
            sleep(pause(since.elapsed())).await;
        }
        say(PortState::Open);
        closed = PortState::Closed;
        let mut failed = 0;
        while failed < FALL {
            let wait = if failed == 0 { live.borrow().check_interval } else { FALL_GAP };
            // A failed connection of the balancer's own counts as the first failed look.
            let suspected = timeout(wait, suspect.notified()).await.is_ok();
            failed = match accepts(address).await {
                true => 0,
                false if suspected => failed + 2,
                false => failed + 1,
            };
        }
    }
}

async fn accepts(address: SocketAddr) -> bool {
    matches!(timeout(CONNECT, TcpStream::connect(address)).await, Ok(Ok(_)))
}

fn pause(tried_for: Duration) -> Duration {
    TRIES.iter().find(|(until, _)| tried_for < *until).map_or(TRIES_LATER, |(_, pause)| *pause)
}
