//! Handlers as their files define them, kept up to date.
//!
//! ```text
//! folders, scripts, settings ──► watch (a change, SIGHUP, every 30 s) ──► discover ──► HandlerSet
//! ```
//!
//! An invalid file affects only its own handler: one that was already running keeps its last valid definition.
//! `longshore_plan::handlers` decides what a definition means; this module knows the machine: which files
//! exist, and where a script is.
//!
//! Deliberately absent: running handlers. The runners only receive the current set.

mod discover;
mod followers;
mod scripts;
mod supervise;
#[cfg(test)]
mod tests;
mod watch;

use longshore_model::{BalanceJob, HandlerSet, Problem};
use tokio::sync::watch as signal;
use tokio_util::task::AbortOnDropHandle;

use crate::config::HandlerSettings;

pub(crate) use supervise::{Supervisor, supervise};
pub(crate) use watch::watch;

/// Reads the files and returns the job of the enabled handler that requests docker-balancer's, if there is one.
pub fn balance_job(settings: &HandlerSettings) -> Option<BalanceJob> {
    discover::balance_job(&discover::discover(settings, &HandlerSet::default()).set)
}

/// Reads the files and returns what is wrong with the defined handlers.
pub fn check(settings: &HandlerSettings) -> Vec<Problem> {
    discover::discover(settings, &HandlerSet::default()).set.problems
}

/// Follows the balancer's job, as [`balance_job`] finds it, while files change. Ends when the handle is
/// dropped.
pub fn follow_balance_job(
    settings: HandlerSettings,
) -> (signal::Receiver<Option<BalanceJob>>, AbortOnDropHandle<()>) {
    let (job, jobs) = signal::channel(None);
    let (keep, settings) = signal::channel(settings);
    let (mut sets, reading) = watch::keep_reading(settings, |_| {});
    job.send_replace(discover::balance_job(&sets.borrow_and_update()));
    let following = tokio::spawn(async move {
        let _whole = (keep, reading);
        while sets.changed().await.is_ok() {
            let found = discover::balance_job(&sets.borrow_and_update());
            job.send_if_modified(|job| std::mem::replace(job, found.clone()) != found);
        }
    });
    (jobs, AbortOnDropHandle::new(following))
}
