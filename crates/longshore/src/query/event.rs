use std::process::ExitCode;
use std::time::Duration;

use longshore_api::{Client, ClientError, ContainerEvent, Event, Events as Received, RouteEvent};

use super::agent::client;
use crate::cli::EventCommand;
use crate::output::{complain, print};
use crate::table::printable;

/// Pause before another attempt to reach an agent that is restarting.
const RECONNECT: Duration = Duration::from_secs(1);

pub(crate) async fn event(command: EventCommand) -> anyhow::Result<ExitCode> {
    let EventCommand::Ls(asked) = command;
    let client = client(&asked.connection)?;
    let mut received = client.events(None).await?;
    loop {
        let broken = match received.next().await {
            Ok(Some(event)) => {
                print(&if asked.json { serde_json::to_string(&event)? } else { line(&event) })?;
                continue;
            }
            Ok(None) => None,
            Err(error) => Some(error),
        };
        match (asked.follow, broken) {
            (true, _) => received = reconnect(&client, received.last()).await?,
            (false, Some(error)) => return Err(error.into()),
            (false, None) => anyhow::bail!("the agent at {} exited", client.address()),
        }
    }
}

/// Reconnects once the agent is back, and continues after the last event received.
async fn reconnect(client: &Client, after: Option<&str>) -> Result<Received, ClientError> {
    complain(&format!("longshore: lost the agent at {}; reconnecting", client.address()));
    loop {
        tokio::time::sleep(RECONNECT).await;
        match client.events(after).await {
            Err(ClientError::Unreachable { .. } | ClientError::Timeout { .. }) => {}
            outcome => return outcome,
        }
    }
}

fn line(event: &Event) -> String {
    printable(&match event {
        Event::Container(ContainerEvent { container, name, action, at }) => {
            let id: String = container.chars().take(12).collect();
            format!("{at} container {action} {name} ({id})")
        }
        Event::Route(RouteEvent { key, route: Some(route) }) => {
            let names: Vec<_> = route.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
            let by = if names.is_empty() { "nothing yet".to_owned() } else { names.join(", ") };
            format!("route {key} served by {by}")
        }
        Event::Route(RouteEvent { key, route: None }) => format!("route {key} removed"),
        Event::Lagged { missed: Some(missed) } => format!("{missed} events were missed"),
        Event::Lagged { missed: None } => "events were missed".to_owned(),
    })
}
