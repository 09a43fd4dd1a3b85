//! A frontend as one worker serves it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderValue;
use longshore_model::{Frontend, PathPrefix, Route, RouteKey};
use tokio::sync::Notify;

use crate::backend::Backend;
use crate::balance::{Balance, Fit};
use crate::stats::Counters;
use crate::table::Routes;
use crate::worker::Worker;

/// Most upstreams tried after the first for one request or connection.
pub(crate) const MOST_RETRIES: usize = 3;

/// One frontend of one worker: its routes and its figures.
pub(crate) struct Site {
    pub(crate) frontend: Frontend,
    pub(crate) worker: Rc<Worker>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) routes: RefCell<Routes<Rc<LocalRoute>>>,
    /// The port as a header value.
    pub(crate) port_text: HeaderValue,
    closing: Cell<bool>,
    closed: Notify,
    listeners: Cell<usize>,
    stopped: Notify,
}

impl Site {
    /// A frontend without routes.
    pub(crate) fn new(frontend: Frontend, worker: Rc<Worker>, counters: Arc<Counters>) -> Self {
        Self {
            frontend,
            worker,
            counters,
            routes: RefCell::default(),
            port_text: HeaderValue::from(frontend.port),
            closing: Cell::new(false),
            closed: Notify::new(),
            listeners: Cell::new(0),
            stopped: Notify::new(),
        }
    }

    /// Carries `route` under `key` from here on, or nothing.
    pub(crate) fn set(&self, key: &RouteKey, route: Option<&Route>) {
        let mut routes = self.routes.borrow_mut();
        let Some(route) = route else {
            if let Some(gone) = routes.remove(&key.host, &key.prefix) {
                gone.become_empty(&self.worker);
            }
            return;
        };
        let local = match routes.get(&key.host, &key.prefix) {
            Some(local) => Rc::clone(local),
            None => {
                let local = Rc::new(LocalRoute::new(key.prefix.clone()));
                routes.insert(&key.host, &key.prefix, Rc::clone(&local));
                local
            }
        };
        local.become_like(route, &self.worker);
    }

    /// The route of a frontend that has only one: TCP or UDP.
    pub(crate) fn only_route(&self) -> Option<Rc<LocalRoute>> {
        self.routes.borrow().find("", "/").cloned()
    }

    /// Takes no connection from here on. Ends when its sockets are closed.
    pub(crate) async fn close(&self) {
        self.closing.set(true);
        self.closed.notify_waiters();
        while self.listeners.get() > 0 {
            self.stopped.notified().await;
        }
    }

    /// A socket is open until what is returned goes.
    pub(crate) fn listens(self: &Rc<Self>) -> Listening {
        self.listeners.set(self.listeners.get() + 1);
        Listening(Rc::clone(self))
    }

    /// Whether it was closed.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.get()
    }

    /// Ends when the frontend closes.
    pub(crate) async fn closed(&self) {
        // One thread: nothing comes between the look and the wait.
        if !self.is_closing() {
            self.closed.notified().await;
        }
    }
}

/// A socket of a frontend that is open.
pub(crate) struct Listening(Rc<Site>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.listeners.set(self.0.listeners.get().saturating_sub(1));
        self.0.stopped.notify_waiters();
    }
}

/// A route of one worker. It changes in place, so that a request that looks for another upstream
/// finds those of now, not those of when it came.
pub(crate) struct LocalRoute {
    pub(crate) prefix: PathPrefix,
    strip: Cell<bool>,
    balance: RefCell<Balance<Rc<Backend>>>,
}

impl LocalRoute {
    fn new(prefix: PathPrefix) -> Self {
        Self { prefix, strip: Cell::new(false), balance: RefCell::default() }
    }

    fn become_like(&self, route: &Route, worker: &Worker) {
        let before: Vec<_> = self.balance.borrow().members().cloned().collect();
        let members = route.upstreams.iter().map(|u| (worker.backends.hold(u), u.weight));
        self.balance.borrow_mut().set(members, worker.index);
        self.strip.set(route.strip_prefix);
        for backend in before {
            worker.backends.release(&backend);
        }
    }

    fn become_empty(&self, worker: &Worker) {
        for backend in std::mem::take(&mut *self.balance.borrow_mut()).members() {
            worker.backends.release(backend);
        }
    }

    /// Whether the prefix is taken off.
    pub(crate) fn strips(&self) -> bool {
        self.strip.get()
    }

    /// Whether it has no upstream.
    pub(crate) fn is_empty(&self) -> bool {
        self.balance.borrow().members().next().is_none()
    }

    /// The upstream whose turn it is, other than `tried`.
    pub(crate) fn pick(&self, tried: &[Rc<Backend>]) -> Option<Rc<Backend>> {
        let fit = |backend: &Rc<Backend>| {
            if !tried.is_empty() && tried.contains(backend) { Fit::Out } else { backend.fit() }
        };
        self.balance.borrow_mut().pick(fit)
    }
}
