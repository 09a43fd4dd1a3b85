//! The commands about hosts, containers and images, with the docker command's flags.

use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};

use super::cluster::{LabelHost, LeaveHost};
use super::nouns::{Connection, List};

#[derive(Debug, Subcommand)]
pub(crate) enum HostCommand {
    /// List hosts, and what they have to offer.
    #[command(visible_alias = "list", after_help = "Example:\n  longshore host ls")]
    Ls(List),
    /// Set and remove labels of a host, also for its next start.
    #[command(after_help = "Example:\n  longshore host label web1 zone=a disk-")]
    Label(LabelHost),
    /// Give up a host's place in the cluster, at once.
    #[command(
        after_help = "Its containers leave the routes of the other hosts. Its agent runs on as a cluster of one, and \
                      joins again when it is started again.\n\nExample:\n  longshore host leave --yes"
    )]
    Leave(LeaveHost),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ContainerCommand {
    /// List the containers of all hosts.
    #[command(
        visible_aliases = ["list", "ps"],
        after_help = "Examples:\n  longshore container ls --filter state=running\n  \
                      longshore container ls --format '{{ host }} {{ name }} {{ state }}'"
    )]
    Ls(ContainerList),
    /// Show what Docker says of containers, as JSON.
    #[command(after_help = "Example:\n  longshore container inspect wp1")]
    Inspect(Containers),
    /// Start containers.
    #[command(after_help = "Example:\n  longshore container start wp1 wp2")]
    Start(Orders),
    /// Stop containers: their stop signal first, SIGKILL later.
    #[command(after_help = "Example:\n  longshore container stop --timeout 30 wp1")]
    Stop(StopOrders),
    /// Stop containers and start them again.
    #[command(after_help = "Example:\n  longshore container restart wp1")]
    Restart(StopOrders),
    /// Send containers a signal.
    #[command(after_help = "Example:\n  longshore container kill --signal HUP wp1")]
    Kill(KillOrders),
    /// Freeze the processes of containers.
    #[command(after_help = "Example:\n  longshore container pause wp1")]
    Pause(Orders),
    /// Continue the processes of containers.
    #[command(after_help = "Example:\n  longshore container unpause wp1")]
    Unpause(Orders),
    /// Remove containers.
    #[command(visible_alias = "remove", after_help = "Example:\n  longshore container rm --force wp1")]
    Rm(RemoveOrders),
    /// Show a container's log.
    #[command(after_help = "Example:\n  longshore container logs --follow --tail 20 wp1")]
    Logs(ContainerLogs),
    /// Show the resources that containers use.
    #[command(after_help = "Example:\n  longshore container stats --no-stream")]
    Stats(ContainerStats),
    /// Run a command inside a container, and exit with its code.
    #[command(after_help = "Example:\n  longshore container exec -it wp1 sh")]
    Exec(Box<ContainerExec>),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// List the images of all hosts.
    #[command(visible_alias = "list", after_help = "Example:\n  longshore image ls --host web1")]
    Ls(ImageList),
    /// Pull an image on all hosts.
    #[command(after_help = "Example:\n  longshore image pull nginx:1.29")]
    Pull(ImagePull),
}

/// Which containers are meant.
#[derive(Debug, Args)]
pub(crate) struct Containers {
    /// Names or IDs of containers, or the beginning of an ID.
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
    #[command(flatten)]
    pub(crate) place: Place,
}

/// Where a container is, and who is asked.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// Host, where several have a container of this name.
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct ContainerList {
    /// Only containers that match: host=, label=, name= or state=; repeatable.
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = filter)]
    pub(crate) filter: Vec<(FilterKey, String)>,
    /// Only containers of this host; repeatable.
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Vec<String>,
    #[command(flatten)]
    pub(crate) list: List,
}

/// What a filter looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FilterKey {
    Host,
    Label,
    Name,
    State,
}

fn filter(text: &str) -> Result<(FilterKey, String), String> {
    let expected = || "expected host=, label=, name= or state=, such as state=running".to_owned();
    let (key, value) = text.split_once('=').ok_or_else(expected)?;
    let key = match key {
        "host" => FilterKey::Host,
        "label" => FilterKey::Label,
        "name" => FilterKey::Name,
        // Docker calls it status.
        "state" | "status" => FilterKey::State,
        _ => return Err(expected()),
    };
    Ok((key, value.to_owned()))
}

#[derive(Debug, Args)]
pub(crate) struct Orders {
    #[command(flatten)]
    pub(crate) containers: Containers,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StopOrders {
    /// Seconds to wait before a container is killed; -1 waits for ever [default: the container's own setting].
    #[arg(short, long, alias = "time", value_name = "SECONDS", allow_negative_numbers = true)]
    pub(crate) timeout: Option<i32>,
    #[command(flatten)]
    pub(crate) orders: Orders,
}

#[derive(Debug, Args)]
pub(crate) struct KillOrders {
    /// Signal, by name or number [default: KILL].
    #[arg(short, long)]
    pub(crate) signal: Option<String>,
    #[command(flatten)]
    pub(crate) orders: Orders,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveOrders {
    /// Kill a running container first.
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Remove anonymous volumes too.
    #[arg(short, long)]
    pub(crate) volumes: bool,
    #[command(flatten)]
    pub(crate) orders: Orders,
}

#[derive(Debug, Args)]
pub(crate) struct ContainerLogs {
    /// Name or ID of the container, or the beginning of its ID.
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
    /// Continue with what it writes later.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Number of lines from the end, or all.
    #[arg(short = 'n', long, value_name = "LINES", value_parser = tail, default_value = "all")]
    pub(crate) tail: Tail,
    /// Begin here: a time such as 2026-11-21T17:00:00Z, or how long ago, such as 10m.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) since: Option<String>,
    /// End here: a time, or how long ago.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) until: Option<String>,
    /// Begin each line with its time.
    #[arg(short, long)]
    pub(crate) timestamps: bool,
    #[command(flatten)]
    pub(crate) place: Place,
}

/// A number of lines; `None` is all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tail(pub(crate) Option<u64>);

fn tail(text: &str) -> Result<Tail, String> {
    match text {
        "all" => Ok(Tail(None)),
        number => {
            number.parse().map(|lines| Tail(Some(lines))).map_err(|_| "expected a number, or all".to_owned())
        }
    }
}

/// Reads a time, or how long ago it was. Returns it as the API takes it.
fn moment(text: &str) -> Result<String, String> {
    if let Ok(ago) = humantime::parse_duration(text) {
        let at =
            SystemTime::now().checked_sub(ago).and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        let at: Duration = at.ok_or("it is too long ago")?;
        return Ok(format!("{}.{:09}", at.as_secs(), at.subsec_nanos()));
    }
    let is_seconds = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if is_seconds || humantime::parse_rfc3339_weak(text).is_ok() {
        return Ok(text.to_owned());
    }
    Err("expected a time such as 2026-11-21T17:00:00Z, or how long ago, such as 10m".to_owned())
}

#[derive(Debug, Args)]
pub(crate) struct ContainerStats {
    /// Names or IDs of containers, or the beginnings of IDs [default: all that run].
    #[arg(value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
    /// Print the first values only.
    #[arg(long)]
    pub(crate) no_stream: bool,
    /// Print Docker's JSON, a line for each sample.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Debug, Args)]
pub(crate) struct ContainerExec {
    /// Pass on standard input.
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the command a terminal.
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Do not wait for the command.
    #[arg(short, long, conflicts_with_all = ["interactive", "tty"])]
    pub(crate) detach: bool,
    /// Environment variable; repeatable.
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// User of the command.
    #[arg(short, long)]
    pub(crate) user: Option<String>,
    /// Working directory of the command.
    #[arg(short, long, value_name = "DIRECTORY")]
    pub(crate) workdir: Option<String>,
    /// Give the command all capabilities.
    #[arg(long)]
    pub(crate) privileged: bool,
    #[command(flatten)]
    pub(crate) place: Place,
    /// Name or ID of the container, or the beginning of its ID.
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
    /// Command and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ImageList {
    /// Only images of this host; repeatable.
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Vec<String>,
    #[command(flatten)]
    pub(crate) list: List,
}

#[derive(Debug, Args)]
pub(crate) struct ImagePull {
    /// Image; without a tag, latest.
    pub(crate) image: String,
    /// Only on this host; repeatable.
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Vec<String>,
    /// Print no progress.
    #[arg(short, long, conflicts_with = "json")]
    pub(crate) quiet: bool,
    /// Print progress as JSON, one object per line.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_has_a_key_that_is_known() {
        assert_eq!(filter("label=a=b"), Ok((FilterKey::Label, "a=b".to_owned())));
        assert_eq!(filter("status=exited"), Ok((FilterKey::State, "exited".to_owned())));
        assert!(filter("running").is_err() && filter("image=x").is_err());
    }

    #[test]
    fn a_moment_is_a_time_or_how_long_ago() {
        assert_eq!(moment("2026-11-21T17:00:00Z").as_deref(), Ok("2026-11-21T17:00:00Z"));
        assert_eq!(moment("1700000000.5").as_deref(), Ok("1700000000.5"));
        let seconds = |text: &str| moment(text).unwrap().split('.').next().unwrap().parse::<u64>().unwrap();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        assert!((now - 601..=now - 599).contains(&seconds("10m")));
        assert!(moment("soon").is_err() && moment("").is_err());
    }
}
