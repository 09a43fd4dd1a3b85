//! The server inside the lab's containers: reports what it was asked, and misbehaves on request.
//!
//! | what | how |
//! |---|---|
//! | `/ANY/PATH` | JSON: its name, and the request's method, path, query, version, headers and peer |
//! | `/slow?ms=N` | the same after N milliseconds |
//! | `/status/N` | the same with status N |
//! | `/stream?chunks=N&bytes=N&ms=N` | N chunks of N bytes each, N milliseconds apart |
//! | `POST /echo` | the body, as it comes |
//! | `/ws` | a websocket that answers each text with `NAME: text` |
//! | `/health`, `POST /health/fail`, `POST /health/pass` | 200 or 503, as last set |
//!
//! Every answer has the header `x-container: NAME`. Settings come from the environment: `NAME`; `HTTP`, `TCP`, `UDP`
//! (ports, separated by commas; 80 for HTTP by default); `LISTEN_AFTER_MS`; `GRACE_MS`; `IGNORE_TERM`; `UNHEALTHY`.
//! `testserver probe` exits with 0 if `/health` on the first HTTP port answers 200, else with 1: a health check
//! without a shell.

mod bytes_back;
mod http;
mod probe;
mod settings;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use settings::Settings;

/// The state that all its listeners share.
struct Server {
    settings: Settings,
    healthy: AtomicBool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<ExitCode> {
    let settings = Settings::from_env();
    if std::env::args().nth(1).as_deref() == Some("probe") {
        return Ok(probe::run(&settings).await);
    }
    // Installed first: process 1 ignores a signal that it has no handler for.
    let mut term = signal(SignalKind::terminate())?;
    let (stop, stopping) = watch::channel(false);
    let server = Arc::new(Server { healthy: AtomicBool::new(!settings.unhealthy), settings });

    let grace = server.settings.grace;
    let ignore = server.settings.ignore_term;
    let work = serve(Arc::clone(&server), stopping);
    tokio::pin!(work);
    loop {
        tokio::select! {
            result = &mut work => return result.map(|()| ExitCode::SUCCESS),
            _ = term.recv() => {
                if !ignore {
                    break;
                }
            }
        }
    }
    stop.send_replace(true);
    match tokio::time::timeout(grace, work).await {
        Ok(result) => result.map(|()| ExitCode::SUCCESS),
        Err(_) => Ok(ExitCode::FAILURE),
    }
}

async fn serve(server: Arc<Server>, stopping: watch::Receiver<bool>) -> std::io::Result<()> {
    let mut told = stopping.clone();
    tokio::select! {
        () = tokio::time::sleep(server.settings.listen_after) => {}
        _ = told.wait_for(|stop| *stop) => return Ok(()),
    }
    let mut tasks = tokio::task::JoinSet::new();
    for &port in &server.settings.http {
        let listener = settings::listen(port).await?;
        tasks.spawn(http::serve(Arc::clone(&server), listener, port, stopping.clone()));
    }
    for &port in &server.settings.tcp {
        let listener = settings::listen(port).await?;
        tasks.spawn(bytes_back::tcp(Arc::clone(&server), listener, stopping.clone()));
    }
    for &port in &server.settings.udp {
        let socket = tokio::net::UdpSocket::bind(("0.0.0.0", port)).await?;
        tasks.spawn(bytes_back::udp(Arc::clone(&server), socket, stopping.clone()));
    }
    if tasks.is_empty() {
        let _ = told.wait_for(|stop| *stop).await;
    }
    while tasks.join_next().await.is_some() {}
    Ok(())
}

/// Pauses for as long as a request asked, at most an hour.
async fn pause(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds.min(3_600_000))).await;
}
