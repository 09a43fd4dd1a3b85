//! Routes: what World's containers request, carried by an engine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use longshore_model::{
    Change, Frontend, HostId, Peer, PeerState, Problem, RouteKey, RouteTable, Subject, World,
};
use longshore_plan::RoutePlan;
use longshore_runtime::{Follower, Passed, Reached, chain};
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use super::Checks;
use super::route_log::RouteLog;
use crate::act::{Engine, EngineError, Notice};
use crate::config::ReloadableSettings;

/// How long the first routes wait for the first check of every port: a balancer that outlived the last agent
/// keeps its routes in the meantime.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(2);

/// The routes as applied by the engine.
#[derive(Clone, Debug, Default)]
pub(crate) struct AppliedRoutes {
    /// The last table that it accepted.
    pub(crate) table: RouteTable,
    /// Frontends of the table that could not be opened, and why: their routes receive no traffic.
    pub(crate) refused: BTreeMap<Frontend, String>,
}

/// The routes that the engine carries, for readers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Routes(Arc<ArcSwap<AppliedRoutes>>);

impl Routes {
    /// Returns the routes as the engine last accepted them.
    pub(crate) fn applied(&self) -> Arc<AppliedRoutes> {
        self.0.load_full()
    }
}

/// Announces routes that changed.
pub(crate) type RouteEvents = broadcast::Sender<RouteKey>;

/// Where the state of the routes is published.
pub(crate) struct RouteFeeds {
    /// The routes that are in force.
    pub(crate) routes: Routes,
    /// Those that changed.
    pub(crate) events: RouteEvents,
    /// Set once the first table has been applied.
    pub(crate) ready: watch::Sender<bool>,
    /// Set once the first table has been tried, successfully or not.
    pub(crate) tried: watch::Sender<bool>,
}

/// Keeps the engine's routes in line with World.
pub(crate) struct RouteFollower {
    plan: RoutePlan,
    checks: Checks,
    engine: Engine,
    feeds: RouteFeeds,
    /// Reloaded settings: the engine reads its own files again.
    live: watch::Receiver<ReloadableSettings>,
    log: RouteLog,
    /// Routes that may differ from those the engine last received.
    dirty: BTreeSet<RouteKey>,
    /// The engine needs the routes again, whether or not any changed.
    is_disturbed: bool,
    /// Frontends that could not be opened, and why, until they are retried.
    refused: BTreeMap<Frontend, String>,
    /// Why the engine as a whole failed.
    failure: Option<String>,
    first: First,
    /// How long the first routes wait for the containers of the other hosts, if there are others.
    peers_awaited: Option<Duration>,
    /// Set once ports are checked although there is no balancer, as other hosts have one.
    checks_for_others: bool,
}

/// The state of the first table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    /// No pass has been made.
    Unlisted,
    /// Ports are being checked, until this time at the latest.
    Settling(Instant),
    /// The table was passed to the engine.
    Applied,
}

impl RouteFollower {
    /// Creates a follower that has not passed anything to the engine.
    pub(crate) fn new(
        plan: RoutePlan,
        checks: Checks,
        engine: Engine,
        feeds: RouteFeeds,
        live: watch::Receiver<ReloadableSettings>,
        peers_awaited: Option<Duration>,
    ) -> Self {
        Self {
            plan,
            checks,
            engine,
            feeds,
            live,
            log: RouteLog::default(),
            dirty: BTreeSet::new(),
            is_disturbed: false,
            refused: BTreeMap::new(),
            failure: None,
            first: First::Unlisted,
            peers_awaited,
            checks_for_others: false,
        }
    }

    /// Returns the engine, as it is.
    pub(crate) fn into_engine(self) -> Engine {
        self.engine
    }

    /// Has the plan recompute everything that depends on the changes.
    fn look(&mut self, world: &World, changed: &BTreeSet<Change>) {
        // Without a balancer, others still rely on what this host sees of its ports.
        let is_absent = self.engine.is_absent();
        if is_absent && world.peers.is_empty() && !self.checks_for_others {
            return;
        }
        let all = BTreeSet::from([Change::All]);
        let is_first = is_absent && !std::mem::replace(&mut self.checks_for_others, true);
        let changed = if is_first { &all } else { changed };
        let mut looked_at = BTreeSet::new();
        for change in changed {
            let decided = self.plan.update(world, change);
            if !is_absent {
                self.dirty.extend(decided.routes);
            }
            looked_at.extend(decided.containers);
        }
        for id in looked_at {
            let known = |address| world.ports.contains_key(&(id.clone(), address));
            self.checks.set(&id, self.plan.checks(&id).map(|address| (address, known(address))));
        }
    }

    /// Returns until when the first table waits for its ports; nothing once it need not wait.
    fn settles_by(&mut self, world: &World) -> Option<Instant> {
        if self.first == First::Unlisted {
            let timeout = self.peers_awaited.unwrap_or_default().max(SETTLE_TIMEOUT);
            self.first = First::Settling(Instant::now() + timeout);
        }
        let lacks_peers = self.peers_awaited.is_some() && !knows_peers(world);
        match self.first {
            First::Settling(until) => {
                let is_settled = self.plan.is_settled(world) && !lacks_peers;
                Some(until).filter(|until| *until > Instant::now() && !is_settled)
            }
            First::Unlisted | First::Applied => None,
        }
    }

    /// Applies the outstanding routes to the engine.
    async fn apply(&mut self) {
        let is_first = std::mem::replace(&mut self.first, First::Applied) != First::Applied;
        let is_disturbed = std::mem::take(&mut self.is_disturbed);
        if self.dirty.is_empty() && !is_first && !is_disturbed {
            return;
        }
        let started = Instant::now();
        let report = self.engine.apply(self.plan.table(), &self.dirty).await;
        metrics::histogram!("longshore_route_apply_seconds").record(started.elapsed().as_secs_f64());
        self.refused = report.failed.into_iter().collect();
        self.publish(report.unapplied);
        match report.error {
            // A frontend that waits for a reload may have been refused a moment ago.
            None if report.pending => return,
            None => {
                self.failure = None;
                // Once ready, always ready: a reload for a later frontend does not affect the others.
                self.feeds.ready.send_if_modified(|ready| !std::mem::replace(ready, true));
            }
            Some(error) => self.failed(&error),
        }
        self.feeds.tried.send_replace(true);
    }

    fn failed(&mut self, error: &EngineError) {
        metrics::counter!("longshore_route_apply_failures_total").increment(1);
        self.is_disturbed = true;
        self.failure = Some(chain(error));
    }

    /// Publishes the routes that are in force: all that changed except those in `unapplied`.
    fn publish(&mut self, unapplied: BTreeSet<RouteKey>) {
        let before = self.feeds.routes.applied();
        let changed = std::mem::replace(&mut self.dirty, unapplied);
        let changed: BTreeSet<RouteKey> = changed.difference(&self.dirty).cloned().collect();
        let table = if self.engine.is_absent() {
            RouteTable::default()
        } else if self.dirty.is_empty() {
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
        self.log.log(&before.table, &table, &changed, &self.refused);
        metrics::gauge!("longshore_routes").set(table.len() as f64);
        self.feeds.routes.0.store(Arc::new(AppliedRoutes { table, refused: self.refused.clone() }));
        for key in changed {
            let _ = self.feeds.events.send(key);
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let frontends = self.refused.iter().map(|(frontend, why)| Problem {
            subject: Subject::Frontend { frontend: frontend.to_string() },
            key: None,
            message: format!("cannot listen: {why}"),
            hint: Some("free the port, or choose another with longshore.<protocol>.<port>.listen".to_owned()),
        });
        let balancer = self.failure.iter().map(|why| Problem {
            subject: Subject::Balancer { engine: self.engine.name().to_owned() },
            key: None,
            message: format!("cannot apply the routes: {why}"),
            hint: Some("retrying; the routes that were applied before stay".to_owned()),
        });
        let claims = self.plan.problems().filter(|_| !self.engine.is_absent());
        claims.cloned().chain(frontends).chain(balancer).collect()
    }
}

/// Returns whether the containers of all hosts that are alive are known, and there are others.
fn knows_peers(world: &World) -> bool {
    let is_listed =
        |(host, peer): (&HostId, &Peer)| peer.state != PeerState::Alive || world.host(*host).is_some();
    !world.peers.is_empty() && world.peers.iter().all(is_listed)
}

impl Follower for RouteFollower {
    const NAME: &'static str = "routes";

    async fn pass(&mut self, world: &World, changed: &BTreeSet<Change>) -> Passed {
        self.look(world, changed);
        if let Some(until) = self.settles_by(world) {
            return Passed { problems: self.problems(), due: Some(until), busy: true, ..Passed::default() };
        }
        self.apply().await;
        let is_whole = self.refused.is_empty() && self.failure.is_none();
        let reached = if is_whole { Reached::All } else { Reached::Part };
        // A single pass ends once nothing is under way: its problems have been published by then.
        let busy = !*self.feeds.tried.borrow();
        Passed { problems: self.problems(), reached, busy, ..Passed::default() }
    }

    /// Makes the next pass retry what the engine refused: a frontend that could not be opened does not delay
    /// the others.
    fn retry(&mut self) {
        let refused = self.plan.table().iter().map(|route| &route.key);
        let refused = refused.filter(|key| self.refused.contains_key(&key.frontend));
        self.dirty.extend(refused.cloned());
        self.is_disturbed = true;
        self.engine.retry();
    }

    async fn disturbed(&mut self) -> BTreeSet<Change> {
        loop {
            tokio::select! {
                notice = self.engine.notice() => match notice {
                    Notice::Suspect(container, address) => self.checks.suspect(&container, address),
                    Notice::Disturbed => break,
                },
                Ok(()) = self.live.changed() => {
                    if let Err(error) = self.engine.reread() {
                        tracing::error!("cannot read the balancer's own files; keeping the old ones: {}", chain(&error));
                    }
                    break;
                }
            }
        }
        self.is_disturbed = true;
        BTreeSet::new()
    }
}
