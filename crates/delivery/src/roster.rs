//! Handlers that come, change and go, and what becomes of their deliveries.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use longshore_model::{Handler, Job};
use longshore_runtime::Source;

use super::journal::Row;
use super::queue::Entry;
use super::run::Delivery;
use super::runner::{Failed, Runner};
use crate::deliverer::Deliverer;

impl Delivery {
    /// Takes over the handlers as they are defined now.
    pub(super) fn take_handlers(&mut self) {
        let set = self.handlers.borrow_and_update().clone();
        let is_told =
            |name: &String| set.handlers.get(name).is_some_and(|handler| handler.job.counts_events());
        let gone: Vec<String> = self.runners.keys().filter(|name| !is_told(name)).cloned().collect();
        for name in gone {
            let Some(runner) = self.runners.remove(&name) else { continue };
            tracing::info!(handler = name, pending = runner.queue.len(), "handler gone");
            self.context.problems.set(Source::Handler(name.clone()), []);
            let left: Vec<u64> = runner.queue.seqs().chain(runner.failed.keys().copied()).collect();
            tokio::spawn(async move { runner.deliverer.stop().await });
            left.into_iter().for_each(|seq| self.over(&name, seq));
        }
        let mut fresh = Vec::new();
        for (name, handler) in &set.handlers {
            if self.runners.get(name).is_some_and(|runner| runner.handler == *handler) {
                continue;
            }
            let Some(deliverer) = self.deliverer(handler) else { continue };
            match self.runners.get_mut(name) {
                Some(runner) => {
                    let old = std::mem::replace(&mut runner.deliverer, Arc::new(deliverer));
                    runner.handler = handler.clone();
                    tokio::spawn(async move { old.stop().await });
                    tracing::info!(handler = name, "handler changed");
                }
                None => {
                    tracing::info!(handler = name, "handler found");
                    let mut runner = Runner::new(handler.clone(), deliverer);
                    self.adopt(name, &mut runner);
                    self.runners.insert(name.clone(), runner);
                    self.tell_problems(name);
                    fresh.push(name.clone());
                }
            }
        }
        let lost: BTreeSet<String> = self.orphans.keys().map(|(name, _)| name.clone()).collect();
        for name in lost.into_iter().filter(|name| !set.broken.contains(name)) {
            self.drop_deliveries(&name);
        }
        self.rest_or_begin();
        for name in fresh {
            self.accept_none(Some(&name));
        }
    }

    /// Where nobody is told of events, none are written down; who comes then is told from there on.
    fn rest_or_begin(&mut self) {
        let idle = self.runners.is_empty() && self.orphans.is_empty();
        if idle && !self.idle {
            self.intake.forget_containers();
            self.begun = false;
            self.doubts.clear();
            self.sights.clear();
            self.batch.wipe = true;
        }
        self.idle = idle;
        let world = self.context.world.snapshot();
        if let Some(world) = world.filter(|_| !idle && !self.begun) {
            self.begin(world.own());
        }
    }

    fn deliverer(&self, handler: &Handler) -> Option<Deliverer> {
        let mut handler = handler.clone();
        if let Job::Script { ini: ini @ None, .. } = &mut handler.job {
            *ini = Some(self.data_dir.join("handlers").join(format!("{}.ini", handler.name)));
        }
        if let Job::Script { ini: Some(ini), .. } = &handler.job
            && ini.starts_with(&self.data_dir)
            && let Err(error) = write(ini, &longshore_plan::handlers::written(&handler))
        {
            tracing::error!(handler = handler.name, file = %ini.display(), %error, "its options cannot be written down");
        }
        Deliverer::new(
            &handler,
            &self.context.node,
            &self.docker_host,
            &self.data_dir,
            &self.context.problems,
        )
    }

    /// Gives a handler the deliveries that an earlier agent did not finish.
    pub(super) fn adopt(&mut self, name: &str, runner: &mut Runner) {
        for (seq, row) in self.take_orphans(name) {
            let Some(held) = self.held.get(&seq) else { continue };
            match row.failed {
                Some(failed) => {
                    runner.failed.insert(seq, Failed { attempts: row.attempts, row: failed });
                }
                // Nobody knows whether it reached the handler.
                None => runner.queue.push(
                    held.occurrence.subject_id(),
                    Entry { seq, attempts: row.attempts, redelivered: true },
                ),
            }
        }
        if runner.queue.len() > 0 {
            tracing::info!(
                handler = name,
                count = runner.queue.len(),
                "deliveries of an earlier agent go on"
            );
        }
    }

    /// Forgets all deliveries to a handler that is defined no more.
    pub(super) fn drop_deliveries(&mut self, name: &str) {
        let of_it = self.take_orphans(name);
        if !of_it.is_empty() {
            tracing::warn!(
                handler = name,
                count = of_it.len(),
                "deliveries to a handler that is gone are forgotten"
            );
        }
        for (seq, _) in of_it {
            self.over(name, seq);
        }
    }

    fn take_orphans(&mut self, name: &str) -> Vec<(u64, Row)> {
        let of_it = self.orphans.extract_if(.., |(handler, _), _| handler == name);
        of_it.map(|((_, seq), row)| (seq, row)).collect()
    }
}

/// Writes a file that nobody else can read, whole or not at all.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.persist(path)?;
    Ok(())
}
