//! The binary that is shipped: static, optimised, stripped.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;

use crate::steps::{self, read};
use crate::workspace::{Metadata, cargo};

/// Builds it; gives its path, `target/dist-image/longshore`.
pub(crate) fn run() -> anyhow::Result<PathBuf> {
    let host = read(std::process::Command::new("rustc").arg("-vV"))?;
    let triple = host.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    // Debian's glibc comes with static libraries, and with an explicit target the flag does not reach build scripts.
    let mut build = cargo(&["build", "--package", "longshore", "--profile", "dist", "--target", triple]);
    steps::run(build.env("RUSTFLAGS", "-C target-feature=+crt-static"))?;
    let target = Metadata::read()?.target_directory;
    let directory = target.join("dist-image");
    fs::create_dir_all(&directory)?;
    let binary = directory.join("longshore");
    fs::copy(target.join(triple).join("dist/longshore"), &binary)?;
    Ok(binary)
}
