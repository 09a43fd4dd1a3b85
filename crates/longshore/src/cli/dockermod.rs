//! DockerMod's arguments: long flags with one dash, and the agent's own flags after or between them.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::Args;

use super::Run;

/// DockerMod's flags that have a value.
const WITH_VALUE: [&str; 3] = ["conf", "cluster-host", "cluster-xml"];
/// Flags of both.
const COMMON: [&str; 4] = ["-h", "--help", "-V", "--version"];

/// DockerMod's flags, as it had them; one dash is enough.
#[derive(Clone, Debug, Args)]
pub(crate) struct Dockermod {
    /// DockerMod's settings [default: those of an empty file].
    #[arg(long, value_name = "FILE")]
    pub(crate) conf: Option<PathBuf>,
    /// Join the cluster that the settings name, instead of being a cluster of one; only as -cluster, since --cluster
    /// NAME is a flag of `run`.
    #[arg(long)]
    pub(crate) cluster: bool,
    /// Name or address at which the other hosts reach this one.
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster_host: Option<String>,
    /// Hazelcast's settings, whose members are joined [default: cluster.xml beside the settings, else
    /// $VERTX_HOME/conf/cluster.xml].
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster_xml: Option<PathBuf>,
    /// Flags of `longshore run`, which override the settings; the `--` may be omitted.
    #[arg(last = true, value_name = "FLAG")]
    pub(crate) run: Vec<OsString>,
}

/// Rewrites DockerMod's arguments as clap reads them, if the program is called as DockerMod.
///
/// # Errors
/// If the flags of `run` are invalid.
pub(super) fn rewritten(arguments: &[OsString]) -> Result<Option<Vec<OsString>>, clap::Error> {
    let is = |index: usize, word: &str| arguments.get(index).is_some_and(|argument| argument == word);
    let program = arguments.first().map(Path::new).and_then(Path::file_name).and_then(OsStr::to_str);
    let first = match program {
        Some("dockermod") => 1,
        _ if is(1, "dockermod") => 2,
        _ if is(1, "compat") && is(2, "dockermod") => 3,
        _ => return Ok(None),
    };
    let (head, flags) = arguments.split_at(first.min(arguments.len()));
    let (mut own, rest) = split(flags);
    if !rest.is_empty() {
        let run = Run::augment_args(clap::Command::new("longshore dockermod").no_binary_name(true));
        run.try_get_matches_from(&rest)?;
        own.push("--".into());
    }
    Ok(Some([head.to_vec(), own, rest].concat()))
}

/// Separates DockerMod's flags from those of `run`.
fn split(flags: &[OsString]) -> (Vec<OsString>, Vec<OsString>) {
    let run = Run::augment_args(clap::Command::new("run"));
    let is_runs = |name: &str| run.get_arguments().any(|flag| flag.get_long() == Some(name));
    let (mut own, mut rest) = (Vec::new(), Vec::new());
    let mut flags = flags.iter();
    while let Some(flag) = flags.next() {
        let text = flag.to_str().unwrap_or_default();
        let bare = text.trim_start_matches('-');
        let (name, has_value) = bare.split_once('=').map_or((bare, false), |(name, _)| (name, true));
        let dashes = text.len() - bare.len();
        let long = || OsString::from(format!("--{bare}"));
        match dashes {
            1 | 2 if WITH_VALUE.contains(&name) => {
                own.push(long());
                own.extend(flags.next().filter(|_| !has_value).cloned());
            }
            1 if text == "-cluster" => own.push(long()),
            _ if COMMON.contains(&text) => own.push(flag.clone()),
            2 if bare.is_empty() => {}
            1 if name.len() > 1 && is_runs(name) => rest.push(long()),
            _ => rest.push(flag.clone()),
        }
    }
    (own, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewrite(line: &str) -> Option<String> {
        let arguments: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let words = rewritten(&arguments).unwrap()?;
        Some(words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn single_dash_long_flags_are_taken_as_written_and_the_agents_own_follow() {
        for (written, read) in [
            (
                "longshore dockermod -conf conf.json -cluster -cluster-host myhostname",
                "longshore dockermod --conf conf.json --cluster --cluster-host myhostname",
            ),
            ("/usr/bin/dockermod -conf=c.json", "/usr/bin/dockermod --conf=c.json"),
            (
                "longshore compat dockermod --listen 127.0.0.1:1 -conf a -node b --cluster prod",
                "longshore compat dockermod --conf a -- --listen 127.0.0.1:1 --node b --cluster prod",
            ),
            (
                "dockermod -cluster -- -docker=unix:///a.sock",
                "dockermod --cluster -- --docker=unix:///a.sock",
            ),
            ("dockermod --help", "dockermod --help"),
            ("dockermod", "dockermod"),
        ] {
            assert_eq!(rewrite(written).as_deref(), Some(read), "{written}");
        }
        assert_eq!(rewrite("longshore run --conf dockermod"), None);
    }

    #[test]
    fn a_flag_that_neither_has_is_refused_by_its_name() {
        let arguments = ["dockermod", "-conf", "a", "-instances", "2"].map(OsString::from);
        let error = rewritten(&arguments).unwrap_err().to_string();
        assert!(error.contains("'-i'"), "{error}");
        let arguments = ["dockermod", "--colour"].map(OsString::from);
        assert!(rewritten(&arguments).unwrap_err().to_string().contains("'--colour'"));
    }
}
