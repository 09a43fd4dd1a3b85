//! `longshore man`: a page for each command, for the settings file and for the labels.

mod markdown;

use std::path::Path;

use anyhow::Context;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

const MANUAL: &str = "Longshore Manual";

/// A page of `docs` that is also a manual page.
struct Document {
    name: &'static str,
    section: &'static str,
    about: &'static str,
    text: &'static str,
}

const DOCUMENTS: [Document; 2] = [
    Document {
        name: "longshore.toml",
        section: "5",
        about: "settings of the Longshore agent",
        text: include_str!("../../../../docs/settings.md"),
    },
    Document {
        name: "longshore-labels",
        section: "7",
        about: "container labels that Longshore reads",
        text: include_str!("../../../../docs/labels.md"),
    },
];

/// Writes all pages below a directory, each into the folder of its section.
pub(crate) fn write(directory: &Path) -> anyhow::Result<()> {
    let mut command = crate::cli::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    of_command(&command, "longshore".to_owned(), &mut pages)?;
    pages.extend(DOCUMENTS.iter().map(of_document));
    for Page { name, section, text } in pages {
        let folder = directory.join(format!("man{section}"));
        let file = folder.join(format!("{name}.{section}"));
        std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::write(&file, text))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

struct Page {
    name: String,
    section: &'static str,
    text: Vec<u8>,
}

fn source() -> String {
    format!("Longshore {}", env!("CARGO_PKG_VERSION"))
}

fn of_command(command: &clap::Command, name: String, pages: &mut Vec<Page>) -> anyhow::Result<()> {
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        of_command(sub, format!("{name}-{}", sub.get_name()), pages)?;
    }
    let page = Man::new(command.clone().display_name(name.clone()));
    let page = page.title(name.to_uppercase()).source(source()).manual(MANUAL);
    let mut text = Vec::new();
    page.render(&mut text)?;
    pages.push(Page { name, section: "1", text });
    Ok(())
}

fn of_document(document: &Document) -> Page {
    let Document { name, section, about, text } = document;
    let mut page = Roff::new();
    page.control("TH", [name.to_uppercase().as_str(), section, "", &source(), MANUAL]);
    page.control("SH", ["NAME"]).text([roman(format!("{name} - {about}"))]);
    markdown::append(&mut page, text);
    Page { name: (*name).to_owned(), section, text: page.render().into_bytes() }
}
