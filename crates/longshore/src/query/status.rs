use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use longshore_api::{Follower, LastPass, NextPass, PassReached, Status};
use serde::Serialize;

use super::agent::client;
use super::print_answer;
use crate::FAILED;
use crate::cli::Query;
use crate::output::Terminal;
use crate::table::{Table, Tone, cell, toned, words};

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize))]
struct Answer {
    #[serde(flatten)]
    status: Status,
    followers: Vec<Follower>,
}

pub(crate) async fn status(query: &Query) -> anyhow::Result<ExitCode> {
    let client = client(&query.connection)?;
    let answer = Answer { status: client.status().await?, followers: client.followers().await? };
    print_answer(query.json, &answer, |answer| text(answer, SystemTime::now(), Terminal::of_output()))?;
    Ok(if answer.status.ready { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn text(answer: &Answer, now: SystemTime, terminal: Terminal) -> String {
    let own = own_table(&answer.status).render(terminal);
    if answer.followers.is_empty() {
        return own;
    }
    format!("{own}\n\n{}", followers_table(&answer.followers, now).render(terminal))
}

fn own_table(status: &Status) -> Table {
    let Status { version, node, docker, balancer, dns, counts, .. } = status;
    let up = seconds(Duration::from_secs(status.uptime_seconds));
    let state = match (status.ready, &docker.error) {
        (true, _) => toned(format!("ready, up for {up}"), Tone::Good),
        (false, Some(_)) => toned("not ready: Docker is not responding", Tone::Bad),
        (false, None) => toned("not ready: the first routes are not applied yet", Tone::Waiting),
    };
    let engine = match (&docker.error, &docker.version) {
        (Some(error), _) => toned(format!("{}: not responding: {error}", docker.address), Tone::Bad),
        (None, Some(version)) => cell(format!("{version} at {}", docker.address)),
        (None, None) => cell(&docker.address),
    };
    let mut rows = vec![
        [cell("agent"), cell(format!("{version} on {node}"))],
        [cell("state"), state],
        [cell("docker"), engine],
        [cell("balancer"), cell(&balancer.engine)],
        [cell("frontends"), words(&balancer.frontends)],
    ];
    for closed in &balancer.closed {
        let line = format!("{} is not open: {}", closed.frontend, closed.error);
        rows.push([cell(""), toned(line, Tone::Bad)]);
    }
    if let Some(address) = dns {
        rows.push([cell("dns"), cell(format!("{address}, {} names", counts.names))]);
    }
    let problems = match counts.problems {
        0 => cell("0"),
        count => toned(format!("{count} (see `longshore problem ls`)"), Tone::Bad),
    };
    rows.extend([
        [cell("containers"), cell(format!("{}, {} of them running", counts.containers, counts.running))],
        [cell("routes"), cell(counts.routes.to_string())],
        [cell("handlers"), cell(counts.handlers.to_string())],
        [cell("problems"), problems],
    ]);
    Table::list(rows)
}

fn followers_table(followers: &[Follower], now: SystemTime) -> Table {
    let none = || cell("-");
    let rows = followers.iter().map(|follower| {
        let Follower { name, handler, current, last, next, .. } = follower;
        let [ended, cause, took, reached, problems] = match last {
            Some(LastPass { at, cause, took_ms, reached, problems }) => {
                let reached = match reached {
                    PassReached::All => toned("all", Tone::Good),
                    PassReached::Part => toned("part", Tone::Waiting),
                    PassReached::Nothing => toned("nothing", Tone::Bad),
                };
                let took = cell(format!("{took_ms} ms"));
                [cell(ago(at, now)), cell(word(cause)), took, reached, cell(problems.to_string())]
            }
            None => [none(), none(), none(), none(), none()],
        };
        let next = match (current, next) {
            (Some(_), _) => toned("now", Tone::Waiting),
            (None, Some(NextPass { at, cause })) => cell(format!("{} ({})", until(at, now), word(cause))),
            (None, None) => cell("on changes"),
        };
        [cell(name), cell(handler.as_deref().unwrap_or("-")), ended, cause, took, reached, problems, next]
    });
    Table::new(
        ["FOLLOWER", "HANDLER", "LAST PASS", "CAUSE", "TOOK", "REACHED", "PROBLEMS", "NEXT PASS"],
        rows,
    )
}

/// Returns a value as the API writes it.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word.replace('_', " "),
        _ => "-".to_owned(),
    }
}

pub(super) fn ago(at: &str, now: SystemTime) -> String {
    let passed = humantime::parse_rfc3339_weak(at).map(|at| now.duration_since(at).unwrap_or_default());
    passed.map_or_else(|_| at.to_owned(), |passed| format!("{} ago", seconds(passed)))
}

fn until(at: &str, now: SystemTime) -> String {
    let left = humantime::parse_rfc3339_weak(at).map(|at| at.duration_since(now).unwrap_or_default());
    left.map_or_else(|_| at.to_owned(), |left| format!("in {}", seconds(left)))
}

/// Formats a duration: whole seconds, in its two largest units.
fn seconds(duration: Duration) -> String {
    let text = humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_names_what_is_wrong_and_what_each_follower_did_last() {
        let answer: Answer = serde_json::from_value(serde_json::json!({
            "version": "0.1.0", "node": "web1", "host": "h", "started_at": "2026-11-21T17:00:00Z",
            "uptime_seconds": 3_725, "ready": true,
            "docker": { "address": "unix:///d.sock", "connected": true, "version": "29.0.1" },
            "balancer": {
                "engine": "built-in", "frontends": ["http:80", "tcp:5432"],
                "closed": [{ "frontend": "http:81", "error": "address in use" }],
            },
            "counts": { "containers": 3, "running": 2, "routes": 2, "handlers": 1, "names": 0, "problems": 1 },
            "followers": [
                {
                    "name": "sidecars", "passes": 3,
                    "last": {
                        "at": "2026-11-21T17:59:30.5Z", "cause": "changes", "took_ms": 12, "reached": "part",
                        "problems": 1,
                    },
                    "next": { "at": "2026-11-21T18:00:31Z", "cause": "retry" },
                },
                { "name": "publisher", "handler": "etcd", "passes": 0 },
            ],
        }))
        .unwrap();
        let now = humantime::parse_rfc3339("2026-11-21T18:00:00Z").unwrap();
        let shown = text(&answer, now, Terminal::default());
        for line in [
            "agent        0.1.0 on web1",
            "state        ready, up for 1h 2m",
            "docker       29.0.1 at unix:///d.sock",
            "frontends    http:80,tcp:5432",
            "             http:81 is not open: address in use",
            "containers   3, 2 of them running",
            "problems     1 (see `longshore problem ls`)",
            "sidecars    -         29s ago     changes   12 ms   part      1          in 31s (retry)",
            "publisher   etcd      -           -         -       -         -          on changes",
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line:?} is not in\n{shown}");
        }
    }
}
