use std::io::IsTerminal;
use std::process::ExitCode;

use longshore_api::Host;

use super::agent::client;
use super::{print_answer, print_list};
use crate::FAILED;
use crate::bytes::binary;
use crate::cli::{HostCommand, LabelHost, LeaveHost};
use crate::output::{ask, print};
use crate::table::{Table, Tone, cell, printable, toned};

pub(crate) async fn host(command: HostCommand) -> anyhow::Result<ExitCode> {
    match command {
        HostCommand::Ls(list) => {
            let hosts = client(&list.connection)?.hosts().await?;
            print_list(&list, &hosts, |host| host.name.clone(), table, None)?;
        }
        HostCommand::Label(LabelHost { host, labels, query }) => {
            let labels = client(&query.connection)?.label(&host, labels.into_iter().collect()).await?;
            print_answer(query.json, &labels, |all| {
                let lines: Vec<String> =
                    all.labels.iter().map(|(key, value)| printable(&format!("{key}={value}"))).collect();
                if lines.is_empty() { "no labels".to_owned() } else { lines.join("\n") }
            })?;
        }
        HostCommand::Leave(leave) => return leave_cluster(leave).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn leave_cluster(LeaveHost { host, yes, connection }: LeaveHost) -> anyhow::Result<ExitCode> {
    let client = client(&connection)?;
    let host = match host {
        Some(host) => host,
        None => client.status().await?.node,
    };
    let question = format!("{} gives up its place in the cluster. Continue? [y/N] ", printable(&host));
    if !yes && !confirmed(&question)? {
        return Ok(ExitCode::from(FAILED));
    }
    let left = client.leave(&host).await?;
    print(&format!("{} left the cluster", printable(&left.host)))?;
    Ok(ExitCode::SUCCESS)
}

/// Asks on the terminal. Where there is none, nobody can answer, and the command must say it itself.
fn confirmed(question: &str) -> anyhow::Result<bool> {
    let input = std::io::stdin();
    anyhow::ensure!(input.is_terminal(), "not confirmed: add --yes");
    ask(question);
    let mut line = String::new();
    input.read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

fn table(hosts: &[Host]) -> Table {
    let rows = hosts.iter().map(|host| {
        let state = match host.state.as_str() {
            "alive" if host.unreachable_from_here => toned("alive, unreachable from here", Tone::Waiting),
            "alive" => toned("alive", Tone::Good),
            "suspect" => toned("suspect", Tone::Waiting),
            "dead" => toned("dead", Tone::Bad),
            other => cell(other),
        };
        let dash = || "-".to_owned();
        let cpus = host.capacity.map_or_else(dash, |all| all.cpus.to_string());
        let load = host.load.map_or_else(dash, |used| format!("{:.2}", f64::from(used.millicpus) / 1000.0));
        let used = host.load.map_or_else(dash, |used| binary(used.memory));
        let memory = host.capacity.map_or_else(dash, |all| binary(all.memory));
        [
            cell(&host.name),
            state,
            cell(host.address.as_deref().unwrap_or("-")),
            cell(format!("{load} / {cpus}")),
            cell(format!("{used} / {memory}")),
            cell(format!("{} / {}", host.running, host.containers)),
            cell(host.version.as_deref().unwrap_or("-")),
            cell(host.docker_version.as_deref().unwrap_or("-")),
        ]
    });
    Table::new(["NAME", "STATE", "ADDRESS", "CPUS USED", "MEMORY USED", "RUNNING", "VERSION", "DOCKER"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Terminal;
    use longshore_api::{HostCapacity, HostLoad};

    #[test]
    fn a_host_is_shown_with_what_it_has_and_what_is_in_use() {
        let host = Host {
            id: "id".to_owned(),
            name: "web1".to_owned(),
            address: Some("192.0.2.1".to_owned()),
            state: "alive".to_owned(),
            capacity: Some(HostCapacity { cpus: 4, memory: 8 << 30 }),
            load: Some(HostLoad { millicpus: 1250, memory: 2 << 30 }),
            unreachable_from_here: false,
            labels: std::collections::BTreeMap::new(),
            version: Some("0.1.0".to_owned()),
            docker_version: None,
            containers: 3,
            running: 2,
        };
        let text =
            table(&[host.clone(), Host { capacity: None, load: None, ..host }]).render(Terminal::default());
        let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|row| row.split("   ").collect()).collect();
        let trimmed = |row: &[&str]| -> Vec<String> {
            row.iter().map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
        };
        let known = ["web1", "alive", "192.0.2.1", "1.25 / 4", "2GiB / 8GiB", "2 / 3", "0.1.0", "-"];
        assert_eq!(trimmed(&rows[0]), known, "{text}");
        assert_eq!(trimmed(&rows[1])[3..5], ["- / -", "- / -"], "{text}");
    }
}
