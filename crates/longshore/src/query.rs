//! Commands that ask a running agent.

use std::process::ExitCode;

use longshore_api::{Client, Name, NamedContainer, Problem, Route, Upstream, Verdict, Waiting};
use serde::Serialize;

use crate::NOT_ROUTED;
use crate::cli::{Ask, ExplainRoute};
use crate::table::{printable, table};

pub(crate) fn client(ask: &Ask) -> anyhow::Result<Client> {
    Ok(Client::new(&ask.agent, ask.token_file.as_deref())?)
}

/// Prints JSON where it is asked for, else what `text` makes.
#[expect(clippy::print_stdout, reason = "the one place where answers are printed")]
pub(crate) fn print<T: Serialize + ?Sized>(
    ask: &Ask,
    answer: &T,
    text: impl FnOnce(&T) -> String,
) -> anyhow::Result<()> {
    if ask.json {
        println!("{}", serde_json::to_string_pretty(answer)?);
    } else {
        println!("{}", text(answer));
    }
    Ok(())
}

pub(crate) async fn routes(ask: &Ask) -> anyhow::Result<ExitCode> {
    let routes = client(ask)?.routes().await?;
    print(ask, &routes[..], routes_table)?;
    Ok(ExitCode::SUCCESS)
}

/// Routes, a container a line.
fn routes_table(routes: &[Route]) -> String {
    let rows = routes.iter().flat_map(|route| {
        let is_http = route.frontend.starts_with("http");
        let request = if is_http { format!("{}{}", route.host, route.prefix) } else { "-".to_owned() };
        let strip = if route.strip_prefix { "yes" } else { "no" };
        let row = move |[name, address, weight, state]: [String; 4]| {
            [route.frontend.clone(), request.clone(), strip.to_owned(), name, address, weight, state]
        };
        let up = |u: &Upstream| [u.name.clone(), u.address.clone(), u.weight.to_string(), "up".to_owned()];
        let none = || "-".to_owned();
        let waiting = |w: &Waiting| [w.name.clone(), none(), none(), format!("waits: {}", w.why)];
        let members: Vec<_> =
            route.upstreams.iter().map(up).chain(route.waiting.iter().map(waiting)).collect();
        members.into_iter().map(row)
    });
    table(["FRONTEND", "REQUEST", "STRIP", "CONTAINER", "ADDRESS", "WEIGHT", "STATE"], rows)
}

pub(crate) async fn names(ask: &Ask) -> anyhow::Result<ExitCode> {
    let names = client(ask)?.names().await?;
    print(ask, &names[..], |names| {
        let shown = |list: &[String]| if list.is_empty() { "-".to_owned() } else { list.join(",") };
        let own = |c: &NamedContainer| if c.ready { c.name.clone() } else { format!("({})", c.name) };
        let rows = names.iter().map(|Name { name, kind, addresses, ports, containers }| {
            let containers: Vec<String> = containers.iter().map(own).collect();
            [name.clone(), kind.clone(), shown(addresses), shown(ports), shown(&containers)]
        });
        table(["NAME", "KIND", "ADDRESSES", "PORTS", "CONTAINERS"], rows)
    })?;
    Ok(ExitCode::SUCCESS)
}

/// What a dry run would do: the routes, and the configuration where one would be written.
#[expect(clippy::print_stdout, reason = "an answer that was asked for")]
pub(crate) fn print_plan(routes: &[Route], problems: &[Problem], configuration: Option<&str>) {
    println!("{}", routes_table(routes));
    if !problems.is_empty() {
        println!("\n{}", problems_table(problems));
    }
    if let Some(configuration) = configuration {
        println!("\n{configuration}");
    }
}

pub(crate) async fn problems(ask: &Ask) -> anyhow::Result<ExitCode> {
    let problems = client(ask)?.problems().await?;
    print(ask, &problems[..], problems_table)?;
    Ok(ExitCode::SUCCESS)
}

fn problems_table(problems: &[Problem]) -> String {
    if problems.is_empty() {
        return "no problems".to_owned();
    }
    let rows = problems.iter().map(|problem| {
        let told = match &problem.hint {
            Some(hint) => format!("{} ({hint})", problem.message),
            None => problem.message.clone(),
        };
        [problem.subject.clone(), problem.key.clone().unwrap_or_else(|| "-".to_owned()), told]
    });
    table(["ABOUT", "SAID BY", "PROBLEM"], rows)
}

pub(crate) async fn containers(ask: &Ask) -> anyhow::Result<ExitCode> {
    let containers = client(ask)?.containers().await?;
    print(ask, &containers[..], |containers| {
        let rows = containers.iter().map(|container| {
            let short: String = container.id.chars().take(12).collect();
            let addresses: Vec<_> =
                container.networks.values().filter(|ip| !ip.is_empty()).cloned().collect();
            let state = if container.stopping { "stopping".to_owned() } else { container.state.clone() };
            [
                short,
                container.name.clone(),
                container.image.clone(),
                state,
                container.health.clone(),
                addresses.join(","),
            ]
        });
        table(["CONTAINER ID", "NAME", "IMAGE", "STATE", "HEALTH", "ADDRESSES"], rows)
    })?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn explain(asked: &ExplainRoute) -> anyhow::Result<ExitCode> {
    let frontend = asked.frontend.clone().unwrap_or_else(|| {
        let host = asked.target.strip_prefix("http://").unwrap_or(&asked.target);
        let host = host.split('/').next().unwrap_or_default();
        let port = host.rsplit_once(':').map_or("80", |(_, port)| port);
        format!("http:{port}")
    });
    let explanation = client(&asked.ask)?.explain(&frontend, &asked.target).await?;
    print(&asked.ask, &explanation, |explanation| {
        let mut lines = vec![format!("{} at {frontend}: {}", printable(&asked.target), explanation.verdict)];
        lines.extend(explanation.route.as_ref().map(|route| format!("route: {}", printable(route))));
        lines.extend(explanation.candidates.iter().map(|candidate| {
            let mark = if candidate.serves { "+" } else { "-" };
            printable(&format!("{mark} {} ({}): {}", candidate.name, candidate.id, candidate.why))
        }));
        lines.join("\n")
    })?;
    Ok(if explanation.verdict == Verdict::Routed { ExitCode::SUCCESS } else { ExitCode::from(NOT_ROUTED) })
}
