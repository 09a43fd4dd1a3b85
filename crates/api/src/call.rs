use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::Container;

/// A container, with all that Docker says of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ContainerDetails {
    /// As in the list of containers.
    #[serde(flatten)]
    pub container: Container,
    /// Docker's inspection, unchanged.
    #[schema(value_type = Object)]
    pub inspection: Box<RawValue>,
}

/// A container that was created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ContainerCreated {
    /// The name of its host.
    pub host: String,
    /// Docker's id, whole.
    pub id: String,
    /// Docker's warnings.
    pub warnings: Vec<String>,
}

/// The outcome of an order to a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ContainerChange {
    /// The name of its host.
    pub host: String,
    /// Docker's id, whole.
    pub id: String,
    /// Docker's name.
    pub name: String,
    /// Whether there was anything to do: a container that runs is not started.
    pub changed: bool,
}

/// The images of one host.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct HostImages {
    /// The host's name.
    pub host: String,
    /// Docker's list, unchanged; absent where the host did not answer.
    #[schema(value_type = Option<Vec<Object>>)]
    pub images: Option<Box<RawValue>>,
    /// Why it did not answer.
    pub error: Option<String>,
}

/// An image to be pulled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PullRequest {
    /// The image; without a tag, `latest`.
    pub image: String,
    /// The names of the hosts that pull it; all if absent.
    pub hosts: Option<Vec<String>>,
}

/// One line of a pull: progress of a host, or its end.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PullUpdate {
    /// The host's name.
    pub host: String,
    /// Docker's progress, unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub progress: Option<Box<RawValue>>,
    /// Whether this host has ended: it has the image, or `error` says why not.
    pub done: bool,
    /// Why the host does not have the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How a command inside a container ended: the last message of its websocket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExecResult {
    /// Its exit code; absent if it is not known, or the command is detached.
    pub exit_code: Option<i64>,
    /// Why the session broke off.
    pub error: Option<String>,
}

/// The channels of a command's websocket: the first byte of each binary message.
pub mod exec_channel {
    /// To the command: standard input. An empty message ends it.
    pub const STDIN: u8 = 0;
    /// From the command: standard output, or all output of its terminal.
    pub const STDOUT: u8 = 1;
    /// From the command: standard error.
    pub const STDERR: u8 = 2;
    /// From the agent: an [`ExecResult`](super::ExecResult) as JSON.
    pub const RESULT: u8 = 3;
    /// To the agent: an [`ExecSize`](super::ExecSize) as JSON.
    pub const SIZE: u8 = 4;
}

/// The size of the caller's terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExecSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}
