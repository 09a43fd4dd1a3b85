//! Routes: what World's containers ask for, carried by an engine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use longshore_model::{Change, Frontend, Problem, RouteKey, RouteTable, Subject};
use longshore_plan::RoutePlan;
use longshore_runtime::state::{Changes, Reader};
use longshore_runtime::{Problems, Source, backoff, chain};
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, sleep_until};

use super::Checks;
use super::route_log::RouteLog;
use crate::act::{Engine, Notice};
use crate::config::ReloadableSettings;

/// How long the first routes wait for the first look at every port: a balancer that outlived the last agent goes on
/// with the routes it has meanwhile.
const SETTLE: Duration = Duration::from_secs(2);

/// What the engine made of the routes.
#[derive(Clone, Debug, Default)]
pub(crate) struct AppliedRoutes {
    /// The table that it last took over.
    pub(crate) table: RouteTable,
    /// Frontends of the table that could not be opened, and why: nothing reaches their routes.
    pub(crate) refused: BTreeMap<Frontend, String>,
}

/// The routes that the engine carries, for readers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Routes(Arc<ArcSwap<AppliedRoutes>>);

impl Routes {
    /// Returns the routes as the engine last took them over.
    pub(crate) fn applied(&self) -> Arc<AppliedRoutes> {
        self.0.load_full()
    }
}

/// Tells of routes that are not what they were.
pub(crate) type RouteEvents = broadcast::Sender<RouteKey>;

/// Keeps the engine's routes like World.
pub(crate) struct RouteReconciler {
    pub(crate) plan: RoutePlan,
    pub(crate) world: Reader,
    pub(crate) changes: Changes,
    pub(crate) checks: Checks,
    pub(crate) engine: Engine,
    pub(crate) problems: Problems,
    pub(crate) routes: Routes,
    pub(crate) events: RouteEvents,
    /// Set once the first table is carried.
    pub(crate) ready: watch::Sender<bool>,
    /// Set once the first table was tried, whether or not it could be carried.
    pub(crate) tried: watch::Sender<bool>,
    /// Settings read again: the engine looks at its own files again.
    pub(crate) live: watch::Receiver<ReloadableSettings>,
    pub(crate) due: Due,
}

/// What the engine has yet to be told, and when.
pub(crate) struct Due {
    /// Routes that may differ from what the engine was told.
    dirty: BTreeSet<RouteKey>,
    /// The engine wants to be told again, whether or not a route changed.
    disturbed: bool,
    /// When what failed is tried again.
    retry: Option<Instant>,
    /// Routes of the frontends that could not be opened, until they are tried again.
    refused: BTreeSet<RouteKey>,
    log: RouteLog,
    delays: backon::ExponentialBackoff,
    first: First,
}

impl Default for Due {
    fn default() -> Self {
        Self {
            dirty: BTreeSet::new(),
            disturbed: false,
            retry: None,
            refused: BTreeSet::new(),
            log: RouteLog::default(),
            delays: backoff::exponential(FIRST_DELAY, MAX_DELAY),
            first: First::Unlisted,
        }
    }
}

/// Where the first table stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    /// Docker's containers have not been listed.
    Unlisted,
    /// They have, and their ports are being looked at: until then at most.
    Settling(Instant),
    /// It was given to the engine.
    Applied,
}

impl RouteReconciler {
    /// Works until told to stop.
    pub(crate) async fn run(mut self, stop: tokio_util::sync::CancellationToken) -> Engine {
        while !stop.is_cancelled() {
            let wake = self.due.retry.into_iter().chain(self.settled_by()).min();
            tokio::select! {
                () = stop.cancelled() => break,
                changes = self.changes.next() => self.look(changes),
                notice = self.engine.notice() => match notice {
                    Notice::Suspect(container, address) => {
                        self.checks.suspect(&container, address);
                        continue;
                    }
                    Notice::Disturbed => self.due.disturbed = true,
                },
                Ok(()) = self.live.changed() => {
                    if let Err(error) = self.engine.reread() {
                        tracing::error!("the engine's files cannot be read; the old ones stay: {}", chain(&error));
                    }
                    self.due.disturbed = true;
                }
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
            if self.due.retry.take_if(|at| *at <= Instant::now()).is_some() {
                self.due.dirty.append(&mut self.due.refused);
                self.due.disturbed = true;
                self.engine.retry();
            }
            if self.is_settled() {
                self.apply().await;
            }
        }
        self.engine
    }

    /// Looks at what changed, and has the plan decide again what depends on it.
    fn look(&mut self, changes: BTreeSet<Change>) {
        let Some(world) = self.world.snapshot() else { return };
        let mut looked_at = BTreeSet::new();
        let wanted = !self.engine.is_absent();
        for change in changes.into_iter().filter(|_| wanted) {
            let decided = self.plan.update(&world, &change);
            self.due.dirty.extend(decided.routes);
            looked_at.extend(decided.containers);
        }
        for id in looked_at {
            let known = |address| world.ports.contains_key(&(id.clone(), address));
            self.checks.set(&id, self.plan.checks(&id).map(|address| (address, known(address))));
        }
        self.problems.set(Source::Labels, self.plan.problems().cloned());
        if self.due.first == First::Unlisted {
            self.due.first = First::Settling(Instant::now() + SETTLE);
        }
    }

    fn settled_by(&self) -> Option<Instant> {
        match self.due.first {
            First::Settling(until) => Some(until),
            First::Unlisted | First::Applied => None,
        }
    }

    fn is_settled(&self) -> bool {
        match self.due.first {
            First::Unlisted => false,
            First::Settling(until) => {
                until <= Instant::now()
                    || self.world.snapshot().is_some_and(|world| self.plan.is_settled(&world))
            }
            First::Applied => true,
        }
    }

    async fn apply(&mut self) {
        let first = std::mem::replace(&mut self.due.first, First::Applied) != First::Applied;
        let disturbed = std::mem::take(&mut self.due.disturbed);
        if self.due.dirty.is_empty() && !first && !disturbed {
            return;
        }
        let started = Instant::now();
        let report = self.engine.apply(self.plan.table(), &self.due.dirty).await;
        metrics::histogram!("longshore_route_apply_seconds").record(started.elapsed().as_secs_f64());
        self.publish(report.unapplied, report.failed.iter().cloned().collect());
        self.failed_frontends(report.failed, report.pending || report.error.is_some());
        match report.error {
            // What waits for a reload may be what was refused a moment ago.
            None if report.pending => return,
            None => {
                self.problems.set(Source::Balancer, []);
                // Once ready, always ready: a reload for a later frontend takes nothing from the others.
                self.ready.send_if_modified(|ready| !std::mem::replace(ready, true));
            }
            Some(error) => {
                self.retry_later();
                self.due.disturbed = true;
                metrics::counter!("longshore_route_apply_failures_total").increment(1);
                let subject = Subject::Balancer { engine: self.engine.name().to_owned() };
                let message = format!("cannot apply the routes: {}", chain(&error));
                let hint = Some("retrying; the routes that were applied before stay".to_owned());
                self.problems.set(Source::Balancer, [Problem { subject, key: None, message, hint }]);
            }
        }
        self.tried.send_replace(true);
    }

    /// Shows readers the routes that are in force: all that changed but for `unapplied`. `refused` are the frontends that are
    /// not open, and why.
    fn publish(&mut self, unapplied: BTreeSet<RouteKey>, refused: BTreeMap<Frontend, String>) {
        let before = self.routes.applied();
        let changed = std::mem::replace(&mut self.due.dirty, unapplied);
        let changed: BTreeSet<RouteKey> = changed.difference(&self.due.dirty).cloned().collect();
        let table = if self.due.dirty.is_empty() {
            self.plan.table().clone()
        } else {
            let mut table = before.table.clone();
            for key in &changed {
                match self.plan.table().get(key) {
                    Some(route) => table.insert(Arc::clone(route)),
                    None => drop(table.remove(key)),
                }
            }
            table
        };
        self.due.log.log(&before.table, &table, &changed, &refused);
        metrics::gauge!("longshore_routes").set(table.len() as f64);
        self.routes.0.store(Arc::new(AppliedRoutes { table, refused }));
        for key in changed {
            let _ = self.events.send(key);
        }
    }

    fn retry_later(&mut self) {
        if self.due.retry.is_none() {
            self.due.retry = Some(Instant::now() + self.due.delays.next().unwrap_or(MAX_DELAY));
        }
    }

    /// A frontend that could not be opened is tried again, and holds up no other. `unfinished`: the engine is not done with
    /// the others.
    fn failed_frontends(&mut self, failed: Vec<(Frontend, String)>, unfinished: bool) {
        let of_failed = |key: &&RouteKey| failed.iter().any(|(frontend, _)| *frontend == key.frontend);
        self.due.refused = match failed.is_empty() {
            true => BTreeSet::new(),
            false => self.plan.table().iter().map(|route| &route.key).filter(of_failed).cloned().collect(),
        };
        if !self.due.refused.is_empty() {
            self.retry_later();
        } else if !unfinished {
            self.due.retry = None;
            self.due.delays = backoff::exponential(FIRST_DELAY, MAX_DELAY);
        }
        let problems = failed.into_iter().map(|(frontend, why)| Problem {
            subject: Subject::Frontend { frontend: frontend.to_string() },
            key: None,
            message: format!("cannot listen: {why}"),
            hint: Some("free the port, or choose another with longshore.<protocol>.<port>.listen".to_owned()),
        });
        self.problems.set(Source::Frontends, problems);
    }
}

const FIRST_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(10);
