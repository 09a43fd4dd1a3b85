//! Runs other programs: each step with its heading and its duration.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, ensure};

/// Runs a step under a heading, and prints how long it took.
///
/// # Errors
/// The step's error, with its heading.
pub fn step<T>(heading: &str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    println!("\n== {heading}");
    let began = Instant::now();
    let result = work();
    println!("-- {heading}: {:.1} s", began.elapsed().as_secs_f64());
    result.with_context(|| heading.to_owned())
}

/// Runs a program to completion.
///
/// # Errors
/// Fails if it cannot be started, or fails.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

/// Runs a program to completion and returns its standard output.
///
/// # Errors
/// Fails, with its standard error, if it cannot be started, or fails.
pub fn read(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} ended with {}: {}", output.status, errors.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Returns true if a program is installed and succeeds with these arguments.
pub fn works(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}
