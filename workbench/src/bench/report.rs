//! A bench's result as a section of docs/benchmarks.md, between its markers.

use std::fmt::Write;

/// The page before the first bench has written to it.
pub(super) const EMPTY_PAGE: &str = "# Benchmarks\n\nThe command at the end of each section rewrites it. Ratios are \
    measured in one run, in turn: the machine's speed drifts by up to 2× between runs, so do not compare figures of \
    different sections.\n";

/// The result of a bench.
pub(super) struct Report {
    /// `p9`.
    pub(super) name: &'static str,
    /// The section's heading.
    pub(super) title: String,
    /// The method, in enough detail to repeat it.
    pub(super) method: String,
    /// The table's head.
    pub(super) columns: Vec<&'static str>,
    /// The table's rows.
    pub(super) rows: Vec<Vec<String>>,
    /// What the figures do not show: what was smaller than intended, and why.
    pub(super) notes: Vec<String>,
}

impl Report {
    /// Returns the section, without markers.
    pub(super) fn section(&self, machine: &str, date: &str) -> String {
        let mut text = format!("## {}\n\n{}\n\n", self.title, self.method);
        let mut row = |cells: &mut dyn Iterator<Item = &str>| {
            text.push('|');
            for cell in cells {
                text.push_str(&format!(" {cell} |"));
            }
            text.push('\n');
        };
        row(&mut self.columns.iter().copied());
        row(&mut self.columns.iter().map(|_| "---"));
        for cells in &self.rows {
            row(&mut cells.iter().map(String::as_str));
        }
        for note in &self.notes {
            // Writing to a String cannot fail.
            let _ = write!(text, "\n{note}\n");
        }
        // A bench may have several sections: `p10-handlers` belongs to `p10`.
        let bench = self.name.split('-').next().unwrap_or(self.name);
        let _ = write!(text, "\n`cargo xtask bench {bench}`, {date}, {machine}.\n");
        text
    }
}

/// Returns the page with this section replacing the one of its name, or appended.
pub(super) fn replaced(page: &str, name: &str, section: &str) -> String {
    let (begin, end) = (format!("<!-- bench:{name} -->"), format!("<!-- /bench:{name} -->"));
    let block = format!("{begin}\n{section}{end}");
    let parts = page.split_once(&begin).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(&end)?;
        Some((before, after))
    });
    match parts {
        Some((before, after)) => format!("{before}{block}{after}"),
        None => format!("{}\n\n{block}\n", page.trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_takes_the_place_of_its_older_self_and_touches_no_other() {
        let page = replaced(EMPTY_PAGE, "p1", "one\n");
        let page = replaced(&page, "p10", "ten\n");
        let page = replaced(&page, "p1", "uno\n");
        assert!(page.starts_with("# Benchmarks"));
        assert!(page.contains("<!-- bench:p1 -->\nuno\n<!-- /bench:p1 -->"));
        assert!(page.contains("<!-- bench:p10 -->\nten\n<!-- /bench:p10 -->"));
        assert!(!page.contains("one\n"));
    }

    #[test]
    fn a_report_names_its_command_date_and_machine() {
        let report = Report {
            name: "p9",
            title: "T".into(),
            method: "M".into(),
            columns: vec!["a", "b"],
            rows: vec![vec!["1".into(), "2".into()]],
            notes: vec!["N".into()],
        };
        let section = report.section("2 cores", "2026-01-01");
        assert_eq!(
            section,
            "## T\n\nM\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n\nN\n\n`cargo xtask bench p9`, 2026-01-01, 2 cores.\n"
        );
    }
}
