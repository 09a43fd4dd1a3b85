//! Benches: Longshore compared with a peer or a raw limit, measured in the same run, as a ratio.
//!
//! A bench returns a [`Report`], which is printed and replaces its section in docs/benchmarks.md. The lab and the
//! programs are the real ones: a host of the lab, the binary of profile `dist`.

mod machine;
mod p1;
mod p10;
mod p10_handlers;
mod p11;
mod p2;
mod p9;
mod report;
mod summary;
mod wrk;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, ValueEnum};
use longshore_testkit::Agent;

use xtask::{steps, workspace};

use crate::lab;
use report::Report;

/// Which bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// Docker's `start` to the first 200 through the balancer.
    P1,
    /// Requests that fail while containers come, go and are replaced.
    P2,
    /// Requests a second through the balancer, one thread.
    P9,
    /// 10,000 container events as fast as Docker sends them.
    P10,
    /// A request to a container on another host: through its agent, and at its published port.
    P11,
    /// All of them.
    All,
}

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// The bench.
    name: Name,
    /// Fewer rounds and requests: to see that it works, not to be written down.
    #[arg(long)]
    quick: bool,
    /// The binary to measure, in place of building it with profile dist.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Another binary, of an earlier commit for example, to compare with. Figures are then printed only.
    #[arg(long, value_name = "FILE")]
    beside: Option<PathBuf>,
}

/// What every bench needs.
pub(crate) struct Bed {
    binary: PathBuf,
    /// The binary to compare with, for a bench that measures both in each round.
    beside: Option<PathBuf>,
    quick: bool,
}

impl Bed {
    /// Returns a builder for an agent on this host, with the measured binary.
    fn agent(&self, host: &longshore_testkit::Host) -> longshore_testkit::AgentBuilder {
        Agent::on(host).binary(&self.binary).flags(&["--log", "warn"])
    }

    /// Returns the number for a real run, or the one for a quick run.
    fn scale<T>(&self, real: T, quick: T) -> T {
        if self.quick { quick } else { real }
    }
}

/// Runs `cargo xtask bench`.
pub(crate) async fn run(bench: Bench) -> anyhow::Result<()> {
    lab::build_test_server("release")?;
    let binary = match bench.binary {
        Some(path) => found(&path)?,
        None => {
            steps::run(&mut workspace::cargo(&["build", "--package", "longshore", "--profile", "dist"]))?;
            workspace::binary("dist", "longshore")?
        }
    };
    let other = bench.beside.as_deref().map(found).transpose()?;
    let bed = Bed { binary, beside: other.clone(), quick: bench.quick };
    let before = other.map(|binary| Bed { binary, beside: None, quick: bench.quick });
    let names = match bench.name {
        Name::All => vec![Name::P1, Name::P2, Name::P9, Name::P10, Name::P11],
        name => vec![name],
    };
    for name in names {
        // P9 has both in each round: its rounds differ more than the binaries do.
        if let Some(other) = before.as_ref().filter(|_| name != Name::P9) {
            for report in measure(name, other).await? {
                println!(
                    "\n{}: {}",
                    other.binary.display(),
                    report.section(&machine::facts(), &machine::today())
                );
            }
        }
        for report in measure(name, &bed).await? {
            publish(&report, bed.quick || bed.beside.is_some())?;
        }
    }
    Ok(())
}

fn found(binary: &Path) -> anyhow::Result<PathBuf> {
    binary.canonicalize().with_context(|| format!("no binary at {}", binary.display()))
}

async fn measure(name: Name, bed: &Bed) -> anyhow::Result<Vec<Report>> {
    Ok(match name {
        Name::P1 => vec![p1::run(bed).await?],
        Name::P2 => vec![p2::run(bed).await?],
        Name::P9 => vec![p9::run(bed).await?],
        Name::P10 => vec![p10::run(bed).await?, p10_handlers::run(bed).await?],
        Name::P11 => vec![p11::run(bed).await?],
        Name::All => Vec::new(),
    })
}

fn publish(report: &Report, only_print: bool) -> anyhow::Result<()> {
    let section = report.section(&machine::facts(), &machine::today());
    println!("\n{section}");
    if only_print {
        println!("Not written: docs/benchmarks.md is unchanged.");
        return Ok(());
    }
    let path = workspace::root().join("docs/benchmarks.md");
    let page = std::fs::read_to_string(&path).unwrap_or_else(|_| report::EMPTY_PAGE.to_owned());
    std::fs::write(&path, report::replaced(&page, report.name, &section))?;
    println!("Written to {}.", path.display());
    Ok(())
}
