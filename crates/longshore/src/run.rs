//! `longshore run`: the agent, from its start to its last request.

use std::ffi::OsString;
use std::process::ExitCode;

use longshore_api::Route;
use longshore_daemon::config::Settings;
use longshore_daemon::{Agent, AgentError, Pass, Start};
use longshore_model::{Problem, Subject};
use tokio::signal::unix::{SignalKind, signal};

use crate::config_error::ConfigErrors;
use crate::output::{Terminal, print};
use crate::settings::{Resolved, resolve};
use crate::{FAILED, descriptors, log, query, succession};

pub(crate) async fn run(flags: &[OsString]) -> anyhow::Result<ExitCode> {
    let Resolved { run, settings, .. } = resolve(flags)?;
    log::start(&run.log.log, run.log.log_format)?;
    if run.once || run.dry_run {
        return pass(settings, run.dry_run).await;
    }
    let reread = || resolve(flags).map(|resolved| resolved.settings);
    watch(settings, reread, std::future::pending()).await
}

/// One pass: what Docker has, what follows from it, done or only shown.
pub(crate) async fn pass(settings: Settings, dry: bool) -> anyhow::Result<ExitCode> {
    let settings = Settings { listen: None, dns: None, ..settings };
    let mut agent = Agent::start(settings, if dry { Start::Dry } else { Start::Once }, None).await?;
    let outcome = until_signalled(agent.pass()).await;
    let configuration = agent.leave().await?;
    let Pass { routes, problems, handlers } = outcome?;
    if dry {
        let routes: Vec<Route> = routes.iter().map(|route| Route::from(&**route)).collect();
        let problems: Vec<_> = problems.iter().map(longshore_api::Problem::from).collect();
        print_plan(&routes, &problems, configuration.as_deref())?;
    } else {
        tracing::info!(
            routes = routes.len(),
            problems = problems.len(),
            handlers = handlers.len(),
            "one pass made"
        );
    }
    let unapplied = |problem: &Problem| matches!(problem.subject, Subject::Balancer { .. });
    let failed = handlers.iter().any(|(_, failure)| failure.is_some()) || problems.iter().any(unapplied);
    Ok(if failed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

/// Prints what a dry run would do: the routes, and the configuration where one would be written.
fn print_plan(
    routes: &[Route],
    problems: &[longshore_api::Problem],
    configuration: Option<&str>,
) -> anyhow::Result<()> {
    let terminal = Terminal::of_output();
    print(&query::routes_table(routes).render(terminal))?;
    if !problems.is_empty() {
        print(&format!("\n{}", query::problems_table(problems).render(terminal)))?;
    }
    match configuration {
        Some(configuration) => print(&format!("\n{configuration}")),
        None => Ok(()),
    }
}

/// One pass for the sake of its handlers: it fails if one of them did, or if its file is broken.
pub(crate) async fn once(settings: Settings) -> anyhow::Result<ExitCode> {
    let mut agent = Agent::start(settings, Start::Once, None).await?;
    let outcome = until_signalled(agent.pass()).await;
    agent.leave().await?;
    let Pass { problems, handlers, .. } = outcome?;
    let is_handlers = |problem: &&Problem| {
        matches!(problem.subject, Subject::Handler { .. } | Subject::File { .. } | Subject::Balancer { .. })
    };
    let failed = handlers.iter().filter(|(_, failure)| failure.is_some()).count();
    let failed = failed + problems.iter().filter(is_handlers).count();
    tracing::info!(ran = handlers.len(), failed, "the handlers of the event none have run");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// A pass that a signal ends, with the handlers that it runs.
async fn until_signalled(pass: impl Future<Output = Result<Pass, AgentError>>) -> anyhow::Result<Pass> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        outcome = pass => Ok(outcome?),
        _ = terminate.recv() => anyhow::bail!("SIGTERM ended the pass before everything was done"),
        _ = interrupt.recv() => anyhow::bail!("SIGINT ended the pass before everything was done"),
    }
}

/// Runs until a signal ends it: the first lets open requests finish, the second does not. Once `outdated` resolves,
/// the process is replaced by another run of its program.
pub(crate) async fn watch(
    settings: Settings,
    reread: impl Fn() -> Result<Settings, ConfigErrors>,
    outdated: impl Future<Output = ()>,
) -> anyhow::Result<ExitCode> {
    descriptors::raise_limit();
    let mut outdated = std::pin::pin!(outdated);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut replace = signal(SignalKind::user_defined2())?;
    let (node, listen) = (settings.node.clone(), settings.listen);
    let agent = begin(settings).await?;
    tracing::info!(node, listen = listen.map(tracing::field::display), "the agent runs");
    sd_notify::notify(&[sd_notify::NotifyState::Ready])?;
    let mut successor = None;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => match reread() {
                Ok(settings) => agent.reload(&settings),
                Err(errors) => agent.stay(&errors.0.iter().map(Problem::from).collect::<Vec<_>>()),
            },
            () = &mut outdated => return Err(begin_anew(agent).await),
            _ = replace.recv() => match reread() {
                Err(errors) => tracing::error!("{errors}; no successor is started"),
                Ok(_) if agent.outlived_by_balancer() => match succession::try_out().await {
                    Ok(()) => return Err(begin_anew(agent).await),
                    Err(error) => tracing::error!("cannot start a successor: {error:#}; this agent goes on"),
                },
                Ok(_) => successor = succession::spawn(agent.dns_ports()),
            },
            status = succession::ended(&mut successor) => {
                tracing::error!(%status, "the successor ended before it took over; this agent goes on");
                successor = None;
            }
        }
    }
    tracing::info!("ending: open requests are let finish; a second signal ends at once");
    let grace = match successor.as_ref().and_then(tokio::process::Child::id) {
        Some(pid) => {
            sd_notify::notify(&[sd_notify::NotifyState::MainPid(pid)])?;
            Some(succession::GRACE)
        }
        None => {
            sd_notify::notify(&[sd_notify::NotifyState::Stopping])?;
            None
        }
    };
    tokio::select! {
        () = agent.stop(grace) => Ok(ExitCode::SUCCESS),
        _ = terminate.recv() => Ok(ExitCode::FAILURE),
        _ = interrupt.recv() => Ok(ExitCode::FAILURE),
    }
}

/// Starts by itself, or takes over from the agent that started this one, or that this process was.
async fn begin(settings: Settings) -> Result<Agent, AgentError> {
    let inherited = succession::inherited();
    let Some(predecessor) = succession::predecessor() else {
        return Agent::start(settings, Start::Fresh, inherited).await;
    };
    let mut agent = Agent::start(settings, Start::Successor, inherited).await?;
    agent.succeed(|| predecessor.end()).await?;
    Ok(agent)
}

/// Has the process become another run of its program; returns only if that fails.
async fn begin_anew(agent: Agent) -> anyhow::Error {
    let ports = agent.dns_ports();
    match agent.leave().await {
        Ok(_) => succession::exec(ports),
        Err(error) => error.into(),
    }
}
