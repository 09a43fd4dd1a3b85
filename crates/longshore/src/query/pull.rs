//! A pull on many hosts: a line for each, with a bar on a terminal.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

use futures_util::StreamExt;
use longshore_api::{PullRequest, PullUpdate};
use serde::Deserialize;

use super::agent::client;
use crate::FAILED;
use crate::bytes::decimal;
use crate::cli::ImagePull;
use crate::output::{Terminal, complain, print};
use crate::table::printable;

/// The width of a bar, in characters.
const BAR: u64 = 30;

/// A line of Docker's, reduced to what is shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Progress {
    status: String,
    id: String,
    progress_detail: Detail,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Detail {
    current: u64,
    total: u64,
}

/// How far a host is.
#[derive(Debug, Default)]
struct HostProgress {
    status: String,
    /// By layer: how many bytes are there, and how many it has.
    layers: BTreeMap<String, (u64, u64)>,
    outcome: Option<Result<(), String>>,
}

impl HostProgress {
    fn take(&mut self, progress: Progress) {
        let Progress { status, id, progress_detail: Detail { current, total } } = progress;
        match status.as_str() {
            // The same layer is counted again when it is extracted.
            "Downloading" if total > 0 => drop(self.layers.insert(id, (current, total))),
            "Download complete" | "Pull complete" => {
                if let Some((current, total)) = self.layers.get_mut(&id) {
                    *current = *total;
                }
            }
            _ => {}
        }
        self.status = status;
    }

    fn line(&self, host: &str) -> String {
        let (current, total) =
            self.layers.values().fold((0, 0), |sum, layer| (sum.0 + layer.0, sum.1 + layer.1));
        let text = match &self.outcome {
            Some(Ok(())) => "done".to_owned(),
            Some(Err(error)) => format!("failed: {error}"),
            None if total > 0 => {
                let full = usize::try_from(current.min(total) * BAR / total).unwrap_or_default();
                let empty = usize::try_from(BAR).unwrap_or_default().saturating_sub(full);
                let bar = format!("[{}{}]", "=".repeat(full), " ".repeat(empty));
                format!("{bar} {} / {}", decimal(current), decimal(total))
            }
            None => self.status.clone(),
        };
        printable(&format!("{host}: {text}"))
    }
}

pub(super) async fn pull(asked: ImagePull) -> anyhow::Result<ExitCode> {
    let ImagePull { image, host, quiet, json, connection } = asked;
    let hosts = Some(host).filter(|hosts| !hosts.is_empty());
    let client = client(&connection)?;
    let mut updates = client.pull(&PullRequest { image, hosts }).await?;
    let is_drawn = !quiet && !json && Terminal::of_output().width.is_some();
    let mut known: BTreeMap<String, HostProgress> = BTreeMap::new();
    while let Some(update) = updates.next().await {
        let update = update?;
        if json {
            print(&serde_json::to_string(&update)?)?;
        }
        let drawn = known.len();
        let PullUpdate { host, progress, done, error } = update;
        let state = known.entry(host.clone()).or_default();
        if let Some(progress) = progress.and_then(|progress| serde_json::from_str(progress.get()).ok()) {
            state.take(progress);
        }
        if done {
            state.outcome = Some(error.clone().map_or(Ok(()), Err));
        }
        match (is_drawn, error) {
            (true, _) => draw(&known, drawn)?,
            (false, Some(error)) => complain(&printable(&format!("longshore: {host}: {error}"))),
            (false, None) if done && !quiet && !json => print(&state.line(&host))?,
            (false, None) => {}
        }
    }
    let is_done = |state: &HostProgress| matches!(state.outcome, Some(Ok(())));
    Ok(if known.values().all(is_done) { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// Draws all lines over those that were drawn before.
fn draw(known: &BTreeMap<String, HostProgress>, drawn: usize) -> anyhow::Result<()> {
    let width = usize::from(Terminal::of_output().width.unwrap_or(80)).saturating_sub(1);
    if drawn > 0 {
        // If that fails, so does what follows.
        let _ = write!(std::io::stdout().lock(), "\x1b[{drawn}A");
    }
    for (host, state) in known {
        let line: String = state.line(host).chars().take(width).collect();
        print(&format!("\r{line}\x1b[K"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_line_adds_up_its_layers() {
        let mut state = HostProgress::default();
        let mut take = |line: &str| {
            state.take(serde_json::from_str(line).unwrap());
            state.line("h1")
        };
        assert_eq!(take(r#"{"status":"Pulling from library/a","id":"1"}"#), "h1: Pulling from library/a");
        let half = r#"{"status":"Downloading","id":"a","progressDetail":{"current":500,"total":1000}}"#;
        assert_eq!(take(half), format!("h1: [{}{}] 500B / 1kB", "=".repeat(15), " ".repeat(15)));
        let other = r#"{"status":"Downloading","id":"b","progressDetail":{"current":0,"total":1000}}"#;
        assert!(take(other).ends_with("500B / 2kB"));
        let done = r#"{"status":"Download complete","id":"a","progressDetail":{}}"#;
        assert!(take(done).ends_with("1kB / 2kB"));
        state.outcome = Some(Err("no such\u{1b} image".to_owned()));
        assert_eq!(state.line("h1"), "h1: failed: no such\\u{1b} image");
    }
}
