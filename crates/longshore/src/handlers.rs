//! `longshore handlers`: what is told of events, and what could not be delivered.

use std::process::ExitCode;

use longshore_api::{FailedDelivery, Handler, HandlerTest, HandlerTestReport};

use crate::FAILED;
use crate::cli::{FailedId, Handlers, HandlersCommand, TestHandler};
use crate::query::{client, print};
use crate::table::{printable, table};

pub(crate) async fn run(asked: Handlers) -> anyhow::Result<ExitCode> {
    match asked.command {
        None => {
            let handlers = client(&asked.ask)?.handlers().await?;
            print(&asked.ask, &handlers[..], handlers_table)?;
        }
        Some(HandlersCommand::Failed(ask)) => {
            let failed = client(&ask)?.failed_deliveries().await?;
            print(&ask, &failed[..], failed_table)?;
        }
        Some(HandlersCommand::Replay(FailedId { id, ask })) => {
            let affected = client(&ask)?.replay(&id).await?;
            print(&ask, &affected, |affected| format!("delivered again: {}", affected.count))?;
        }
        Some(HandlersCommand::Forget(FailedId { id, ask })) => {
            let affected = client(&ask)?.forget(&id).await?;
            print(&ask, &affected, |affected| format!("forgotten: {}", affected.count))?;
        }
        Some(HandlersCommand::Test(asked)) => return test(asked).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn test(asked: TestHandler) -> anyhow::Result<ExitCode> {
    let TestHandler { name, event, container, dry_run, ask } = asked;
    let report = client(&ask)?.test_handler(&name, &HandlerTest { event, container, dry_run }).await?;
    print(&ask, &report, report_text)?;
    Ok(if report.failure.is_some() { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

fn handlers_table(handlers: &[Handler]) -> String {
    let rows = handlers.iter().map(|handler| {
        let events = match handler.events.is_empty() {
            true => "-".to_owned(),
            false => handler.events.join(","),
        };
        let state = match (&handler.trouble, handler.enabled) {
            (_, false) => "disabled".to_owned(),
            (Some(trouble), true) => format!("failing: {trouble}"),
            (None, true) => "ok".to_owned(),
        };
        let count = |count: usize| count.to_string();
        [
            handler.name.clone(),
            handler.job.clone(),
            events,
            count(handler.pending),
            handler.delivered.to_string(),
            count(handler.failed),
            state,
        ]
    });
    table(["HANDLER", "JOB", "EVENTS", "PENDING", "DELIVERED", "FAILED", "STATE"], rows)
}

fn failed_table(failed: &[FailedDelivery]) -> String {
    if failed.is_empty() {
        return "no failed deliveries".to_owned();
    }
    let rows = failed.iter().map(|one| {
        [
            one.id.clone(),
            one.handler.clone(),
            one.event.clone(),
            one.container.clone().unwrap_or_else(|| "-".to_owned()),
            one.attempts.to_string(),
            one.at.clone(),
            one.why.clone(),
        ]
    });
    table(["ID", "HANDLER", "EVENT", "CONTAINER", "ATTEMPTS", "AT", "WHY"], rows)
}

fn report_text(report: &HandlerTestReport) -> String {
    let mut lines = Vec::new();
    if !report.wanted {
        lines.push("its filter lets no such event through".to_owned());
    }
    if let Some(call) = &report.would {
        let words: Vec<String> = call.call.iter().map(|word| format!("{word:?}")).collect();
        lines.push(format!("would: {}", words.join(" ")));
        lines.extend(call.environment.iter().map(|(key, value)| printable(&format!("  {key}={value}"))));
        lines.push(format!("input: {}", printable(&call.input)));
    }
    match (&report.failure, &report.would) {
        (Some(why), _) => lines.push(printable(&format!("failed after {} ms: {why}", report.took_ms))),
        (None, None) => lines.push(format!("done in {} ms", report.took_ms)),
        (None, Some(_)) => {}
    }
    lines.join("\n")
}
