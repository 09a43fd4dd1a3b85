use std::io::Write;
use std::process::ExitCode;

use futures_util::StreamExt;
use futures_util::future::join_all;
use longshore_api::{
    Client, ClientError, Container, ContainerChange, ContainerFilter, Logs, SilentHost, Written,
};
use longshore_model::ContainerOrder;

use super::agent::client;
use super::{exec, print_list, stats};
use crate::cli::{ContainerCommand, ContainerList, ContainerLogs, Containers, FilterKey, Orders};
use crate::output::{complain, print, write_all};
use crate::table::{Table, Tone, cell, printable, toned, words};
use crate::{FAILED, INCOMPLETE};

pub(crate) async fn container(command: ContainerCommand) -> anyhow::Result<ExitCode> {
    match command {
        ContainerCommand::Ls(asked) => list(&asked).await,
        ContainerCommand::Inspect(asked) => inspect(&asked).await,
        ContainerCommand::Start(orders) => order(&orders, ContainerOrder::Start).await,
        ContainerCommand::Stop(asked) => {
            order(&asked.orders, ContainerOrder::Stop { timeout: asked.timeout }).await
        }
        ContainerCommand::Restart(asked) => {
            order(&asked.orders, ContainerOrder::Restart { timeout: asked.timeout }).await
        }
        ContainerCommand::Kill(asked) => {
            order(&asked.orders, ContainerOrder::Kill { signal: asked.signal }).await
        }
        ContainerCommand::Pause(orders) => order(&orders, ContainerOrder::Pause).await,
        ContainerCommand::Unpause(orders) => order(&orders, ContainerOrder::Unpause).await,
        ContainerCommand::Rm(asked) => {
            let remove = ContainerOrder::Remove { force: asked.force, volumes: asked.volumes };
            order(&asked.orders, remove).await
        }
        ContainerCommand::Logs(asked) => logs(asked).await,
        ContainerCommand::Stats(asked) => stats::stats(&asked).await,
        ContainerCommand::Exec(asked) => exec::exec(*asked).await,
    }
}

async fn list(asked: &ContainerList) -> anyhow::Result<ExitCode> {
    let mut wanted = ContainerFilter { hosts: asked.host.clone(), ..ContainerFilter::default() };
    for (key, value) in &asked.filter {
        let values = match key {
            FilterKey::Host => &mut wanted.hosts,
            FilterKey::Label => &mut wanted.labels,
            FilterKey::Name => &mut wanted.names,
            FilterKey::State => &mut wanted.states,
        };
        values.push(value.clone());
    }
    let (containers, silent) = client(&asked.list.connection)?.containers(&wanted).await?;
    print_list(&asked.list, &containers, |container| short(&container.id), table, None)?;
    for SilentHost { host, why } in &silent {
        let line =
            format!("longshore: host {host} does not answer ({why}): its containers are as last known");
        complain(&printable(&line));
    }
    Ok(if silent.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(INCOMPLETE) })
}

fn table(containers: &[Container]) -> Table {
    let rows = containers.iter().map(|container| {
        let addresses: Vec<_> = container.networks.values().filter(|ip| !ip.is_empty()).cloned().collect();
        let published = container.published.iter().map(|port| {
            let ip =
                if port.host_ip.contains(':') { format!("[{}]", port.host_ip) } else { port.host_ip.clone() };
            format!("{ip}:{}->{}/{}", port.host_port, port.container_port, port.transport)
        });
        let health = match container.health.as_str() {
            "healthy" => toned("healthy", Tone::Good),
            "unhealthy" => toned("unhealthy", Tone::Bad),
            "starting" => toned("starting", Tone::Waiting),
            other => cell(other),
        };
        let state = match (container.stopping, container.state.as_str(), container.exit_code) {
            (true, ..) => toned("stopping", Tone::Waiting),
            (false, "running", _) => toned("running", Tone::Good),
            (false, "dead", _) => toned("dead", Tone::Bad),
            (false, "exited", Some(code)) => cell(format!("exited ({code})")),
            (false, other, _) => cell(other),
        };
        [
            cell(short(&container.id)),
            cell(&container.name),
            cell(&container.host),
            cell(&container.image),
            state,
            health,
            words(&addresses),
            words(&published.collect::<Vec<_>>()),
        ]
    });
    Table::new(["CONTAINER ID", "NAME", "HOST", "IMAGE", "STATE", "HEALTH", "ADDRESSES", "PORTS"], rows)
}

fn short(id: &str) -> String {
    id.chars().take(12).collect()
}

async fn inspect(asked: &Containers) -> anyhow::Result<ExitCode> {
    let client = client(&asked.place.connection)?;
    let host = asked.place.host.as_deref();
    let found = join_all(asked.containers.iter().map(|name| client.inspect(name, host))).await;
    let mut inspections = Vec::new();
    for inspection in found {
        inspections.push(serde_json::from_str::<serde_json::Value>(inspection?.get())?);
    }
    print(&serde_json::to_string_pretty(&inspections)?)?;
    Ok(ExitCode::SUCCESS)
}

/// Gives all containers an order at once. Each failure is reported, and makes the command fail.
async fn order(asked: &Orders, order: ContainerOrder) -> anyhow::Result<ExitCode> {
    let Containers { containers, place } = &asked.containers;
    let client = client(&place.connection)?;
    let host = place.host.as_deref();
    let outcomes = join_all(containers.iter().map(|name| client.order(name, host, &order))).await;
    let mut changes: Vec<ContainerChange> = Vec::new();
    let mut failures = Vec::new();
    for outcome in outcomes {
        match outcome {
            Ok(change) if asked.json => changes.push(change),
            Ok(change) => print(&printable(&change.name))?,
            Err(error @ ClientError::Refused { .. }) => failures.push(error),
            Err(error) => return Err(error.into()),
        }
    }
    if asked.json {
        print(&serde_json::to_string_pretty(&changes)?)?;
    }
    for failure in &failures {
        complain(&format!("longshore: {failure}"));
    }
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

async fn logs(asked: ContainerLogs) -> anyhow::Result<ExitCode> {
    let ContainerLogs { container, follow, tail, since, until, timestamps, place } = asked;
    let wanted = Logs { follow, tail: tail.0, since, until, timestamps };
    let client: Client = client(&place.connection)?;
    let mut pieces = client.logs(&container, place.host.as_deref(), &wanted).await?;
    while let Some(piece) = pieces.next().await {
        match piece? {
            Written::Stdout(bytes) => write_all(&bytes)?,
            // If that fails, there is nowhere left to report it.
            Written::Stderr(bytes) => drop(std::io::stderr().lock().write_all(&bytes)),
        }
    }
    Ok(ExitCode::SUCCESS)
}
