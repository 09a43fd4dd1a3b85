//! Converts a page of `docs` to a manual page: headings, paragraphs, lists and code, and each table row as an
//! entry.

use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

/// Appends a document without its title, which the page already has.
pub(super) fn append(page: &mut Roff, markdown: &str) {
    let mut writer = Writer { page, line: Vec::new(), style: Style::Plain, table: None, items: Vec::new() };
    for event in Parser::new_ext(markdown, Options::ENABLE_TABLES) {
        writer.take(event);
    }
}

#[derive(Clone, Copy)]
enum Style {
    Plain,
    Bold,
    Italic,
    /// The text is a listing, whose line ends count.
    Listing,
}

/// A table that is being read.
#[derive(Default)]
struct Table {
    headings: Vec<String>,
    row: Vec<Vec<Inline>>,
}

struct Writer<'a> {
    page: &'a mut Roff,
    /// The content so far of the paragraph, heading, item or cell.
    line: Vec<Inline>,
    style: Style,
    table: Option<Table>,
    /// The number of the next item of each open list; `None` if items are not numbered.
    items: Vec<Option<u64>>,
}

impl Writer<'_> {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(&tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) => match self.style {
                Style::Listing => {
                    self.page.text([roman(text.trim_end_matches('\n'))]);
                }
                Style::Plain => self.line.push(roman(&*text)),
                Style::Bold => self.line.push(bold(&*text)),
                Style::Italic => self.line.push(italic(&*text)),
            },
            Event::Code(text) => self.line.push(bold(&*text)),
            Event::SoftBreak | Event::HardBreak => self.line.push(roman(" ")),
            _ => {}
        }
    }

    fn start(&mut self, tag: &Tag<'_>) {
        match tag {
            Tag::Paragraph if self.items.is_empty() => {
                self.page.control("PP", []);
            }
            Tag::CodeBlock(_) => {
                self.page.control("PP", []).control("RS", ["4"]).control("nf", []);
                self.style = Style::Listing;
            }
            Tag::List(first) => self.items.push(*first),
            Tag::Item => {
                let mark = match self.items.last_mut() {
                    Some(Some(number)) => {
                        *number += 1;
                        format!("{}.", *number - 1)
                    }
                    _ => "\\(bu".to_owned(),
                };
                self.page.control("IP", [mark.as_str(), "4"]);
            }
            Tag::Strong => self.style = Style::Bold,
            Tag::Emphasis => self.style = Style::Italic,
            Tag::Table(_) => self.table = Some(Table::default()),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(level) => {
                let title = plain(&std::mem::take(&mut self.line));
                match level {
                    HeadingLevel::H1 => self.page.control("SH", ["DESCRIPTION"]),
                    HeadingLevel::H2 => self.page.control("SH", [title.to_uppercase().as_str()]),
                    _ => self.page.control("SS", [title.as_str()]),
                };
            }
            TagEnd::Paragraph | TagEnd::Item => self.flush(),
            TagEnd::CodeBlock => {
                self.page.control("fi", []).control("RE", []);
                self.style = Style::Plain;
            }
            TagEnd::List(_) => {
                self.items.pop();
            }
            TagEnd::Strong | TagEnd::Emphasis => self.style = Style::Plain,
            TagEnd::TableCell => {
                let cell = std::mem::take(&mut self.line);
                if let Some(table) = &mut self.table {
                    table.row.push(cell);
                }
            }
            TagEnd::TableHead => {
                if let Some(table) = &mut self.table {
                    table.headings = std::mem::take(&mut table.row).iter().map(|cell| plain(cell)).collect();
                }
            }
            TagEnd::TableRow => self.row(),
            TagEnd::Table => self.table = None,
            _ => {}
        }
    }

    fn flush(&mut self) {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.page.text(line);
        }
    }

    /// Writes a row as an entry: the first cell, then the second, then further ones under their headings.
    fn row(&mut self) {
        let Some(table) = &mut self.table else { return };
        let mut cells = std::mem::take(&mut table.row).into_iter().zip(&table.headings);
        let Some((first, _)) = cells.next() else { return };
        self.page.control("TP", []).text(first);
        for (number, (cell, heading)) in cells.filter(|(cell, _)| !cell.is_empty()).enumerate() {
            if number > 0 {
                self.page.control("br", []);
            }
            let is_named = number > 0 || heading.contains(' ');
            let name = Some(roman(format!("{heading}: "))).filter(|_| is_named && !heading.is_empty());
            self.page.text(name.into_iter().chain(cell).collect::<Vec<_>>());
        }
    }
}

fn plain(line: &[Inline]) -> String {
    let text = |inline: &Inline| match inline {
        Inline::Roman(text) | Inline::Bold(text) | Inline::Italic(text) => text.clone(),
        _ => " ".to_owned(),
    };
    line.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_a_page_with_its_sections_lists_listings_and_entries() {
        let mut page = Roff::new();
        append(
            &mut page,
            "# Title\n\nFirst `code`,\nsecond [link](x.md).\n\n## Some part\n\n1. one\n2. two\n\n- dot\n\n\
             ```toml\na = 1\n.b\n```\n\n| key | meaning | default |\n|---|---|---|\n| `a` | the a | `1` |\n| `b` | the b | |\n",
        );
        let text = page.render();
        for part in [
            ".SH DESCRIPTION\n.PP\nFirst \\fBcode\\fR, second link.\n",
            ".SH \"SOME PART\"\n.IP 1. 4\none\n.IP 2. 4\ntwo\n",
            ".IP \\(bu 4\ndot\n",
            ".RS 4\n.nf\na = 1\n\\&.b\n.fi\n.RE\n",
            ".TP\n\\fBa\\fR\nthe a\n.br\ndefault: \\fB1\\fR\n.TP\n\\fBb\\fR\nthe b\n",
        ] {
            assert!(text.contains(part), "{part}\nis not in\n{text}");
        }
    }
}
