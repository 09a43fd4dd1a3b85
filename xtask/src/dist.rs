//! The binary that is shipped: static, optimised, stripped.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::steps::{self, read};
use crate::workspace::{Metadata, cargo};

/// Returns the target triple of this machine, which is the build's target.
///
/// # Errors
/// Fails if rustc does not report it.
pub fn triple() -> anyhow::Result<String> {
    let host = read(Command::new("rustc").arg("-vV"))?;
    let triple = host.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(triple.context("rustc names no host")?.to_owned())
}

/// Builds it, and returns its path, `target/dist-image/longshore`.
///
/// # Errors
/// Fails if it does not build, or is not static.
pub fn binary() -> anyhow::Result<PathBuf> {
    let triple = triple()?;
    // Debian's glibc comes with static libraries, and with an explicit target the flag does not reach build scripts.
    let mut build =
        cargo(&["build", "--locked", "--package", "longshore", "--profile", "dist", "--target", &triple]);
    steps::run(build.env("RUSTFLAGS", "-C target-feature=+crt-static"))?;
    let target = Metadata::read()?.target_directory;
    let built = target.join(triple).join("dist/longshore");
    ensure!(is_static(&fs::read(&built)?), "{} needs shared libraries", built.display());
    let directory = target.join("dist-image");
    fs::create_dir_all(&directory)?;
    let binary = directory.join("longshore");
    fs::copy(built, &binary)?;
    Ok(binary)
}

/// Returns true for a 64-bit ELF file without an interpreter, the loader of shared libraries.
fn is_static(elf: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let number = |at: usize, length: usize| -> Option<u64> {
        let mut bytes = [0; 8];
        bytes.get_mut(..length)?.copy_from_slice(elf.get(at..at + length)?);
        Some(u64::from_le_bytes(bytes))
    };
    let headers = || Some((number(32, 8)?, number(54, 2)?, number(56, 2)?));
    let Some((start, size, count)) = headers().filter(|_| elf.starts_with(b"\x7fELF\x02")) else {
        return false;
    };
    (0..count).all(|index| {
        let at = usize::try_from(start + index * size).unwrap_or(usize::MAX);
        number(at, 4).is_some_and(|kind| kind != u64::from(PT_INTERP))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_loads_shared_libraries_is_not_static() {
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(!is_static(&own), "tests are linked dynamically");
        assert!(!is_static(b"#!/bin/sh\n"));
    }
}
