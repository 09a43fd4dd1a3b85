use std::process::ExitCode;

use longshore_api::{Name, NamedContainer};

use super::agent::client;
use super::print_list;
use crate::cli::NameCommand;
use crate::table::{Table, cell, words};

pub(crate) async fn name(command: NameCommand) -> anyhow::Result<ExitCode> {
    let NameCommand::Ls(list) = command;
    let names = client(&list.connection)?.names().await?;
    print_list(&list, &names, |name| name.name.clone(), table, None)?;
    Ok(ExitCode::SUCCESS)
}

/// Formats the names; a container in brackets is not ready.
fn table(names: &[Name]) -> Table {
    let shown = |c: &NamedContainer| if c.ready { c.name.clone() } else { format!("({})", c.name) };
    let rows = names.iter().map(|Name { name, kind, addresses, ports, containers }| {
        let containers: Vec<String> = containers.iter().map(shown).collect();
        [cell(name), cell(kind), words(addresses), words(ports), words(&containers)]
    });
    Table::new(["NAME", "KIND", "ADDRESSES", "PORTS", "CONTAINERS"], rows)
}
