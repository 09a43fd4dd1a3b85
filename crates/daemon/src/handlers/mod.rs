//! Handlers as their files define them, kept up to date.
//!
//! ```text
//! folders, scripts, settings ──► watch (a change, SIGHUP, every 30 s) ──► discover ──► HandlerSet
//! ```
//!
//! A file that breaks costs only itself: who ran goes on as it was read last. What a definition means is decided in
//! `longshore_plan::handlers`; here is what only a machine knows: which files there are, and where a script lies.
//!
//! Deliberately absent: running handlers. They are told of the set that counts and of nothing else.

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

/// Returns the enabled handler that asks for docker-balancer's job, if there is one, by a look at the files.
pub fn balance_job(settings: &HandlerSettings) -> Option<BalanceJob> {
    discover::balance_job(&discover::discover(settings, &HandlerSet::default()).set)
}

/// Returns what is wrong with the handlers that are defined, by a look at the files.
pub fn check(settings: &HandlerSettings) -> Vec<Problem> {
    discover::discover(settings, &HandlerSet::default()).set.problems
}

/// Returns the balancer's job as [`balance_job`] finds it, followed while files change. Ends when the handle is dropped.
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
