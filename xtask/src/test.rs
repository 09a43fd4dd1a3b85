//! Everything that CI runs, in the order in which it fails soonest.

use std::process::Command;
use std::time::Instant;

use anyhow::Context;
use clap::Args;

use crate::steps::{self, step};
use crate::workspace::cargo;
use crate::{lab, setup, tidy};

/// How to test.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Leave the lab up for the next run.
    #[arg(long)]
    keep_lab: bool,
}

/// `cargo xtask test`.
pub(crate) async fn run(test: &Test) -> anyhow::Result<()> {
    let began = Instant::now();
    step("packages", setup::packages)?;
    step("format", || steps::run(&mut cargo(&["fmt", "--all", "--check"])))?;
    step("tidy", tidy::run)?;
    step("licences, bans, sources", deny)?;
    step("lints", || {
        let arguments = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
        steps::run(&mut cargo(&arguments))
    })?;
    // The test server and the agent are programs that the lab's tests run: built before, as not every test runner does.
    step("build", || steps::run(&mut cargo(&["build", "--workspace", "--locked"])))?;
    step("documentation tests", || {
        steps::run(&mut cargo(&["test", "--workspace", "--locked", "--doc", "--quiet"]))
    })?;
    step("tests in Python", python)?;
    let tested = step("tests", tests);
    if !test.keep_lab {
        lab::down().await.context("end the lab")?;
    }
    tested?;
    println!("\nall of it took {:.0} s", began.elapsed().as_secs_f64());
    Ok(())
}

fn deny() -> anyhow::Result<()> {
    let binary = setup::cargo_deny()?;
    // It reads every locked crate, those of other systems among them, which no build here would have fetched.
    steps::run(&mut cargo(&["fetch", "--locked"]))?;
    let mut deny = Command::new(binary);
    deny.args(["--offline", "--locked", "check", "--hide-inclusion-graph", "licenses", "bans", "sources"]);
    steps::run(deny.current_dir(crate::workspace::root()))
}

/// The package for plugins, with the interpreter alone.
fn python() -> anyhow::Result<()> {
    let mut command = Command::new("python3");
    command.args(["-B", "-m", "unittest", "discover", "-t", ".", "-s", "tests"]);
    steps::run(command.current_dir(crate::workspace::root().join("plugins/python")))
}

/// nextest where it is installed, as it runs each test in a process of its own and names the slow ones; else cargo's own.
fn tests() -> anyhow::Result<()> {
    let mut command = if steps::works("cargo-nextest", &["nextest", "--version"]) {
        cargo(&["nextest", "run", "--workspace", "--locked", "--no-fail-fast"])
    } else {
        let mut command =
            cargo(&["test", "--workspace", "--locked", "--lib", "--bins", "--tests", "--no-fail-fast"]);
        command.args(["--", "--test-threads=2"]);
        command
    };
    steps::run(&mut command)
}
