//! Fuzz targets, on the stable compiler.
//!
//! libFuzzer needs coverage and a sanitizer, which rustc only allows on nightly or with an override. This does what
//! `cargo fuzz` does with nightly, using the workspace's own compiler.

use std::fs;

use anyhow::{Context, ensure};
use clap::Args;

use xtask::steps::{self, read};
use xtask::workspace::{self, cargo};

/// The flags that `cargo fuzz` passes.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Cdebug-assertions -Ccodegen-units=1 \
    -Zsanitizer=address";

/// Which target, and for how long.
#[derive(Debug, Args)]
pub(crate) struct Fuzz {
    /// The target: a file of fuzz/fuzz_targets. All of them, one after the other, if none is named.
    pub(crate) target: Option<String>,
    /// How long each runs.
    #[arg(long, default_value_t = 60)]
    pub(crate) seconds: u64,
}

/// Runs `cargo xtask fuzz`.
pub(crate) fn run(fuzz: &Fuzz) -> anyhow::Result<()> {
    let known = targets()?;
    let wanted = match &fuzz.target {
        Some(name) => {
            ensure!(known.contains(name), "no target {name:?}: there are {}", known.join(", "));
            std::slice::from_ref(name)
        }
        None => &known,
    };
    let host = read(std::process::Command::new("rustc").arg("-vV"))?;
    let triple = host.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    let folder = workspace::root().join("fuzz");
    let target_dir = workspace::Metadata::read()?.target_directory.join("fuzz");
    let mut build = cargo(&["build", "--release", "--target", triple, "--bins"]);
    build.current_dir(&folder).env("CARGO_TARGET_DIR", &target_dir);
    build.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", FLAGS);
    steps::step("build the fuzz targets", || steps::run(&mut build))?;
    for name in wanted {
        let corpus = folder.join("corpus").join(name);
        let artifacts = folder.join("artifacts").join(name);
        fs::create_dir_all(&corpus)?;
        fs::create_dir_all(&artifacts)?;
        let mut fuzzer = std::process::Command::new(target_dir.join(triple).join("release").join(name));
        fuzzer
            .arg(format!("-max_total_time={}", fuzz.seconds))
            .arg("-timeout=10")
            .arg("-print_final_stats=1");
        fuzzer.arg("-verbosity=0").arg(format!("-artifact_prefix={}/", artifacts.display()));
        // New inputs go into the first folder; seeds are only read.
        fuzzer.arg(&corpus);
        let seeds = folder.join("seeds").join(name);
        if seeds.is_dir() {
            fuzzer.arg(seeds);
        }
        steps::step(&format!("fuzz {name}"), || steps::run(&mut fuzzer))?;
    }
    Ok(())
}

fn targets() -> anyhow::Result<Vec<String>> {
    let folder = workspace::root().join("fuzz/fuzz_targets");
    let files = fs::read_dir(&folder).with_context(|| format!("no targets in {}", folder.display()))?;
    let mut names: Vec<String> = files
        .flatten()
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}
