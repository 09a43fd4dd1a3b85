//! The rules of the house that no compiler checks: one file per rule, each violation with its location.
//!
//! A rule is a pure function from texts to violations, so its tests are bad samples.

mod arrows;
mod circles;
mod dependencies;
mod links;
mod shape;
mod words;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use xtask::workspace::{self, Metadata};

/// A violation of a rule, and its location.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    /// From the workspace's root.
    file: PathBuf,
    /// Counted from 1.
    line: usize,
    /// What is wrong, and what is expected.
    message: String,
}

impl Violation {
    fn new(file: &Path, line: usize, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.message)
    }
}

/// A text file of the workspace.
pub(crate) struct Source {
    /// From the workspace's root.
    path: PathBuf,
    text: String,
}

impl Source {
    #[cfg(test)]
    fn sample(path: &str, text: &str) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    fn is(&self, extension: &str) -> bool {
        self.path.extension().is_some_and(|found| found == extension)
    }

    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}

/// Runs `cargo xtask tidy`.
pub(crate) fn run() -> anyhow::Result<()> {
    let root = workspace::root();
    let metadata = Metadata::read()?;
    let sources = sources(root)?;
    let manifest = fs::read_to_string(root.join("Cargo.toml")).context("read Cargo.toml")?;
    let mut found = arrows::check(root, &metadata);
    found.extend(dependencies::check(&manifest, &metadata));
    let crates: Vec<PathBuf> = metadata
        .packages
        .iter()
        .filter_map(|package| Some(package.manifest_path.strip_prefix(root).ok()?.parent()?.join("src")))
        .collect();
    found.extend(circles::check(&sources, &crates));
    for source in &sources {
        if source.is("rs") {
            found.extend(shape::check(source));
        }
        if source.is("md") {
            found.extend(links::check(source, |path| root.join(path).exists()));
        }
        found.extend(words::check(source));
    }
    found.sort();
    for violation in &found {
        println!("{violation}");
    }
    ensure!(found.is_empty(), "{} violations", found.len());
    println!("{} files are tidy", sources.len());
    Ok(())
}

/// Returns the texts that the rules check, ordered by path.
fn sources(root: &Path) -> anyhow::Result<Vec<Source>> {
    const EXTENSIONS: [&str; 8] = ["rs", "md", "toml", "j2", "yaml", "yml", "service", "sh"];
    let mut folders = vec![root.to_owned()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() {
                let is_ours = !matches!(name, "target" | "corpus" | "artifacts" | ".git" | "node_modules");
                folders.extend(is_ours.then_some(path));
                continue;
            }
            let is_text =
                path.extension().is_some_and(|found| EXTENSIONS.iter().any(|wanted| found == *wanted));
            if is_text {
                let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
                let path = path.strip_prefix(root).unwrap_or(&path).to_owned();
                sources.push(Source { path, text });
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_reads_as_a_compilers_message_does() {
        let violation = Violation::new(Path::new("a/b.rs"), 3, "is bad");
        assert_eq!(violation.to_string(), "a/b.rs:3: is bad");
    }
}
