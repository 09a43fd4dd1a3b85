//! A long-running process that receives events as lines of JSON.
//!
//! ```text
//! deliver ──Order──► life (keeps one process running) ──lines──► process ──► the plugin
//!    ▲                 │ ledger: what waits, what is under way      │
//!    └────outcome──────┘◄──────────── acts ─────────────────────────┘──► log
//! ```
//!
//! `wire` and `ledger` decide and do no IO; `life` is the one place where all inputs come together. Deliberately
//! absent: retrying a failed delivery, and the order of a container's events; both belong to the caller of
//! [`Plugin::deliver`].

mod ledger;
mod life;
mod log;
mod process;
mod python;
#[cfg(test)]
mod tests;
mod wire;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use longshore_api::HandlerCall;
use longshore_model::{Handler, Job};
use longshore_runtime::Problems;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use self::ledger::Delivery;
use self::life::{Order, Recipe, SHUT_DOWN, keep};
use crate::attempt::{Attempt, Failure};

/// A plugin. Dropping it kills its process and everything it started.
#[derive(Debug)]
pub(crate) struct Plugin {
    orders: mpsc::UnboundedSender<Order>,
    keeper: Mutex<Keeper>,
}

#[derive(Debug)]
enum Keeper {
    /// Not running yet.
    Idle(Recipe, mpsc::UnboundedReceiver<Order>),
    Running {
        /// Aborted with the plugin.
        _task: AbortOnDropHandle<()>,
    },
    /// Stopped before it ran.
    Stopped,
}

impl Plugin {
    /// Creates the plugin of a handler. It starts at once if there is a runtime and the handler is enabled, as it may
    /// need to prepare; otherwise with the first delivery. A failure to start is reported as a problem.
    pub(crate) fn new(
        handler: &Handler,
        command: Vec<String>,
        node: &str,
        docker_host: &str,
        data_dir: &Path,
        problems: &Problems,
    ) -> Self {
        let file = &handler.origin.file;
        let ini = file.extension().is_some_and(|extension| extension == "ini").then_some(file.as_path());
        let recipe = Recipe {
            handler: handler.name.clone(),
            command,
            docker_host: docker_host.to_owned(),
            python: python_package(data_dir),
            hello: wire::hello(node, &handler.name, &handler.params, ini),
            patience: handler.delivery.timeout,
            parallel: handler.delivery.parallel,
            problems: problems.clone(),
        };
        let (orders, ordered) = mpsc::unbounded_channel();
        let plugin = Self { orders, keeper: Mutex::new(Keeper::Idle(recipe, ordered)) };
        if handler.enabled && tokio::runtime::Handle::try_current().is_ok() {
            plugin.run();
        }
        plugin
    }

    /// Sends an event to the plugin, and waits for its answer. The timeout counts from when the event is sent: a
    /// plugin that accepts fewer events at once than the rules allow receives it when it accepts one more.
    pub(crate) async fn deliver(&self, attempt: &Attempt<'_>) -> Result<(), Failure> {
        self.run();
        let line = wire::event(attempt.message()).map_err(Failure::for_good)?;
        let (answer, answered) = oneshot::channel();
        let id = attempt.event.id.0.clone();
        let order = Order::Deliver(Delivery { id, attempt: attempt.number, line, answer });
        self.orders.send(order).map_err(|_| Failure::broken_off(SHUT_DOWN, false))?;
        answered.await.unwrap_or_else(|_| Err(Failure::broken_off(SHUT_DOWN, true)))
    }

    /// Returns what an attempt would send, and to which program.
    pub(crate) fn describe(handler: &Handler, attempt: &Attempt<'_>) -> HandlerCall {
        let call = match &handler.job {
            Job::Plugin { command } => command.clone(),
            _ => Vec::new(),
        };
        let input = wire::event(attempt.message()).unwrap_or_default();
        let input = String::from_utf8_lossy(input.trim_ascii_end()).into_owned();
        HandlerCall { call, input, ..HandlerCall::default() }
    }

    /// Stops the plugin: asks it to end, and kills it after five seconds. Nothing is delivered any more.
    pub(crate) async fn stop(&self) {
        {
            let mut keeper = self.keeper();
            if matches!(*keeper, Keeper::Idle(..)) {
                *keeper = Keeper::Stopped;
            }
        }
        let (done, stopped) = oneshot::channel();
        if self.orders.send(Order::Stop(done)).is_ok() {
            // The keeper may end without answering: then it is stopped too.
            let _ = stopped.await;
        }
    }

    /// Starts the keeper, if it is not running yet.
    fn run(&self) {
        let mut keeper = self.keeper();
        *keeper = match std::mem::replace(&mut *keeper, Keeper::Stopped) {
            Keeper::Idle(recipe, orders) => {
                Keeper::Running { _task: AbortOnDropHandle::new(tokio::spawn(keep(recipe, orders))) }
            }
            other => other,
        };
    }

    fn keeper(&self) -> std::sync::MutexGuard<'_, Keeper> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the folder of the Python package, which plugins find through `PYTHONPATH`. If it cannot be written,
/// plugins that use it report that themselves; others do not need it.
fn python_package(data_dir: &Path) -> Option<PathBuf> {
    let written = python::provide(data_dir);
    let folder = data_dir.join("python");
    written
        .inspect_err(|error| {
            let folder = folder.display();
            tracing::warn!(
                "cannot write the Python package for plugins to {folder}: {error}; check its permissions"
            );
        })
        .ok()
}
