//! The HAProxy engine: carries a route table out with a real HAProxy, almost always without a reload.
//!
//! ```text
//! RouteTable ─► layout (pure) ─► diff (pure) ─► command ─► runtime ─► the worker's socket
//!                  │                                          ▲
//!                  └─► template ─► check ─► files ─► master ──┘  only for a port that comes or goes
//! ```
//!
//! HAProxy is configured once with a frontend a port and a pool of empty backends; routes are keys of maps, upstreams
//! are servers that come and go at run time ([`layout`]). What HAProxy has is held as a [`layout::State`], in which
//! only commands that were answered with success have happened; when anything is unclear it is read back from HAProxy,
//! which is also how an agent that starts takes over an HAProxy that runs, without a reload.
//!
//! [`Haproxy::apply`] does all work and keeps no task of its own but the one that writes files behind a change;
//! [`Haproxy::disturbed`] says when it is due again: a reload that was debounced, the sweep of servers whose
//! connections have ended, HAProxy's death. What failed or was refused is only tried again when [`Haproxy::retry`] says so.
//!
//! Two levels of template: one with the built-in layout in it (the built-in one, or one that extends it) is driven as
//! above. Any other is rendered whole at every change, checked, written and reloaded ([`template`]).
//!
//! A weight of 0 takes no new traffic while another upstream of its route has more; where all are 0 they share equally.
//!
//! Deliberately absent: UDP, which HAProxy does not relay (such routes are passed over), TLS, and any decision about
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

/// What [`Haproxy::apply`] could not bring about, or not yet. Every other HTTP and TCP route of the table is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Frontends that cannot be listened on, and why. They are tried again after [`Haproxy::retry`].
    pub failed: Vec<(Frontend, String)>,
    /// Frontends some of whose routes wait for a reload that is due soon.
    pub pending: BTreeSet<Frontend>,
}

/// What was done since the engine started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Reloads that brought a configuration into force.
    pub reloads: u64,
    /// Configurations that were refused, and reloads and starts that failed.
    pub failures: u64,
    /// How often HAProxy was started.
    pub starts: u64,
    /// Changes that were made at run time.
    pub commands: u64,
}

/// An HAProxy that carries a route table.
///
/// Dropped, an HAProxy that it runs itself is ended at once; [`Haproxy::shutdown`] and [`Haproxy::leave`] are the
/// polite ways.
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
    /// In own mode.
    output: Option<Output>,
    /// In own mode, while it runs.
    master: Option<Master>,
    table: RouteTable,
    /// None while it is not known what HAProxy has.
    known: Option<Known>,
    /// Frontends that could not be bound, until they are tried again.
    refused: BTreeMap<Frontend, String>,
    /// Frontends without routes, since when.
    idle: BTreeMap<Frontend, Instant>,
    stats_refused: bool,
    /// The configuration on disk.
    written: Option<String>,
    writer: Option<Writer>,
    last_reload: Option<Instant>,
    due: Due,
    /// Why a step failed that is not repeated before [`Haproxy::retry`].
    held: Option<String>,
    /// Whether the files are older than what was changed at run time, because writing them failed.
    unwritten: bool,
    stats: Stats,
}

/// What a running HAProxy has.
struct Known {
    state: State,
    /// Who it was when it was asked; none for a template of a layout that is not ours.
    identity: Option<Identity>,
    /// Empty slots.
    free: VecDeque<u32>,
    /// Slots that were given up, since when.
    cooling: Vec<(Instant, u32)>,
    /// Routes that found no slot.
    homeless: usize,
    /// Whether keys beside those that are named may differ.
    whole: bool,
}

impl Known {
    fn new(state: State, identity: Option<Identity>) -> Self {
        let free = state.empty_slots();
        Self { state, identity, free, cooling: Vec::new(), homeless: 0, whole: true }
    }
}

/// Actions that HAProxy's own language cannot say.
const LUA: &str = include_str!("longshore.lua");

impl Haproxy {
    /// Reads the templates and the rc file, and finds an HAProxy that an agent before left running in the same
    /// directory. One that is to be started is started by the first [`Haproxy::apply`], with its routes.
    ///
    /// # Errors
    ///
    /// A mistake in the settings: a path that HAProxy cannot take, a template that does not render, an rc file that
    /// cannot be read as data, a directory that cannot be made.
    pub async fn start(mut settings: Settings) -> Result<Self, HaproxyError> {
        let paths = Paths::of(&settings.mode)?;
        let extra = settings.rc_file.as_deref().map(rc::extra_arguments).transpose()?.unwrap_or_default();
        settings.bind = binding::present(&settings.bind);
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
            held: None,
            unwritten: false,
            stats: Stats::default(),
        })
    }

    /// Reads the templates again before the next table.
    ///
    /// # Errors
    ///
    /// A template that does not render: the one before stays.
    pub fn reread(&mut self) -> Result<(), HaproxyError> {
        let templates = Templates::new(&self.settings, &self.paths);
        let rendered = templates.render(&State::default(), &RouteTable::default())?;
        self.has_layout = rendered.has_layout;
        self.templates = Arc::new(templates);
        // What runs is compared with what they make of the table.
        self.known = None;
        Ok(())
    }

    /// The configuration that would be written for this table.
    ///
    /// # Errors
    ///
    /// A path that HAProxy cannot take, or a template that does not render.
    pub fn render(settings: &Settings, table: &RouteTable) -> Result<String, HaproxyError> {
        let paths = Paths::of(&settings.mode)?;
        let (frontends, _) = frontends(table);
        let pool = install::pool(settings.pool, table, &frontends, 0);
        let shape = Shape {
            frontends,
            pool,
            stats: settings.stats.is_some(),
            wildcard_labels: layout::wildcard_labels_of(table),
        };
        let state = State::lay_out(&shape, table, None);
        Ok(Templates::new(settings, &paths).render(&state, table)?.text)
    }

    /// Carries the table. `changed` names every key that may differ since the last call that succeeded; all are
    /// looked at where it is not known what HAProxy has.
    ///
    /// # Errors
    ///
    /// A step failed: HAProxy keeps what it has, and changes that did not need the step are made. The step is not repeated
    /// before [`Haproxy::retry`]. `changed` of a call that failed belongs to the next call's as well.
    pub async fn apply(
        &mut self,
        table: &RouteTable,
        changed: &BTreeSet<RouteKey>,
    ) -> Result<Applied, HaproxyError> {
        self.table = table.clone();
        match self.converge(changed).await {
            Ok(()) => Ok(self.applied()),
            Err(error) => {
                if self.held.is_none() {
                    self.held = Some(chain(&error));
                }
                if self.known.is_none() {
                    // Nothing else is due while nothing can be done.
                    self.due = Due::default();
                }
                Err(error)
            }
        }
    }

    /// Has the next [`Haproxy::apply`] try again what failed and what was refused.
    pub fn retry(&mut self) {
        self.held = None;
        if !self.shares_our_network() {
            self.refused.clear();
        }
        let addresses = &self.settings.bind;
        self.refused = std::mem::take(&mut self.refused)
            .into_keys()
            .filter_map(|frontend| Some((frontend, binding::obstacle(addresses, frontend.port)?)))
            .collect();
    }

    async fn converge(&mut self, changed: &BTreeSet<RouteKey>) -> Result<(), HaproxyError> {
        self.notice_end();
        if let Some(reason) = self.held.clone().filter(|_| self.known.is_none()) {
            return Err(HaproxyError::Held { reason });
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

    /// Looks what a running HAProxy has. It stays unknown where it is not of the configuration that it should be.
    async fn recognise(&mut self) -> Result<(), HaproxyError> {
        if !self.has_layout {
            // Its file tells all that can be known of it.
            if self.written.is_some() {
                self.known = Some(Known::new(State::default(), None));
            }
            return Ok(());
        }
        let identity = match self.runtime.identity().await {
            Ok(identity) => identity,
            // Somebody else's HAProxy may have had another configuration until now, without this socket.
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
                tracing::info!(
                    pid = identity.pid,
                    "the running HAProxy has our configuration: going on with it"
                );
                let cooling =
                    state.abandoned_slots().into_iter().map(|slot| (Instant::now(), slot)).collect();
                self.meter.lay_out(&state);
                let known = Known::new(state, Some(identity));
                self.known = Some(Known { cooling, ..known });
                return Ok(());
            }
        }
        Ok(())
    }

    /// Makes the changes that need no reload.
    async fn change_at_run_time(&mut self, changed: &BTreeSet<RouteKey>) -> Result<(), HaproxyError> {
        let Some(known) = &mut self.known else { return Ok(()) };
        let all = known.whole.then(|| diff::all_keys(&known.state, &self.table));
        let keys = all.as_ref().unwrap_or(changed);
        let mut todo = diff::changes(&known.state, &mut known.free, &self.table, keys);
        if known.whole {
            todo.commands.extend(diff::withdraw_abandoned(&known.state));
        }
        let now = Instant::now();
        known.cooling.extend(todo.given_up.into_iter().map(|slot| (now, slot)));
        known.homeless = todo.homeless;
        known.whole = todo.homeless > 0;
        if todo.commands.is_empty() {
            return Ok(());
        }
        self.stats.commands += todo.commands.len() as u64;
        self.due.write.get_or_insert(now + self.settings.write_delay);
        self.due.sweep.get_or_insert(now + upkeep::FIRST_SWEEP);
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
            if known.homeless > 0 {
                pending.extend(wanted.iter().filter(|frontend| frontend.protocol == Protocol::Http));
            }
        } else if self.due.reload.is_some() || self.held.is_some() || self.known.is_none() {
            pending.clone_from(&wanted);
        }
        pending.retain(|frontend| !self.refused.contains_key(frontend));
        Applied { failed, pending }
    }

    /// Returns what reads the traffic's figures.
    pub fn meter(&self) -> Meter {
        self.meter.clone()
    }

    /// What was done so far.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Ends an HAProxy of our own: it takes no new connections at once, and what is under way has `grace` to end.
    /// One that somebody else runs goes on.
    pub async fn shutdown(mut self, grace: Duration) {
        self.last_write().await;
        if let Some(mut master) = self.master.take() {
            master.stop(grace).await;
        }
    }

    /// Lets HAProxy run on with its routes, for the next agent to find.
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

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<String>>().join(": ")
}

/// The frontends of a table that HAProxy is for, and those of them that cannot be: a port is HTTP or TCP.
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
