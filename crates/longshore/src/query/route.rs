use std::process::ExitCode;

use longshore_api::{Explanation, Route, Upstream, Verdict, Waiting};

use super::agent::client;
use super::{print_answer, print_list};
use crate::NOT_ROUTED;
use crate::cli::{ExplainRoute, RouteCommand};
use crate::table::{Table, Tone, cell, printable, toned};

pub(crate) async fn route(command: RouteCommand) -> anyhow::Result<ExitCode> {
    match command {
        RouteCommand::Ls(list) => {
            let routes = client(&list.connection)?.routes().await?;
            print_list(
                &list,
                &routes,
                |route| format!("{} {}", route.frontend, request(route)),
                routes_table,
                None,
            )?;
            Ok(ExitCode::SUCCESS)
        }
        RouteCommand::Explain(asked) => explain(&asked).await,
    }
}

/// Formats the routes, one container per line.
pub(crate) fn routes_table(routes: &[Route]) -> Table {
    let rows = routes.iter().flat_map(|route| {
        let strip = if route.strip_prefix { "yes" } else { "no" };
        let of_route = move || [cell(&route.frontend), cell(request(route)), cell(strip)];
        let closed = route.frontend_error.clone();
        let up = move |upstream: &Upstream| {
            let [frontend, request, strip] = of_route();
            let weight = upstream.weight.to_string();
            let state = match &closed {
                None => toned("up", Tone::Good),
                Some(error) => toned(format!("down: the frontend is not open: {error}"), Tone::Bad),
            };
            [frontend, request, strip, cell(&upstream.name), cell(&upstream.address), cell(weight), state]
        };
        let waits = move |waiting: &Waiting| {
            let [frontend, request, strip] = of_route();
            let state = toned(format!("waiting: {}", waiting.why), Tone::Waiting);
            [frontend, request, strip, cell(&waiting.name), cell("-"), cell("-"), state]
        };
        let up = route.upstreams.iter().map(up).collect::<Vec<_>>();
        up.into_iter().chain(route.waiting.iter().map(waits).collect::<Vec<_>>())
    });
    Table::new(["FRONTEND", "REQUEST", "STRIP", "CONTAINER", "ADDRESS", "WEIGHT", "STATE"], rows)
}

/// Returns the requests that a route answers: host and path, or a hyphen if there are none.
fn request(route: &Route) -> String {
    let is_http = route.frontend.starts_with("http");
    if is_http { format!("{}{}", route.host, route.prefix) } else { "-".to_owned() }
}

async fn explain(asked: &ExplainRoute) -> anyhow::Result<ExitCode> {
    let ExplainRoute { target, frontend, query } = asked;
    let explanation = client(&query.connection)?.explain(frontend.as_deref(), target).await?;
    print_answer(query.json, &explanation, |explanation| text(target, explanation))?;
    Ok(if explanation.verdict == Verdict::Routed { ExitCode::SUCCESS } else { ExitCode::from(NOT_ROUTED) })
}

fn text(target: &str, explanation: &Explanation) -> String {
    let Explanation { frontend, verdict, route, frontend_error, candidates } = explanation;
    let mut lines = vec![format!("{} at {frontend}: {verdict}", printable(target))];
    lines.extend(route.as_ref().map(|route| format!("route: {}", printable(route))));
    lines.extend(frontend_error.as_ref().map(|error| format!("frontend: {}", printable(error))));
    lines.extend(candidates.iter().map(|candidate| {
        let mark = if candidate.serves { "+" } else { "-" };
        printable(&format!("{mark} {} ({}): {}", candidate.name, candidate.id, candidate.why))
    }));
    lines.join("\n")
}
