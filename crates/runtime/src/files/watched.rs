//! Files that are read again when they may have changed: those that define handlers, and the one of the sidecars.

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

/// How often files are read again though nothing was seen to change: what a link in a folder leads to, and a file system
/// of another machine, change unseen.
const REREAD_INTERVAL: Duration = Duration::from_secs(30);

/// The same where nothing can be watched.
const UNWATCHED_INTERVAL: Duration = Duration::from_secs(5);

/// How long nothing may change before files are read: an editor writes a file in several steps.
const QUIET_PERIOD: Duration = Duration::from_millis(100);

/// How long files may go on changing before they are read all the same.
const MAX_DELAY: Duration = Duration::from_secs(1);

/// Files, and folders with what lies in them, that are watched. They need not be there yet.
#[derive(Debug)]
pub struct Watched {
    touch: Arc<Notify>,
    /// When something changed first and last, of what was not told yet.
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
    /// Resolves when it is time to read again: something changed and nothing does any more, or some time went by.
    /// Cancel-safe.
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
                    // Where the read that follows does not end, there is another one all the same.
                    self.reread = Instant::now() + REREAD_INTERVAL;
                    return;
                }
            }
        }
    }

    /// Watches these from here on. Read them after it, so that what changes meanwhile is read again. Returns the error if
    /// some cannot be watched. It blocks as long as [`FILE_TIMEOUT`](super::FILE_TIMEOUT) for each path that does not answer.
    pub fn aim_now(&mut self, paths: &[PathBuf]) -> Option<notify::Error> {
        let watcher = watch(paths, Arc::clone(&self.touch));
        self.keep(watcher)
    }

    /// The same without blocking. Dropped before it is done, it leaves watched what was.
    pub async fn aim(&mut self, paths: Vec<PathBuf>) -> Option<notify::Error> {
        let touch = Arc::clone(&self.touch);
        let watching = tokio::task::spawn_blocking(move || watch(&paths, touch)).await;
        self.keep(watching.unwrap_or_else(|_| Err(notify::Error::generic("the look at them failed"))))
    }

    /// The watcher before ends only here, when the next one has begun: no change falls between them.
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

/// Returns what a person should know where these files cannot be watched.
pub fn unwatched(path: &str, key: &str, error: &notify::Error) -> Problem {
    Problem {
        subject: Subject::File { path: path.to_owned(), line: None },
        key: Some(key.to_owned()),
        message: format!("cannot watch for changes: {}", chain(error)),
        hint: Some(format!("it is read every {UNWATCHED_INTERVAL:?}, and at SIGHUP")),
    }
}

/// What is watched.
struct Watching {
    watcher: RecommendedWatcher,
    /// Why some path is not.
    unanswered: Option<notify::Error>,
}

/// Watches the folders among these, and above each path the nearest folder that is there: so one that is made, removed
/// or put in another's place is noticed. Of a link, the same for what it leads to.
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
    // They answered a moment ago. One that no longer does must not hold up whoever reads them.
    let watcher = within_time(&first, move || watch_folders(&folders, wanted, touch));
    Ok(Watching { watcher: watcher.map_err(notify::Error::io)??, unanswered })
}

/// The ways to a path, and the folders to watch for it.
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
            // It went meanwhile: whoever is above it says so.
            Err(error) if !folder.is_dir() => {
                tracing::debug!(folder = %folder.display(), %error, "not watched");
            }
            watched => watched?,
        }
    }
    Ok(watcher)
}

/// Returns whether it may be about these: reading a file is nothing, and the folders above have other things in them.
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
        // Less than what has it read without a change.
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
