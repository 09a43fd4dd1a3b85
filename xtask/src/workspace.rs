//! Cargo's metadata of the workspace, and the paths of its files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::steps::read;

/// The part of `cargo metadata` that is used here.
#[derive(Debug, Deserialize)]
pub struct Metadata {
    /// The workspace's packages.
    pub packages: Vec<Package>,
    /// Cargo's target directory.
    pub target_directory: PathBuf,
}

/// One package of the workspace.
#[derive(Debug, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its `Cargo.toml`.
    pub manifest_path: PathBuf,
    /// Its dependencies.
    pub dependencies: Vec<Dependency>,
}

/// A dependency of a package.
#[derive(Debug, Deserialize)]
pub struct Dependency {
    /// The package's name, even if the dependency is renamed.
    pub name: String,
    /// `None` for an ordinary one, else `dev` or `build`.
    pub kind: Option<String>,
}

impl Metadata {
    /// Runs `cargo metadata`.
    ///
    /// # Errors
    /// Fails if cargo fails.
    pub fn read() -> anyhow::Result<Self> {
        let text = read(&mut cargo(&["metadata", "--no-deps", "--format-version", "1", "--offline"]))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Returns the workspace's packages by name.
    pub fn by_name(&self) -> BTreeMap<&str, &Package> {
        self.packages.iter().map(|package| (package.name.as_str(), package)).collect()
    }
}

/// Returns the workspace's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Returns a command for the cargo that runs this, in the workspace's root.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    command
}

/// Returns the path of the binary of this name in this profile's directory.
///
/// # Errors
/// Fails if cargo fails.
pub fn binary(profile: &str, name: &str) -> anyhow::Result<PathBuf> {
    Ok(Metadata::read()?.target_directory.join(profile).join(name))
}
