//! A host's `dockerd`: started in its namespace, found again by its record, stopped, killed, removed.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use bollard::{API_DEFAULT_VERSION, Docker};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::layout::{Layout, Seat};
use super::process::{self, Process};
use super::{LabError, command};

/// How long a daemon may take to answer: about half a second on an idle machine.
const START: Duration = Duration::from_secs(60);
/// How long a daemon may take to stop its containers and itself.
const STOP: Duration = Duration::from_secs(30);

/// The options that can differ between the hosts' daemons.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineOptions {
    /// Whether containers keep running while the daemon is stopped, killed or restarted (`--live-restore`).
    pub live_restore: bool,
}

/// The record of a daemon, by which another process finds, uses and stops it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    process: Process,
    options: EngineOptions,
}

fn record(seat: &Seat) -> Option<Record> {
    serde_json::from_slice(&fs::read(seat.record()).ok()?).ok()
}

/// Returns the running daemon's process.
pub(super) fn process(seat: &Seat) -> Option<Process> {
    record(seat).map(|r| r.process).filter(|p| p.runs())
}

/// Returns a client of this host's Docker, with a timeout of `seconds` per call.
pub(super) fn client(seat: &Seat, seconds: u64) -> Result<Docker, LabError> {
    let socket = seat.socket();
    Docker::connect_with_unix(&socket.to_string_lossy(), seconds, API_DEFAULT_VERSION)
        .map_err(docker_error(seat, "be connected to"))
}

pub(super) fn docker_error(
    seat: &Seat,
    verb: &str,
) -> impl FnOnce(bollard::errors::Error) -> LabError + use<> {
    let (host, verb) = (seat.name.clone(), verb.to_owned());
    move |source| LabError::Docker { host, verb, source }
}

/// Returns whether the daemon runs with these options and answers.
pub(super) async fn is_well(seat: &Seat, options: &EngineOptions) -> bool {
    let Some(record) = record(seat) else { return false };
    record.process.runs() && record.options == *options && answers(seat).await
}

async fn answers(seat: &Seat) -> bool {
    let Ok(client) = client(seat, 5) else { return false };
    tokio::time::timeout(Duration::from_secs(5), client.ping()).await.is_ok_and(|pong| pong.is_ok())
}

/// Starts the daemon and waits until it answers. Does nothing if it is running.
pub(super) async fn start(layout: &Layout, seat: &Seat, options: &EngineOptions) -> Result<(), LabError> {
    if process(seat).is_some() {
        return until_it_answers(seat).await;
    }
    let dir = &seat.dir;
    fs::create_dir_all(dir).map_err(LabError::file("make", dir))?;
    // dockerd refuses to start if this file names any running process.
    let pid_file = dir.join("dockerd.pid");
    remove_file(&pid_file)?;
    remove_file(&seat.socket())?;
    // It also waits forever for a containerd that was killed but not reaped: if the machine's init is slow to reap, a
    // zombie counts as running.
    let containerd = seat.exec_root().join("containerd/containerd.pid");
    if Process::of_file(&containerd).is_none() {
        remove_file(&containerd)?;
    }
    let log = fs::File::options().create(true).append(true).open(seat.log());
    let log = log.map_err(LabError::file("open", seat.log()))?;
    let error_log = log.try_clone().map_err(LabError::file("open", seat.log()))?;

    // nsenter, not `ip netns exec`, which hides the cgroups. setsid --fork detaches it, so that it outlives the test
    // and does not become a zombie when it is killed.
    let mut line = std::process::Command::new("nsenter");
    line.arg(format!("--net={}", seat.namespace_file().display()));
    line.args(["--", "setsid", "--fork", "dockerd"]);
    let mut flag = |name: &str, value: &str| {
        line.arg(format!("--{name}={value}"));
    };
    flag("data-root", &seat.data_root().to_string_lossy());
    flag("exec-root", &seat.exec_root().to_string_lossy());
    flag("pidfile", &pid_file.to_string_lossy());
    flag("host", &format!("unix://{}", seat.socket().display()));
    flag("insecure-registry", &layout.registry().to_string());
    flag("exec-opt", "native.cgroupdriver=cgroupfs");
    flag("cgroup-parent", &seat.cgroup());
    // A machine with its own containerd shares it with every dockerd: this keeps the lab's daemons apart.
    flag("containerd-namespace", &seat.namespace);
    flag("containerd-plugins-namespace", &format!("{}-plugins", seat.namespace));
    flag("shutdown-timeout", "5");
    if options.live_restore {
        flag("live-restore", "true");
    }
    line.stdin(std::process::Stdio::null()).stdout(log).stderr(error_log);
    let spawn = |source| LabError::Spawn { program: "nsenter".into(), source };
    let mut starter = tokio::process::Command::from(line).spawn().map_err(spawn)?;
    starter.wait().await.map_err(spawn)?;

    let deadline = Instant::now() + START;
    let process = loop {
        if let Some(process) = Process::of_file(&pid_file) {
            break process;
        }
        if Instant::now() > deadline {
            return Err(not_up(seat));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let record = Record { process, options: options.clone() };
    let text = serde_json::to_vec(&record).map_err(|e| LabError::file("write", seat.record())(e.into()))?;
    fs::write(seat.record(), text).map_err(LabError::file("write", seat.record()))?;
    until_it_answers(seat).await
}

async fn until_it_answers(seat: &Seat) -> Result<(), LabError> {
    let deadline = Instant::now() + START;
    while !answers(seat).await {
        if Instant::now() > deadline || process(seat).is_none() {
            return Err(not_up(seat));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn not_up(seat: &Seat) -> LabError {
    LabError::NotUp {
        what: format!("dockerd of {}", seat.name),
        limit: START,
        log: last_lines(&seat.log(), 15),
    }
}

/// Returns the last lines of a file, for an error message.
pub(crate) fn last_lines(path: &Path, count: usize) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(count)..).unwrap_or_default().join("\n")
}

fn remove_file(path: &Path) -> Result<(), LabError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(LabError::file("remove", path)(e)),
        _ => Ok(()),
    }
}

/// Stops the daemon as an administrator would; its containers stop too, unless live-restore is on.
pub(super) async fn stop(seat: &Seat) -> Result<(), LabError> {
    let Some(process) = process(seat) else { return Ok(()) };
    process.signal(Signal::TERM);
    if process.ended_within(STOP).await { Ok(()) } else { kill(seat).await }
}

/// Kills the daemon; its containers keep running. Waits for its containerd, which the kernel kills with its parent: a
/// daemon that starts in that time would mistake the dying one for a running one.
pub(super) async fn kill(seat: &Seat) -> Result<(), LabError> {
    let Some(process) = process(seat) else { return Ok(()) };
    let config = format!("{}/containerd/", seat.exec_root().display());
    let containerd = process::with_command_line(|words| {
        words.first().is_some_and(|program| program.ends_with("containerd"))
            && words.iter().any(|word| word.starts_with(&config))
    });
    process.kill().await?;
    for process in containerd {
        process.kill().await?;
    }
    // Until init reaps it, a dead containerd counts as running for the daemon that finds its pid here.
    let number = seat.exec_root().join("containerd/containerd.pid");
    match fs::remove_file(&number) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(LabError::file("remove", number)(error))
        }
        _ => Ok(()),
    }
}

/// Freezes the daemon: its socket accepts, and nothing answers.
pub(super) fn freeze(seat: &Seat) {
    if let Some(process) = process(seat) {
        process.signal(Signal::STOP);
    }
}

/// Thaws it.
pub(super) fn thaw(seat: &Seat) {
    if let Some(process) = process(seat) {
        process.signal(Signal::CONT);
    }
}

/// Ends the daemon, its containers and everything else in its namespace, and removes its files. Works from any broken
/// state.
pub(super) async fn clear(seat: &Seat) -> Result<(), LabError> {
    thaw(seat);
    kill(seat).await?;
    let exec_root = seat.exec_root().to_string_lossy().into_owned();
    // Docker's own processes: its containerd is recognized by its directory, shims and proxies by its containerd
    // namespace.
    let own = process::with_command_line(|words| {
        is_dockers_own(words)
            && words.iter().any(|word| word.contains(&format!("{exec_root}/")) || *word == seat.namespace)
    });
    let inside = process::inside_namespace(&seat.namespace_file());
    for process in own.into_iter().chain(inside).chain(contained(seat)) {
        process.kill().await?;
    }
    unmount_below(&seat.dir).await?;
    remove_cgroups(seat);
    if seat.dir.exists() {
        fs::remove_dir_all(&seat.dir).map_err(LabError::file("remove", &seat.dir))?;
    }
    Ok(())
}

/// Returns whether this is the command line of one of Docker's own processes: daemon, containerd, shim or port proxy.
pub(super) fn is_dockers_own(words: &[&str]) -> bool {
    let program = words.first().and_then(|word| word.rsplit('/').next()).unwrap_or_default();
    program.starts_with("containerd") || program.starts_with("docker")
}

/// Returns the mount points of the cgroup hierarchies: one on version 2, many on version 1.
fn cgroups(seat: &Seat) -> Vec<std::path::PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let controllers = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    std::iter::once(root.to_path_buf())
        .chain(controllers)
        .map(|hierarchy| hierarchy.join(&seat.namespace))
        .filter(|dir| dir.is_dir())
        .collect()
}

/// Returns every process in every container of the host.
fn contained(seat: &Seat) -> Vec<Process> {
    let mut dirs = cgroups(seat);
    let mut found = Vec::new();
    while let Some(dir) = dirs.pop() {
        let pids = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        found.extend(pids.lines().filter_map(|pid| Process::of_pid(pid.parse().ok()?)));
        let children = fs::read_dir(&dir).into_iter().flatten().flatten().map(|entry| entry.path());
        dirs.extend(children.filter(|path| path.is_dir()));
    }
    found
}

fn remove_cgroups(seat: &Seat) {
    for dir in cgroups(seat) {
        let children = fs::read_dir(&dir).into_iter().flatten().flatten().map(|entry| entry.path());
        for child in children.filter(|path| path.is_dir()) {
            // A cgroup that the kernel still holds is empty and costs nothing.
            let _ = fs::remove_dir(child);
        }
        let _ = fs::remove_dir(dir);
    }
}

/// Unmounts what a killed daemon left mounted, innermost first.
async fn unmount_below(dir: &Path) -> Result<(), LabError> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points: Vec<&str> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|point| Path::new(point).starts_with(dir))
        .collect();
    for point in points.iter().rev() {
        command::run("umount", &["--lazy", point]).await?;
    }
    Ok(())
}
