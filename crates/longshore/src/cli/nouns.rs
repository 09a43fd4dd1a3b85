//! The commands that ask a running agent, by what they are about.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::format::Format;

#[derive(Debug, Subcommand)]
pub(crate) enum RouteCommand {
    /// List routes and the containers behind them.
    #[command(visible_alias = "list", after_help = "Example:\n  longshore route ls --json")]
    Ls(List),
    /// Explain which container receives a request, and why, or why none does.
    #[command(after_help = "Example:\n  longshore route explain wp1.example.com/blog")]
    Explain(ExplainRoute),
}

#[derive(Debug, Subcommand)]
pub(crate) enum HandlerCommand {
    /// List handlers and the state of their deliveries.
    #[command(visible_alias = "list", after_help = "Example:\n  longshore handler ls")]
    Ls(List),
    /// List deliveries that failed permanently.
    #[command(alias = "failed", after_help = "Example:\n  longshore handler failures --json")]
    Failures(List),
    /// Retry deliveries that failed permanently.
    #[command(after_help = "Example:\n  longshore handler replay backup:17")]
    Replay(FailedId),
    /// Discard deliveries that failed permanently.
    #[command(after_help = "Example:\n  longshore handler forget all")]
    Forget(FailedId),
    /// Run a handler once, or show what it would be given.
    #[command(
        after_help = "Example:\n  longshore handler test backup --event start --container wp1 --dry-run"
    )]
    Test(TestHandler),
}

#[derive(Debug, Subcommand)]
pub(crate) enum NameCommand {
    /// List the DNS names of containers and services.
    #[command(visible_alias = "list", after_help = "Example:\n  longshore name ls")]
    Ls(List),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProblemCommand {
    /// List problems.
    #[command(visible_alias = "list", after_help = "Example:\n  longshore problem ls")]
    Ls(List),
}

#[derive(Debug, Subcommand)]
pub(crate) enum EventCommand {
    /// Show events of all hosts as they happen.
    #[command(
        visible_alias = "list",
        after_help = "Examples:\n  longshore event ls --follow\n  \
                      longshore event ls --filter host=web1 --filter event=die"
    )]
    Ls(Events),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check the settings file, the environment and the handlers' files, and change nothing.
    #[command(after_help = "Example:\n  longshore config check /etc/longshore/longshore.toml")]
    Check {
        /// Settings file [default: the one that the agent would read].
        file: Option<PathBuf>,
    },
}

/// How a running agent is reached.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Agent")]
pub(crate) struct Connection {
    /// Address of the agent [default: `listen` of the settings, else 127.0.0.1:7051].
    #[arg(long, value_name = "ADDRESS", env = "LONGSHORE_AGENT")]
    pub(crate) agent: Option<String>,
    /// File with the agent's token, if it requires one.
    #[arg(long, value_name = "FILE", env = "LONGSHORE_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Settings file that has the agent's address [default: /etc/longshore/longshore.toml].
    #[arg(long, value_name = "FILE", env = "LONGSHORE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
}

/// A question with one answer.
#[derive(Debug, Args)]
pub(crate) struct Query {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// A question whose answer is a list.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Print names or IDs only.
    #[arg(short, long, conflicts_with_all = ["json", "format"])]
    pub(crate) quiet: bool,
    /// Print JSON: short for --format json.
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,
    /// Format: table, json, or a template for each item such as '{{ name }}'; the fields are those of --json.
    #[arg(long, value_name = "FORMAT", default_value = "table", hide_default_value = true)]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainRoute {
    /// Host and path of the request, or its URL.
    #[arg(value_name = "HOST/PATH")]
    pub(crate) target: String,
    /// Frontend, if it is not HTTP on the target's port: http:80, tcp:5432, udp:53.
    #[arg(long)]
    pub(crate) frontend: Option<String>,
    #[command(flatten)]
    pub(crate) query: Query,
}

#[derive(Debug, Args)]
pub(crate) struct FailedId {
    /// ID of the delivery, as `handler failures` lists it, or all.
    #[arg(value_name = "ID|all")]
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) query: Query,
}

#[derive(Debug, Args)]
pub(crate) struct TestHandler {
    /// Name of the handler.
    pub(crate) name: String,
    /// Event, by Docker's name.
    #[arg(long)]
    pub(crate) event: String,
    /// Name or ID of the container, or the beginning of its ID; not for the event none.
    #[arg(long, value_name = "CONTAINER")]
    pub(crate) container: Option<String>,
    /// Only show what the handler would be given.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) query: Query,
}

#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Reconnect when the agent restarts, and keep following.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Print one JSON object per line, each with its id.
    #[arg(long)]
    pub(crate) json: bool,
    /// Only events that match: container=, event=, host= or type= (container or route); repeatable.
    #[arg(long, value_name = "KEY=VALUE", value_parser = event_filter)]
    pub(crate) filter: Vec<(EventKey, String)>,
    /// Begin after the event with this id, as --json prints it; what the agent no longer has is reported as missed.
    #[arg(long, value_name = "ID")]
    pub(crate) after: Option<String>,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// What a filter of events looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventKey {
    Container,
    Event,
    Host,
    Type,
}

fn event_filter(text: &str) -> Result<(EventKey, String), String> {
    let expected = || "expected container=, event=, host= or type=, such as event=die".to_owned();
    let (key, value) = text.split_once('=').ok_or_else(expected)?;
    let key = match key {
        "container" => EventKey::Container,
        "event" => EventKey::Event,
        "host" => EventKey::Host,
        "type" => EventKey::Type,
        _ => return Err(expected()),
    };
    Ok((key, value.to_owned()))
}
