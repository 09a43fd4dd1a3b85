//! A frontend, as one worker serves it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderValue;
use longshore_model::{Frontend, Route, RouteKey};
use tokio::sync::Notify;

use crate::backend::{Backend, Backends};
use crate::route::LocalRoute;
use crate::stats::Counters;
use crate::table::Routes;

/// One frontend of one worker: its routes, its counters, and whether it is open.
pub(crate) struct FrontendState {
    pub(crate) frontend: Frontend,
    pub(crate) counters: Arc<Counters>,
    /// The port as a header value.
    pub(crate) port_text: HeaderValue,
    routes: RefCell<Routes<Rc<LocalRoute>>>,
    closing: Cell<bool>,
    closed: Notify,
    listeners: Cell<usize>,
    stopped: Notify,
}

impl FrontendState {
    /// Creates a frontend without routes.
    pub(crate) fn new(frontend: Frontend, counters: Arc<Counters>) -> Self {
        Self {
            frontend,
            counters,
            port_text: HeaderValue::from(frontend.port),
            routes: RefCell::default(),
            closing: Cell::new(false),
            closed: Notify::new(),
            listeners: Cell::new(0),
            stopped: Notify::new(),
        }
    }

    /// Sets the route of `key`, or removes it if `route` is `None`; the upstream with the index `first` begins.
    /// Returns the backends that this retired.
    pub(crate) fn set(
        &self,
        key: &RouteKey,
        route: Option<&Route>,
        backends: &Backends,
        first: usize,
    ) -> Vec<Rc<Backend>> {
        let mut routes = self.routes.borrow_mut();
        let Some(route) = route else {
            return routes
                .remove(&key.host, &key.prefix)
                .map(|gone| gone.clear(backends))
                .unwrap_or_default();
        };
        let local = match routes.get(&key.host, &key.prefix) {
            Some(local) => Rc::clone(local),
            None => {
                let local = Rc::new(LocalRoute::new(key.prefix.clone()));
                routes.insert(&key.host, &key.prefix, Rc::clone(&local));
                local
            }
        };
        local.set(route, backends, first)
    }

    /// Returns the route of a request for `host` and `path`, in the form that [`Routes::find`] expects.
    pub(crate) fn find(&self, host: &str, path: &str) -> Option<Rc<LocalRoute>> {
        self.routes.borrow().find(host, path).cloned()
    }

    /// Returns the route of a TCP or UDP frontend, which has only one.
    pub(crate) fn only_route(&self) -> Option<Rc<LocalRoute>> {
        self.find("", "/")
    }

    /// Stops accepting, and waits until its sockets are closed.
    pub(crate) async fn close(&self) {
        self.closing.set(true);
        self.closed.notify_waiters();
        while self.listeners.get() > 0 {
            self.stopped.notified().await;
        }
    }

    /// Counts a socket as open until the guard is dropped.
    pub(crate) fn listens(self: &Rc<Self>) -> ListenerGuard {
        self.listeners.set(self.listeners.get() + 1);
        ListenerGuard(Rc::clone(self))
    }

    /// Returns whether it is closed or closing.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.get()
    }

    /// Waits until the frontend is closed.
    pub(crate) async fn closed(&self) {
        // Single-threaded: nothing happens between the check and the wait.
        if !self.is_closing() {
            self.closed.notified().await;
        }
    }
}

/// A socket of a frontend that is open.
pub(crate) struct ListenerGuard(Rc<FrontendState>);

impl Drop for ListenerGuard {
    fn drop(&mut self) {
        self.0.listeners.set(self.0.listeners.get().saturating_sub(1));
        self.0.stopped.notify_waiters();
    }
}
