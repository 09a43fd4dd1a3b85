//! The arguments, as a person types them: `longshore NOUN VERB`, as the docker command has it.

mod cluster;
mod compat;
mod containers;
mod dockermod;
mod nouns;
mod run;
pub(crate) mod values;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

pub(crate) use cluster::{ClusterCommand, LabelHost, LeaveHost, RotateCluster};
pub(crate) use compat::{Balancer, Compat, Glue, Podder};
pub(crate) use containers::{
    ContainerCommand, ContainerExec, ContainerList, ContainerLogs, ContainerStats, Containers, FilterKey,
    HostCommand, ImageCommand, ImageList, ImagePull, Orders,
};
pub(crate) use dockermod::Dockermod;
pub(crate) use nouns::{
    ConfigCommand, Connection, EventCommand, EventKey, Events, ExplainRoute, FailedId, HandlerCommand, List,
    NameCommand, ProblemCommand, Query, RouteCommand, TestHandler,
};
pub(crate) use run::Run;

const AFTER_HELP: &str = "Short forms:
  routes, containers, hosts, handlers, names, problems, events   `ls` of that noun
  ps, logs                           `container ls`, `container logs`
  explain route, handlers failed     `route explain`, `handler failures`
  balancer, glue, podder, dockermod  `compat` of that tool

Exit codes:
  0  success
  1  failure
  2  invalid arguments or settings
  3  no agent answered
  4  route explain: no container receives the request
  5  container ls, image ls: not all hosts answered; those that did not are named
  container exec exits with the command's own code";

/// Watches a Docker host's containers and keeps everything around them in step.
#[derive(Debug, Parser)]
#[command(name = "longshore", version, after_help = AFTER_HELP, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the agent on this host.
    #[command(after_help = "Every setting is also a key of the settings file and an environment variable: \
        --check-interval is check-interval and LONGSHORE_CHECK_INTERVAL. Flags override the environment, which \
        overrides the file.\n\nExample:\n  longshore run --docker unix:///var/run/docker.sock")]
    Run(Box<Run>),
    /// Show the agent, Docker, the balancer and the followers.
    #[command(after_help = "Example:\n  longshore status")]
    Status(Query),
    /// List routes, and explain where a request goes.
    #[command(subcommand)]
    Route(RouteCommand),
    /// List hosts, change their labels, and take them out of the cluster.
    #[command(subcommand)]
    Host(HostCommand),
    /// Show the cluster, and manage its secret.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// List, inspect and manage the containers of all hosts.
    #[command(subcommand)]
    Container(ContainerCommand),
    /// List and pull images.
    #[command(subcommand)]
    Image(ImageCommand),
    /// List handlers, and manage failed deliveries.
    #[command(subcommand)]
    Handler(HandlerCommand),
    /// List the names that the DNS server knows.
    #[command(subcommand)]
    Name(NameCommand),
    /// List problems: what is configured but not done, and why.
    #[command(subcommand)]
    Problem(ProblemCommand),
    /// Show events of the containers of all hosts, and of routes.
    #[command(subcommand)]
    Event(EventCommand),
    /// Check the settings.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Run an old tool: docker-balancer, docker-glue, DockerMod or podder.
    #[command(subcommand)]
    Compat(Compat),
    /// Print a completion script for a shell.
    #[command(after_help = "Example:\n  longshore completions bash > /etc/bash_completion.d/longshore")]
    Completions {
        /// Shell.
        shell: Shell,
    },
    /// Write the manual pages.
    #[command(after_help = "Example:\n  longshore man /usr/local/share/man")]
    Man {
        /// Directory, in which man1, man5 and man7 are created.
        directory: PathBuf,
    },
    #[command(flatten)]
    Short(Short),
}

/// Other forms of the same commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Short {
    /// List routes.
    #[command(hide = true, after_help = "Example:\n  longshore routes")]
    Routes(List),
    /// List containers.
    #[command(hide = true, alias = "ps", after_help = "Example:\n  longshore containers")]
    Containers(ContainerList),
    /// List hosts.
    #[command(hide = true, after_help = "Example:\n  longshore hosts")]
    Hosts(List),
    /// Show a container's log.
    #[command(hide = true, after_help = "Example:\n  longshore logs --follow wp1")]
    Logs(ContainerLogs),
    /// List handlers, and manage failed deliveries.
    #[command(
        hide = true,
        after_help = "Example:\n  longshore handlers",
        args_conflicts_with_subcommands = true
    )]
    Handlers {
        #[command(subcommand)]
        command: Option<HandlerCommand>,
        #[command(flatten)]
        list: List,
    },
    /// List the names that the DNS server knows.
    #[command(hide = true, after_help = "Example:\n  longshore names")]
    Names(List),
    /// List problems.
    #[command(hide = true, after_help = "Example:\n  longshore problems")]
    Problems(List),
    /// Show events of containers and routes.
    #[command(hide = true, after_help = "Example:\n  longshore events --follow")]
    Events(Events),
    /// Explain where a request goes.
    #[command(hide = true, subcommand)]
    Explain(Explain),
    #[command(flatten)]
    Compat(Compat),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Explain {
    /// Explain which container receives a request, and why, or why none does.
    #[command(after_help = "Example:\n  longshore explain route wp1.example.com/blog")]
    Route(ExplainRoute),
}

impl Short {
    /// Returns the command that it stands for.
    pub(crate) fn command(self) -> Command {
        match self {
            Self::Routes(list) => Command::Route(RouteCommand::Ls(list)),
            Self::Containers(list) => Command::Container(ContainerCommand::Ls(list)),
            Self::Hosts(list) => Command::Host(HostCommand::Ls(list)),
            Self::Logs(logs) => Command::Container(ContainerCommand::Logs(logs)),
            Self::Handlers { command, list } => Command::Handler(command.unwrap_or(HandlerCommand::Ls(list))),
            Self::Names(list) => Command::Name(NameCommand::Ls(list)),
            Self::Problems(list) => Command::Problem(ProblemCommand::Ls(list)),
            Self::Events(events) => Command::Event(EventCommand::Ls(events)),
            Self::Explain(Explain::Route(route)) => Command::Route(RouteCommand::Explain(route)),
            Self::Compat(tool) => Command::Compat(tool),
        }
    }
}

/// Reads the arguments, the program's name first.
pub(crate) fn parse(arguments: &[OsString]) -> Result<Command, clap::Error> {
    let rewritten = dockermod::rewritten(arguments)?;
    let arguments = rewritten.as_deref().unwrap_or(arguments);
    if let Some(tool) = Compat::by_link(arguments) {
        return tool.map(Command::Compat);
    }
    let matches = command().try_get_matches_from(arguments)?;
    Ok(Cli::from_arg_matches(&matches)?.command)
}

/// Returns the whole command line, for completions and manual pages.
pub(crate) fn command() -> clap::Command {
    let old_tools = ["balancer", "glue", "podder", "dockermod"];
    old_tools
        .into_iter()
        .fold(Cli::command(), |command, tool| command.mut_subcommand(tool, |tool| tool.hide(true)))
}

#[cfg(test)]
mod tests;
