//! Calls: what can be asked of one host, mostly of its Docker Engine.
//!
//! The enum is closed. Docker's own JSON is passed on as Docker wrote it.

use std::time::Duration;

use bytes::Bytes;

use crate::{Availability, ContainerId};

/// A request to one host: to its Docker Engine, or to its agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// To one of its containers.
    Container {
        /// The container.
        id: ContainerId,
        /// The request.
        call: ContainerCall,
    },
    /// Creates a container. The reply is Docker's JSON.
    CreateContainer(NewContainer),
    /// Lists all containers, running or not. The reply is Docker's JSON.
    ListContainers,
    /// Lists the images. The reply is Docker's JSON.
    ListImages,
    /// Pulls an image. The reply is a stream of Docker's progress, as JSON.
    PullImage {
        /// The image reference; without a tag, `latest`.
        image: String,
    },
    /// To its agent, beside Docker.
    Agent(AgentCall),
}

impl Call {
    /// Returns whether the call changes something and has a reply that comes at once: such a call may be repeated under
    /// the same key, and is carried out once.
    pub fn is_order(&self) -> bool {
        match self {
            Self::Container { call: ContainerCall::Order(_), .. }
            | Self::CreateContainer(_)
            | Self::Agent(_) => true,
            Self::Container { .. } | Self::ListContainers | Self::ListImages | Self::PullImage { .. } => {
                false
            }
        }
    }
}

/// A request to the agent of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentCall {
    /// Takes a container out of all routes, and waits until nobody is connected to it.
    Drain {
        /// The container.
        container: ContainerId,
        /// How long to wait at most.
        limit: Duration,
    },
    /// Undoes [`AgentCall::Drain`].
    Resume {
        /// The container.
        container: ContainerId,
    },
    /// Decides whether the host takes new containers, also after the agent's next start.
    SetAvailability(Availability),
}

/// A request to one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerCall {
    /// Changes its state.
    Order(ContainerOrder),
    /// Inspects it. The reply is Docker's JSON.
    Inspect,
    /// Reads its log. The reply is a stream of output.
    Logs(LogsRequest),
    /// Reads its use of resources. The reply is a stream of Docker's JSON.
    Stats {
        /// Continues until the caller ends the stream; otherwise there is one sample.
        follow: bool,
    },
    /// Runs a command inside it. The reply is a session, unless the command is detached.
    Exec(ExecRequest),
}

impl From<ContainerOrder> for ContainerCall {
    fn from(order: ContainerOrder) -> Self {
        Self::Order(order)
    }
}

/// An order to a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerOrder {
    /// Starts it.
    Start,
    /// Sends its stop signal, then kills it.
    Stop {
        /// How long to wait in between, in seconds; its own setting if absent, forever if negative.
        timeout: Option<i32>,
    },
    /// Stops it and starts it again.
    Restart {
        /// As in [`ContainerOrder::Stop`].
        timeout: Option<i32>,
    },
    /// Sends it a signal.
    Kill {
        /// The signal's name or number; SIGKILL if absent.
        signal: Option<String>,
    },
    /// Freezes its processes.
    Pause,
    /// Continues its processes.
    Unpause,
    /// Removes it.
    Remove {
        /// Kills it first, if it runs.
        force: bool,
        /// Removes its anonymous volumes too.
        volumes: bool,
    },
}

/// Which part of a container's log to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogsRequest {
    /// Standard output is wanted.
    pub stdout: bool,
    /// Standard error is wanted.
    pub stderr: bool,
    /// Continues with what the container writes later.
    pub follow: bool,
    /// How many of the last lines; all if absent.
    pub tail: Option<u64>,
    /// From this time on, in nanoseconds since 1970.
    pub since: Option<i64>,
    /// Up to this time, in nanoseconds since 1970.
    pub until: Option<i64>,
    /// Begins each line with its time.
    pub timestamps: bool,
}

/// A command to run inside a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecRequest {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Variables (`NAME=value`) beside the container's own.
    pub env: Vec<String>,
    /// The user, if not the container's own.
    pub user: Option<String>,
    /// The working directory, if not the container's own.
    pub workdir: Option<String>,
    /// Has all capabilities.
    pub privileged: bool,
    /// Reads the session's input.
    pub stdin: bool,
    /// Has a terminal, of this size if given. Its standard error is part of its standard output.
    pub tty: bool,
    /// The size of the terminal.
    pub size: Option<TerminalSize>,
    /// Runs without a session: nobody reads its output.
    pub detach: bool,
}

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// A container to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewContainer {
    /// The body of Docker's request, as JSON.
    pub body: Bytes,
    /// Its name; Docker chooses one if absent.
    pub name: Option<String>,
    /// Whether its image is pulled first.
    pub pull: PullPolicy,
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// If the host does not have it.
    #[default]
    Missing,
    /// Always, in case the registry has a newer one.
    Always,
    /// Never.
    Never,
}

/// One piece of a reply's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard output; of a terminal, all of its output.
    Stdout(Bytes),
    /// Standard error.
    Stderr(Bytes),
    /// One JSON value, as Docker wrote it.
    Json(Bytes),
    /// The command exited with this code.
    Exited(i64),
}

/// One piece of a session's input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Standard input.
    Stdin(Bytes),
    /// There is no further standard input.
    End,
    /// The caller's terminal has this size.
    Resize(TerminalSize),
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Docker refused.
    #[error("{message}")]
    Docker {
        /// Docker's HTTP status.
        status: u16,
        /// Docker's message.
        message: String,
    },
    /// Docker is not responding.
    #[error("Docker is not responding: {0}")]
    Away(String),
    /// The call itself is invalid.
    #[error("{0}")]
    Invalid(String),
    /// There was no answer within the call's deadline.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The answer broke off.
    #[error("the answer broke off: {0}")]
    Broken(String),
    /// No host is known by this name or id.
    #[error("no such host: {0}")]
    UnknownHost(String),
    /// The host cannot be reached from this one.
    #[error("host {host} cannot be reached: {why}")]
    Unreachable {
        /// The host's name.
        host: String,
        /// The cause.
        why: String,
    },
}
