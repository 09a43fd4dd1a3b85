//! The balancer's handle: applied routes are in force in every worker when the call returns.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};
use std::time::Duration;

use longshore_model::{Frontend, RouteKey, RouteTable};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::listen;
use crate::observation::{Observation, Observer};
use crate::settings::Settings;
use crate::stats::{self, CounterSet, Stats};
use crate::worker::{self, Changes, Command};

/// A running balancer. Clones are handles to the same one; dropping the last stops it at once.
#[derive(Clone)]
pub struct Balancer(Arc<Shared>);

struct Shared {
    settings: Arc<Settings>,
    workers: Vec<mpsc::UnboundedSender<Command>>,
    applied: Mutex<Applied>,
    counters: SyncMutex<BTreeMap<Frontend, CounterSet>>,
}

/// The state shared with the workers.
#[derive(Default)]
struct Applied {
    frontends: BTreeMap<Frontend, AppliedFrontend>,
    draining: bool,
}

#[derive(Default)]
struct AppliedFrontend {
    keys: BTreeSet<RouteKey>,
    listening: bool,
}

impl fmt::Debug for Balancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balancer").field("workers", &self.0.workers.len()).finish_non_exhaustive()
    }
}

impl Balancer {
    /// Starts the workers. They do not listen until routes are applied.
    ///
    /// The receiver gets observations of the upstreams from the traffic; it may be dropped.
    ///
    /// # Errors
    /// A thread or its runtime could not be created.
    pub fn start(settings: Settings) -> io::Result<(Self, mpsc::UnboundedReceiver<Observation>)> {
        let settings = Arc::new(settings);
        let (observer, observations) = Observer::new();
        let workers = (0..settings.workers.max(1))
            .map(|index| start_worker(index, Arc::clone(&settings), observer.clone()))
            .collect::<io::Result<_>>()?;
        let shared = Shared { settings, workers, applied: Mutex::default(), counters: SyncMutex::default() };
        Ok((Self(Arc::new(shared)), observations))
    }

    /// Applies `table`; `changed` names the keys that may differ from the last call. The cost depends on `changed`,
    /// not on `table`.
    ///
    /// When it returns, every worker has all of it: no later request or retry goes to an upstream that the table no
    /// longer has. Open requests and connections are unaffected. A frontend listens from its first route on; with its
    /// last one it stops listening, and drains what is open.
    ///
    /// Returns the frontends named by `changed` that could not be opened, and why; their routes are kept, and the
    /// next call that names one of their keys retries. After [`drain`](Self::drain) it does nothing.
    pub async fn apply(
        &self,
        table: &RouteTable,
        changed: &BTreeSet<RouteKey>,
    ) -> Vec<(Frontend, io::Error)> {
        let mut applied = self.0.applied.lock().await;
        if applied.draining {
            return Vec::new();
        }
        let mut failed = Vec::new();
        let mut added = Vec::new();
        let mut closed = Vec::new();
        let mut opened = Vec::new();
        let mut routes = Vec::with_capacity(changed.len());
        let mut touched = BTreeSet::new();
        for key in changed {
            let route = table.get(key).cloned();
            touched.insert(key.frontend);
            if route.is_some() {
                let known = applied.frontends.entry(key.frontend).or_insert_with(|| {
                    added.push(key.frontend);
                    AppliedFrontend::default()
                });
                known.keys.insert(key.clone());
            } else if let Some(known) = applied.frontends.get_mut(&key.frontend) {
                known.keys.remove(key);
            }
            routes.push((key.clone(), route));
        }
        for frontend in touched {
            let Some(known) = applied.frontends.get_mut(&frontend) else { continue };
            if known.keys.is_empty() {
                applied.frontends.remove(&frontend);
                closed.push(frontend);
            } else if !known.listening {
                match listen::open(frontend, &self.0.settings) {
                    Ok(sockets) => {
                        known.listening = true;
                        opened.push((frontend, sockets));
                    }
                    Err(error) => failed.push((frontend, error)),
                }
            }
        }
        self.send(&Arc::new(routes), &added, opened, &closed).await;
        failed
    }

    async fn send(
        &self,
        routes: &Changes,
        added: &[Frontend],
        mut opened: Vec<(Frontend, Vec<listen::Sockets>)>,
        closed: &[Frontend],
    ) {
        let mut waits = Vec::with_capacity(self.0.workers.len());
        for (index, worker) in self.0.workers.iter().enumerate() {
            let open = opened.iter_mut().filter_map(|(frontend, workers)| Some((*frontend, workers.pop()?)));
            let (done, wait) = oneshot::channel();
            let command = Command::Apply {
                routes: Arc::clone(routes),
                begin: self.counters(added, index),
                open: open.collect(),
                close: closed.to_vec(),
                done,
            };
            if worker.send(command).is_ok() {
                waits.push(wait);
            }
        }
        for wait in waits {
            // A worker that has ended has no routes to change.
            let _ = wait.await;
        }
    }

    fn counters(&self, frontends: &[Frontend], worker: usize) -> Vec<(Frontend, Arc<stats::Counters>)> {
        let mut all = self.0.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let workers = self.0.workers.len();
        let of_worker = |&frontend| {
            let set = all.entry(frontend).or_insert_with(|| (0..workers).map(|_| Arc::default()).collect());
            Some((frontend, Arc::clone(set.get(worker)?)))
        };
        frontends.iter().filter_map(of_worker).collect()
    }

    /// Returns the counters since the start. Workers keep counting while they are read, so they may not all be of the
    /// same moment.
    pub fn stats(&self) -> Stats {
        let all = self.0.counters.lock().unwrap_or_else(PoisonError::into_inner);
        Stats { frontends: all.iter().map(|(&frontend, set)| (frontend, stats::sum(set))).collect() }
    }

    /// Drains: accepts no further connections, announces the shutdown to the clients (`Connection: close` with the
    /// next response, GOAWAY), closes those that send no further request within a second, and returns when all are
    /// gone, or after `grace`, when the rest is cut off. Nothing is served afterwards.
    pub async fn drain(&self, grace: Duration) {
        self.0.applied.lock().await.draining = true;
        let waits: Vec<_> = self
            .0
            .workers
            .iter()
            .filter_map(|worker| {
                let (done, wait) = oneshot::channel();
                worker.send(Command::Drain { grace, done }).ok()?;
                Some(wait)
            })
            .collect();
        for wait in waits {
            let _ = wait.await;
        }
    }
}

fn start_worker(
    index: usize,
    settings: Arc<Settings>,
    observer: Observer,
) -> io::Result<mpsc::UnboundedSender<Command>> {
    let (send, commands) = mpsc::unbounded_channel();
    let (report, reported) = std::sync::mpsc::sync_channel(1);
    std::thread::Builder::new().name(format!("balancer-{index}")).spawn(move || {
        match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
            Ok(runtime) => {
                // The starter waits for it.
                let _ = report.send(Ok(()));
                runtime.block_on(worker::run(index, settings, observer, commands));
            }
            Err(error) => drop(report.send(Err(error))),
        }
    })?;
    match reported.recv() {
        Ok(result) => result.map(|()| send),
        Err(_) => Err(io::Error::other("a worker exited during startup")),
    }
}
