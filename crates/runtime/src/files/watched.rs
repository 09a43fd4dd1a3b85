//! Files that are reread when they may have changed: those that define handlers, and the sidecars' file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use longshore_model::{Problem, Subject};
use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::bounded::within_time;
use crate::problems::chain;

/// How often files are reread without a notification: changes behind a link in a folder and on a network file system
/// are not reported.
const REREAD_INTERVAL: Duration = Duration::from_secs(30);

/// The same if nothing can be watched.
const UNWATCHED_INTERVAL: Duration = Duration::from_secs(5);

/// How long files must be unchanged before they are read: an editor writes a file in several steps.
const QUIET_PERIOD: Duration = Duration::from_millis(100);

/// How long files may keep changing before they are read anyway.
const MAX_DELAY: Duration = Duration::from_secs(1);

/// Watched files and folders, including the folders' contents. They need not exist yet.
#[derive(Debug)]
pub struct Watched {
    touch: Arc<Notify>,
    /// The first and the last change not yet reported.
    touched: Option<(Instant, Instant)>,
    reread: Instant,
    watcher: Option<RecommendedWatcher>,
}

impl Default for Watched {
    /// Watches nothing until it is aimed.
    fn default() -> Self {
        let touch = Arc::new(Notify::new());
        Self { touch, touched: None, reread: Instant::now() + REREAD_INTERVAL, watcher: None }
    }
}

impl Watched {
    /// Resolves when it is time to reread: after a change once files are quiet, or after some time. Cancel-safe.
    pub async fn changed(&mut self) {
        loop {
            let quiet = self.touched.map(|(first, last)| (last + QUIET_PERIOD).min(first + MAX_DELAY));
            tokio::select! {
                () = self.touch.notified() => {
                    let now = Instant::now();
                    let (first, _) = self.touched.unwrap_or((now, now));
                    self.touched = Some((first, now));
                }
                () = sleep_until(quiet.unwrap_or(self.reread)) => {
                    self.touched = None;
                    // If the read that follows never ends, the next one is due regardless.
                    self.reread = Instant::now() + REREAD_INTERVAL;
                    return;
                }
            }
        }
    }

    /// Watches these paths from here on. Read them afterwards, so that a change in between triggers another read.
    /// Returns the error if some cannot be watched. Blocks for up to [`FILE_TIMEOUT`](super::FILE_TIMEOUT) per path
    /// that does not answer.
    pub fn aim_now(&mut self, paths: &[PathBuf]) -> Option<notify::Error> {
        let watcher = watch(paths, Arc::clone(&self.touch));
        self.keep(watcher)
    }

    /// Watches like [`Watched::aim_now`], without blocking. If dropped before completion, the previous paths stay
    /// watched.
    pub async fn aim(&mut self, paths: Vec<PathBuf>) -> Option<notify::Error> {
        let touch = Arc::clone(&self.touch);
        let watching = tokio::task::spawn_blocking(move || watch(&paths, touch)).await;
        self.keep(watching.unwrap_or_else(|_| Err(notify::Error::generic("they could not be read"))))
    }

    /// Replaces the watcher. The previous one ends only now that the next has begun: no change is missed in between.
    fn keep(&mut self, watching: notify::Result<Watching>) -> Option<notify::Error> {
        let (watcher, error) = match watching {
            Ok(Watching { watcher, unanswered }) => (Some(watcher), unanswered),
            Err(error) => (None, Some(error)),
        };
        self.reread = Instant::now() + if error.is_none() { REREAD_INTERVAL } else { UNWATCHED_INTERVAL };
        self.watcher = watcher;
        error
    }
}

/// Returns the problem that these files cannot be watched.
pub fn unwatched(path: &str, key: &str, error: &notify::Error) -> Problem {
    Problem {
        subject: Subject::File { path: path.to_owned(), line: None },
        key: Some(key.to_owned()),
        message: format!("cannot watch for changes: {}", chain(error)),
        hint: Some(format!("it is read again every {UNWATCHED_INTERVAL:?}, and on SIGHUP")),
    }
}

/// The active watches.
struct Watching {
    watcher: RecommendedWatcher,
    /// Why some path is not watched.
    unanswered: Option<notify::Error>,
}

/// Watches the folders among these, and for each path its nearest existing parent folder, so that creation, removal
/// and replacement are noticed. For a link, also its target.
fn watch(paths: &[PathBuf], touch: Arc<Notify>) -> notify::Result<Watching> {
    let (mut wanted, mut folders, mut unanswered) = (BTreeSet::new(), BTreeSet::new(), None);
    for path in paths {
        let of_path = path.clone();
        match within_time(path, move || resolve(&of_path)) {
            Ok(found) => {
                wanted.extend(found.paths);
                folders.extend(found.folders);
            }
            Err(error) => unanswered = Some(notify::Error::io(error).add_path(path.clone())),
        }
    }
    let Some(first) = folders.first().cloned() else {
        let watcher = notify::recommended_watcher(|_| {})?;
        return Ok(Watching { watcher, unanswered });
    };
    // They answered a moment ago. One that no longer does must not block their readers.
    let watcher = within_time(&first, move || watch_folders(&folders, wanted, touch));
    Ok(Watching { watcher: watcher.map_err(notify::Error::io)??, unanswered })
}

/// The resolved paths, and the folders to watch for them.
struct Resolved {
    paths: Vec<PathBuf>,
    folders: Vec<PathBuf>,
}

fn resolve(path: &Path) -> Resolved {
    let paths: Vec<PathBuf> =
        [std::path::absolute(path).ok(), path.canonicalize().ok()].into_iter().flatten().collect();
    let folders = paths.iter().flat_map(|path| {
        let above = path.ancestors().skip(1).find(|above| above.is_dir());
        [Some(path.as_path()).filter(|path| path.is_dir()), above].into_iter().flatten().map(Path::to_owned)
    });
    let folders = folders.collect();
    Resolved { paths, folders }
}

fn watch_folders(
    folders: &BTreeSet<PathBuf>,
    wanted: BTreeSet<PathBuf>,
    touch: Arc<Notify>,
) -> notify::Result<RecommendedWatcher> {
    let wanted: Vec<PathBuf> = wanted.into_iter().collect();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        if event.as_ref().map_or(true, |event| matters(event, &wanted)) {
            touch.notify_one();
        }
    })?;
    for folder in folders {
        match watcher.watch(folder, RecursiveMode::NonRecursive) {
            // It was removed in between: its parent folder reports that.
            Err(error) if !folder.is_dir() => {
                tracing::debug!(folder = %folder.display(), %error, "not watched");
            }
            watched => watched?,
        }
    }
    Ok(watcher)
}

/// Returns whether an event may concern these paths: reading a file does not count, and parent folders contain other
/// things.
fn matters(event: &Event, wanted: &[PathBuf]) -> bool {
    if let EventKind::Access(access) = event.kind
        && access != AccessKind::Close(AccessMode::Write)
    {
        return false;
    }
    let about = |path: &Path, wanted: &Path| wanted.starts_with(path) || path.parent() == Some(wanted);
    event.need_rescan() || event.paths.iter().any(|path| wanted.iter().any(|wanted| about(path, wanted)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use tokio::time::timeout;

    use super::*;

    async fn until(watched: &mut Watched, path: &Path, text: &str) {
        let looking = async {
            loop {
                let error = watched.aim(vec![path.to_owned()]).await;
                assert!(error.is_none(), "{error:?}");
                if fs::read_to_string(path).unwrap_or_default() == text {
                    return;
                }
                watched.changed().await;
            }
        };
        // Less than the interval after which it would be reread anyway.
        timeout(REREAD_INTERVAL / 2, looking).await.unwrap_or_else(|_| panic!("it is never {text:?}"));
    }

    #[tokio::test]
    async fn a_file_may_come_later_and_be_written_replaced_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/er/file");
        let mut watched = Watched::default();
        until(&mut watched, &path, "").await;
        fs::create_dir_all(dir.path().join("deep/er")).unwrap();
        fs::write(&path, "written").unwrap();
        until(&mut watched, &path, "written").await;
        fs::write(dir.path().join("deep/er/next"), "replaced").unwrap();
        fs::rename(dir.path().join("deep/er/next"), &path).unwrap();
        until(&mut watched, &path, "replaced").await;
        fs::remove_file(&path).unwrap();
        until(&mut watched, &path, "").await;
    }

    #[tokio::test]
    async fn what_a_link_leads_to_is_watched_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for version in ["one", "two"] {
            fs::create_dir(path(version)).unwrap();
            fs::write(path(version).join("file"), version).unwrap();
        }
        symlink("one", path("current")).unwrap();
        fs::create_dir(path("etc")).unwrap();
        symlink("../current/file", path("etc/file")).unwrap();
        let mut watched = Watched::default();
        until(&mut watched, &path("etc/file"), "one").await;
        fs::write(path("one/file"), "changed").unwrap();
        until(&mut watched, &path("etc/file"), "changed").await;
    }

    #[tokio::test]
    async fn files_that_go_on_changing_are_read_all_the_same() {
        let mut watched = Watched::default();
        let touch = Arc::clone(&watched.touch);
        let touching = async {
            loop {
                touch.notify_one();
                tokio::time::sleep(QUIET_PERIOD / 4).await;
            }
        };
        let began = Instant::now();
        tokio::select! {
            () = watched.changed() => {}
            () = touching => {}
        }
        assert!(began.elapsed() < REREAD_INTERVAL / 2, "{:?}", began.elapsed());
    }

    #[test]
    fn only_what_may_change_the_files_matters() {
        let wanted = [PathBuf::from("/etc/a/handlers.d"), PathBuf::from("/srv/slaves.yml")];
        let matters = |kind, path: &str| matters(&Event::new(kind).add_path(path.into()), &wanted);
        let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
        for path in ["/etc/a/handlers.d/x.ini", "/etc/a/handlers.d", "/etc/a", "/srv/slaves.yml"] {
            assert!(matters(written, path), "{path}");
        }
        for path in ["/etc/a/other", "/srv/other", "/etc/a/handlers.d/deep/er", "/srv/slaves.yml~"] {
            assert!(!matters(written, path), "{path}");
        }
        assert!(!matters(EventKind::Access(AccessKind::Read), "/srv/slaves.yml"));
    }
}
