//! Installs a whole configuration: by a reload, or by starting HAProxy.
//!
//! Check, write, reload, verify. If a step fails, the files are restored and the previous worker stays; without a
//! worker, the files stay for the next start.

use std::collections::BTreeSet;
use std::time::Duration;

use longshore_model::{Frontend, Protocol, RouteTable};
use tokio::time::{Instant, sleep};

use crate::layout::{self, Shape, State};
use crate::master::{self, Master};
use crate::runtime::Identity;
use crate::settings::{Mode, Paths, Reload};
use crate::template::Rendered;
use crate::{Haproxy, HaproxyError, Known, binding, docker_glue, files, frontends, program, upkeep};

/// How long HAProxy may take from its start to its first answer.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// The interval at which a starting HAProxy is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// How often a configuration is tried, each time without the frontends that HAProxy could not bind.
const MAX_ATTEMPTS: usize = 4;

/// Returns the arguments that HAProxy is started with.
pub(crate) fn arguments(paths: &Paths, extra: &[String]) -> Vec<String> {
    let mut arguments = vec!["-W".to_owned(), "-db".to_owned()];
    if let Some(master) = &paths.master {
        arguments.extend(["-S".to_owned(), master.display().to_string()]);
    }
    arguments.extend(["-f".to_owned(), paths.config.display().to_string()]);
    arguments.extend(extra.iter().cloned());
    arguments
}

/// Returns how many slots these frontends' routes need: `least`, doubled until they fit, with room to spare if routes
/// were unplaced.
pub(crate) fn pool(least: u32, table: &RouteTable, frontends: &BTreeSet<Frontend>, unplaced: usize) -> u32 {
    let slotted = |frontend: Frontend| frontend.protocol == Protocol::Http && frontends.contains(&frontend);
    let routes = table.iter().filter(|route| slotted(route.key.frontend)).count();
    let needed = if unplaced > 0 { routes + routes / 4 } else { routes };
    let mut pool = least.max(1);
    while (pool as usize) < needed {
        pool = pool.saturating_mul(2);
    }
    pool
}

impl Haproxy {
    pub(crate) fn is_running(&self) -> bool {
        match self.settings.mode {
            Mode::Own { .. } => self.master.is_some(),
            Mode::Attach { .. } => true,
        }
    }

    /// Notices that the master process has exited.
    pub(crate) fn notice_end(&mut self) {
        if self.master.as_mut().is_some_and(Master::has_ended) {
            tracing::warn!("HAProxy exited, restarting it");
            self.master = None;
            self.known = None;
            self.last_failure = None;
        }
    }

    /// Reloads or starts HAProxy, if a change needs it and the debounce is over.
    pub(crate) async fn reload_if_due(&mut self) -> Result<(), HaproxyError> {
        let now = Instant::now();
        let shape = self.wanted_shape(now);
        if !self.differs(&shape)? {
            self.due.reload = None;
            return Ok(());
        }
        if self.last_failure.is_some() {
            self.due.reload = None;
            return Ok(());
        }
        let earliest = self.last_reload.map(|last| last + self.settings.reload_debounce);
        if let Some(earliest) = earliest.filter(|&at| at > now && self.known.is_some()) {
            self.due.reload = Some(earliest);
            return Ok(());
        }
        self.due.reload = None;
        self.install_what_binds(now).await
    }

    /// Returns the shape that the table needs, with the frontends that linger.
    fn wanted_shape(&mut self, now: Instant) -> Shape {
        let (mut wanted, _) = frontends(&self.table);
        wanted.retain(|frontend| !self.refused.contains_key(frontend));
        let mut stats = self.settings.stats.is_some() && !self.stats_refused;
        let mut least = self.settings.pool;
        let mut unplaced = 0;
        self.due.linger = None;
        if let Some(known) = &self.known {
            self.idle.retain(|frontend, _| known.state.shape.frontends.contains(frontend));
            for frontend in &known.state.shape.frontends {
                let port_is_wanted = wanted.iter().any(|wanted| wanted.port == frontend.port);
                if port_is_wanted || !self.has_layout {
                    self.idle.remove(frontend);
                    continue;
                }
                let end = *self.idle.entry(*frontend).or_insert(now) + self.settings.linger;
                if end > now {
                    wanted.insert(*frontend);
                    self.due.linger = Some(self.due.linger.map_or(end, |at| at.min(end)));
                }
            }
            stats = stats || known.state.shape.stats && self.settings.stats.is_some();
            least = least.max(known.state.shape.pool);
            unplaced = known.unplaced;
        }
        let pool = pool(least, &self.table, &wanted, unplaced);
        let before = self.known.as_ref().map_or(0, |known| known.state.shape.wildcard_labels);
        let wildcard_labels = layout::wildcard_labels_needed(&self.table).max(before);
        Shape { frontends: wanted, pool, stats, wildcard_labels }
    }

    /// Returns whether HAProxy does not have this shape (or, with a template of another layout, this text).
    fn differs(&self, shape: &Shape) -> Result<bool, HaproxyError> {
        let Some(known) = &self.known else { return Ok(true) };
        if self.has_layout {
            return Ok(known.unplaced > 0 || known.state.shape != *shape);
        }
        let state = State::lay_out(shape, &self.table, Some(&known.state));
        let text = self.templates.render(&state, &self.table)?.text;
        Ok(self.written.as_ref() != Some(&text))
    }

    /// Installs the wanted shape, without the frontends that cannot be bound.
    async fn install_what_binds(&mut self, now: Instant) -> Result<(), HaproxyError> {
        let mut last = Ok(());
        for _ in 0..MAX_ATTEMPTS {
            let shape = self.wanted_shape(now);
            if self.refuse_what_does_not_bind(&shape) {
                continue;
            }
            if !self.differs(&shape)? {
                return Ok(());
            }
            let position = self.output.as_ref().map_or(0, crate::output::Output::position);
            last = self.install(shape).await;
            let Err(error) = &last else { return Ok(()) };
            self.stats.failures += 1;
            if matches!(error, HaproxyError::Rejected { .. } | HaproxyError::Template { .. }) {
                break;
            }
            let complaints = match &self.output {
                Some(output) => binding::bind_failures(&output.recent(position).await),
                None => Vec::new(),
            };
            if complaints.is_empty() {
                break;
            }
            self.refuse(complaints);
        }
        last
    }

    /// Tests the ports that are not bound yet, and returns whether one of them failed.
    fn refuse_what_does_not_bind(&mut self, shape: &Shape) -> bool {
        if !self.shares_our_network() {
            return false;
        }
        let none = Shape::default();
        let has = self.known.as_ref().map_or(&none, |known| &known.state.shape);
        let bind_error = |frontend: &Frontend| {
            binding::bind_error(&self.settings.bind, frontend.port).map(|reason| (*frontend, reason))
        };
        let failed: Vec<(Frontend, String)> =
            shape.frontends.difference(&has.frontends).filter_map(bind_error).collect();
        let mut any = !failed.is_empty();
        if let Some(address) = self.settings.stats.filter(|_| shape.stats && !has.stats)
            && let Err(error) = binding::try_bind(address)
        {
            tracing::warn!(%address, %error, "no statistics page: cannot listen on its address");
            self.stats_refused = true;
            any = true;
        }
        self.refuse(failed);
        any
    }

    fn refuse(&mut self, failed: Vec<(Frontend, String)>) {
        self.refused.extend(failed);
    }

    /// Returns whether HAProxy runs in this process's network namespace.
    pub(crate) fn shares_our_network(&self) -> bool {
        match self.settings.mode {
            Mode::Own { .. } => true,
            Mode::Attach { .. } => {
                let pid = self
                    .known
                    .as_ref()
                    .and_then(|known| known.identity.as_ref())
                    .map(|identity| identity.pid);
                let network = |pid: String| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
                let ours = network("self".to_owned());
                ours.is_some() && pid.and_then(|pid| network(pid.to_string())) == ours
            }
        }
    }

    /// Checks, writes, reloads or starts, and verifies.
    async fn install(&mut self, shape: Shape) -> Result<(), HaproxyError> {
        self.last_write().await;
        let state = State::lay_out(&shape, &self.table, self.known.as_ref().map(|known| &known.state));
        let rendered = self.templates.render(&state, &self.table)?;
        if !self.has_layout && self.templates.uses_docker_glue() {
            for route in docker_glue::lacking(&self.table) {
                tracing::warn!(route = %route.key, "skipping an upstream: the template's variables cannot express its port");
            }
        }
        let checked = {
            let (paths, state, text) = (self.paths.clone(), state.clone(), rendered.text.clone());
            upkeep::off_thread(move || {
                files::touch_maps(&paths, &state)?;
                files::beside(&paths.config, &text)
            })
            .await?
        };
        program::check(&self.settings.binary, &checked, &self.extra).await?;
        let before = std::fs::read_to_string(&self.paths.config).ok();
        {
            // HAProxy does not start if it cannot bind its socket, and its check does not detect that.
            files::parent_dir(&self.paths.socket)?;
            let (paths, state) = (self.paths.clone(), state.clone());
            upkeep::off_thread(move || {
                files::write_maps(&paths, &state)?;
                files::put(checked, &paths.config)
            })
            .await?;
        }
        let was_running = self.known.is_some() || self.runtime.identity().await.is_ok();
        let in_force =
            if self.is_running() { self.reload(&rendered).await } else { self.start_own(&rendered).await };
        match in_force {
            Ok(identity) => {
                self.meter.lay_out(&state);
                self.known = Some(Known { resync: false, ..Known::new(state, identity) });
                self.written = Some(rendered.text);
                self.last_reload = Some(Instant::now());
                self.due.write = None;
                self.unwritten = false;
                Ok(())
            }
            // HAProxy will have the routes at its next start.
            Err(error) if !was_running || !self.settings.retries => {
                self.written = Some(rendered.text);
                Err(HaproxyError::NotLoaded { path: self.paths.config.clone(), source: Box::new(error) })
            }
            Err(error) => {
                self.put_back(before).await;
                Err(error)
            }
        }
    }

    /// Restores the files after a failed reload.
    async fn put_back(&mut self, before: Option<String>) {
        let paths = self.paths.clone();
        let state = self.known.as_ref().map(|known| known.state.clone());
        self.written.clone_from(&before);
        let put_back = upkeep::off_thread(move || {
            if let Some(state) = &state {
                files::write_maps(&paths, state)?;
            }
            before.map_or(Ok(()), |text| files::write(&paths.config, &text))
        });
        if let Err(error) = put_back.await {
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot restore the configuration file");
        }
    }

    async fn reload(&mut self, rendered: &Rendered) -> Result<Option<Identity>, HaproxyError> {
        let before = match &self.known {
            Some(known) => known.identity.clone(),
            None => self.runtime.identity().await.ok(),
        };
        // The next worker's counters start at zero.
        self.meter.read().await;
        match (&self.paths.master, &self.settings.mode) {
            (Some(socket), _) => master::reload(socket).await?,
            (None, Mode::Attach { reload: Reload::Command(words), .. }) => run_reload(words).await?,
            (None, _) => {}
        }
        let limit = Instant::now() + START_TIMEOUT;
        while self.has_layout {
            match self.runtime.identity().await {
                Ok(identity)
                    if identity.description == rendered.description && before.as_ref() != Some(&identity) =>
                {
                    self.stats.reloads += 1;
                    return Ok(Some(identity));
                }
                _ if Instant::now() > limit => {
                    self.known = None;
                    let reason = format!(
                        "no worker with the new configuration answers at {}",
                        self.paths.socket.display()
                    );
                    return Err(HaproxyError::Reload { reason });
                }
                _ => sleep(POLL_INTERVAL).await,
            }
        }
        self.stats.reloads += 1;
        Ok(None)
    }

    async fn start_own(&mut self, rendered: &Rendered) -> Result<Option<Identity>, HaproxyError> {
        let (Some(output), Mode::Own { dir }) = (&self.output, &self.settings.mode) else { return Ok(None) };
        let position = output.position();
        let arguments = arguments(&self.paths, &self.extra);
        let master = Master::start(&self.settings.binary, &arguments, output)?;
        if let Some(pid) = master.pid() {
            files::write(&dir.join("master.pid"), &format!("{pid}\n"))?;
        }
        // Kept from here on: the agent may end while HAProxy starts, and then has to stop it.
        let master = self.master.insert(master);
        let limit = Instant::now() + START_TIMEOUT;
        let identity = loop {
            if master.has_ended() || Instant::now() > limit {
                master.stop(Duration::ZERO).await;
                self.master = None;
                let complaint = output.recent(position).await.join("\n");
                return Err(HaproxyError::Start { complaint });
            }
            if self.has_layout {
                match self.runtime.identity().await {
                    Ok(identity) if identity.description == rendered.description => break Some(identity),
                    _ => {}
                }
            } else if let Some(socket) = &self.paths.master
                && master::status(socket).await.is_some_and(|status| status.worker.is_some())
            {
                break None;
            }
            sleep(POLL_INTERVAL).await;
        };
        self.stats.starts += 1;
        Ok(identity)
    }
}

/// Runs the reload command of an HAProxy that somebody else runs.
async fn run_reload(words: &[String]) -> Result<(), HaproxyError> {
    let Some((name, arguments)) = words.split_first() else {
        return Err(HaproxyError::Reload { reason: "the reload command is empty".to_owned() });
    };
    let outcome = program::run(std::ffi::OsStr::new(name), arguments).await?;
    if outcome.success {
        return Ok(());
    }
    Err(HaproxyError::Reload { reason: format!("{name:?} failed: {}", outcome.lines.join("\n")) })
}
