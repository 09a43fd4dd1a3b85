use std::process::ExitCode;

use longshore_api::Client;
use serde::Serialize;

use super::agent::client;
use super::print_answer;
use crate::FAILED;
use crate::cli::Query;
use crate::output::Terminal;
use crate::table::{Table, Tone, cell, toned};

/// What an agent says of itself.
#[derive(Debug, Serialize)]
struct Status {
    /// Its address.
    agent: String,
    /// Why it is not ready; absent if it is.
    unready: Option<String>,
    containers: usize,
    routes: usize,
    /// Handlers, those that fail among them.
    handlers: usize,
    failing_handlers: usize,
    problems: usize,
}

pub(crate) async fn status(query: &Query) -> anyhow::Result<ExitCode> {
    let status = ask(&client(&query.connection)?).await?;
    print_answer(query.json, &status, text)?;
    Ok(if status.unready.is_some() { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

async fn ask(client: &Client) -> anyhow::Result<Status> {
    let handlers = client.handlers().await?;
    Ok(Status {
        agent: client.address().to_owned(),
        unready: client.unready().await?,
        containers: client.containers().await?.len(),
        routes: client.routes().await?.len(),
        handlers: handlers.len(),
        failing_handlers: handlers.iter().filter(|handler| handler.trouble.is_some()).count(),
        problems: client.problems().await?.len(),
    })
}

fn text(status: &Status) -> String {
    let Status { agent, unready, containers, routes, handlers, failing_handlers, problems } = status;
    let state = match unready {
        None => toned("ready", Tone::Good),
        Some(why) => toned(format!("not ready: {why}"), Tone::Bad),
    };
    let count = |count: &usize, bad: usize| match bad {
        0 => cell(count.to_string()),
        bad => toned(format!("{count}, {bad} failing"), Tone::Bad),
    };
    let rows = [
        [cell("agent"), cell(agent)],
        [cell("state"), state],
        [cell("containers"), count(containers, 0)],
        [cell("routes"), count(routes, 0)],
        [cell("handlers"), count(handlers, *failing_handlers)],
        [cell("problems"), count(problems, 0)],
    ];
    Table::list(rows).render(Terminal::of_output())
}
