//! `longshore man`: a page for each command.

use std::path::Path;

use clap_mangen::Man;

/// Writes all pages below a directory, each into the folder of its section.
pub(crate) fn write(directory: &Path) -> anyhow::Result<()> {
    let folder = directory.join("man1");
    std::fs::create_dir_all(&folder)?;
    let mut command = crate::cli::command().disable_help_subcommand(true);
    command.build();
    page(&command, "longshore".to_owned(), &folder)
}

fn page(command: &clap::Command, name: String, folder: &Path) -> anyhow::Result<()> {
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        page(sub, format!("{name}-{}", sub.get_name()), folder)?;
    }
    let source = format!("Longshore {}", env!("CARGO_PKG_VERSION"));
    let page = Man::new(command.clone().display_name(name.clone()));
    let page = page.title(name.to_uppercase()).source(source).manual("Longshore Manual");
    let mut text = Vec::new();
    page.render(&mut text)?;
    Ok(std::fs::write(folder.join(format!("{name}.1")), text)?)
}
