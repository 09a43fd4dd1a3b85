//! Delivery: each event to each handler that wants it, in order for each container, until it acknowledges it.
//!
//! ```text
//! state::Writer ──events──► dispatcher ──► journal (on the disk) ──► queue of each handler ──► deliverer
//!        World ──changes──► what Docker did not report                    ▲        │
//!                                                                        └─ retried, after a while
//! ```
//!
//! [`Dispatcher`] decides everything, without a clock, a task or a disk: it receives what happened, and returns what
//! to do. `run` is the task that does it. An event is delivered once it is on disk, and removed from there once every
//! handler has received it or failed permanently; so an agent that is killed in between delivers it again, marked as
//! a possible repeat.
//!
//! `script`, `plugin` and `webhook` each make one attempt and report the outcome. Deliberately absent: which handlers
//! exist, and which events they receive (`longshore-plan`).

mod attempt;
mod deliverer;
mod dispatcher;
mod doubts;
mod events;
mod handler_queue;
mod handlers;
mod ingest;
mod inherited;
mod inspections;
mod intake;
mod journal;
mod options;
mod plugin;
mod queue;
mod report;
mod run;
#[cfg(test)]
mod sample;
mod script;
mod webhook;

pub use attempt::{Failure, Retry};
pub use dispatcher::{AttemptOrder, Dispatcher, Effect, Finished, Happening, Moment};
pub use journal::{Batch, Inspection, Remembered};
pub use queue::Entry;
pub use report::outline_of;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use longshore_api::{FailedDelivery, Handler, HandlerTest, HandlerTestReport};
use longshore_model::{HandlerSet, Problem, Subject};
use longshore_plan::handlers::nearest_event;
use longshore_runtime::state::DockerEvent;
use longshore_runtime::{Examine, FollowerContext, Inspect, Source, chain};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use self::journal::Journal;

/// A user's request to the deliveries.
#[derive(Debug)]
pub enum Command {
    /// List all handlers.
    List(oneshot::Sender<Vec<Handler>>),
    /// List the deliveries that failed permanently.
    Failed(oneshot::Sender<Vec<FailedDelivery>>),
    /// Retry one of those, or all if none is named; answers how many.
    Replay(Option<String>, oneshot::Sender<usize>),
    /// Drop one of those, or all if none is named; answers how many.
    Forget(Option<String>, oneshot::Sender<usize>),
    /// Try one event on one handler.
    Test(String, HandlerTest, oneshot::Sender<Result<HandlerTestReport, TestError>>),
}

/// Why a test was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TestError {
    /// No handler has this name.
    #[error("unknown handler {0:?}: see `longshore handler ls`")]
    Handler(String),
    /// The handler follows World and gets no events.
    #[error(
        "handler {name:?} ({job}) follows the containers' state and gets no events, so there is nothing to test: \
         `longshore problem ls` shows what keeps it from working"
    )]
    Follows {
        /// The handler's name.
        name: String,
        /// The handler's kind of job.
        job: &'static str,
    },
    /// The event's name is unknown.
    #[error("unknown event {0:?}{hint}: expected none, or an event of a container by Docker's name, such as start", hint = nearest_event(.0).map(|near| format!(" (did you mean {near:?}?)")).unwrap_or_default())]
    NoEvent(String),
    /// `none` was combined with a container.
    #[error("event none has no container: leave out --container")]
    NoneHasNoContainer,
    /// No container has this name or id.
    #[error("unknown container {0:?}")]
    Container(String),
    /// The prefix matches several ids.
    #[error("ambiguous container id {0:?}: give more of it")]
    Ambiguous(String),
    /// The event needs a container.
    #[error("event {0:?} needs a container: add --container")]
    NoContainer(String),
}

/// The outcome of each handler in a single pass: its name, and why it failed if it did.
pub type Outcome = Vec<(String, Option<String>)>;

/// What the deliveries need.
pub struct Parts {
    /// World, and where problems are reported.
    pub context: FollowerContext,
    /// Inspects containers.
    pub inspector: Arc<dyn Inspect>,
    /// Finds out what happened to containers that no event explains.
    pub examiner: Arc<dyn Examine>,
    /// The defined handlers.
    pub handlers: watch::Receiver<Arc<HandlerSet>>,
    /// All events, in order.
    pub events: mpsc::UnboundedReceiver<DockerEvent>,
    /// Users' requests.
    pub commands: mpsc::UnboundedReceiver<Command>,
    /// Where INI files are written for handlers without one of their own.
    pub data_dir: PathBuf,
    /// The Docker Engine's address, for handlers that talk to it directly.
    pub docker_host: String,
}

/// The opened journal, and what an earlier agent left in it.
pub struct Opened {
    journal: Option<Journal>,
    remembered: Remembered,
    since: i64,
}

impl Opened {
    /// Opens the journal. If that fails, deliveries are kept in memory only, and a problem is reported.
    pub fn journal(data_dir: &Path, context: &FollowerContext) -> Self {
        match Journal::open(data_dir) {
            Ok((journal, remembered)) => {
                context.problems.set(Source::Journal, run::journal_problems(&journal.state().borrow()));
                let since = remembered.heard.unwrap_or_else(run::now);
                Self { journal: Some(journal), remembered, since }
            }
            Err(error) => {
                let problem = Problem {
                    subject: Subject::File {
                        path: data_dir.join("journal.redb").display().to_string(),
                        line: None,
                    },
                    key: None,
                    message: format!(
                        "events cannot be written to the journal, so a restart loses them: {}",
                        chain(&error)
                    ),
                    hint: Some("check the disk, then restart the agent".to_owned()),
                };
                context.problems.set(Source::Journal, [problem]);
                Self::memory()
            }
        }
    }

    /// Opens no journal: for a single pass.
    pub fn memory() -> Self {
        Self { journal: None, remembered: Remembered::default(), since: run::now() }
    }

    /// Returns the time from which to receive Docker's events, in nanoseconds since 1970: that of the last recorded
    /// event, or now.
    pub fn since(&self) -> i64 {
        self.since
    }
}

/// The running deliveries.
pub struct Deliveries {
    task: AbortOnDropHandle<Outcome>,
    stop: CancellationToken,
}

impl Deliveries {
    /// Delivers until stopped.
    pub fn start(parts: Parts, opened: Opened) -> Self {
        let stop = CancellationToken::new();
        let task = run::Delivery::new(parts, opened).run(stop.clone());
        Self { task: AbortOnDropHandle::new(tokio::spawn(task)), stop }
    }

    /// Delivers only the dummy event to the handlers that want it, then ends.
    pub fn once(parts: Parts) -> Self {
        let stop = CancellationToken::new();
        let task = run::Delivery::new(parts, Opened::memory()).once(stop.clone());
        Self { task: AbortOnDropHandle::new(tokio::spawn(task)), stop }
    }

    /// Waits for the end of a single pass.
    pub async fn outcome(self) -> Outcome {
        self.task.await.unwrap_or_default()
    }

    /// Starts nothing new, lets attempts under way finish for some seconds, and closes the journal.
    pub async fn stop(self) {
        self.stop.cancel();
        let _ = self.task.await;
    }
}
