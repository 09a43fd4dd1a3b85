//! The HAProxy engine: keeps HAProxy's routes in line with a route table, almost always without a reload.
//!
//! ```text
//! RouteTable ─► layout (pure) ─► diff (pure) ─► command ─► runtime ─► the worker's socket
//!                  │                                          ▲
//!                  └─► template ─► check ─► files ─► master ──┘  only for a port that comes or goes
//! ```
//!
//! HAProxy is configured once, with a frontend per port and a pool of empty backends; routes are keys of maps, and
//! upstreams are servers that are added and deleted at run time (`layout`). A `layout::State` records what
//! HAProxy has: only commands that succeeded count. In doubt it is read back from HAProxy, which is also how a
//! starting agent takes over a running HAProxy without a reload.
//!
//! [`Haproxy::apply`] does all the work; the one task beside it writes files after a change. [`Haproxy::disturbed`]
//! resolves when it has to be called again: for a debounced reload, for the sweep of servers whose connections have
//! ended, when HAProxy exits. A failed step is only retried after [`Haproxy::retry`]: the engine has no timer for
//! that.
//!
//! A template with the built-in layout (the built-in one, or one that extends it) is driven as above. Any other is
//! rendered at every change, checked, written and reloaded (`template`).
//!
//! An upstream of weight 0 takes no new traffic while another of its route has more; if all are 0, they share equally.
//!
//! Deliberately absent: UDP, which HAProxy does not relay (such routes are skipped), TLS, and any decision about
//! which container takes traffic.

#[cfg(test)]
mod behaviour;
mod binding;
mod command;
mod diff;
mod docker_glue;
mod error;
mod files;
#[cfg(test)]
mod fixture;
mod headers;
mod install;
mod layout;
mod master;
mod meter;
mod output;
mod program;
mod python;
mod rc;
mod runtime;
mod settings;
mod socket;
mod template;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use longshore_model::{Frontend, Protocol, RouteKey, RouteTable};
use tokio::time::Instant;

pub use error::HaproxyError;
pub use meter::{FrontendTraffic, Meter};
pub use settings::{Mode, Reload, Settings, template_dirs};

use layout::{Shape, State};
use master::Master;
use output::Output;
use runtime::{Identity, Runtime};
use settings::Paths;
use template::Templates;
use upkeep::{Due, Writer};

/// What [`Haproxy::apply`] has not done, or not yet. Every other HTTP and TCP route of the table is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Frontends that cannot be bound, and why. They are retried after [`Haproxy::retry`].
    pub failed: Vec<(Frontend, String)>,
    /// Frontends with routes that wait for a reload.
    pub pending: BTreeSet<Frontend>,
}

/// Counters since the engine started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Successful reloads.
    pub reloads: u64,
    /// Rejected configurations, and failed reloads and starts.
    pub failures: u64,
    /// Successful starts of HAProxy.
    pub starts: u64,
    /// Changes at run time.
    pub commands: u64,
}

/// An HAProxy that serves a route table.
///
/// Dropping it stops an HAProxy of its own at once; [`Haproxy::shutdown`] drains it, and [`Haproxy::leave`] keeps it
/// running.
pub struct Haproxy {
    settings: Settings,
    paths: Paths,
    /// Arguments from the rc file.
    extra: Vec<String>,
    templates: Arc<Templates>,
    /// Whether the templates have the built-in layout.
    has_layout: bool,
    runtime: Runtime,
    meter: Meter,
    /// The output of HAProxy, in own mode.
    output: Option<Output>,
    /// The master process, in own mode, while it runs.
    master: Option<Master>,
    table: RouteTable,
    /// `None` while HAProxy's state is unknown.
    known: Option<Known>,
    /// Frontends that could not be bound, until they are retried.
    refused: BTreeMap<Frontend, String>,
    /// Frontends without routes, and since when.
    idle: BTreeMap<Frontend, Instant>,
    stats_refused: bool,
    /// The configuration on disk.
    written: Option<String>,
    writer: Option<Writer>,
    last_reload: Option<Instant>,
    due: Due,
    /// The error of a step that is only repeated after [`Haproxy::retry`].
    last_failure: Option<String>,
    /// Whether the files lack changes made at run time, because writing them failed.
    unwritten: bool,
    stats: Stats,
}

/// The state of a running HAProxy, and values derived from it.
struct Known {
    state: State,
    /// The process that was asked; `None` with a template of another layout.
    identity: Option<Identity>,
    /// Empty slots.
    free: VecDeque<u32>,
    /// Released slots, and since when.
    cooling: Vec<(Instant, u32)>,
    /// How many routes found no slot.
    unplaced: usize,
    /// Whether all keys have to be compared, not only those that changed.
    resync: bool,
}

impl Known {
    fn new(state: State, identity: Option<Identity>) -> Self {
        let free = state.empty_slots();
        Self { state, identity, free, cooling: Vec::new(), unplaced: 0, resync: true }
    }
}

/// Actions that HAProxy's configuration language lacks.
const LUA: &str = include_str!("longshore.lua");

impl Haproxy {
    /// Reads the templates and the rc file, and takes over an HAProxy that an earlier agent left running in the same
    /// directory. Otherwise the first [`Haproxy::apply`] starts one, with its routes.
    ///
    /// # Errors
    ///
    /// The settings are invalid: an invalid path, a template that does not render, an rc file that cannot be read, a
    /// directory that cannot be created.
    pub async fn start(mut settings: Settings) -> Result<Self, HaproxyError> {
        let paths = Paths::of(&settings.mode)?;
        let extra = settings.rc_file.as_deref().map(rc::extra_arguments).transpose()?.unwrap_or_default();
        settings.bind = binding::supported(&settings.bind);
        let templates = Templates::new(&settings, &paths);
        let has_layout = templates
            .render(&State::default(), &RouteTable::default())
            .map(|rendered| rendered.has_layout)?;
        let mut output = None;
        let mut master = None;
        if let Mode::Own { dir } = &settings.mode {
            files::private_dir(dir)?;
            output = Some(Output::open(&dir.join("output"))?);
            let arguments = install::arguments(&paths, &extra);
            master = Master::find(&dir.join("master.sock"), &dir.join("master.pid"), &arguments).await;
        }
        files::private_dir(&paths.maps)?;
        files::write(&paths.lua, LUA)?;
        let runtime = Runtime::new(&paths.socket);
        Ok(Self {
            meter: Meter::new(runtime.clone()),
            runtime,
            written: std::fs::read_to_string(&paths.config).ok(),
            templates: Arc::new(templates),
            settings,
            paths,
            extra,
            has_layout,
            output,
            master,
            table: RouteTable::default(),
            known: None,
            refused: BTreeMap::new(),
            idle: BTreeMap::new(),
            stats_refused: false,
            writer: None,
            last_reload: None,
            due: Due::default(),
            last_failure: None,
            unwritten: false,
            stats: Stats::default(),
        })
    }

    /// Reads the templates again, for the next table.
    ///
    /// # Errors
    ///
    /// A template does not render: the previous one stays.
    pub fn reread(&mut self) -> Result<(), HaproxyError> {
        let templates = Templates::new(&self.settings, &self.paths);
        let rendered = templates.render(&State::default(), &RouteTable::default())?;
        self.has_layout = rendered.has_layout;
        self.templates = Arc::new(templates);
        // HAProxy is compared with the new templates' output.
        self.known = None;
        Ok(())
    }

    /// Returns the configuration that would be written for this table.
    ///
    /// # Errors
    ///
    /// A path is invalid, or a template does not render.
    pub fn render(settings: &Settings, table: &RouteTable) -> Result<String, HaproxyError> {
        let paths = Paths::of(&settings.mode)?;
        let (frontends, _) = frontends(table);
        let pool = install::pool(settings.pool, table, &frontends, 0);
        let shape = Shape {
            frontends,
            pool,
            stats: settings.stats.is_some(),
            wildcard_labels: layout::wildcard_labels_needed(table),
        };
        let state = State::lay_out(&shape, table, None);
        Ok(Templates::new(settings, &paths).render(&state, table)?.text)
    }

    /// Puts the table in force. `changed` names every key that may differ since the last call that succeeded; if
    /// HAProxy's state is unknown, all are compared.
    ///
    /// # Errors
    ///
    /// A step failed: HAProxy keeps what it has, and changes that did not need the step are still applied. The step
    /// is not repeated before [`Haproxy::retry`]. Pass `changed` of a failed call to the next call as well.
    pub async fn apply(
        &mut self,
        table: &RouteTable,
        changed: &BTreeSet<RouteKey>,
    ) -> Result<Applied, HaproxyError> {
        self.table = table.clone();
        match self.converge(changed).await {
            Ok(()) => Ok(self.applied()),
            Err(error) => {
                if self.last_failure.is_none() {
                    self.last_failure = Some(chain(&error));
                }
                if self.known.is_none() {
                    // Nothing else is due until a retry.
                    self.due = Due::default();
                }
                Err(error)
            }
        }
    }

    /// Has the next [`Haproxy::apply`] retry what failed and what was refused.
    pub fn retry(&mut self) {
        self.last_failure = None;
        if !self.shares_our_network() {
            self.refused.clear();
        }
        let addresses = &self.settings.bind;
        self.refused = std::mem::take(&mut self.refused)
            .into_keys()
            .filter_map(|frontend| Some((frontend, binding::bind_error(addresses, frontend.port)?)))
            .collect();
    }

    async fn converge(&mut self, changed: &BTreeSet<RouteKey>) -> Result<(), HaproxyError> {
        self.notice_end();
        if let Some(reason) = self.last_failure.clone().filter(|_| self.known.is_none()) {
            return Err(HaproxyError::RetryPending { reason });
        }
        if self.is_running() && self.known.is_none() {
            self.recognise().await?;
        }
        if self.has_layout {
            self.change_at_run_time(changed).await?;
        }
        self.reload_if_due().await?;
        self.sweep_if_due().await?;
        self.write_if_due().await
    }

    /// Reads a running HAProxy's state, if it runs with our configuration; otherwise the state stays unknown.
    async fn recognise(&mut self) -> Result<(), HaproxyError> {
        if !self.has_layout {
            // Its configuration file is the only record of it.
            if self.written.is_some() {
                self.known = Some(Known::new(State::default(), None));
            }
            return Ok(());
        }
        let identity = match self.runtime.identity().await {
            Ok(identity) => identity,
            // Somebody else's HAProxy may run with another configuration, without this socket.
            Err(_) if self.master.is_none() => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut state = self.runtime.state(&self.paths).await?;
        let stats = BTreeSet::from([false, self.settings.stats.is_some()]);
        for (stats, labels) in
            stats.into_iter().flat_map(|s| layout::WILDCARD_LABELS.map(|labels| (s, labels)))
        {
            state.shape.stats = stats;
            state.shape.wildcard_labels = labels;
            if self.templates.description(&state.shape)? == identity.description {
                tracing::info!(pid = identity.pid, "HAProxy already runs with this configuration");
                let cooling = state.orphaned_slots().into_iter().map(|slot| (Instant::now(), slot)).collect();
                self.meter.lay_out(&state);
                let known = Known::new(state, Some(identity));
                self.known = Some(Known { cooling, ..known });
                return Ok(());
            }
        }
        Ok(())
    }

    /// Applies the changes that need no reload.
    async fn change_at_run_time(&mut self, changed: &BTreeSet<RouteKey>) -> Result<(), HaproxyError> {
        let Some(known) = &mut self.known else { return Ok(()) };
        let all = known.resync.then(|| diff::all_keys(&known.state, &self.table));
        let keys = all.as_ref().unwrap_or(changed);
        let mut todo = diff::changes(&known.state, &mut known.free, &self.table, keys);
        if known.resync {
            todo.commands.extend(diff::withdraw_orphaned(&known.state));
        }
        let now = Instant::now();
        known.cooling.extend(todo.released.into_iter().map(|slot| (now, slot)));
        known.unplaced = todo.unplaced;
        known.resync = todo.unplaced > 0;
        if todo.commands.is_empty() {
            return Ok(());
        }
        self.stats.commands += todo.commands.len() as u64;
        self.due.write.get_or_insert(now + self.settings.write_delay);
        self.due.sweep.get_or_insert(now + upkeep::SWEEP_DELAY);
        self.meter.follow(&todo.commands);
        if let Err(error) = self.runtime.carry_out(&self.paths, todo.commands, &mut known.state).await {
            self.known = None;
            return Err(error);
        }
        Ok(())
    }

    fn applied(&self) -> Applied {
        let (wanted, mut failed) = frontends(&self.table);
        failed.extend(self.refused.iter().filter(|(f, _)| wanted.contains(f)).map(|(f, r)| (*f, r.clone())));
        let mut pending = BTreeSet::new();
        if let Some(known) = self.known.as_ref().filter(|_| self.has_layout) {
            pending.extend(wanted.difference(&known.state.shape.frontends).copied());
            let has = known.state.shape.wildcard_labels;
            let deep = |key: &RouteKey| layout::wildcard_labels(key).is_some_and(|labels| labels > has);
            pending
                .extend(self.table.iter().filter(|route| deep(&route.key)).map(|route| route.key.frontend));
            if known.unplaced > 0 {
                pending.extend(wanted.iter().filter(|frontend| frontend.protocol == Protocol::Http));
            }
        } else if self.due.reload.is_some() || self.last_failure.is_some() || self.known.is_none() {
            pending.clone_from(&wanted);
        }
        pending.retain(|frontend| !self.refused.contains_key(frontend));
        Applied { failed, pending }
    }

    /// Returns a meter of HAProxy's traffic.
    pub fn meter(&self) -> Meter {
        self.meter.clone()
    }

    /// Returns the counters.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Stops an HAProxy of its own: it accepts no new connections, and open requests have `grace` to finish. An
    /// HAProxy that somebody else runs is left alone.
    pub async fn shutdown(mut self, grace: Duration) {
        self.last_write().await;
        if let Some(mut master) = self.master.take() {
            master.stop(grace).await;
        }
    }

    /// Leaves HAProxy running with its routes, for the next agent.
    pub async fn leave(mut self) {
        if self.due.write.is_some() {
            self.last_write().await;
            self.start_writer();
        }
        self.last_write().await;
        if let Some(master) = self.master.take() {
            master.leave();
        }
    }
}

/// Returns an error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<String>>().join(": ")
}

/// Returns the frontends of a table that HAProxy serves, and those that it cannot: a port is either HTTP or TCP.
fn frontends(table: &RouteTable) -> (BTreeSet<Frontend>, Vec<(Frontend, String)>) {
    let mut wanted: BTreeSet<Frontend> = table.iter().map(|route| route.key.frontend).collect();
    wanted.retain(|frontend| frontend.protocol != Protocol::Udp);
    let loses = |frontend: &Frontend| {
        let http = Frontend { protocol: Protocol::Http, ..*frontend };
        (frontend.protocol == Protocol::Tcp && wanted.contains(&http))
            .then(|| (*frontend, format!("the port is taken by {http}")))
    };
    let failed: Vec<(Frontend, String)> = wanted.iter().filter_map(loses).collect();
    wanted.retain(|frontend| !failed.iter().any(|(loser, _)| loser == frontend));
    (wanted, failed)
}
