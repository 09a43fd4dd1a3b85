//! `cargo xtask TASK`. One file per task.
//!
//! It is small, so that it builds within seconds and can report what is missing before anything else happens. Tasks
//! that need Docker are run by the `workbench`, which is built once they can work.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its output is for the person at the terminal")]

mod advisories;
mod bare_path;
mod fuzz;
mod release;
mod setup;
mod test;
mod tidy;
mod tools;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use xtask::workspace;

use setup::Needs;

/// Development tasks of Longshore.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install what all tasks need, or name what is missing.
    Setup,
    /// Make, end or show the lab's Docker hosts.
    #[command(disable_help_flag = true)]
    Lab(Rest),
    /// Run everything that CI runs.
    Test(test::Test),
    /// Check the rules of the house.
    Tidy,
    /// Measure, beside a peer in the same run, and write docs/benchmarks.md.
    #[command(disable_help_flag = true)]
    Bench(Rest),
    /// Run the agent with labelled containers, and show what it does with them.
    #[command(disable_help_flag = true)]
    Demo(Rest),
    /// Build and run a fuzz target.
    Fuzz(fuzz::Fuzz),
    /// Build everything that a release ships.
    Dist(release::Dist),
}

/// What the workbench is given.
#[derive(Debug, Args)]
struct Rest {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    rest: Vec<OsString>,
}

impl Rest {
    fn has(&self, flags: &[&str]) -> bool {
        self.rest.iter().any(|argument| flags.iter().any(|flag| argument == flag))
    }
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // Not with `Debug`, which adds a backtrace of xtask.
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Setup => setup::everything(),
        Command::Test(test) => test::run(&test),
        Command::Tidy => tidy::run(),
        Command::Fuzz(fuzz) => fuzz::run(&fuzz),
        Command::Dist(dist) => release::run(&dist),
        Command::Lab(rest) => {
            if rest.has(&["up"]) {
                setup::packages(Needs::Lab)?;
            }
            workbench("lab", &rest)
        }
        Command::Bench(rest) => {
            if !rest.has(&["-h", "--help"]) {
                setup::packages(Needs::Bench)?;
            }
            workbench("bench", &rest)
        }
        Command::Demo(rest) => {
            let is_lab = rest.has(&["--lab"]) || !setup::docker_answers();
            if is_lab && !rest.has(&["-h", "--help"]) {
                setup::packages(Needs::Lab)?;
            }
            workbench("demo", &rest)
        }
    }
}

/// Builds the workbench, and execs it, so that it gets the terminal's signals itself.
fn workbench(task: &str, rest: &Rest) -> anyhow::Result<()> {
    use std::os::unix::process::CommandExt;
    let mut command = workspace::cargo(&["run", "--package", "workbench", "--", task]);
    Err(command.args(&rest.rest).exec().into())
}
