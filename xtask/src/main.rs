//! The workbench: `cargo xtask COMMAND`. One file a command; what they share is running programs ([`steps`]) and where things
//! are ([`workspace`]).

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its output is for the person at the terminal")]

mod bench;
mod demo;
mod dist;
mod fuzz;
mod lab;
mod setup;
mod steps;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Longshore's workbench.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install what the lab and the checks need, or name it.
    Setup,
    /// Make, end or show the lab's Docker hosts.
    #[command(subcommand)]
    Lab(lab::Lab),
    /// Run everything that CI runs.
    Test(test::Test),
    /// Check the rules of the house.
    Tidy,
    /// Measure, beside a peer in the same run, and write docs/benchmarks.md.
    Bench(bench::Bench),
    /// Run the agent with labelled containers, and show what it does with them.
    Demo(demo::Demo),
    /// Build and run a fuzz target.
    Fuzz(fuzz::Fuzz),
    /// Build the static binary that is shipped.
    Dist,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Cli::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // Not by `Debug`, which adds a backtrace of the workbench where the person wants to know what it was told.
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Setup => setup::run(),
        Command::Lab(lab) => lab::run(lab).await,
        Command::Test(test) => test::run(&test).await,
        Command::Tidy => tidy::run(),
        Command::Bench(bench) => bench::run(bench).await,
        Command::Demo(demo) => demo::run(demo).await,
        Command::Fuzz(fuzz) => fuzz::run(&fuzz),
        Command::Dist => dist::run().map(|path| println!("{}", path.display())),
    }
}
