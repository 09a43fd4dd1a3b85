//! A route of one worker: its upstreams, and their turns.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use longshore_model::{PathPrefix, Route};

use crate::backend::{Backend, Backends};
use crate::balance::{Balance, Fit};

/// A route of one worker. It changes in place, so that a request that retries finds the current upstreams, not those
/// of its start.
pub(crate) struct LocalRoute {
    pub(crate) prefix: PathPrefix,
    strip: Cell<bool>,
    balance: RefCell<Balance<Rc<Backend>>>,
}

impl LocalRoute {
    /// Creates a route without upstreams.
    pub(crate) fn new(prefix: PathPrefix) -> Self {
        Self { prefix, strip: Cell::new(false), balance: RefCell::default() }
    }

    /// Sets the upstreams to those of `route`, of which the one with the index `first` begins. Returns the backends
    /// that this retired.
    pub(crate) fn set(&self, route: &Route, backends: &Backends, first: usize) -> Vec<Rc<Backend>> {
        let mut before: Vec<_> = self.balance.borrow().members().cloned().collect();
        let members = route.upstreams.iter().map(|upstream| (backends.hold(upstream), upstream.weight));
        self.balance.borrow_mut().set(members, first);
        self.strip.set(route.strip_prefix);
        before.retain(|backend| backends.release(backend));
        before
    }

    /// Removes all upstreams. Returns the backends that this retired.
    pub(crate) fn clear(&self, backends: &Backends) -> Vec<Rc<Backend>> {
        let before = std::mem::take(&mut *self.balance.borrow_mut());
        before.members().filter(|backend| backends.release(backend)).cloned().collect()
    }

    /// Returns whether the prefix is stripped.
    pub(crate) fn strips(&self) -> bool {
        self.strip.get()
    }

    /// Returns whether it has no upstream.
    pub(crate) fn is_empty(&self) -> bool {
        self.balance.borrow().members().next().is_none()
    }

    /// Returns the next upstream that is not in `tried`.
    pub(crate) fn pick(&self, tried: &[Rc<Backend>]) -> Option<Rc<Backend>> {
        let fit = |backend: &Rc<Backend>| {
            if !tried.is_empty() && tried.contains(backend) { Fit::Out } else { backend.fit() }
        };
        self.balance.borrow_mut().pick(fit)
    }
}
