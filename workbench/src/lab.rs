//! Manual control of the lab.

use anyhow::ensure;
use clap::Subcommand;

use xtask::{steps, workspace};

/// What to do with the lab.
#[derive(Debug, Subcommand)]
pub(crate) enum Lab {
    /// Make it have at least N hosts, clean and ready.
    Up {
        /// How many.
        #[arg(value_name = "N", default_value_t = 1)]
        hosts: usize,
    },
    /// End it: daemons, containers, namespaces, files.
    Down,
    /// Show its hosts.
    Status,
}

/// Runs `cargo xtask lab …`.
pub(crate) async fn run(what: Lab) -> anyhow::Result<()> {
    match what {
        Lab::Up { hosts } => {
            build_test_server("dev")?;
            longshore_testkit::Lab::up(hosts).await?;
            show()
        }
        Lab::Down => down().await,
        Lab::Status => show(),
    }
}

/// Removes the lab, unless it is in use.
pub(crate) async fn down() -> anyhow::Result<()> {
    let in_use = longshore_testkit::Lab::down().await?;
    ensure!(in_use.is_empty(), "still in use: {}", in_use.join(", "));
    Ok(())
}

fn show() -> anyhow::Result<()> {
    let hosts = longshore_testkit::Lab::status()?;
    if hosts.is_empty() {
        println!("no lab: cargo xtask lab up 2");
    }
    for host in hosts {
        let state = match (host.runs, host.leased) {
            (false, _) => "down",
            (true, true) => "in use",
            (true, false) => "ready",
        };
        println!("{:<4} {:<14} {state:<7} docker -H {}", host.name, host.address.to_string(), host.docker);
    }
    Ok(())
}

/// Builds the program in the lab's containers, and selects it for this process.
pub(crate) fn build_test_server(profile: &str) -> anyhow::Result<()> {
    let build = ["build", "--package", "longshore-testkit", "--bin", "testserver", "--profile", profile];
    steps::run(&mut workspace::cargo(&build))?;
    let directory = if profile == "dev" { "debug" } else { profile };
    longshore_testkit::images::use_test_server(workspace::binary(directory, "testserver")?);
    Ok(())
}
