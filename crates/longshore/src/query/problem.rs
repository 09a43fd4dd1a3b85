use std::process::ExitCode;

use longshore_api::Problem;

use super::agent::client;
use super::print_list;
use crate::cli::ProblemCommand;
use crate::table::{Table, cell};

pub(crate) async fn problem(command: ProblemCommand) -> anyhow::Result<ExitCode> {
    let ProblemCommand::Ls(list) = command;
    let problems = client(&list.connection)?.problems().await?;
    print_list(&list, &problems, |problem| problem.subject.clone(), problems_table, Some("no problems"))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn problems_table(problems: &[Problem]) -> Table {
    let rows = problems.iter().map(|problem| {
        let message = match &problem.hint {
            Some(hint) => format!("{} ({hint})", problem.message),
            None => problem.message.clone(),
        };
        [cell(&problem.subject), cell(problem.key.as_deref().unwrap_or("-")), cell(message)]
    });
    Table::new(["SUBJECT", "SOURCE", "PROBLEM"], rows)
}
