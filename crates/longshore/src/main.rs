//! The `longshore` program: arguments, commands, and an exit code that means something.

mod alone;
mod balancer;
mod cli;
mod descriptors;
mod file;
mod flags;
mod glue;
mod handlers;
mod log;
mod mistake;
mod podder;
mod query;
mod run;
mod settings;
mod succession;
mod table;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use cli::{Cli, Command};

/// It did not work.
const FAILED: u8 = 1;
/// The arguments or the settings are wrong.
const USAGE: u8 = 2;
/// No agent answers.
const NO_AGENT: u8 = 3;
/// `explain`: no container gets the request.
const NOT_ROUTED: u8 = 4;

fn main() -> ExitCode {
    let arguments = cli::by_name(std::env::args_os().collect());
    let matches = match Cli::command().try_get_matches_from(&arguments) {
        Ok(matches) => matches,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(error.exit_code().try_into().unwrap_or(USAGE));
        }
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::Error::new(error).context("cannot start")),
    };
    let outcome = runtime.block_on(command(cli, &matches, &arguments));
    // A blocking file or name look-up that hangs must not hold the end up.
    runtime.shutdown_background();
    outcome.unwrap_or_else(|error| failed(&error))
}

async fn command(cli: Cli, matches: &clap::ArgMatches, arguments: &[OsString]) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Run(_) => run::run(matches, arguments).await,
        Command::Balancer(arguments) => balancer::run(*arguments).await,
        Command::Glue(flags) => glue::run(*flags, arguments.first()).await,
        Command::Podder(arguments) => podder::run(arguments).await,
        Command::Routes(ask) => query::routes(&ask).await,
        Command::Names(ask) => query::names(&ask).await,
        Command::Problems(ask) => query::problems(&ask).await,
        Command::Containers(ask) => query::containers(&ask).await,
        Command::Handlers(asked) => handlers::run(asked).await,
        Command::Explain(cli::Explain::Route(asked)) => query::explain(&asked).await,
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "longshore", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Command::Man { directory } => man(&directory),
    }
}

fn man(directory: &Path) -> anyhow::Result<ExitCode> {
    std::fs::create_dir_all(directory)?;
    clap_mangen::generate_to(Cli::command(), directory)?;
    Ok(ExitCode::SUCCESS)
}

/// Tells why, with every cause, each once.
#[expect(clippy::print_stderr, reason = "the one place where the program says why it fails")]
fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("longshore: {error:#}");
    match error.downcast_ref::<longshore_api::ClientError>() {
        Some(longshore_api::ClientError::Unreachable { .. } | longshore_api::ClientError::Timeout { .. }) => {
            ExitCode::from(NO_AGENT)
        }
        Some(longshore_api::ClientError::Address(_) | longshore_api::ClientError::Token { .. }) => {
            ExitCode::from(USAGE)
        }
        _ if error.is::<mistake::Mistakes>() => ExitCode::from(USAGE),
        _ => ExitCode::from(FAILED),
    }
}
