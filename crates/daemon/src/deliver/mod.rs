//! Delivery: each event to each handler that wants it, in order for each container, until it says that it has it.
//!
//! ```text
//! state::Writer ──told──► intake ──► journal (on the disk) ──► queue of each handler ──► act::deliver
//!        World ──changes──► what nobody told                        ▲        │
//!                                                                  └─ again, after a while
//! ```
//!
//! One task owns it all and never waits: writing, delivering and inspecting are futures that it polls. An event is
//! delivered once it is on the disk, and forgotten there once every handler has it or gave up; so an agent that is
//! killed in between delivers it again, and says that it may be a repeat.
//!
//! Deliberately absent: what a script, a plugin or a webhook is (`act::deliver`), and which handlers there are
//! (`handlers`).

mod hearing;
mod held;
mod intake;
mod journal;
mod queue;
mod report;
mod roster;
mod run;
mod runner;

pub(crate) use report::outline_of;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use longshore_api::{FailedDelivery, Handler, HandlerTest, HandlerTestReport};
use longshore_model::{Problem, Subject};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::handlers::HandlerSet;
use crate::problems::{Source, chain};
use crate::reconcile::Ground;
use crate::state::DockerEvent;

/// What a person asks of the deliveries.
#[derive(Debug)]
pub(crate) enum Command {
    /// All handlers.
    List(oneshot::Sender<Vec<Handler>>),
    /// The deliveries that were given up.
    Failed(oneshot::Sender<Vec<FailedDelivery>>),
    /// Deliver one of those again, or all where none is named; how many.
    Replay(Option<String>, oneshot::Sender<usize>),
    /// Forget one of those, or all where none is named; how many.
    Forget(Option<String>, oneshot::Sender<usize>),
    /// Try one event on one handler.
    Test(String, HandlerTest, oneshot::Sender<Result<HandlerTestReport, TestError>>),
}

/// Why no test could be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TestError {
    #[error("there is no handler {0:?}: see `longshore handlers`")]
    Handler(String),
    #[error(
        "handler {name:?} ({job}) follows the containers as they are and is told of no event, so none can be tried: \
         `longshore problems` says what keeps it from its work"
    )]
    Follows { name: String, job: &'static str },
    #[error("{0:?} is no event of a container: write one as Docker names it, such as start, or none")]
    NoEvent(String),
    #[error("none happens to no container: leave --container out")]
    NoneHasNoContainer,
    #[error("there is no container {0:?}")]
    Container(String),
    #[error("{0:?} is the beginning of several containers' ids")]
    Ambiguous(String),
    #[error("{0:?} happens to a container: name one")]
    NoContainer(String),
}

/// How each handler of a single pass did: its name, and why it failed if it did.
pub(crate) type Outcome = Vec<(String, Option<String>)>;

/// What the deliveries are made from.
pub(crate) struct Parts {
    pub(crate) ground: Ground,
    pub(crate) handlers: watch::Receiver<Arc<HandlerSet>>,
    pub(crate) told: mpsc::UnboundedReceiver<DockerEvent>,
    pub(crate) commands: mpsc::UnboundedReceiver<Command>,
    /// Where the INI files of handlers lie that have none of their own.
    pub(crate) data_dir: PathBuf,
    /// The Docker Engine's address, for handlers that talk to it themselves.
    pub(crate) docker_host: String,
}

/// The journal, opened, and what an earlier agent left in it.
pub(crate) struct Opened {
    journal: Option<journal::Journal>,
    remembered: journal::Remembered,
}

impl Opened {
    /// Opens the journal. Where that fails, deliveries are kept in memory only, and a problem says so.
    pub(crate) fn journal(data_dir: &Path, ground: &Ground) -> Self {
        let subject =
            || Subject::File { path: data_dir.join("journal.redb").display().to_string(), line: None };
        let problem =
            |message, hint: &str| Problem { subject: subject(), key: None, message, hint: Some(hint.into()) };
        match journal::Journal::open(data_dir) {
            Ok((journal, remembered, None)) => Self { journal: Some(journal), remembered },
            Ok((journal, remembered, Some(aside))) => {
                let message =
                    format!("the journal could not be read, so what was not delivered yet is lost: {aside}");
                ground
                    .problems
                    .set(Source::Journal, [problem(message, "remove that file once it was looked at")]);
                Self { journal: Some(journal), remembered }
            }
            Err(error) => {
                let message =
                    format!("events are not written down, so a restart loses them: {}", chain(&error));
                ground
                    .problems
                    .set(Source::Journal, [problem(message, "see to the disk, then restart the agent")]);
                Self::memory()
            }
        }
    }

    /// No journal: for a single pass.
    pub(crate) fn memory() -> Self {
        Self { journal: None, remembered: journal::Remembered::default() }
    }

    /// The time of the last event that was written down, in nanoseconds since 1970.
    pub(crate) fn heard(&self) -> Option<i64> {
        self.remembered.heard
    }
}

/// The deliveries, at work.
pub(crate) struct Deliveries {
    task: AbortOnDropHandle<Outcome>,
    stop: CancellationToken,
}

impl Deliveries {
    /// Delivers until told to stop.
    pub(crate) fn start(parts: Parts, opened: Opened) -> Self {
        let stop = CancellationToken::new();
        let task = run::Delivery::new(parts, opened).run(stop.clone());
        Self { task: AbortOnDropHandle::new(tokio::spawn(task)), stop }
    }

    /// Delivers the dummy event to those who want it, and nothing else; ends by itself.
    pub(crate) fn once(parts: Parts) -> Self {
        let stop = CancellationToken::new();
        let task = run::Delivery::new(parts, Opened::memory()).once(stop.clone());
        Self { task: AbortOnDropHandle::new(tokio::spawn(task)), stop }
    }

    /// Waits for the end of a single pass.
    pub(crate) async fn outcome(self) -> Outcome {
        self.task.await.unwrap_or_default()
    }

    /// Begins nothing new, lets what is under way finish for some seconds, and closes the journal.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        let _ = self.task.await;
    }
}
