use std::path::PathBuf;
use std::sync::Arc;

use longshore_model::HandlerSet;
use longshore_runtime::files::{Watched, unwatched};
use longshore_runtime::{Problems, Source};
use tokio::sync::watch as signal;
use tokio::task::spawn_blocking;
use tokio_util::task::AbortOnDropHandle;

use super::discover::discover;
use crate::config::HandlerSettings;

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
    let mut files = Watched::default();
    let first = {
        let settings = settings.borrow_and_update();
        let error = files.aim_now(&folders(&settings));
        whole(discover(&settings, &HandlerSet::default()), error)
    };
    told(&first);
    let (set, sets) = signal::channel(Arc::new(first));
    let reading = async move {
        loop {
            tokio::select! {
                changed = settings.changed() => if changed.is_err() { return },
                () = files.changed() => {}
            }
            let settings = settings.borrow_and_update().clone();
            let before = Arc::clone(&set.borrow());
            let error = files.aim(folders(&settings)).await;
            let Ok(found) = spawn_blocking(move || discover(&settings, &before)).await else { continue };
            let next = whole(found, error);
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

fn folders(settings: &HandlerSettings) -> Vec<PathBuf> {
    settings.paths.iter().chain(&settings.script_paths).cloned().collect()
}

/// The set, with what is to be known of the watching.
fn whole(mut set: HandlerSet, error: Option<notify::Error>) -> HandlerSet {
    set.problems.extend(error.map(|error| unwatched("handlers", "handler-paths", &error)));
    set
}
