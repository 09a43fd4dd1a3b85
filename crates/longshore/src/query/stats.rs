//! The resources that containers use, as the docker command computes them.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use longshore_api::{ClientError, ContainerFilter};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::agent::client;
use crate::bytes::{binary, decimal};
use crate::cli::ContainerStats;
use crate::output::{Terminal, print};
use crate::table::{Table, cell};

/// How often the table is printed.
const INTERVAL: Duration = Duration::from_secs(1);
/// Clears the terminal, and begins at its top.
const CLEAR: &[u8] = b"\x1b[H\x1b[J";

pub(super) async fn stats(asked: &ContainerStats) -> anyhow::Result<ExitCode> {
    let ContainerStats { containers, no_stream, json, place } = asked;
    let client = client(&place.connection)?;
    let host = place.host.as_deref();
    let names: Vec<(String, Option<String>)> = if containers.is_empty() {
        let hosts = Vec::from_iter(place.host.clone());
        let states = vec!["running".to_owned()];
        let (running, _) =
            client.containers(&ContainerFilter { hosts, states, ..ContainerFilter::default() }).await?;
        running.into_iter().map(|container| (container.id, Some(container.host))).collect()
    } else {
        containers.iter().map(|name| (name.clone(), host.map(str::to_owned))).collect()
    };
    let opened = names.iter().map(|(name, host)| client.stats(name, host.as_deref(), !no_stream));
    let opened = join_all(opened).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    let numbered = opened.into_iter().enumerate();
    let mut samples = stream::select_all(
        numbered.map(|(number, samples)| samples.map(move |sample| (number, sample)).boxed()),
    );
    let mut latest: BTreeMap<usize, Sample> = BTreeMap::new();
    let mut ticks = interval_at(Instant::now() + INTERVAL, INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let sample = tokio::select! {
            sample = samples.next() => sample,
            _ = ticks.tick(), if !json && !no_stream => {
                show(&latest)?;
                continue;
            }
        };
        let Some((number, sample)) = sample else { break };
        let sample: Result<Box<RawValue>, ClientError> = sample;
        let sample = sample?;
        if *json {
            print(sample.get())?;
        } else {
            latest.insert(number, serde_json::from_str(sample.get())?);
        }
    }
    if !json && (*no_stream || latest.is_empty()) {
        print(&table(&latest).render(Terminal::of_output()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(latest: &BTreeMap<usize, Sample>) -> anyhow::Result<()> {
    let terminal = Terminal::of_output();
    if terminal.width.is_some() {
        // If that fails, so does what follows.
        let _ = std::io::stdout().lock().write_all(CLEAR);
    }
    print(&table(latest).render(terminal))
}

/// One sample, reduced to what is shown. Docker leaves out what it does not know.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Sample {
    id: String,
    name: String,
    cpu_stats: Cpu,
    precpu_stats: Cpu,
    memory_stats: Memory,
    networks: Option<BTreeMap<String, Network>>,
    blkio_stats: BlockIo,
    pids_stats: Pids,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Cpu {
    cpu_usage: CpuUsage,
    system_cpu_usage: u64,
    online_cpus: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CpuUsage {
    total_usage: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Memory {
    usage: u64,
    limit: u64,
    stats: BTreeMap<String, u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Network {
    rx_bytes: u64,
    tx_bytes: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct BlockIo {
    io_service_bytes_recursive: Option<Vec<BlockEntry>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct BlockEntry {
    op: String,
    value: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Pids {
    current: u64,
}

impl Sample {
    fn cpu_percent(&self) -> f64 {
        let (now, before) = (&self.cpu_stats, &self.precpu_stats);
        let used = now.cpu_usage.total_usage.saturating_sub(before.cpu_usage.total_usage);
        let passed = now.system_cpu_usage.saturating_sub(before.system_cpu_usage);
        percent(used, passed) * f64::from(now.online_cpus)
    }

    /// Returns the memory in use, without the file cache that the kernel can take back.
    fn memory(&self) -> u64 {
        let Memory { usage, stats, .. } = &self.memory_stats;
        // The names of control groups version 1 and 2.
        let cache = stats.get("total_inactive_file").or_else(|| stats.get("inactive_file"));
        cache.filter(|cache| *cache < usage).map_or(*usage, |cache| usage - cache)
    }

    fn block(&self, op: &str) -> u64 {
        let entries = self.blkio_stats.io_service_bytes_recursive.iter().flatten();
        entries.filter(|entry| entry.op.eq_ignore_ascii_case(op)).map(|entry| entry.value).sum()
    }

    fn network(&self, bytes: impl Fn(&Network) -> u64) -> u64 {
        self.networks.iter().flatten().map(|(_, network)| bytes(network)).sum()
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "two decimals are shown")]
    let (part, whole) = (part as f64, whole as f64);
    if whole > 0.0 { part / whole * 100.0 } else { 0.0 }
}

fn table(samples: &BTreeMap<usize, Sample>) -> Table {
    let rows = samples.values().map(|sample| {
        let limit = sample.memory_stats.limit;
        let (received, sent) = (sample.network(|n| n.rx_bytes), sample.network(|n| n.tx_bytes));
        [
            cell(sample.id.chars().take(12).collect::<String>()),
            cell(sample.name.trim_start_matches('/')),
            cell(format!("{:.2}%", sample.cpu_percent())),
            cell(format!("{} / {}", binary(sample.memory()), binary(limit))),
            cell(format!("{:.2}%", percent(sample.memory(), limit))),
            cell(format!("{} / {}", decimal(received), decimal(sent))),
            cell(format!("{} / {}", decimal(sample.block("read")), decimal(sample.block("write")))),
            cell(sample.pids_stats.current.to_string()),
        ]
    });
    let headings =
        ["CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS"];
    Table::new(headings, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_shown_as_the_docker_command_does() {
        let sample: Sample = serde_json::from_value(serde_json::json!({
            "id": "0123456789abcdef", "name": "/web",
            "cpu_stats": { "cpu_usage": { "total_usage": 300 }, "system_cpu_usage": 2000, "online_cpus": 4 },
            "precpu_stats": { "cpu_usage": { "total_usage": 100 }, "system_cpu_usage": 1000 },
            "memory_stats": { "usage": 3 << 20, "limit": 8 << 20, "stats": { "inactive_file": 1 << 20 } },
            "networks": { "eth0": { "rx_bytes": 1500, "tx_bytes": 20 }, "eth1": { "rx_bytes": 500 } },
            "blkio_stats": { "io_service_bytes_recursive": [
                { "op": "read", "value": 4096 }, { "op": "Write", "value": 1 }, { "op": "write", "value": 2 },
            ] },
            "pids_stats": { "current": 7 },
        }))
        .unwrap();
        let text = table(&BTreeMap::from([(0, sample)])).render(Terminal::default());
        let row = text.lines().nth(1).unwrap_or_default();
        let words: Vec<&str> = row.split("   ").map(str::trim).filter(|word| !word.is_empty()).collect();
        let wanted =
            ["0123456789ab", "web", "80.00%", "2MiB / 8MiB", "25.00%", "2kB / 20B", "4.1kB / 3B", "7"];
        assert_eq!(words, wanted, "{text}");
    }

    #[test]
    fn a_container_that_has_ended_uses_nothing() {
        let sample: Sample = serde_json::from_str(
            r#"{"id":"a","name":"/b","cpu_stats":{},"memory_stats":{},"blkio_stats":{"io_service_bytes_recursive":null}}"#,
        )
        .unwrap();
        let text = table(&BTreeMap::from([(0, sample)])).render(Terminal::default());
        assert!(text.contains("0.00%") && text.contains("0B / 0B"), "{text}");
    }
}
