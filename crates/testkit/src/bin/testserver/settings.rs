//! The settings from the environment.

use std::env;
use std::time::Duration;

use tokio::net::TcpListener;

pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) http: Vec<u16>,
    pub(crate) tcp: Vec<u16>,
    pub(crate) udp: Vec<u16>,
    pub(crate) listen_after: Duration,
    pub(crate) grace: Duration,
    pub(crate) ignore_term: bool,
    pub(crate) unhealthy: bool,
}

impl Settings {
    pub(crate) fn from_env() -> Self {
        let text = |key: &str| env::var(key).ok();
        let milliseconds = |key: &str, usual: u64| {
            Duration::from_millis(text(key).and_then(|value| value.parse().ok()).unwrap_or(usual))
        };
        Self {
            name: text("NAME").or_else(|| text("HOSTNAME")).unwrap_or_default(),
            http: text("HTTP").map_or_else(|| vec![80], |list| ports(&list)),
            tcp: text("TCP").map(|list| ports(&list)).unwrap_or_default(),
            udp: text("UDP").map(|list| ports(&list)).unwrap_or_default(),
            listen_after: milliseconds("LISTEN_AFTER_MS", 0),
            grace: milliseconds("GRACE_MS", 10_000),
            ignore_term: text("IGNORE_TERM").is_some(),
            unhealthy: text("UNHEALTHY").is_some(),
        }
    }
}

fn ports(list: &str) -> Vec<u16> {
    list.split(',').filter_map(|port| port.trim().parse().ok()).collect()
}

/// Listens on both address families, if the container has both.
pub(crate) async fn listen(port: u16) -> std::io::Result<TcpListener> {
    match TcpListener::bind(("::", port)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind(("0.0.0.0", port)).await,
    }
}
