//! The state that one worker's connections share, hidden from other threads: its settings, its clock, the upstreams
//! that its routes refer to, and its clients.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use longshore_model::Frontend;
use slab::Slab;
use tokio::sync::Notify;

use crate::backend::Backends;
use crate::client::Client;
use crate::clock::Clock;
use crate::deadline::Deadlines;
use crate::observation::Observer;
use crate::settings::Settings;

/// One worker's share of the balancer.
pub(crate) struct Shard {
    /// The worker's index, from 0.
    pub(crate) index: usize,
    pub(crate) settings: Arc<Settings>,
    pub(crate) clock: Rc<Clock>,
    pub(crate) backends: Backends,
    /// The deadlines of upstreams.
    pub(crate) deadlines: Rc<Deadlines>,
    pub(crate) observer: Observer,
    clients: RefCell<Slab<Rc<Client>>>,
    client_left: Notify,
}

impl Shard {
    /// Creates a shard without routes and clients.
    pub(crate) fn new(index: usize, settings: Arc<Settings>, observer: Observer) -> Self {
        let clock = Rc::new(Clock::new());
        Self {
            index,
            settings,
            deadlines: Rc::new(Deadlines::new(Rc::clone(&clock))),
            clock,
            backends: Backends::default(),
            observer,
            clients: RefCell::default(),
            client_left: Notify::new(),
        }
    }

    /// Waits until there is room for one more client.
    pub(crate) async fn room(&self) {
        while self.clients.borrow().len() >= self.settings.connections {
            self.client_left.notified().await;
        }
    }

    /// Counts a client as connected until the guard is dropped.
    pub(crate) fn enter(self: &Rc<Self>, client: &Rc<Client>) -> ConnGuard {
        client.counters.opened.add(1);
        let key = self.clients.borrow_mut().insert(Rc::clone(client));
        ConnGuard { shard: Rc::clone(self), key }
    }

    /// Advances the clock, and ends every wait that has taken too long.
    pub(crate) fn sweep(&self) {
        let now = self.clock.advance();
        for (_, client) in self.clients.borrow().iter() {
            client.check(now, &self.settings.timeouts);
        }
        self.deadlines.sweep();
    }

    /// Asks the clients of a frontend (of all, if none is named) to end after their open requests.
    pub(crate) fn dismiss(&self, frontend: Option<Frontend>) {
        for (_, client) in self.clients.borrow().iter() {
            if frontend.is_none_or(|frontend| frontend == client.frontend) {
                client.leave();
            }
        }
    }

    /// Waits until no client is left.
    pub(crate) async fn empty(&self) {
        while !self.clients.borrow().is_empty() {
            self.client_left.notified().await;
        }
    }
}

/// A client that is connected.
pub(crate) struct ConnGuard {
    shard: Rc<Shard>,
    key: usize,
}

impl Drop for ConnGuard {
    fn drop(&mut self) {
        if let Some(client) = self.shard.clients.borrow_mut().try_remove(self.key) {
            client.counters.closed.add(1);
        }
        self.shard.client_left.notify_waiters();
    }
}
