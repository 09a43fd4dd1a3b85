//! Tables as the docker CLI prints them: headings in capitals, three spaces between columns.

use comfy_table::{Cell, Color, ColumnConstraint, ContentArrangement, presets};

use crate::output::Terminal;

/// Width below which the last column is not wrapped on a narrow terminal before the others are.
const LAST_COLUMN: u16 = 24;
/// Spaces between two columns.
const GAP: u16 = 3;

/// The colour of a cell, by its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Waiting,
    Bad,
}

/// Returns a cell. The text may be untrusted.
pub(crate) fn cell(text: impl AsRef<str>) -> Cell {
    Cell::new(printable(text.as_ref()))
}

/// Returns a cell that is coloured on a terminal.
pub(crate) fn toned(text: impl AsRef<str>, tone: Tone) -> Cell {
    cell(text).fg(match tone {
        Tone::Good => Color::Green,
        Tone::Waiting => Color::Yellow,
        Tone::Bad => Color::Red,
    })
}

/// Returns a cell with several words, or a hyphen.
pub(crate) fn words(words: &[String]) -> Cell {
    if words.is_empty() { cell("-") } else { cell(words.join(",")) }
}

/// A table with headings and rows.
#[derive(Debug)]
pub(crate) struct Table(comfy_table::Table);

impl Table {
    pub(crate) fn new<const N: usize>(
        headings: [&str; N],
        rows: impl IntoIterator<Item = [Cell; N]>,
    ) -> Self {
        let mut table = comfy_table::Table::new();
        table.set_header(headings);
        Self::of(table, rows)
    }

    /// Creates a table without headings.
    pub(crate) fn list<const N: usize>(rows: impl IntoIterator<Item = [Cell; N]>) -> Self {
        Self::of(comfy_table::Table::new(), rows)
    }

    fn of<const N: usize>(mut table: comfy_table::Table, rows: impl IntoIterator<Item = [Cell; N]>) -> Self {
        table.load_style(presets::NOTHING).add_rows(rows);
        for column in table.column_iter_mut() {
            column.set_padding((0, GAP));
        }
        if let Some(last) = table.column_mut(N.saturating_sub(1)) {
            last.set_padding((0, 0));
        }
        Self(table)
    }

    /// Renders the table. Text too long for the terminal is wrapped inside its column, the last one first.
    pub(crate) fn render(self, terminal: Terminal) -> String {
        let Self(mut table) = self;
        table.force_no_tty();
        if terminal.colour {
            table.enforce_styling();
            table.style_text_only();
        }
        if let Some(width) = terminal.width {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
            let widths = table.column_max_content_widths();
            let others = widths.iter().rev().skip(1);
            let needed = others.clone().fold(LAST_COLUMN, |sum, width| sum.saturating_add(width + GAP));
            if needed <= width {
                let fixed = others.map(|_| ColumnConstraint::ContentWidth).collect::<Vec<_>>();
                table.set_constraints(fixed);
            }
        }
        table.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
    }
}

/// Escapes control characters in untrusted text.
pub(crate) fn printable(text: &str) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_debug().to_string() } else { c.to_string() };
    text.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems() -> Table {
        let row = |subject, message| [cell(subject), cell("longshore.http.80.weight"), cell(message)];
        let message = "invalid weight \"heavy\": expected 0-256; the http route to port 80 is not created";
        Table::new(
            ["SUBJECT", "SOURCE", "PROBLEM"],
            [row("container wp1", message), row("container wp2", "short")],
        )
    }

    #[test]
    fn a_table_fits_the_terminal_and_wraps_its_last_column() {
        let text = problems().render(Terminal { width: Some(80), colour: false });
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.contains("container wp1   longshore.http.80.weight   invalid weight"), "{text}");
        let narrow = problems().render(Terminal { width: Some(40), colour: false });
        assert!(narrow.lines().all(|line| line.chars().count() <= 40), "{narrow}");
    }

    #[test]
    fn in_a_pipe_a_row_is_a_line_without_colours() {
        let text = problems().render(Terminal::default());
        assert_eq!(text.lines().count(), 3, "{text}");
        let toned = Table::new(["STATE"], [[toned("up", Tone::Good)]]);
        assert_eq!(toned.render(Terminal::default()), "STATE\nup");
    }

    #[test]
    fn a_terminal_sees_colours() {
        let state = Table::new(["STATE"], [[toned("up", Tone::Good)]]);
        let text = state.render(Terminal { width: Some(80), colour: true });
        assert!(text.contains("\u{1b}[") && text.contains("up"), "{text:?}");
    }

    #[test]
    fn a_strangers_text_moves_no_cursor() {
        let text = Table::new(["NAME"], [[cell("a\u{1b}[2J\nb")]]).render(Terminal::default());
        assert_eq!(text, "NAME\na\\u{1b}[2J\\nb");
    }
}
