//! Routes: what World's containers ask for, carried by an engine.

use std::collections::BTreeSet;
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
use crate::act::{Engine, Notice};
use crate::config::ReloadableSettings;

/// How long the first routes wait for the first look at every port: a balancer that outlived the last agent goes on
/// with the routes it has meanwhile.
const SETTLE: Duration = Duration::from_secs(2);

/// The routes that the engine carries, for readers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Routes(Arc<ArcSwap<RouteTable>>);

impl Routes {
    /// The table as the engine last carried it out.
    pub(crate) fn table(&self) -> Arc<RouteTable> {
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
        let outcome = self.engine.apply(self.plan.table(), &self.due.dirty).await;
        metrics::histogram!("longshore_route_apply_seconds").record(started.elapsed().as_secs_f64());
        match outcome {
            Ok(carried) => {
                self.routes.0.store(Arc::new(self.plan.table().clone()));
                metrics::gauge!("longshore_routes").set(self.plan.table().len() as f64);
                for key in std::mem::take(&mut self.due.dirty) {
                    let _ = self.events.send(key);
                }
                // What waits for a reload may be what was refused a moment ago.
                if carried.complete {
                    self.problems.set(Source::Balancer, []);
                }
                self.failed_frontends(carried.failed);
                // Once ready, always ready: a reload for a later frontend takes nothing from the others.
                self.ready.send_if_modified(|ready| carried.complete && !std::mem::replace(ready, true));
            }
            Err(error) => {
                self.retry_later();
                self.due.disturbed = true;
                metrics::counter!("longshore_route_apply_failures_total").increment(1);
                let subject = Subject::Balancer { engine: self.engine.name().to_owned() };
                let message = format!("the routes are not what they should be: {}", chain(&error));
                let hint = Some("it is tried again".to_owned());
                self.problems.set(Source::Balancer, [Problem { subject, key: None, message, hint }]);
            }
        }
    }

    fn retry_later(&mut self) {
        if self.due.retry.is_none() {
            self.due.retry = Some(Instant::now() + self.due.delays.next().unwrap_or(MAX_DELAY));
        }
    }

    /// A frontend that could not be opened is tried again, and holds up no other.
    fn failed_frontends(&mut self, failed: Vec<(Frontend, String)>) {
        let of_failed = |key: &&RouteKey| failed.iter().any(|(frontend, _)| *frontend == key.frontend);
        self.due.refused = match failed.is_empty() {
            true => BTreeSet::new(),
            false => self.plan.table().iter().map(|route| &route.key).filter(of_failed).cloned().collect(),
        };
        if self.due.refused.is_empty() {
            self.due.retry = None;
            self.due.delays = backoff::exponential(FIRST_DELAY, MAX_DELAY);
        } else {
            self.retry_later();
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
