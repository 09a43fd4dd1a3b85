use std::time::Duration;

use bytes::Bytes;
use longshore_model::{
    AgentCall, Availability, Call, ContainerCall, ContainerId, ContainerOrder, ExecRequest, LogsRequest,
    NewContainer, PullPolicy, TerminalSize,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::frame::{Frame, FrameError, MAX_CALL};

/// The kind of a call's frame.
const CALL: u8 = 32;

/// Why a call from another host cannot be read: it is damaged, or a later version added it.
#[derive(Debug, thiserror::Error)]
#[error("this host does not know the call")]
pub struct CallRowError(#[from] serde_json::Error);

/// A call, and how long its caller waits for the reply, or for its stream to open.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CallRow {
    /// A duration: the hosts' clocks may differ.
    within_ms: u64,
    /// What makes a repeated order the same order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// A repetition: the run of the agent that may have got the order before. Only this one can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sent_to: Option<u64>,
    call: CallKind,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum CallKind {
    Container {
        id: String,
        call: ContainerKind,
    },
    CreateContainer {
        body: Box<RawValue>,
        #[serde(default)]
        name: Option<String>,
        #[serde(default)]
        pull: PullKind,
    },
    ListContainers,
    ListImages,
    PullImage {
        image: String,
    },
    Agent(AgentKind),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum AgentKind {
    Drain {
        container: String,
        #[serde(default)]
        limit_ms: u64,
    },
    Resume {
        container: String,
    },
    SetAvailability(AvailabilityKind),
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum AvailabilityKind {
    Active,
    Cordoned,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ContainerKind {
    Start,
    Stop {
        #[serde(default)]
        timeout: Option<i32>,
    },
    Restart {
        #[serde(default)]
        timeout: Option<i32>,
    },
    Kill {
        #[serde(default)]
        signal: Option<String>,
    },
    Pause,
    Unpause,
    Remove {
        #[serde(default)]
        force: bool,
        #[serde(default)]
        volumes: bool,
    },
    Inspect,
    Logs(LogsKind),
    Stats {
        #[serde(default)]
        follow: bool,
    },
    Exec(ExecKind),
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PullKind {
    #[default]
    Missing,
    Always,
    Never,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct LogsKind {
    stdout: bool,
    stderr: bool,
    follow: bool,
    tail: Option<u64>,
    since: Option<i64>,
    until: Option<i64>,
    timestamps: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct ExecKind {
    command: Vec<String>,
    env: Vec<String>,
    user: Option<String>,
    workdir: Option<String>,
    privileged: bool,
    stdin: bool,
    tty: bool,
    rows: Option<u16>,
    columns: Option<u16>,
    detach: bool,
}

impl CallRow {
    /// Returns the row of a call whose caller waits for so long.
    ///
    /// # Errors
    /// The body of a container to be created is not JSON.
    pub fn new(call: &Call, within: Duration) -> Result<Self, CallRowError> {
        Ok(Self { within_ms: millis(within), key: None, sent_to: None, call: CallKind::of(call)? })
    }

    /// Gives the call a key: a host that gets it again with the same key carries it out once.
    pub fn with_key(self, key: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..self }
    }

    /// Returns the same call, for sending it once more: this run of the host's agent may have got it before.
    pub fn repeated(&self, run: u64) -> Self {
        Self { sent_to: Some(run), ..self.clone() }
    }

    /// Returns whether another run of the agent than `run` may have got it before.
    pub fn is_of_another_run(&self, run: u64) -> bool {
        self.sent_to.is_some_and(|sent_to| sent_to != run)
    }

    /// Returns the call's key.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Reads a row written by this version or an earlier one.
    ///
    /// # Errors
    /// The row is damaged, or from a later version.
    pub fn read(bytes: &[u8]) -> Result<Self, CallRowError> {
        Ok(serde_json::from_slice(bytes)?)
    }

    /// Returns the bytes to send.
    pub fn bytes(&self) -> Vec<u8> {
        // Text, numbers and JSON can always be encoded as JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Returns the call, and how long its caller waits.
    pub fn into_call(self) -> (Call, Duration) {
        (self.call.into(), Duration::from_millis(self.within_ms))
    }
}

impl Frame for CallRow {
    fn parts(&self) -> (u8, Bytes) {
        (CALL, self.bytes().into())
    }

    fn read(kind: u8, payload: Bytes) -> Result<Option<Self>, FrameError> {
        match kind {
            CALL => Self::read(&payload).map(Some).map_err(|_| FrameError::Payload(kind)),
            _ => Ok(None),
        }
    }

    fn limit(_: u8) -> usize {
        MAX_CALL
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl CallKind {
    fn of(call: &Call) -> Result<Self, serde_json::Error> {
        Ok(match call.clone() {
            Call::Container { id, call } => Self::Container { id: id.as_str().to_owned(), call: call.into() },
            Call::CreateContainer(NewContainer { body, name, pull }) => {
                let body = serde_json::from_slice(&body)?;
                let pull = match pull {
                    PullPolicy::Missing => PullKind::Missing,
                    PullPolicy::Always => PullKind::Always,
                    PullPolicy::Never => PullKind::Never,
                };
                Self::CreateContainer { body, name, pull }
            }
            Call::ListContainers => Self::ListContainers,
            Call::ListImages => Self::ListImages,
            Call::PullImage { image } => Self::PullImage { image },
            Call::Agent(call) => Self::Agent(call.into()),
        })
    }
}

impl From<CallKind> for Call {
    fn from(kind: CallKind) -> Self {
        match kind {
            CallKind::Container { id, call } => {
                Self::Container { id: ContainerId::new(id), call: call.into() }
            }
            CallKind::CreateContainer { body, name, pull } => Self::CreateContainer(NewContainer {
                body: Bytes::from(String::from(Box::<str>::from(body))),
                name,
                pull: match pull {
                    PullKind::Missing => PullPolicy::Missing,
                    PullKind::Always => PullPolicy::Always,
                    PullKind::Never => PullPolicy::Never,
                },
            }),
            CallKind::ListContainers => Self::ListContainers,
            CallKind::ListImages => Self::ListImages,
            CallKind::PullImage { image } => Self::PullImage { image },
            CallKind::Agent(kind) => Self::Agent(kind.into()),
        }
    }
}

impl From<AgentCall> for AgentKind {
    fn from(call: AgentCall) -> Self {
        match call {
            AgentCall::Drain { container, limit } => {
                Self::Drain { container: container.as_str().to_owned(), limit_ms: millis(limit) }
            }
            AgentCall::Resume { container } => Self::Resume { container: container.as_str().to_owned() },
            AgentCall::SetAvailability(Availability::Active) => {
                Self::SetAvailability(AvailabilityKind::Active)
            }
            AgentCall::SetAvailability(Availability::Cordoned) => {
                Self::SetAvailability(AvailabilityKind::Cordoned)
            }
        }
    }
}

impl From<AgentKind> for AgentCall {
    fn from(kind: AgentKind) -> Self {
        match kind {
            AgentKind::Drain { container, limit_ms } => {
                Self::Drain { container: ContainerId::new(container), limit: Duration::from_millis(limit_ms) }
            }
            AgentKind::Resume { container } => Self::Resume { container: ContainerId::new(container) },
            AgentKind::SetAvailability(AvailabilityKind::Active) => {
                Self::SetAvailability(Availability::Active)
            }
            AgentKind::SetAvailability(AvailabilityKind::Cordoned) => {
                Self::SetAvailability(Availability::Cordoned)
            }
        }
    }
}

impl From<ContainerOrder> for ContainerKind {
    fn from(order: ContainerOrder) -> Self {
        match order {
            ContainerOrder::Start => Self::Start,
            ContainerOrder::Stop { timeout } => Self::Stop { timeout },
            ContainerOrder::Restart { timeout } => Self::Restart { timeout },
            ContainerOrder::Kill { signal } => Self::Kill { signal },
            ContainerOrder::Pause => Self::Pause,
            ContainerOrder::Unpause => Self::Unpause,
            ContainerOrder::Remove { force, volumes } => Self::Remove { force, volumes },
        }
    }
}

impl From<ContainerCall> for ContainerKind {
    fn from(call: ContainerCall) -> Self {
        match call {
            ContainerCall::Order(order) => order.into(),
            ContainerCall::Inspect => Self::Inspect,
            ContainerCall::Logs(logs) => {
                let LogsRequest { stdout, stderr, follow, tail, since, until, timestamps } = logs;
                Self::Logs(LogsKind { stdout, stderr, follow, tail, since, until, timestamps })
            }
            ContainerCall::Stats { follow } => Self::Stats { follow },
            ContainerCall::Exec(exec) => {
                let ExecRequest { command, env, user, workdir, privileged, stdin, tty, size, detach } = exec;
                let (rows, columns) = (size.map(|size| size.rows), size.map(|size| size.columns));
                Self::Exec(ExecKind {
                    command,
                    env,
                    user,
                    workdir,
                    privileged,
                    stdin,
                    tty,
                    rows,
                    columns,
                    detach,
                })
            }
        }
    }
}

impl From<ContainerKind> for ContainerCall {
    fn from(kind: ContainerKind) -> Self {
        match kind {
            ContainerKind::Start => ContainerOrder::Start.into(),
            ContainerKind::Stop { timeout } => ContainerOrder::Stop { timeout }.into(),
            ContainerKind::Restart { timeout } => ContainerOrder::Restart { timeout }.into(),
            ContainerKind::Kill { signal } => ContainerOrder::Kill { signal }.into(),
            ContainerKind::Pause => ContainerOrder::Pause.into(),
            ContainerKind::Unpause => ContainerOrder::Unpause.into(),
            ContainerKind::Remove { force, volumes } => ContainerOrder::Remove { force, volumes }.into(),
            ContainerKind::Inspect => Self::Inspect,
            ContainerKind::Logs(logs) => {
                let LogsKind { stdout, stderr, follow, tail, since, until, timestamps } = logs;
                Self::Logs(LogsRequest { stdout, stderr, follow, tail, since, until, timestamps })
            }
            ContainerKind::Stats { follow } => Self::Stats { follow },
            ContainerKind::Exec(exec) => {
                let ExecKind { command, env, user, workdir, privileged, stdin, tty, rows, columns, detach } =
                    exec;
                let size = rows.zip(columns).map(|(rows, columns)| TerminalSize { rows, columns });
                Self::Exec(ExecRequest { command, env, user, workdir, privileged, stdin, tty, size, detach })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Frames;
    use super::*;

    /// A row as the first release wrote it.
    const FIRST: &str =
        r#"{"within_ms":20000,"call":{"container":{"id":"c0ffee","call":{"stop":{"timeout":5}}}}}"#;

    #[test]
    fn a_row_of_the_first_release_is_read_and_written_as_it_was() {
        let (call, within) = CallRow::read(FIRST.as_bytes()).unwrap().into_call();
        let stop = ContainerOrder::Stop { timeout: Some(5) }.into();
        assert_eq!(call, Call::Container { id: ContainerId::new("c0ffee"), call: stop });
        let row = CallRow::new(&call, within).unwrap();
        assert_eq!(String::from_utf8(row.bytes()).unwrap(), FIRST);
    }

    #[test]
    fn a_body_is_passed_on_as_it_was_written() {
        let body = Bytes::from_static(br#"{"Image": "busybox",  "HostConfig":{"Unknown":1e400}}"#);
        let new = NewContainer { body, name: None, pull: PullPolicy::Always };
        let call = Call::CreateContainer(new);
        let row = CallRow::new(&call, Duration::ZERO).unwrap();
        assert_eq!(CallRow::read(&row.bytes()).unwrap().into_call().0, call);
        let bad = NewContainer { body: Bytes::from_static(b"{"), name: None, pull: PullPolicy::Never };
        assert!(CallRow::new(&Call::CreateContainer(bad), Duration::ZERO).is_err());
    }

    #[test]
    fn what_a_later_release_adds_is_ignored_or_refused() {
        let later =
            r#"{"within_ms":1,"trace":"x","call":{"container":{"id":"a","call":{"kill":{"hard":1}}}}}"#;
        let (call, _) = CallRow::read(later.as_bytes()).unwrap().into_call();
        let kill = ContainerOrder::Kill { signal: None }.into();
        assert_eq!(call, Call::Container { id: ContainerId::new("a"), call: kill });
        assert!(CallRow::read(br#"{"within_ms":1,"call":"reboot"}"#).is_err());
    }

    fn exec() -> impl Strategy<Value = ExecRequest> {
        let texts = || prop::collection::vec(any::<String>(), 0..3);
        let text = || prop::option::of(any::<String>());
        let size = prop::option::of((any::<u16>(), any::<u16>()));
        let flags = any::<[bool; 4]>();
        (texts(), texts(), text(), text(), size, flags).prop_map(
            |(command, env, user, workdir, size, [privileged, stdin, tty, detach])| {
                let size = size.map(|(rows, columns)| TerminalSize { rows, columns });
                ExecRequest { command, env, user, workdir, privileged, stdin, tty, size, detach }
            },
        )
    }

    fn logs() -> impl Strategy<Value = LogsRequest> {
        let time = || prop::option::of(any::<i64>());
        (any::<[bool; 4]>(), prop::option::of(any::<u64>()), time(), time()).prop_map(
            |([stdout, stderr, follow, timestamps], tail, since, until)| LogsRequest {
                stdout,
                stderr,
                follow,
                tail,
                since,
                until,
                timestamps,
            },
        )
    }

    fn order() -> impl Strategy<Value = ContainerOrder> {
        let timeout = || prop::option::of(any::<i32>());
        prop_oneof![
            Just(ContainerOrder::Start),
            timeout().prop_map(|timeout| ContainerOrder::Stop { timeout }),
            timeout().prop_map(|timeout| ContainerOrder::Restart { timeout }),
            prop::option::of(any::<String>()).prop_map(|signal| ContainerOrder::Kill { signal }),
            Just(ContainerOrder::Pause),
            Just(ContainerOrder::Unpause),
            any::<(bool, bool)>().prop_map(|(force, volumes)| ContainerOrder::Remove { force, volumes }),
        ]
    }

    fn of_container() -> impl Strategy<Value = ContainerCall> {
        prop_oneof![
            // Each order as often as each of the other calls.
            7 => order().prop_map(ContainerCall::Order),
            1 => Just(ContainerCall::Inspect),
            1 => logs().prop_map(ContainerCall::Logs),
            1 => any::<bool>().prop_map(|follow| ContainerCall::Stats { follow }),
            1 => exec().prop_map(ContainerCall::Exec),
        ]
    }

    fn of_agent() -> impl Strategy<Value = AgentCall> {
        let container = || any::<String>().prop_map(ContainerId::new);
        let limit = any::<u64>().prop_map(Duration::from_millis);
        let availability = prop_oneof![Just(Availability::Active), Just(Availability::Cordoned)];
        prop_oneof![
            (container(), limit).prop_map(|(container, limit)| AgentCall::Drain { container, limit }),
            container().prop_map(|container| AgentCall::Resume { container }),
            availability.prop_map(AgentCall::SetAvailability),
        ]
    }

    fn call() -> impl Strategy<Value = Call> {
        prop_oneof![
            (any::<String>(), of_container())
                .prop_map(|(id, call)| Call::Container { id: ContainerId::new(id), call }),
            Just(Call::ListContainers),
            Just(Call::ListImages),
            any::<String>().prop_map(|image| Call::PullImage { image }),
            of_agent().prop_map(Call::Agent),
        ]
    }

    proptest! {
        #[test]
        fn every_call_arrives_as_it_was_sent(
            call in call(),
            ms in any::<u64>(),
            key in prop::option::of(any::<String>()),
        ) {
            let row = CallRow::new(&call, Duration::from_millis(ms)).unwrap();
            let row = key.iter().fold(row, |row, key| row.with_key(key));
            let mut frames = Frames::default();
            frames.push(&row.encode());
            let row: CallRow = frames.take().unwrap().unwrap();
            prop_assert_eq!(row.key(), key.as_deref());
            let (read, within) = row.into_call();
            prop_assert_eq!((read, within), (call, Duration::from_millis(ms)));
        }

        #[test]
        fn no_bytes_are_more_than_a_row_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = CallRow::read(&bytes);
        }
    }
}
