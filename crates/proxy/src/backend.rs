//! An upstream's availability, as seen by one worker.
//!
//! A backend lives as long as a route of this worker refers to it; then it is retired.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use longshore_model::{ContainerRef, Transport, Upstream, Way};
use longshore_net::relay::{RelayStream, RelayTarget};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::balance::Fit;
use crate::observation::{Observation, Observer};
use crate::settings::Settings;
use crate::upstream::UpstreamStream;

/// Maximum number of upstreams tried after the first for one request or connection.
pub(crate) const MAX_RETRIES: usize = 3;
/// How long an upstream is passed over after its first failure; doubled by each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest such pause.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// Minimum time between two observations of the same upstream.
const OBSERVATION_INTERVAL: Duration = Duration::from_millis(100);
/// Minimum time between two log lines about the same upstream.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// One upstream of one worker.
pub(crate) struct Backend {
    /// Unique among the backends of this worker, including past ones.
    pub(crate) id: u64,
    pub(crate) way: Way,
    /// The port inside the container.
    port: u16,
    container: ContainerRef,
    /// How many routes refer to it.
    routes: Cell<usize>,
    /// Notified when the last of them is gone.
    retired: Notify,
    failures: Cell<u32>,
    paused_until: Cell<Option<Instant>>,
    observed: Cell<Option<Instant>>,
    logged: Cell<Option<Instant>>,
}

impl PartialEq for Backend {
    fn eq(&self, other: &Self) -> bool {
        self.way == other.way && self.port == other.port && self.container == other.container
    }
}

impl Eq for Backend {}

impl Hash for Backend {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.way.hash(state);
        self.port.hash(state);
        self.container.hash(state);
    }
}

impl Backend {
    /// Returns whether it may be picked.
    pub(crate) fn fit(&self) -> Fit {
        match self.paused_until.get() {
            Some(until) if Instant::now() < until => Fit::Failing,
            _ => Fit::Good,
        }
    }

    /// Returns whether no route refers to it any more.
    pub(crate) fn is_retired(&self) -> bool {
        self.routes.get() == 0
    }

    /// Opens a connection in time, and records the result.
    pub(crate) async fn connect(
        &self,
        settings: &Settings,
        observer: &Observer,
    ) -> io::Result<UpstreamStream> {
        if self.paused_until.get().is_some() {
            // One request checks whether it is back; the others keep passing it over.
            self.paused_until.set(Some(Instant::now() + self.pause()));
        }
        let connecting = async {
            Ok(match self.way {
                Way::Direct(address) => {
                    let stream = TcpStream::connect(address).await?;
                    // A failure only costs latency.
                    let _ = stream.set_nodelay(true);
                    UpstreamStream::Direct(stream)
                }
                Way::Agent(_) => UpstreamStream::Agent(self.relayed(Transport::Tcp, settings).await?),
            })
        };
        // Its host may have fallen silent: another upstream answers sooner than it fails.
        let stream = tokio::select! {
            biased;
            result = tokio::time::timeout(settings.timeouts.connect, connecting) => match result {
                Ok(result) => result,
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            },
            () = self.retired.notified() => return Err(io::ErrorKind::ConnectionAborted.into()),
        };
        match &stream {
            Ok(_) => self.answered(),
            Err(error) => self.failed(error, observer),
        }
        stream
    }

    /// Opens a connection through the agent of its host.
    pub(crate) async fn relayed(&self, transport: Transport, settings: &Settings) -> io::Result<RelayStream> {
        let (Some(relay), Way::Agent(agent)) = (&settings.relay, self.way) else {
            return Err(io::ErrorKind::HostUnreachable.into());
        };
        let container = self.container.clone();
        relay.connect(RelayTarget { container, agent: agent.address, port: self.port, transport }).await
    }

    /// Records that it answered: earlier failures are forgotten.
    pub(crate) fn answered(&self) {
        self.failures.set(0);
        self.paused_until.set(None);
    }

    /// Records a failure: it is passed over for a while, which is reported.
    pub(crate) fn failed(&self, error: &io::Error, observer: &Observer) {
        use io::ErrorKind::{
            ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable, TimedOut,
        };
        let at_fault = [ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable, TimedOut]
            .contains(&error.kind());
        if !at_fault {
            // This host is out of descriptors or ports, which is not the upstream's fault.
            self.log("cannot connect to upstream", error);
            return;
        }
        let now = Instant::now();
        self.paused_until.set(Some(now + self.pause()));
        self.failures.set(self.failures.get().saturating_add(1));
        let Way::Direct(address) = self.way else {
            // Its host checks its ports, and membership its host.
            self.log("cannot connect to upstream through its host's agent", error);
            return;
        };
        if self.observed.get().is_none_or(|at| now - at >= OBSERVATION_INTERVAL) {
            self.observed.set(Some(now));
            observer.report(Observation::UpstreamFailed {
                container: self.container.clone(),
                address,
                error: error.kind(),
            });
        }
    }

    /// Logs a problem with it, at most once per [`LOG_INTERVAL`]: a line per request would fill the disk.
    pub(crate) fn log(&self, problem: &str, error: &dyn fmt::Display) {
        let now = Instant::now();
        if self.logged.get().is_none_or(|at| now - at >= LOG_INTERVAL) {
            self.logged.set(Some(now));
            tracing::warn!(upstream = %self.way, %error, "{problem}");
        }
    }

    fn pause(&self) -> Duration {
        FIRST_PAUSE.saturating_mul(1 << self.failures.get().min(8)).min(MAX_PAUSE)
    }
}

/// The upstreams that a worker's routes refer to.
#[derive(Default)]
pub(crate) struct Backends {
    named: RefCell<HashMap<(ContainerRef, u16, Way), Rc<Backend>>>,
    next_id: Cell<u64>,
}

impl Backends {
    /// Returns the backend of an upstream for one more route.
    pub(crate) fn hold(&self, upstream: &Upstream) -> Rc<Backend> {
        let mut named = self.named.borrow_mut();
        let key = (upstream.container.clone(), upstream.port, upstream.way);
        let backend = named.entry(key).or_insert_with(|| {
            Rc::new(Backend {
                id: self.next_id.replace(self.next_id.get() + 1),
                way: upstream.way,
                port: upstream.port,
                container: upstream.container.clone(),
                routes: Cell::new(0),
                retired: Notify::new(),
                failures: Cell::new(0),
                paused_until: Cell::new(None),
                observed: Cell::new(None),
                logged: Cell::new(None),
            })
        });
        backend.routes.set(backend.routes.get() + 1);
        Rc::clone(backend)
    }

    /// Releases `backend` for one route, and returns whether that retired it.
    pub(crate) fn release(&self, backend: &Backend) -> bool {
        backend.routes.set(backend.routes.get().saturating_sub(1));
        if backend.is_retired() {
            backend.retired.notify_waiters();
            self.named.borrow_mut().remove(&(backend.container.clone(), backend.port, backend.way));
        }
        backend.is_retired()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::{Context, SubscriberExt};

    use super::*;

    struct CountLines(Arc<AtomicUsize>);

    impl<S: tracing::Subscriber> Layer<S> for CountLines {
        fn on_event(&self, _: &tracing::Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn being_out_of_descriptors_is_logged_once_and_not_with_each_datagram() {
        let backends = Backends::default();
        let backend = backends.hold(&Upstream {
            container: longshore_model::ContainerRef::new(
                longshore_model::HostId::from_u128(1),
                longshore_model::ContainerId::new("c"),
            ),
            name: "c".to_owned(),
            port: 53,
            way: Way::Direct(std::net::SocketAddr::from(([127, 0, 0, 1], 53))),
            weight: longshore_model::Weight::default(),
        });
        let (observer, mut observations) = Observer::new();
        let lines = Arc::new(AtomicUsize::new(0));
        let subscriber = tracing_subscriber::registry().with(CountLines(Arc::clone(&lines)));
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..1000 {
                backend.failed(&io::Error::from_raw_os_error(24), &observer);
            }
        });
        assert_eq!(lines.load(SeqCst), 1);
        assert!(observations.try_recv().is_err(), "it says nothing of the upstream");
        assert_eq!(backend.fit(), Fit::Good);
    }
}
