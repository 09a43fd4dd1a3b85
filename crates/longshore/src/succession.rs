//! SIGUSR2: the agent is replaced by another run of its program (a newer one, say) without losing a request.
//!
//! With the built-in balancer the successor is started beside its predecessor, shares its ports, and ends it with a
//! SIGTERM once it carries the same routes; the predecessor's open connections live on in it until they end. A
//! HAProxy carries the traffic by itself meanwhile, so the agent simply becomes its successor. Either way the successor gets
//! the DNS ports open, as systemd hands sockets over: what is asked before it can answer waits in them.

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use command_fds::{CommandFdExt, FdMapping};
use listenfd::ListenFd;
use longshore_daemon::DnsPorts;
use rustix::process::{Pid, Signal, getppid, kill_process};
use tokio::process::Child;
use tokio::time::timeout;

/// How long a predecessor's connections, websockets among them, may live on.
pub(crate) const GRACE: Duration = Duration::from_secs(24 * 3600);

/// How long a program may take to show that it runs.
const TRIAL: Duration = Duration::from_secs(10);

/// Names the predecessor to the successor.
const SUCCEEDS: &str = "LONGSHORE_SUCCEEDS";

/// The first descriptor of a socket that is handed over. An agent that becomes its successor, and cannot, still has those
/// that its runtime needs, which are the lowest.
const FIRST: i32 = 100;

/// The agent that started this one to be replaced by it.
pub(crate) struct Predecessor(Pid);

/// The predecessor, where there is one: it must be the parent of this process.
pub(crate) fn predecessor() -> Option<Predecessor> {
    let named = std::env::var(SUCCEEDS).ok()?.parse().ok().and_then(Pid::from_raw)?;
    (getppid() == Some(named)).then_some(Predecessor(named))
}

impl Predecessor {
    /// Tells it to end, unless it has.
    pub(crate) fn end(&self) {
        if getppid() == Some(self.0) {
            let _ = kill_process(self.0, Signal::TERM);
        }
    }
}

/// The DNS ports that a predecessor left open, the first time that it is asked.
pub(crate) fn inherited() -> Option<DnsPorts> {
    let mut all = ListenFd::from_env();
    let datagrams = all.take_udp_socket(0).ok()??;
    let connections = all.take_tcp_listener(1).ok()??;
    Some(DnsPorts::new(datagrams, connections))
}

/// The path of the running program, where a newer one may lie by now.
fn program() -> PathBuf {
    let path =
        std::env::current_exe().unwrap_or_else(|_| std::env::args_os().next().unwrap_or_default().into());
    // Of a program that was replaced, the kernel says so after its path.
    path.to_str().and_then(|path| path.strip_suffix(" (deleted)")).map_or(path.clone(), Into::into)
}

/// Whether the program runs at all. Who becomes another cannot go back.
pub(crate) async fn try_out() -> anyhow::Result<()> {
    let path = program();
    let mut command = tokio::process::Command::new(&path);
    command.arg("--help").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let status = timeout(TRIAL, command.status()).await.context("it does not end")??;
    anyhow::ensure!(status.success(), "{} --help fails: {status}", path.display());
    Ok(())
}

/// The same program with the same arguments, and with these ports.
fn again(ports: Option<DnsPorts>) -> Command {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    let mut command = Command::new(program());
    command.arg0(name);
    command.args(arguments);
    if let Some(ports) = ports {
        let sockets: [OwnedFd; 2] = ports.into();
        let places = (FIRST..).zip(sockets);
        let mapped = places.map(|(child_fd, parent_fd)| FdMapping { parent_fd, child_fd }).collect();
        if command.fd_mappings(mapped).is_ok() {
            command.env("LISTEN_FDS", "2").env("LISTEN_FDS_FIRST_FD", FIRST.to_string());
            command.env_remove("LISTEN_PID");
        }
    }
    command
}

/// Starts a successor beside this agent.
pub(crate) fn spawn(ports: Option<DnsPorts>) -> Option<Child> {
    let mut command = tokio::process::Command::from(again(ports));
    command.env(SUCCEEDS, std::process::id().to_string());
    match command.spawn() {
        Ok(child) => {
            tracing::info!(pid = child.id(), "a successor was started");
            Some(child)
        }
        Err(error) => {
            tracing::error!(%error, "cannot start a successor; this agent goes on");
            None
        }
    }
}

/// Becomes the successor; returns only if that fails.
pub(crate) fn exec(ports: Option<DnsPorts>) -> anyhow::Error {
    let mut command = again(ports);
    command.env_remove(SUCCEEDS);
    anyhow::Error::new(command.exec()).context("cannot start the successor")
}

/// The end of a successor; pends while there is none.
pub(crate) async fn ended(successor: &mut Option<Child>) -> String {
    match successor {
        Some(child) => child.wait().await.as_ref().map_or_else(ToString::to_string, ExitStatus::to_string),
        None => std::future::pending().await,
    }
}
