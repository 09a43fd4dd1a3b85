//! The `longshore` program: arguments, commands, and an exit code that means something.

mod balancer;
mod bytes;
mod cli;
mod config_check;
mod config_error;
mod dockermod;
mod dry_run;
mod environment;
mod file;
mod flags;
mod format;
mod given;
mod glue;
mod legacy;
mod log;
mod man;
mod output;
mod podder;
mod query;
mod run;
mod settings;
mod succession;
mod table;

use std::ffi::OsString;
use std::process::ExitCode;

use longshore_api::ClientError;

use cli::{Command, Compat};
use config_error::ConfigErrors;
use output::{ClosedPipe, complain};

/// glibc's keeps the memory that thousands of slow clients needed after they have left; measured in
/// docs/decisions/0004.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Failure.
const FAILED: u8 = 1;
/// Invalid arguments or settings.
const USAGE: u8 = 2;
/// No agent answered.
const NO_AGENT: u8 = 3;
/// `route explain`: no container receives the request.
const NOT_ROUTED: u8 = 4;
/// Not all hosts answered: the list lacks what they have.
const INCOMPLETE: u8 = 5;

/// Returns the number of threads for the agent's own work; the balancer, the DNS server and Docker's events
/// have separate ones.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 4)
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let command = match cli::parse(&arguments) {
        Ok(command) => command,
        Err(error) => return explained(&error),
    };
    let runtime =
        match tokio::runtime::Builder::new_multi_thread().worker_threads(threads()).enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return failed(&anyhow::Error::new(error).context("cannot start")),
        };
    let outcome = runtime.block_on(execute(command, &arguments));
    // A blocking file read or name lookup that hangs must not delay the exit.
    runtime.shutdown_background();
    outcome.unwrap_or_else(|error| failed(&error))
}

async fn execute(command: Command, arguments: &[OsString]) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(_) => run::run(|| settings::resolve(arguments.get(2..).unwrap_or_default())).await,
        Command::Status(query) => query::status(&query).await,
        Command::Route(command) => query::route(command).await,
        Command::Host(command) => query::host(command).await,
        Command::Cluster(command) => query::cluster(command).await,
        Command::Container(command) => query::container(command).await,
        Command::Image(command) => query::image(command).await,
        Command::Handler(command) => query::handler(command).await,
        Command::Name(command) => query::name(command).await,
        Command::Problem(command) => query::problem(command).await,
        Command::Event(command) => query::event(command).await,
        Command::Config(command) => config_check::config(command),
        Command::Compat(Compat::Balancer(flags)) => balancer::run(*flags).await,
        Command::Compat(Compat::Glue(flags)) => glue::run(*flags, arguments.first()).await,
        Command::Compat(Compat::Dockermod(flags)) => run::run(|| dockermod::settings(&flags)).await,
        Command::Compat(Compat::Podder(flags)) => podder::run(flags).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut cli::command(), "longshore", &mut script);
            output::write_all(&script)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Man { directory } => {
            man::write(&directory)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Short(short) => Box::pin(execute(short.command(), arguments)).await,
    }
}

/// Prints help, the version, or the errors in the arguments.
fn explained(error: &clap::Error) -> ExitCode {
    let code = u8::try_from(error.exit_code()).unwrap_or(USAGE);
    match error.print() {
        Err(cause) if !error.use_stderr() && cause.kind() != std::io::ErrorKind::BrokenPipe => {
            failed(&anyhow::Error::new(cause).context("cannot write to standard output"))
        }
        _ => ExitCode::from(code),
    }
}

/// Prints an error with every cause, and what to do.
fn failed(error: &anyhow::Error) -> ExitCode {
    if error.is::<ClosedPipe>() {
        return ExitCode::SUCCESS;
    }
    let client = error.downcast_ref::<ClientError>();
    match client.and_then(query::advice) {
        Some(advice) => complain(&format!("longshore: {error:#}\n{advice}")),
        None => complain(&format!("longshore: {error:#}")),
    }
    match client {
        Some(ClientError::Unreachable { .. } | ClientError::Timeout { .. }) => ExitCode::from(NO_AGENT),
        Some(ClientError::Address(_) | ClientError::Token { .. }) => ExitCode::from(USAGE),
        _ if error.is::<ConfigErrors>() => ExitCode::from(USAGE),
        _ => ExitCode::from(FAILED),
    }
}
