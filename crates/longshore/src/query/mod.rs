//! Commands that ask a running agent.

mod agent;
mod cluster;
mod container;
mod event;
mod exec;
mod handler;
mod host;
mod image;
mod name;
mod problem;
mod pull;
mod route;
mod stats;
mod status;

use serde::Serialize;

use crate::cli::List;
use crate::format::{Format, render};
use crate::output::{Terminal, print};
use crate::table::Table;

pub(crate) use agent::advice;
pub(crate) use cluster::cluster;
pub(crate) use container::container;
pub(crate) use event::event;
pub(crate) use handler::handler;
pub(crate) use host::host;
pub(crate) use image::image;
pub(crate) use name::name;
pub(crate) use problem::{problem, problems_table};
pub(crate) use route::{route, routes_table};
pub(crate) use status::status;

/// Prints an answer: as JSON, or as formatted by `text`.
fn print_answer<T: Serialize>(json: bool, answer: &T, text: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
    if json { print(&serde_json::to_string_pretty(answer)?) } else { print(&text(answer)) }
}

/// Prints a list in the requested format. `name` returns what `--quiet` prints of an item; `empty` replaces an
/// empty table, by default the table's headings.
fn print_list<T: Serialize>(
    list: &List,
    items: &[T],
    name: impl Fn(&T) -> String,
    table: impl FnOnce(&[T]) -> Table,
    empty: Option<&str>,
) -> anyhow::Result<()> {
    let lines = |lines: Vec<String>| match lines.is_empty() {
        true => Ok(()),
        false => print(&lines.join("\n")),
    };
    if list.quiet {
        return lines(items.iter().map(|item| crate::table::printable(&name(item))).collect());
    }
    match (&list.format, list.json, empty) {
        (Format::Json, ..) | (_, true, _) => print(&serde_json::to_string_pretty(items)?),
        (Format::Template(template), ..) => {
            let each = items.iter().map(|item| render(template, serde_json::to_value(item)?));
            lines(each.collect::<anyhow::Result<_>>()?)
        }
        (Format::Table, _, Some(empty)) if items.is_empty() => print(empty),
        (Format::Table, ..) => print(&table(items).render(Terminal::of_output())),
    }
}
