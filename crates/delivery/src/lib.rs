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

mod attempt;
mod deliverer;
mod hearing;
mod held;
mod inherited;
mod intake;
mod journal;
mod plugin;
mod queue;
mod report;
mod roster;
mod run;
mod runner;
#[cfg(test)]
mod sample;
mod script;
mod webhook;

pub use report::outline_of;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use longshore_api::{FailedDelivery, Handler, HandlerTest, HandlerTestReport};
use longshore_model::{HandlerSet, Problem, Subject};
use longshore_plan::handlers::nearest_event;
use longshore_runtime::state::DockerEvent;
use longshore_runtime::{FollowerContext, Inspect, Source, chain};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// What a person asks of the deliveries.
#[derive(Debug)]
pub enum Command {
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
pub enum TestError {
    /// No handler has this name.
    #[error("there is no handler {0:?}: see `longshore handlers`")]
    Handler(String),
    /// The handler follows World and gets no events.
    #[error(
        "handler {name:?} ({job}) follows the containers as they are and is told of no event, so none can be tried: \
         `longshore problems` says what keeps it from its work"
    )]
    Follows {
        /// The handler's name.
        name: String,
        /// The handler's class.
        job: &'static str,
    },
    /// The event's name is unknown.
    #[error("unknown event {0:?}{hint}: expected none, or an event of a container by Docker's name, such as start", hint = nearest_event(.0).map(|near| format!(" (did you mean {near:?}?)")).unwrap_or_default())]
    NoEvent(String),
    /// `none` was combined with a container.
    #[error("none happens to no container: leave --container out")]
    NoneHasNoContainer,
    /// No container has this name or id.
    #[error("there is no container {0:?}")]
    Container(String),
    /// The prefix matches several ids.
    #[error("{0:?} is the beginning of several containers' ids")]
    Ambiguous(String),
    /// The event needs a container.
    #[error("{0:?} happens to a container: name one")]
    NoContainer(String),
}

/// How each handler of a single pass did: its name, and why it failed if it did.
pub type Outcome = Vec<(String, Option<String>)>;

/// What the deliveries are made from.
pub struct Parts {
    /// World, and where problems are told.
    pub context: FollowerContext,
    /// Shows containers whole.
    pub inspector: Arc<dyn Inspect>,
    /// The handlers that are defined.
    pub handlers: watch::Receiver<Arc<HandlerSet>>,
    /// Every event, in order.
    pub told: mpsc::UnboundedReceiver<DockerEvent>,
    /// What people ask.
    pub commands: mpsc::UnboundedReceiver<Command>,
    /// Where the INI files of handlers lie that have none of their own.
    pub data_dir: PathBuf,
    /// The Docker Engine's address, for handlers that talk to it themselves.
    pub docker_host: String,
}

/// The journal, opened, and what an earlier agent left in it.
pub struct Opened {
    journal: Option<journal::Journal>,
    remembered: journal::Remembered,
}

impl Opened {
    /// Opens the journal. Where that fails, deliveries are kept in memory only, and a problem says so.
    pub fn journal(data_dir: &Path, context: &FollowerContext) -> Self {
        let subject =
            || Subject::File { path: data_dir.join("journal.redb").display().to_string(), line: None };
        let problem =
            |message, hint: &str| Problem { subject: subject(), key: None, message, hint: Some(hint.into()) };
        match journal::Journal::open(data_dir) {
            Ok((journal, remembered, None)) => Self { journal: Some(journal), remembered },
            Ok((journal, remembered, Some(aside))) => {
                let message =
                    format!("the journal could not be read, so what was not delivered yet is lost: {aside}");
                context
                    .problems
                    .set(Source::Journal, [problem(message, "remove that file once it was looked at")]);
                Self { journal: Some(journal), remembered }
            }
            Err(error) => {
                let message =
                    format!("events are not written down, so a restart loses them: {}", chain(&error));
                context
                    .problems
                    .set(Source::Journal, [problem(message, "see to the disk, then restart the agent")]);
                Self::memory()
            }
        }
    }

    /// No journal: for a single pass.
    pub fn memory() -> Self {
        Self { journal: None, remembered: journal::Remembered::default() }
    }

    /// The time of the last event that was written down, in nanoseconds since 1970.
    pub fn heard(&self) -> Option<i64> {
        self.remembered.heard
    }
}

/// The deliveries, at work.
pub struct Deliveries {
    task: AbortOnDropHandle<Outcome>,
    stop: CancellationToken,
}

impl Deliveries {
    /// Delivers until told to stop.
    pub fn start(parts: Parts, opened: Opened) -> Self {
        let stop = CancellationToken::new();
        let task = run::Delivery::new(parts, opened).run(stop.clone());
        Self { task: AbortOnDropHandle::new(tokio::spawn(task)), stop }
    }

    /// Delivers the dummy event to those who want it, and nothing else; ends by itself.
    pub fn once(parts: Parts) -> Self {
        let stop = CancellationToken::new();
        let task = run::Delivery::new(parts, Opened::memory()).once(stop.clone());
        Self { task: AbortOnDropHandle::new(tokio::spawn(task)), stop }
    }

    /// Waits for the end of a single pass.
    pub async fn outcome(self) -> Outcome {
        self.task.await.unwrap_or_default()
    }

    /// Begins nothing new, lets what is under way finish for some seconds, and closes the journal.
    pub async fn stop(self) {
        self.stop.cancel();
        let _ = self.task.await;
    }
}
