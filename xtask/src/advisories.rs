//! Advisories on dependencies, from RustSec's database.
//!
//! The database is fetched from GitHub. If GitHub cannot be reached, an earlier copy is used; without a copy the
//! check is skipped, and that is reported.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::bail;
use xtask::steps;
use xtask::workspace::root;

const DATABASE: &str = "https://github.com/RustSec/advisory-db";

/// How long the fetch may take.
const FETCH_LIMIT: Duration = Duration::from_secs(90);

/// Checks the locked dependencies. If `required`, a failed fetch is an error.
pub(crate) fn check(deny: &Path, required: bool) -> anyhow::Result<()> {
    match source(fetch(deny)?, has_copy(), required) {
        Source::Fetched => {}
        Source::Copy => {
            println!("cannot reach {DATABASE}: checking against the copy that was fetched before");
        }
        Source::Missing => {
            println!(
                "SKIPPED: advisories are not checked, as {DATABASE} cannot be reached and no copy of it is here"
            );
            return Ok(());
        }
        Source::Required => bail!("cannot reach {DATABASE}"),
    }
    let mut check = Command::new(deny);
    check.args(["--offline", "--locked", "check", "--hide-inclusion-graph", "advisories"]);
    steps::run(check.current_dir(root()))
}

/// The database that dependencies are checked against.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    /// The current database.
    Fetched,
    /// An earlier copy.
    Copy,
    /// None, which is reported.
    Missing,
    /// None, which is an error.
    Required,
}

fn source(is_fetched: bool, has_copy: bool, required: bool) -> Source {
    match (is_fetched, required, has_copy) {
        (true, _, _) => Source::Fetched,
        (false, true, _) => Source::Required,
        (false, false, true) => Source::Copy,
        (false, false, false) => Source::Missing,
    }
}

/// Returns true if cargo's folder has an earlier copy of the database.
fn has_copy() -> bool {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let folders = home.and_then(|home| std::fs::read_dir(home.join("advisory-dbs")).ok());
    folders.into_iter().flatten().flatten().any(|entry| entry.path().join(".git").exists())
}

/// Fetches the database; returns false if that fails.
fn fetch(deny: &Path) -> anyhow::Result<bool> {
    let mut fetch = Command::new(deny);
    fetch.args(["--locked", "fetch", "db"]).current_dir(root()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = fetch.spawn()?;
    let deadline = Instant::now() + FETCH_LIMIT;
    loop {
        if let Some(status) = running.try_wait()? {
            return Ok(status.success());
        }
        if Instant::now() > deadline {
            running.kill()?;
            running.wait()?;
            return Ok(false);
        }
        #[expect(clippy::disallowed_methods, reason = "nothing else runs in this process")]
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_database_the_check_is_left_out_unless_it_is_required() {
        assert_eq!(source(true, false, true), Source::Fetched);
        assert_eq!(source(false, true, false), Source::Copy);
        assert_eq!(source(false, false, false), Source::Missing);
        assert_eq!(source(false, true, true), Source::Required);
    }
}
