//! The lab's image registry, on the bridge's address.

use std::fs;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::LabError;
use super::engine::last_lines;
use super::layout::Layout;
use super::process::Process;

const START: Duration = Duration::from_secs(20);

/// Starts the registry, unless it runs and listens.
pub(super) async fn start(layout: &Layout) -> Result<(), LabError> {
    let dir = layout.root().join("registry");
    let record = dir.join("process.json");
    if recorded(layout).is_some() && listens(layout) {
        return Ok(());
    }
    stop(layout).await?;
    fs::create_dir_all(dir.join("data")).map_err(LabError::file("make", &dir))?;
    let config = dir.join("config.yml");
    // JSON is YAML, and quotes what needs to be.
    let text = serde_json::json!({
        "version": 0.1,
        "log": { "accesslog": { "disabled": true }, "level": "warn" },
        "storage": { "filesystem": { "rootdirectory": dir.join("data") }, "delete": { "enabled": true } },
        "http": { "addr": layout.registry().to_string(), "secret": "lab" },
    });
    fs::write(&config, text.to_string()).map_err(LabError::file("write", &config))?;
    let log_path = dir.join("log");
    let log = fs::File::create(&log_path).map_err(LabError::file("open", &log_path))?;
    let error_log = log.try_clone().map_err(LabError::file("open", &log_path))?;
    // The shell's own number becomes the registry's, and is written down before anything else can take it.
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

fn listens(layout: &Layout) -> bool {
    TcpStream::connect_timeout(&layout.registry(), Duration::from_millis(200)).is_ok()
}

pub(super) fn recorded(layout: &Layout) -> Option<Process> {
    let record = fs::read(layout.root().join("registry/process.json")).ok()?;
    serde_json::from_slice::<Option<Process>>(&record).ok().flatten().filter(|p| p.runs())
}

/// Ends the registry, if it runs.
pub(super) async fn stop(layout: &Layout) -> Result<(), LabError> {
    match recorded(layout) {
        Some(process) => process.kill().await,
        None => Ok(()),
    }
}
