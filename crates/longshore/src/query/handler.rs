use std::process::ExitCode;

use longshore_api::{FailedDelivery, Handler, HandlerTest, HandlerTestReport};

use super::agent::client;
use super::{print_answer, print_list};
use crate::FAILED;
use crate::cli::{FailedId, HandlerCommand, TestHandler};
use crate::table::{Table, Tone, cell, printable, toned, words};

pub(crate) async fn handler(command: HandlerCommand) -> anyhow::Result<ExitCode> {
    match command {
        HandlerCommand::Ls(list) => {
            let handlers = client(&list.connection)?.handlers().await?;
            print_list(&list, &handlers, |handler| handler.name.clone(), table, None)?;
        }
        HandlerCommand::Failures(list) => {
            let failed = client(&list.connection)?.failed_deliveries().await?;
            let empty = Some("no failed deliveries");
            print_list(&list, &failed, |delivery| delivery.id.clone(), failures_table, empty)?;
        }
        HandlerCommand::Replay(FailedId { id, query }) => {
            let affected = client(&query.connection)?.replay(&id).await?;
            print_answer(query.json, &affected, |affected| {
                format!("deliveries retried: {}", affected.count)
            })?;
        }
        HandlerCommand::Forget(FailedId { id, query }) => {
            let affected = client(&query.connection)?.forget(&id).await?;
            print_answer(query.json, &affected, |affected| {
                format!("deliveries discarded: {}", affected.count)
            })?;
        }
        HandlerCommand::Test(asked) => return test(asked).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn test(asked: TestHandler) -> anyhow::Result<ExitCode> {
    let TestHandler { name, event, container, dry_run, query } = asked;
    let test = HandlerTest { event, container, dry_run };
    let report = client(&query.connection)?.test_handler(&name, &test).await?;
    print_answer(query.json, &report, report_text)?;
    Ok(if report.failure.is_some() { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

fn table(handlers: &[Handler]) -> Table {
    let rows = handlers.iter().map(|handler| {
        let state = match (&handler.broken, &handler.trouble, handler.enabled) {
            (Some(error), ..) => toned(format!("broken: {error}"), Tone::Bad),
            (None, _, false) => cell("disabled"),
            (None, Some(trouble), true) => toned(format!("failing: {trouble}"), Tone::Bad),
            (None, None, true) => toned("ok", Tone::Good),
        };
        [
            cell(&handler.name),
            cell(if handler.job.is_empty() { "-" } else { &handler.job }),
            words(&handler.events),
            cell(handler.pending.to_string()),
            cell(handler.delivered.to_string()),
            cell(handler.failed.to_string()),
            state,
        ]
    });
    Table::new(["HANDLER", "JOB", "EVENTS", "PENDING", "DELIVERED", "FAILED", "STATE"], rows)
}

fn failures_table(failed: &[FailedDelivery]) -> Table {
    let rows = failed.iter().map(|delivery| {
        [
            cell(&delivery.id),
            cell(&delivery.handler),
            cell(&delivery.event),
            cell(delivery.container.as_deref().unwrap_or("-")),
            cell(delivery.attempts.to_string()),
            cell(&delivery.at),
            cell(&delivery.why),
        ]
    });
    Table::new(["ID", "HANDLER", "EVENT", "CONTAINER", "ATTEMPTS", "AT", "ERROR"], rows)
}

fn report_text(report: &HandlerTestReport) -> String {
    let mut lines = Vec::new();
    if !report.wanted {
        lines.push("note: the handler's filter excludes this event".to_owned());
    }
    if let Some(call) = &report.would {
        let words: Vec<String> = call.call.iter().map(|word| format!("{word:?}")).collect();
        lines.push(format!("command: {}", words.join(" ")));
        lines.extend(call.environment.iter().map(|(key, value)| printable(&format!("  {key}={value}"))));
        lines.push(format!("input: {}", printable(&call.input)));
    }
    match (&report.failure, &report.would) {
        (Some(why), _) => lines.push(printable(&format!("failed after {} ms: {why}", report.took_ms))),
        (None, None) => lines.push(format!("succeeded in {} ms", report.took_ms)),
        (None, Some(_)) => {}
    }
    lines.join("\n")
}
