use std::process::ExitCode;
use std::time::Duration;

use longshore_api::{
    Client, ClientError, ContainerEvent, Event, EventFilter, Events as Received, RouteEvent,
};

use serde::Serialize;

use super::agent::client;
use crate::cli::{EventCommand, EventKey};
use crate::output::{complain, print};
use crate::table::printable;

/// Pause before another attempt to reach an agent that is restarting.
const RECONNECT: Duration = Duration::from_secs(1);

pub(crate) async fn event(command: EventCommand) -> anyhow::Result<ExitCode> {
    let EventCommand::Ls(asked) = command;
    let client = client(&asked.connection)?;
    let mut wanted = EventFilter::default();
    for (key, value) in &asked.filter {
        let values = match key {
            EventKey::Container => &mut wanted.containers,
            EventKey::Event => &mut wanted.events,
            EventKey::Host => &mut wanted.hosts,
            EventKey::Type => &mut wanted.types,
        };
        values.push(value.clone());
    }
    let mut received = client.events(&wanted, asked.after.as_deref()).await?;
    loop {
        let broken = match received.next().await {
            Ok(Some(event)) => {
                print(&if asked.json { json(&event, received.last())? } else { line(&event) })?;
                continue;
            }
            Ok(None) => None,
            Err(error) => Some(error),
        };
        match (asked.follow, broken) {
            (true, _) => received = reconnect(&client, &wanted, received.last()).await?,
            (false, Some(error)) => return Err(error.into()),
            (false, None) => anyhow::bail!("the agent at {} exited", client.address()),
        }
    }
}

/// Reconnects once the agent is back, and continues after the last event received.
async fn reconnect(
    client: &Client,
    wanted: &EventFilter,
    after: Option<&str>,
) -> Result<Received, ClientError> {
    complain(&format!("longshore: lost the agent at {}; reconnecting", client.address()));
    loop {
        tokio::time::sleep(RECONNECT).await;
        match client.events(wanted, after).await {
            Err(ClientError::Unreachable { .. } | ClientError::Timeout { .. }) => {}
            outcome => return outcome,
        }
    }
}

/// Returns an event as JSON, with the id from which the API goes on after it.
fn json(event: &Event, id: Option<&str>) -> anyhow::Result<String> {
    #[derive(Serialize)]
    struct Line<'a> {
        id: Option<&'a str>,
        #[serde(flatten)]
        event: &'a Event,
    }
    Ok(serde_json::to_string(&Line { id, event })?)
}

fn line(event: &Event) -> String {
    printable(&match event {
        Event::Container(ContainerEvent { host, container, name, action, at }) => {
            let id: String = container.chars().take(12).collect();
            format!("{at} container {action} {name} ({id}) on {host}")
        }
        Event::Route(RouteEvent { key, route: Some(route) }) => {
            let names: Vec<_> = route.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
            let by = if names.is_empty() { "nothing yet".to_owned() } else { names.join(", ") };
            format!("route {key} served by {by}")
        }
        Event::Route(RouteEvent { key, route: None }) => format!("route {key} removed"),
        Event::Lagged { missed, host } => {
            let of = host.as_ref().map(|host| format!(" of {host}")).unwrap_or_default();
            let count = missed.map(|missed| format!("{missed} ")).unwrap_or_default();
            format!("{count}events{of} were missed")
        }
    })
}
