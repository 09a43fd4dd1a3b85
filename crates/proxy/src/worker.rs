//! A thread that carries traffic: one runtime with its own listeners, routes and upstream connections. Nothing in a
//! request's path is shared with another thread.
//!
//! Flow: the balancer sends a [`Command`]; the worker changes its routes in place, in one step between two polls of
//! its connections, and reports when it is done. A sweep checks all waits at once, so that no request needs a timer.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use longshore_model::{Frontend, Route, RouteKey};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Interval;

use crate::frontend::FrontendState;
use crate::http::UpstreamPool;
use crate::listen::{Server, Sockets};
use crate::observation::Observer;
use crate::settings::Settings;
use crate::shard::Shard;
use crate::stats::Counters;

/// Keys, and their new routes.
pub(crate) type Changes = Arc<Vec<(RouteKey, Option<Arc<Route>>)>>;

/// A request of the balancer to each of its workers.
pub(crate) enum Command {
    /// Change the routes.
    Apply {
        /// What changed.
        routes: Changes,
        /// Frontends that had no route before, with the counters to write to.
        begin: Vec<(Frontend, Arc<Counters>)>,
        /// Sockets to serve.
        open: Vec<(Frontend, Sockets)>,
        /// Frontends whose last route was removed.
        close: Vec<Frontend>,
        /// Notified when all of it is in force.
        done: oneshot::Sender<()>,
    },
    /// Drain open requests for up to this long, then end.
    Drain {
        /// The maximum time to wait.
        grace: Duration,
        /// Notified when nothing is open, or the time is over.
        done: oneshot::Sender<()>,
    },
}

/// What a worker serves.
struct Worker {
    shard: Rc<Shard>,
    upstreams: Rc<UpstreamPool>,
    servers: HashMap<Frontend, Server>,
}

/// Executes commands until a drain, or until the balancer is dropped.
pub(crate) async fn run(
    index: usize,
    settings: Arc<Settings>,
    observer: Observer,
    mut commands: mpsc::UnboundedReceiver<Command>,
) {
    let mut sweep = tokio::time::interval(settings.timeouts.sweep());
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let shard = Rc::new(Shard::new(index, settings, observer));
    let mut worker = Worker { shard, upstreams: Rc::default(), servers: HashMap::new() };
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
                    worker.begin(frontend, counters);
                }
                worker.set(&routes);
                for (frontend, sockets) in open {
                    if let Some(server) = worker.servers.get(&frontend) {
                        server.listen(sockets);
                    }
                }
                for frontend in close {
                    worker.close(frontend).await;
                }
                // Nobody is waiting if the caller gave up.
                let _ = done.send(());
            }
            Some(Command::Drain { grace, done }) => {
                worker.drain(grace, &mut sweep).await;
                let _ = done.send(());
                return;
            }
            None => return,
        }
    }
}

impl Worker {
    fn begin(&mut self, frontend: Frontend, counters: Arc<Counters>) {
        let server = Server {
            frontend: Rc::new(FrontendState::new(frontend, counters)),
            shard: Rc::clone(&self.shard),
            upstreams: Rc::clone(&self.upstreams),
        };
        self.servers.insert(frontend, server);
    }

    fn set(&self, routes: &Changes) {
        for (key, route) in routes.iter() {
            let Some(server) = self.servers.get(&key.frontend) else { continue };
            let shard = &self.shard;
            for retired in server.frontend.set(key, route.as_deref(), &shard.backends, shard.index) {
                self.upstreams.close(&retired);
            }
        }
    }

    async fn close(&mut self, frontend: Frontend) {
        if let Some(server) = self.servers.remove(&frontend) {
            // The caller may open the same port next.
            server.frontend.close().await;
            self.shard.dismiss(Some(frontend));
        }
    }

    fn sweep(&self) {
        self.shard.sweep();
        self.upstreams.sweep(&self.shard);
    }

    async fn drain(&self, grace: Duration, sweep: &mut Interval) {
        // Connections in the listeners' queues join the clients first.
        for server in self.servers.values() {
            server.frontend.close().await;
        }
        self.shard.dismiss(None);
        let over = tokio::time::sleep(grace);
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = self.shard.empty() => return,
                () = &mut over => return,
                _ = sweep.tick() => self.sweep(),
            }
        }
    }
}
