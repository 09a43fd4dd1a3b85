use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use longshore_model::{Problem, Subject};
use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{mpsc, watch as signal};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::discover::{HandlerSet, discover};
use crate::config::HandlerSettings;
use crate::problems::{Problems, Source, chain};

/// How often files are read again though nothing was seen to change: a link's target and a file system of another
/// machine change unseen.
const REREAD: Duration = Duration::from_secs(30);

/// How long nothing may change before files are read: an editor writes a file in several steps.
const QUIET: Duration = Duration::from_millis(100);

/// How long files may go on changing before they are read all the same.
const PATIENCE: Duration = Duration::from_secs(1);

/// Keeps reading the definitions: when a file changes, when the settings are told again (SIGHUP), and now and then.
/// What is wrong with the files shows as problems. The first set is there at once; reading ends when the handle is
/// dropped.
pub(crate) fn watch(
    settings: signal::Receiver<HandlerSettings>,
    problems: Problems,
) -> (signal::Receiver<Arc<HandlerSet>>, AbortOnDropHandle<()>) {
    keep_reading(settings, move |set| problems.set(Source::HandlerFiles, set.problems.clone()))
}

/// The same, for who does not want the problems to show.
pub(super) fn keep_reading(
    mut settings: signal::Receiver<HandlerSettings>,
    told: impl Fn(&HandlerSet) + Send + 'static,
) -> (signal::Receiver<Arc<HandlerSet>>, AbortOnDropHandle<()>) {
    let (wake, woken) = mpsc::channel(1);
    let (watcher, first) = look(&settings.borrow_and_update().clone(), &HandlerSet::default(), &wake);
    told(&first);
    let (set, sets) = signal::channel(Arc::new(first));
    let reading = Reading { settings, told, set, wake, woken };
    (sets, AbortOnDropHandle::new(tokio::spawn(reading.run(watcher))))
}

struct Reading<T> {
    settings: signal::Receiver<HandlerSettings>,
    told: T,
    set: signal::Sender<Arc<HandlerSet>>,
    wake: mpsc::Sender<()>,
    woken: mpsc::Receiver<()>,
}

impl<T: Fn(&HandlerSet) + Send + 'static> Reading<T> {
    async fn run(mut self, first: Option<RecommendedWatcher>) {
        let mut watcher = first;
        loop {
            tokio::select! {
                changed = self.settings.changed() => if changed.is_err() { return },
                _ = self.woken.recv() => self.settle().await,
                () = sleep(REREAD) => {}
            }
            let settings = self.settings.borrow_and_update().clone();
            let before = Arc::clone(&self.set.borrow());
            let wake = self.wake.clone();
            let looked = tokio::task::spawn_blocking(move || {
                // The one that watched so far ends after the next one began: no change falls between them.
                let (next, set) = look(&settings, &before, &wake);
                drop(watcher);
                (next, set)
            });
            let Ok((next, set)) = looked.await else { return };
            watcher = next;
            (self.told)(&set);
            self.set.send_if_modified(|known| {
                let differs = **known != set;
                if differs {
                    *known = Arc::new(set);
                }
                differs
            });
        }
    }

    /// Waits until nothing changes any more.
    async fn settle(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while let Ok(Some(())) = timeout_at((Instant::now() + QUIET).min(deadline), self.woken.recv()).await {
            if Instant::now() >= deadline {
                break;
            }
        }
    }
}

/// Watches first, then reads, so that what changes meanwhile is read again.
fn look(
    settings: &HandlerSettings,
    before: &HandlerSet,
    wake: &mpsc::Sender<()>,
) -> (Option<RecommendedWatcher>, HandlerSet) {
    let watched = watcher(settings, wake.clone());
    let mut set = discover(settings, before);
    let watcher = match watched {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            set.problems.push(Problem {
                subject: Subject::File { path: "handlers".to_owned(), line: None },
                key: Some("handler-paths".to_owned()),
                message: format!("changes cannot be watched for: {}", chain(&error)),
                hint: Some(format!("files are read every {REREAD:?}, and at SIGHUP")),
            });
            None
        }
    };
    (watcher, set)
}

/// Watches the folders, and above each the nearest folder that is there: so one that is made, removed or put in
/// another's place is noticed.
fn watcher(settings: &HandlerSettings, wake: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let folders: Vec<PathBuf> = settings
        .paths
        .iter()
        .chain(&settings.script_paths)
        .filter_map(|folder| std::path::absolute(folder).ok())
        .collect();
    let wanted = folders.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        if event.as_ref().map_or(true, |event| matters(event, &wanted)) {
            // One that is waiting already stands for this one too.
            let _ = wake.try_send(());
        }
    })?;
    for folder in &folders {
        let above = folder.ancestors().skip(1).find(|above| above.is_dir());
        for path in [Some(folder.as_path()).filter(|folder| folder.is_dir()), above].into_iter().flatten() {
            match watcher.watch(path, RecursiveMode::NonRecursive) {
                // It went meanwhile: whoever is above it says so.
                Err(error) if !path.is_dir() => {
                    tracing::debug!(path = %path.display(), %error, "not watched");
                }
                watched => watched?,
            }
        }
    }
    Ok(watcher)
}

/// Whether it may be about the handlers: reading a file is nothing, and the folders above have other things in them.
fn matters(event: &Event, folders: &[PathBuf]) -> bool {
    if let EventKind::Access(access) = event.kind
        && access != AccessKind::Close(AccessMode::Write)
    {
        return false;
    }
    let about = |path: &Path, folder: &Path| folder.starts_with(path) || path.parent() == Some(folder);
    event.need_rescan() || event.paths.iter().any(|path| folders.iter().any(|folder| about(path, folder)))
}
