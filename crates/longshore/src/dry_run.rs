//! What a dry run prints.

use longshore_api::Route;
use longshore_daemon::DryRun;

use crate::output::Terminal;
use crate::query::{problems_table, routes_table};
use crate::table::{Table, cell, words};

/// Returns the plan, section by section; omits empty ones, except the routes.
pub(crate) fn text(plan: &DryRun, terminal: Terminal) -> String {
    let routes: Vec<Route> = plan.routes.iter().map(|route| Route::from(&**route)).collect();
    let mut sections = vec![routes_table(&routes).render(terminal)];
    if !plan.actions.is_empty() {
        let rows = plan.actions.iter().map(|action| {
            let verb = action.verb.to_string();
            [cell(&action.follower), cell(verb), cell(&action.object), cell(&action.details)]
        });
        sections.push(Table::new(["FOLLOWER", "ACTION", "OBJECT", "DETAILS"], rows).render(terminal));
    }
    if !plan.handlers.is_empty() {
        let rows = plan.handlers.iter().map(|handler| {
            let enabled = if handler.enabled { "yes" } else { "no" };
            let [name, job, origin] = [&handler.name, &handler.job, &handler.origin].map(cell);
            [name, job, cell(enabled), words(&handler.events), origin]
        });
        sections
            .push(Table::new(["HANDLER", "JOB", "ENABLED", "EVENTS", "DEFINED IN"], rows).render(terminal));
    }
    let problems: Vec<_> = plan.problems.iter().map(longshore_api::Problem::from).collect();
    if !problems.is_empty() {
        sections.push(problems_table(&problems).render(terminal));
    }
    sections.extend(plan.configuration.clone());
    sections.join("\n\n")
}
