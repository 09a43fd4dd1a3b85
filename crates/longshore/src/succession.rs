//! SIGUSR2: replaces the agent with a new run of its program (a newer version, say) without losing a request.
//!
//! With the built-in balancer, the successor starts next to its predecessor and shares its ports. Once it
//! carries the same routes, it asks its predecessor (SIGUSR1) for what two agents cannot share: the data
//! directory, the deliveries and the API's port. It then ends its predecessor (SIGTERM), which drains its open
//! connections. If the successor fails before that, everything stays as it was: the predecessor takes back what
//! it handed over.
//!
//! HAProxy carries the traffic by itself, so the agent's process simply becomes its successor. Either way the
//! successor inherits the open ports of DNS and of the cluster, as with systemd's socket activation: queries and
//! connections wait in them until it can answer.

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use command_fds::{CommandFdExt, FdMapping};
use listenfd::ListenFd;
use longshore_daemon::{DnsPorts, Ports};
use longshore_runtime::descriptors;
use rustix::process::{Pid, Signal, getppid, kill_process};
use tokio::process::Child;
use tokio::time::{Instant, sleep_until, timeout};

/// How long a predecessor's connections, websockets among them, may live on.
pub(crate) const GRACE: Duration = Duration::from_secs(24 * 3600);

/// How long a program may take to show that it runs.
const TRIAL: Duration = Duration::from_secs(10);

/// How long a successor may take to end its predecessor after the handover.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(60);

/// The variable that identifies the predecessor to the successor.
const SUCCEEDS: &str = "LONGSHORE_SUCCEEDS";

/// The variable with the soft limit of open files that the first agent was started with.
const LIMIT: &str = "LONGSHORE_OPEN_FILES";

/// The first descriptor of a socket that is handed over. An agent that fails to become its successor still
/// needs its runtime's descriptors, which are the lowest.
const FIRST: i32 = 100;

/// The agent that started this one as its replacement.
pub(crate) struct Predecessor(Pid);

/// Returns the predecessor, if any: it must be the parent of this process.
pub(crate) fn predecessor() -> Option<Predecessor> {
    let named = std::env::var(SUCCEEDS).ok()?.parse().ok().and_then(Pid::from_raw)?;
    (getppid() == Some(named)).then_some(Predecessor(named))
}

/// Returns the soft limit of open files that a predecessor was started with.
pub(crate) fn initial_limit() -> Option<u64> {
    std::env::var(LIMIT).ok()?.parse().ok()
}

impl Predecessor {
    /// Asks it to hand over.
    pub(crate) fn ask(&self) {
        self.signal(Signal::USR1);
    }

    /// Asks it to exit.
    pub(crate) fn end(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends it a signal, unless it has ended.
    fn signal(&self, signal: Signal) {
        if getppid() == Some(self.0) {
            let _ = kill_process(self.0, signal);
        }
    }
}

/// Returns the ports that a predecessor left open; nothing on later calls. Those of DNS come first, then the cluster's.
pub(crate) fn inherited() -> Ports {
    let mut all = ListenFd::from_env();
    let count = all.len();
    let mut dns = || {
        let datagrams = all.take_udp_socket(0).ok()??;
        let connections = all.take_tcp_listener(1).ok()??;
        Some(DnsPorts::new(datagrams, connections))
    };
    let dns = if count >= 2 { dns() } else { None };
    let peers = match count {
        1 => all.take_tcp_listener(0),
        3 => all.take_tcp_listener(2),
        _ => Ok(None),
    };
    Ports { dns, peers: peers.ok().flatten() }
}

/// Returns the path of the running program, which may be a newer version by now.
fn program() -> PathBuf {
    let path =
        std::env::current_exe().unwrap_or_else(|_| std::env::args_os().next().unwrap_or_default().into());
    // The kernel appends this to the path of a replaced program.
    path.to_str().and_then(|path| path.strip_suffix(" (deleted)")).map_or(path.clone(), Into::into)
}

/// Checks that the program runs at all: an agent that has replaced its process cannot go back.
pub(crate) async fn try_out() -> anyhow::Result<()> {
    let path = program();
    let mut command = tokio::process::Command::new(&path);
    command.arg("--help").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let status = timeout(TRIAL, command.status()).await.context("it did not exit")??;
    anyhow::ensure!(status.success(), "{} --help failed: {status}", path.display());
    Ok(())
}

/// Returns a command that runs the same program with the same arguments, and passes it these ports.
fn again(ports: Ports) -> Command {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    let mut command = Command::new(program());
    command.arg0(name);
    command.args(arguments);
    if let Some(limit) = descriptors::initial_limit() {
        command.env(LIMIT, limit.to_string());
    }
    let dns = ports.dns.map(<[OwnedFd; 2]>::from).into_iter().flatten();
    let sockets: Vec<OwnedFd> = dns.chain(ports.peers.map(OwnedFd::from)).collect();
    if !sockets.is_empty() {
        let count = sockets.len().to_string();
        let places = (FIRST..).zip(sockets);
        let mapped = places.map(|(child_fd, parent_fd)| FdMapping { parent_fd, child_fd }).collect();
        if command.fd_mappings(mapped).is_ok() {
            command.env("LISTEN_FDS", count).env("LISTEN_FDS_FIRST_FD", FIRST.to_string());
            command.env_remove("LISTEN_PID");
        }
    }
    command
}

/// A successor of this agent, where one was started.
#[derive(Default)]
pub(crate) struct Succession {
    child: Option<Child>,
    /// The deadline for it to take over, set at the handover.
    deadline: Option<Instant>,
}

impl Succession {
    /// Starts a successor next to this agent, unless there is one already.
    pub(crate) fn start(&mut self, ports: Ports) {
        if self.child.is_some() {
            return tracing::warn!("a successor is starting already");
        }
        let mut command = tokio::process::Command::from(again(ports));
        command.env(SUCCEEDS, std::process::id().to_string());
        match command.spawn() {
            Ok(child) => {
                tracing::info!(pid = child.id(), "successor started");
                self.child = Some(child);
            }
            Err(error) => tracing::error!(%error, "cannot start a successor; this agent keeps running"),
        }
    }

    /// Returns whether a successor waits for its handover.
    pub(crate) fn is_awaited(&self) -> bool {
        self.child.is_some() && self.deadline.is_none()
    }

    /// Records that the successor has been handed what it asked for.
    pub(crate) fn handed_over(&mut self) {
        self.deadline = Some(Instant::now() + HANDOVER_TIMEOUT);
    }

    /// Returns the process of the successor that was handed what it asked for: SIGTERM then comes from it.
    pub(crate) fn heir(&self) -> Option<u32> {
        self.deadline.and(self.child.as_ref()).and_then(Child::id)
    }

    /// Ends a successor that waits for its handover, as the agent ends before it.
    pub(crate) fn give_up(&self) {
        let pid = self.child.as_ref().and_then(Child::id).filter(|_| self.is_awaited());
        if let Some(pid) = pid.and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Resolves when the successor has failed; returns whether it had been handed anything. Pends while there
    /// is none.
    pub(crate) async fn failed(&mut self) -> Option<bool> {
        let Some(child) = &mut self.child else { return std::future::pending().await };
        let late = async {
            match self.deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let why = tokio::select! {
            status = child.wait() => status.as_ref().map_or_else(ToString::to_string, ExitStatus::to_string),
            () = late => {
                // Until it has ended, it may hold the data directory.
                let _ = child.kill().await;
                format!("it did not take over within {} s", HANDOVER_TIMEOUT.as_secs())
            }
        };
        tracing::error!(why, "the successor failed; this agent keeps running");
        self.child = None;
        Some(self.deadline.take().is_some())
    }
}

/// Becomes the successor; returns only if that fails.
pub(crate) fn exec(ports: Ports) -> anyhow::Error {
    let mut command = again(ports);
    command.env_remove(SUCCEEDS);
    anyhow::Error::new(command.exec()).context("cannot start the successor")
}
