//! An upstream, as one worker sees it: does it answer, and which connections to it are free.
//!
//! A backend lives as long as a route of this worker names it. Then its idle connections close,
//! and those that are in use are not kept when their request ends.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use longshore_model::{ContainerRef, Upstream};
use tokio::net::TcpStream;

use crate::balance::Fit;
use crate::balancer::Observation;
use crate::http::Link;
use crate::worker::Worker;

/// How long an upstream is passed over after its first failure; doubled by each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// At most one observation of the same upstream in this time.
const OBSERVATIONS_APART: Duration = Duration::from_millis(100);

/// One upstream of one worker.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    container: ContainerRef,
    /// How many routes name it.
    routes: Cell<usize>,
    failures: Cell<u32>,
    paused_until: Cell<Option<Instant>>,
    observed: Cell<Option<Instant>>,
    idle: RefCell<Vec<IdleLink>>,
}

struct IdleLink {
    link: Box<Link>,
    since: u64,
}

impl PartialEq for Backend {
    fn eq(&self, other: &Self) -> bool {
        self.address == other.address && self.container == other.container
    }
}

impl Eq for Backend {}

impl Hash for Backend {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.address.hash(state);
        self.container.hash(state);
    }
}

impl Backend {
    /// Whether it is worth a try.
    pub(crate) fn fit(&self) -> Fit {
        match self.paused_until.get() {
            Some(until) if Instant::now() < until => Fit::Failing,
            _ => Fit::Good,
        }
    }

    /// Whether no route names it any more.
    pub(crate) fn is_retired(&self) -> bool {
        self.routes.get() == 0
    }

    /// Opens a connection, and remembers how that went.
    pub(crate) async fn connect(&self, worker: &Worker) -> io::Result<TcpStream> {
        if self.paused_until.get().is_some() {
            // One request finds out whether it is back; the others keep passing it over.
            self.paused_until.set(Some(Instant::now() + self.pause()));
        }
        let connecting = TcpStream::connect(self.address);
        let stream = match tokio::time::timeout(worker.settings.timeouts.connect, connecting).await {
            Ok(result) => result,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        match &stream {
            Ok(stream) => {
                self.answered();
                // Only costs latency where it fails.
                let _ = stream.set_nodelay(true);
            }
            Err(error) => self.failed(error, worker),
        }
        stream
    }

    /// It answered: earlier failures are forgotten.
    pub(crate) fn answered(&self) {
        self.failures.set(0);
        self.paused_until.set(None);
    }

    /// It did not: it is passed over for a while, and whoever watches is told.
    pub(crate) fn failed(&self, error: &io::Error, worker: &Worker) {
        use io::ErrorKind::{
            ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable, TimedOut,
        };
        let at_fault = [ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable, TimedOut]
            .contains(&error.kind());
        if !at_fault {
            // This host is out of descriptors or ports, which says nothing of the upstream.
            tracing::warn!(address = %self.address, %error, "cannot connect to an upstream");
            return;
        }
        let now = Instant::now();
        self.paused_until.set(Some(now + self.pause()));
        self.failures.set(self.failures.get().saturating_add(1));
        if self.observed.get().is_none_or(|at| now - at >= OBSERVATIONS_APART) {
            self.observed.set(Some(now));
            worker.observe(Observation::UpstreamFailed {
                container: self.container.clone(),
                address: self.address,
                error: error.kind(),
            });
        }
    }

    fn pause(&self) -> Duration {
        FIRST_PAUSE.saturating_mul(1 << self.failures.get().min(8)).min(LONGEST_PAUSE)
    }

    /// An idle connection that is still open.
    pub(crate) fn take_idle(&self) -> Option<Box<Link>> {
        loop {
            let idle = self.idle.borrow_mut().pop()?;
            let mut link = idle.link;
            if link.is_usable() {
                return Some(link);
            }
        }
    }

    /// Keeps a connection for the next request, if it is fit for one.
    pub(crate) fn keep(&self, mut link: Box<Link>, worker: &Worker) {
        if !self.is_retired() && link.is_reusable() {
            let mut idle = self.idle.borrow_mut();
            if idle.len() < worker.settings.idle_per_upstream {
                idle.push(IdleLink { link, since: worker.now() });
            }
        }
    }

    /// Closes connections that the upstream closed, or that nobody used since `before`.
    fn sweep(&self, before: Option<u64>) {
        self.idle
            .borrow_mut()
            .retain_mut(|idle| before.is_none_or(|before| idle.since >= before) && idle.link.is_usable());
    }
}

/// The upstreams that a worker's routes name.
#[derive(Default)]
pub(crate) struct Backends(RefCell<HashMap<(ContainerRef, SocketAddr), Rc<Backend>>>);

impl Backends {
    /// The backend of an upstream that one more route names.
    pub(crate) fn hold(&self, upstream: &Upstream) -> Rc<Backend> {
        let mut backends = self.0.borrow_mut();
        let backend = backends.entry((upstream.container.clone(), upstream.address)).or_insert_with(|| {
            Rc::new(Backend {
                address: upstream.address,
                container: upstream.container.clone(),
                routes: Cell::new(0),
                failures: Cell::new(0),
                paused_until: Cell::new(None),
                observed: Cell::new(None),
                idle: RefCell::default(),
            })
        });
        backend.routes.set(backend.routes.get() + 1);
        Rc::clone(backend)
    }

    /// One route less names `backend`.
    pub(crate) fn release(&self, backend: &Rc<Backend>) {
        backend.routes.set(backend.routes.get().saturating_sub(1));
        if backend.is_retired() {
            backend.idle.borrow_mut().clear();
            self.0.borrow_mut().remove(&(backend.container.clone(), backend.address));
        }
    }

    /// Closes what was idle for longer than it may be.
    pub(crate) fn sweep(&self, now: u64, longest: Duration) {
        let before = now.checked_sub(u64::try_from(longest.as_millis()).unwrap_or(u64::MAX));
        for backend in self.0.borrow().values() {
            backend.sweep(before);
        }
    }
}
