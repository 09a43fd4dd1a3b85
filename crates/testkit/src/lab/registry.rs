//! Image registries: the lab's own, on the bridge's address, and one that requires a login, in a host's namespace.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::process::Child;

use super::engine::last_lines;
use super::layout::Layout;
use super::process::Process;
use super::{Host, LabError};

const START: Duration = Duration::from_secs(20);

/// Starts the registry, unless it is running and listening.
pub(super) async fn start(layout: &Layout) -> Result<(), LabError> {
    let dir = layout.root().join("registry");
    let record = dir.join("process.json");
    if recorded(layout).is_some() && listens(layout) {
        return Ok(());
    }
    stop(layout).await?;
    fs::create_dir_all(dir.join("data")).map_err(LabError::file("make", &dir))?;
    let config = dir.join("config.yml");
    let text = settings(&dir, &layout.registry().to_string());
    fs::write(&config, text.to_string()).map_err(LabError::file("write", &config))?;
    let log_path = dir.join("log");
    let log = fs::File::create(&log_path).map_err(LabError::file("open", &log_path))?;
    let error_log = log.try_clone().map_err(LabError::file("open", &log_path))?;
    // The shell's pid becomes the registry's, and is written before anything else can reuse it.
    let pid_file = dir.join("pid");
    let mut line = tokio::process::Command::new("setsid");
    line.args(["--fork", "sh", "-c", "echo $$ > \"$0\"; exec docker-registry serve \"$1\""]);
    line.arg(&pid_file).arg(&config);
    line.env("OTEL_TRACES_EXPORTER", "none").stdin(std::process::Stdio::null()).stdout(log).stderr(error_log);
    let _ = fs::remove_file(&pid_file);
    let spawn = |source| LabError::Spawn { program: "setsid".into(), source };
    line.spawn().map_err(spawn)?.wait().await.map_err(spawn)?;
    let deadline = Instant::now() + START;
    while !listens(layout) {
        if Instant::now() > deadline {
            let log = last_lines(&log_path, 10);
            return Err(LabError::NotUp { what: "docker-registry".into(), limit: START, log });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let process = Process::of_file(&pid_file);
    let text = serde_json::to_vec(&process).map_err(|e| LabError::file("write", &record)(e.into()))?;
    fs::write(&record, text).map_err(LabError::file("write", &record))
}

/// Returns a registry's settings. JSON is valid YAML, and quotes what needs it.
fn settings(dir: &Path, address: &str) -> serde_json::Value {
    serde_json::json!({
        "version": 0.1,
        "log": { "accesslog": { "disabled": true }, "level": "warn" },
        "storage": { "filesystem": { "rootdirectory": dir.join("data") }, "delete": { "enabled": true } },
        "http": { "addr": address, "secret": "lab" },
    })
}

fn listens(layout: &Layout) -> bool {
    TcpStream::connect_timeout(&layout.registry(), Duration::from_millis(200)).is_ok()
}

pub(super) fn recorded(layout: &Layout) -> Option<Process> {
    let record = fs::read(layout.root().join("registry/process.json")).ok()?;
    serde_json::from_slice::<Option<Process>>(&record).ok().flatten().filter(|p| p.runs())
}

/// Stops the registry, if it is running.
pub(super) async fn stop(layout: &Layout) -> Result<(), LabError> {
    match recorded(layout) {
        Some(process) => process.kill().await,
        None => Ok(()),
    }
}

/// A registry on a host's loopback, where Docker accepts one without TLS, that requires a login. Killed when dropped.
#[derive(Debug)]
pub struct PrivateRegistry {
    /// The first part of its images' names.
    pub address: String,
    _dir: tempfile::TempDir,
    _child: Child,
}

impl PrivateRegistry {
    /// The user.
    pub const USER: &str = "lab";
    /// The password: Base64 variants encode it differently.
    pub const PASSWORD: &str = "se?ret~~of>>the??lab";
    /// Its bcrypt hash.
    const HASH: &str = "$2b$04$e6VvLKc4lUefkYCfOjRPEO8CqPP3vjNfpRRwVz8FrIeVjRwhEIBWO";

    /// Starts one on a host, and waits until it answers.
    ///
    /// # Errors
    /// Fails if it cannot be started, or does not answer.
    pub async fn on(host: &Host) -> Result<Self, LabError> {
        let dir = tempfile::tempdir().map_err(LabError::file("make", "a folder"))?;
        let address = format!("127.0.0.1:{}", host.free_port().await?);
        let users = dir.path().join("users");
        let line = format!("{}:{}\n", Self::USER, Self::HASH);
        fs::write(&users, line).map_err(LabError::file("write", &users))?;
        let users = serde_json::json!({ "htpasswd": { "realm": "lab", "path": users } });
        let mut text = settings(dir.path(), &address);
        if let Some(text) = text.as_object_mut() {
            text.insert("auth".into(), users);
        }
        let config = dir.path().join("config.yml");
        fs::write(&config, text.to_string()).map_err(LabError::file("write", &config))?;
        let log_path = dir.path().join("log");
        let log = fs::File::create(&log_path).map_err(LabError::file("open", &log_path))?;
        let mut line = host.command("docker-registry");
        line.arg("serve").arg(&config).env("OTEL_TRACES_EXPORTER", "none");
        line.stdout(std::process::Stdio::null()).stderr(log);
        let spawn = |source| LabError::Spawn { program: "docker-registry".into(), source };
        let child = line.spawn().map_err(spawn)?;
        let deadline = Instant::now() + START;
        while !host.get(format!("http://{address}/v2/")).send().await.is_ok_and(|answer| answer.status == 401)
        {
            if Instant::now() > deadline {
                let log = last_lines(&log_path, 10);
                return Err(LabError::NotUp { what: "docker-registry".into(), limit: START, log });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(Self { address, _dir: dir, _child: child })
    }
}
