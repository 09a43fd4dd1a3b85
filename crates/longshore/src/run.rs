//! `longshore run`: the agent, from its start to its last request.

use std::process::ExitCode;
use std::time::Duration;

use longshore_daemon::config::Settings;
use longshore_daemon::{Agent, AgentError, Pass, Start};
use longshore_model::{Problem, Subject};
use tokio::signal::unix::{SignalKind, signal};

use crate::config_error::ConfigErrors;
use crate::output::{Terminal, print};
use crate::settings::{Resolved, Started};
use crate::succession::Succession;
use crate::{FAILED, descriptors, dry_run, log, succession};

/// The pause between attempts to take over again from a failed successor.
const TAKE_BACK_PAUSE: Duration = Duration::from_secs(1);

/// Runs the agent with the settings that `resolve` returns; it is called again at every reload.
pub(crate) async fn run(resolve: impl Fn() -> Result<Resolved, ConfigErrors>) -> anyhow::Result<ExitCode> {
    let Resolved { run, settings, values, .. } = resolve()?;
    let log = log::start(&run.log.log, run.log.log_format)?;
    if run.dry_run {
        return dry_run(settings).await;
    }
    if run.once {
        return pass(settings).await;
    }
    let started = Started { values, settings: settings.clone() };
    let reread = || {
        let Resolved { run, settings, values, .. } = resolve()?;
        log.reload(&run.log.log);
        let fixed = started.fixed(&values, &settings);
        Ok(Reread { settings, fixed })
    };
    watch(settings, reread, std::future::pending()).await
}

/// The settings, read again.
pub(crate) struct Reread {
    pub(crate) settings: Settings,
    /// Those that changed and need a restart, by name.
    pub(crate) fixed: Vec<String>,
}

impl From<Settings> for Reread {
    fn from(settings: Settings) -> Self {
        Self { settings, fixed: Vec::new() }
    }
}

/// Makes one pass over Docker's containers and everything that follows from them.
pub(crate) async fn pass(settings: Settings) -> anyhow::Result<ExitCode> {
    let mut agent = Agent::start(settings, Start::Once, None).await?;
    let outcome = until_signalled(agent.pass()).await;
    agent.leave().await?;
    let Pass { routes, problems, handlers } = outcome?;
    tracing::info!(
        routes = routes.len(),
        problems = problems.len(),
        handlers = handlers.len(),
        "single pass done"
    );
    let is_balancer = |problem: &Problem| matches!(problem.subject, Subject::Balancer { .. });
    let failed = handlers.iter().any(|(_, failure)| failure.is_some()) || problems.iter().any(is_balancer);
    Ok(if failed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

/// Prints what an agent would do.
async fn dry_run(settings: Settings) -> anyhow::Result<ExitCode> {
    let agent = Agent::start(settings, Start::Dry, None).await?;
    let plan = until_signalled(agent.dry_run()).await?;
    print(&dry_run::text(&plan, Terminal::of_output()))?;
    Ok(ExitCode::SUCCESS)
}

/// Makes one pass for its handlers' sake: fails if one of them did, or if its file is invalid.
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
    tracing::info!(ran = handlers.len(), failed, "handlers of the event none have run");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// Runs a pass, which a signal ends together with its handlers.
async fn until_signalled<T>(pass: impl Future<Output = Result<T, AgentError>>) -> anyhow::Result<T> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        outcome = pass => Ok(outcome?),
        _ = terminate.recv() => anyhow::bail!("SIGTERM ended the pass before everything was done"),
        _ = interrupt.recv() => anyhow::bail!("SIGINT ended the pass before everything was done"),
    }
}

/// Runs until a signal ends it: the first drains open requests, the second exits at once. Once `outdated`
/// resolves, the process is replaced by a new run of its program.
pub(crate) async fn watch(
    settings: Settings,
    reread: impl Fn() -> Result<Reread, ConfigErrors>,
    outdated: impl Future<Output = ()>,
) -> anyhow::Result<ExitCode> {
    descriptors::raise_limit();
    let mut outdated = std::pin::pin!(outdated);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut hand_over = signal(SignalKind::user_defined1())?;
    let mut replace = signal(SignalKind::user_defined2())?;
    let (node, listen) = (settings.node.clone(), settings.listen);
    let mut agent = begin(settings).await?;
    tracing::info!(node, listen = listen.map(tracing::field::display), "agent started");
    sd_notify::notify(&[sd_notify::NotifyState::Ready])?;
    let mut successor = Succession::default();
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => match reread() {
                Ok(Reread { settings, fixed }) => agent.reload(&settings, &fixed),
                Err(errors) => agent.reject_settings(&errors.0.iter().map(Problem::from).collect::<Vec<_>>()),
            },
            () = &mut outdated => return Err(begin_again(agent).await),
            _ = replace.recv() => match reread() {
                Err(errors) => tracing::error!("{errors}; no successor is started"),
                Ok(_) if agent.outlived_by_balancer() => match succession::try_out().await {
                    Ok(()) => return Err(begin_again(agent).await),
                    Err(error) => tracing::error!("cannot start a successor: {error:#}; this agent stays"),
                },
                Ok(_) => successor.start(agent.dns_ports()),
            },
            _ = hand_over.recv(), if successor.is_awaited() => {
                tracing::info!("handing over to the successor");
                agent.hand_over().await;
                successor.handed_over();
            }
            Some(lost) = successor.failed() => {
                if lost {
                    take_back(&mut agent).await;
                }
            }
        }
    }
    tracing::info!("shutting down: draining open requests (signal again to exit now)");
    let grace = match successor.pid() {
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

/// Takes back what a successor was handed before it failed. Its process has ended, so only a third one can
/// interfere.
async fn take_back(agent: &mut Agent) {
    loop {
        match agent.take_over().await {
            Ok(()) => return tracing::info!("took over again from the successor that failed"),
            Err(error) => {
                tracing::error!("cannot take over again from the successor that failed: {error}; retrying");
            }
        }
        tokio::time::sleep(TAKE_BACK_PAUSE).await;
    }
}

/// Starts afresh, or takes over from the agent that started this one, or that this process was.
async fn begin(settings: Settings) -> Result<Agent, AgentError> {
    let inherited = succession::inherited();
    let Some(predecessor) = succession::predecessor() else {
        return Agent::start(settings, Start::Fresh, inherited).await;
    };
    let mut agent = Agent::start(settings, Start::Successor, inherited).await?;
    agent.succeed(|| predecessor.ask()).await?;
    predecessor.end();
    Ok(agent)
}

/// Replaces the process with a new run of its program; returns only if that fails.
async fn begin_again(agent: Agent) -> anyhow::Error {
    let ports = agent.dns_ports();
    match agent.leave().await {
        Ok(_) => succession::exec(ports),
        Err(error) => error.into(),
    }
}
