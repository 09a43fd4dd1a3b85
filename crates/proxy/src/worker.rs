//! A thread that carries traffic: one runtime, its own listeners, routes and upstream
//! connections. Nothing on the way of a request is shared with another thread.
//!
//! Flow: the balancer sends a [`Command`]; the worker changes its routes in place, in one step
//! between two polls of its connections, and says when it is done. A sweep looks at all waits
//! at once, so that no request needs a timer.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_model::{Frontend, Protocol, Route, RouteKey};
use slab::Slab;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::backend::Backends;
use crate::balancer::Observation;
use crate::client::Client;
use crate::http::LinkState;
use crate::listen::{self, Sockets};
use crate::settings::Settings;
use crate::site::Site;
use crate::stats::Counters;
use crate::udp;

/// Keys, and the routes that they lead to from some moment on.
pub(crate) type Changes = Arc<Vec<(RouteKey, Option<Arc<Route>>)>>;

/// What a balancer asks of each of its workers.
pub(crate) enum Command {
    /// Change the routes.
    Apply {
        /// What changed.
        routes: Changes,
        /// Frontends that had no route before, with the counters to write to.
        begin: Vec<(Frontend, Arc<Counters>)>,
        /// Sockets to serve.
        open: Vec<(Frontend, Sockets)>,
        /// Frontends whose last route went.
        close: Vec<Frontend>,
        /// Told when all of it holds.
        done: oneshot::Sender<()>,
    },
    /// Let open requests finish for so long, then end.
    Drain {
        /// The longest to wait.
        grace: Duration,
        /// Told when nothing is open, or the time is over.
        done: oneshot::Sender<()>,
    },
}

/// What everything on a worker's thread shares.
pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) settings: Arc<Settings>,
    pub(crate) backends: Backends,
    started: Instant,
    clock: Cell<u64>,
    clients: RefCell<Slab<Rc<Client>>>,
    links: RefCell<Slab<Rc<LinkState>>>,
    left: Notify,
    observations: mpsc::UnboundedSender<Observation>,
}

impl Worker {
    /// A worker without routes.
    pub(crate) fn new(
        index: usize,
        settings: Arc<Settings>,
        observations: mpsc::UnboundedSender<Observation>,
    ) -> Self {
        Self {
            index,
            settings,
            backends: Backends::default(),
            started: Instant::now(),
            clock: Cell::new(0),
            clients: RefCell::default(),
            links: RefCell::default(),
            left: Notify::new(),
            observations,
        }
    }

    /// Milliseconds since the worker started, as of the last sweep.
    pub(crate) fn now(&self) -> u64 {
        self.clock.get()
    }

    /// When a wait that begins now and may take `longest` is over.
    pub(crate) fn deadline(&self, longest: Duration) -> u64 {
        self.now().saturating_add(u64::try_from(longest.as_millis()).unwrap_or(u64::MAX))
    }

    /// Tells whoever watches.
    pub(crate) fn observe(&self, observation: Observation) {
        // Nobody has to watch.
        let _ = self.observations.send(observation);
    }

    /// Ends when there is room for one more client.
    pub(crate) async fn room(&self) {
        while self.clients.borrow().len() >= self.settings.connections {
            self.left.notified().await;
        }
    }

    /// A client is there until what is returned goes.
    pub(crate) fn enter(self: &Rc<Self>, client: &Rc<Client>) -> Present {
        client.site.counters.opened.add(1);
        let key = self.clients.borrow_mut().insert(Rc::clone(client));
        Present { worker: Rc::clone(self), key }
    }

    /// Looks after an upstream connection until [`Worker::forget`].
    pub(crate) fn look_after(&self, link: &Rc<LinkState>) -> usize {
        self.links.borrow_mut().insert(Rc::clone(link))
    }

    /// The upstream connection is gone.
    pub(crate) fn forget(&self, link: usize) {
        self.links.borrow_mut().try_remove(link);
    }

    fn sweep(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.clock.set(now);
        let timeouts = &self.settings.timeouts;
        for (_, client) in self.clients.borrow().iter() {
            if client.is_overdue(now, timeouts) {
                client.abort();
            }
        }
        for (_, link) in self.links.borrow().iter() {
            link.look(now);
        }
        self.backends.sweep(now, timeouts.upstream_idle);
    }

    /// Asks the clients of `site` (of all, if none is named) to end after their open requests.
    fn dismiss(&self, site: Option<&Rc<Site>>) {
        for (_, client) in self.clients.borrow().iter() {
            if site.is_none_or(|site| Rc::ptr_eq(site, &client.site)) {
                client.leave();
            }
        }
    }

    /// Ends when no client is left.
    async fn empty(&self) {
        while !self.clients.borrow().is_empty() {
            self.left.notified().await;
        }
    }
}

/// A client that is connected.
pub(crate) struct Present {
    worker: Rc<Worker>,
    key: usize,
}

impl Drop for Present {
    fn drop(&mut self) {
        if let Some(client) = self.worker.clients.borrow_mut().try_remove(self.key) {
            client.site.counters.closed.add(1);
        }
        self.worker.left.notify_waiters();
    }
}

/// Carries out commands until a drain, or until the balancer is gone.
pub(crate) async fn run(worker: Rc<Worker>, mut commands: mpsc::UnboundedReceiver<Command>) {
    let mut sites: HashMap<Frontend, Rc<Site>> = HashMap::new();
    let mut sweep = tokio::time::interval(worker.settings.timeouts.sweep());
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let command = tokio::select! {
            biased;
            command = commands.recv() => command,
            _ = sweep.tick() => {
                worker.sweep();
                continue;
            }
        };
        match command {
            Some(Command::Apply { routes, begin, open, close, done }) => {
                for (frontend, counters) in begin {
                    sites.insert(frontend, Rc::new(Site::new(frontend, Rc::clone(&worker), counters)));
                }
                for (key, route) in routes.iter() {
                    if let Some(site) = sites.get(&key.frontend) {
                        site.set(key, route.as_deref());
                    }
                }
                for (frontend, sockets) in open {
                    if let Some(site) = sites.get(&frontend) {
                        listen_on(sockets, site);
                    }
                }
                for frontend in close {
                    if let Some(site) = sites.remove(&frontend) {
                        // Whoever asked may open the same port next.
                        site.close().await;
                        worker.dismiss(Some(&site));
                    }
                }
                // Nobody waits any more if the caller gave up.
                let _ = done.send(());
            }
            Some(Command::Drain { grace, done }) => {
                // What is in the listeners' queues joins the clients first.
                for site in sites.values() {
                    site.close().await;
                }
                worker.dismiss(None);
                let over = tokio::time::sleep(grace);
                tokio::pin!(over);
                loop {
                    tokio::select! {
                        () = worker.empty() => break,
                        () = &mut over => break,
                        _ = sweep.tick() => worker.sweep(),
                    }
                }
                let _ = done.send(());
                return;
            }
            None => return,
        }
    }
}

fn listen_on(sockets: Sockets, site: &Rc<Site>) {
    for socket in sockets {
        // From here on, not from the task's first turn: the frontend may close before that.
        let listening = site.listens();
        let site = Rc::clone(site);
        match site.frontend.protocol {
            Protocol::Http | Protocol::Tcp => {
                drop(tokio::task::spawn_local(listen::accept(socket, site, listening)));
            }
            Protocol::Udp => drop(tokio::task::spawn_local(udp::serve(socket, site, listening))),
        }
    }
}
