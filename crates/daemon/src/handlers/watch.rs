use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use longshore_model::HandlerSet;
use longshore_runtime::files::{Watched, unwatched};
use longshore_runtime::{Problems, Source};
use tokio::sync::watch as signal;
use tokio::task::spawn_blocking;
use tokio_util::task::AbortOnDropHandle;

use super::discover::{Found, discover};
use crate::config::HandlerSettings;

/// Keeps reading the definitions: when a file changes, on SIGHUP, and periodically. Reports errors in the files
/// as problems. The first set is available at once; reading ends when the handle is dropped.
pub(crate) fn watch(
    settings: signal::Receiver<HandlerSettings>,
    problems: Problems,
) -> (signal::Receiver<Arc<HandlerSet>>, AbortOnDropHandle<()>) {
    keep_reading(settings, move |set| problems.set(Source::HandlerFiles, set.problems.clone()))
}

/// Does the same without reporting problems.
pub(super) fn keep_reading(
    mut settings: signal::Receiver<HandlerSettings>,
    told: impl Fn(&HandlerSet) + Send + 'static,
) -> (signal::Receiver<Arc<HandlerSet>>, AbortOnDropHandle<()>) {
    let first = Looking::default().look(&settings.borrow_and_update(), &HandlerSet::default());
    say(&first.found);
    let Looked { mut looking, found, .. } = first;
    told(&found.set);
    let (set, sets) = signal::channel(Arc::new(found.set));
    let reading = async move {
        loop {
            tokio::select! {
                changed = settings.changed() => if changed.is_err() { return },
                () = looking.files.changed() => {}
            }
            let settings = settings.borrow_and_update().clone();
            let before = Arc::clone(&set.borrow());
            let looked = spawn_blocking(move || std::mem::take(&mut looking).look(&settings, &before)).await;
            let Ok(looked) = looked else {
                looking = Looking::default();
                continue;
            };
            looking = looked.looking;
            let next = looked.found.set;
            told(&next);
            set.send_if_modified(|known| {
                let differs = **known != next;
                if differs {
                    *known = Arc::new(next);
                }
                differs
            });
        }
    };
    (sets, AbortOnDropHandle::new(tokio::spawn(reading)))
}

/// What is being watched.
#[derive(Default)]
struct Looking {
    files: Watched,
    /// Scripts outside the folders.
    scripts: BTreeSet<PathBuf>,
}

/// The result of reading, and what is watched from then on.
struct Looked {
    looking: Looking,
    found: Found,
}

impl Looking {
    /// Watches the sources of definitions, then reads them. Scripts outside the folders are known only after
    /// the files that name them are read; if these name others, everything is read again. Blocks as long as the
    /// disk does, within limits.
    fn look(mut self, settings: &HandlerSettings, before: &HandlerSet) -> Looked {
        loop {
            let folders = settings.paths.iter().chain(&settings.script_paths);
            let paths: Vec<PathBuf> = folders.chain(&self.scripts).cloned().collect();
            let error = self.files.aim_now(&paths);
            let mut found = discover(settings, before);
            if found.scripts.is_subset(&self.scripts) {
                self.scripts.clone_from(&found.scripts);
                let unwatched = error.map(|error| unwatched("handlers", "handler-paths", &error));
                found.set.problems.extend(unwatched);
                return Looked { looking: self, found };
            }
            self.scripts.extend(found.scripts);
        }
    }
}

/// Logs what was found, and where, on one line.
fn say(found: &Found) {
    let folders = found.folders.iter().map(|(folder, count)| match count {
        Some(files) => format!("{}: files={files}", folder.display()),
        None => format!("{}: no such folder", folder.display()),
    });
    let folders = folders.collect::<Vec<_>>().join(", ");
    tracing::info!(handlers = found.set.handlers.len(), folders, "looked for handlers");
}
