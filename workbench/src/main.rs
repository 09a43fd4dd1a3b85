//! The tasks that run Longshore on real Docker hosts: the lab, the demo, the benches.
//!
//! `cargo xtask` starts it once everything that it needs is installed.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its output is for the person at the terminal")]

mod bench;
mod demo;
mod lab;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Longshore on real Docker hosts.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make, end or show the lab's Docker hosts.
    #[command(subcommand)]
    Lab(lab::Lab),
    /// Measure, beside a peer in the same run, and write docs/benchmarks.md.
    Bench(bench::Bench),
    /// Run the agent with labelled containers, and show what it does with them.
    Demo(demo::Demo),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Lab(lab) => lab::run(lab).await,
        Command::Bench(bench) => bench::run(bench).await,
        Command::Demo(demo) => demo::run(demo).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // Not with `Debug`, which adds a backtrace of the workbench.
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}
