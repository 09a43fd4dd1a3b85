//! `longshore run`: the agent, from its start to its last request.

use std::process::ExitCode;
use std::time::Duration;

use longshore_daemon::config::Settings;
use longshore_daemon::{Agent, AgentError, Pass, Ports, Start};
use longshore_model::{Problem, Subject};
use longshore_runtime::{chain, descriptors};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use crate::config_error::ConfigErrors;
use crate::output::{Terminal, print};
use crate::settings::{Resolved, Started};
use crate::succession::Succession;
use crate::{FAILED, dry_run, log, succession};

/// The pauses between attempts to resume after a successor failed: doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60);

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
    let mut agent = Agent::start(settings, Start::Once, Ports::default()).await?;
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
    let agent = Agent::start(settings, Start::Dry, Ports::default()).await?;
    let plan = until_signalled(agent.dry_run()).await?;
    print(&dry_run::text(&plan, Terminal::of_output()))?;
    Ok(ExitCode::SUCCESS)
}

/// Makes one pass for its handlers' sake: fails if one of them did, or if its file is invalid.
pub(crate) async fn once(settings: Settings) -> anyhow::Result<ExitCode> {
    let mut agent = Agent::start(settings, Start::Once, Ports::default()).await?;
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
        _ = terminate.recv() => anyhow::bail!("SIGTERM interrupted the pass"),
        _ = interrupt.recv() => anyhow::bail!("SIGINT interrupted the pass"),
    }
}

/// Runs until a signal ends it: the first drains open requests, the second exits at once. Once `outdated`
/// resolves, the process is replaced by a new run of its program.
pub(crate) async fn watch(
    settings: Settings,
    reread: impl Fn() -> Result<Reread, ConfigErrors>,
    outdated: impl Future<Output = ()>,
) -> anyhow::Result<ExitCode> {
    descriptors::raise_limit(succession::initial_limit());
    let mut outdated = std::pin::pin!(outdated);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut hand_over = signal(SignalKind::user_defined1())?;
    let mut replace = signal(SignalKind::user_defined2())?;
    let (node, listen) = (settings.node.clone(), settings.listen);
    let inherited = succession::inherited();
    let predecessor = succession::predecessor();
    let start = if predecessor.is_some() { Start::Successor } else { Start::Fresh };
    let mut agent = tokio::select! {
        agent = Agent::start(settings, start, inherited) => agent?,
        _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
        _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
    };
    if let Some(predecessor) = predecessor {
        let succeeded = tokio::select! {
            succeeded = agent.succeed(|| predecessor.ask()) => Some(succeeded),
            _ = terminate.recv() => None,
            _ = interrupt.recv() => None,
        };
        match succeeded {
            Some(succeeded) => succeeded?,
            None => {
                // It shares the ports of its predecessor, and has requests of its own.
                return Ok(stop(agent, None, terminate, interrupt).await);
            }
        }
        predecessor.end();
    }
    tracing::info!(node, listen = listen.map(tracing::field::display), "agent started");
    sd_notify::notify(&[sd_notify::NotifyState::Ready])?;
    let mut successor = Succession::default();
    let mut take_back = None;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => match reread() {
                Ok(Reread { settings, fixed }) => agent.reload(&settings, &fixed),
                Err(errors) => agent.reject_settings(&errors.0.iter().map(Problem::from).collect::<Vec<_>>()),
            },
            () = &mut outdated => return Err(restart(agent).await),
            _ = replace.recv() => match reread() {
                Err(errors) => tracing::error!("{errors}; no successor is started"),
                Ok(_) if agent.outlived_by_balancer() => match succession::try_out().await {
                    Ok(()) => return Err(restart(agent).await),
                    Err(error) => tracing::error!("cannot start a successor: {error:#}; this agent keeps running"),
                },
                Ok(_) => successor.start(agent.ports()),
            },
            _ = hand_over.recv(), if successor.is_awaited() => {
                tracing::info!("handing over to the successor");
                agent.hand_over().await;
                successor.handed_over();
                take_back = None;
            }
            Some(lost) = successor.failed() => {
                if lost {
                    take_back = Some(TakeBack { at: Instant::now(), pause: FIRST_PAUSE });
                }
            }
            Some(pause) = due(take_back.as_ref()) => {
                take_back = match agent.take_back().await {
                    Ok(()) => {
                        tracing::info!("resumed after the successor failed");
                        None
                    }
                    // The successor has ended, so a third process is in the way.
                    Err(error) => {
                        tracing::error!(
                            "cannot resume after the successor failed: {}; routes stay, retrying in {} s",
                            chain(&error),
                            pause.as_secs()
                        );
                        Some(TakeBack { at: Instant::now() + pause, pause: MAX_PAUSE.min(pause * 2) })
                    }
                };
            }
        }
    }
    tracing::info!("shutting down: draining open requests (signal again to exit now)");
    let grace = match successor.heir() {
        Some(pid) => {
            sd_notify::notify(&[sd_notify::NotifyState::MainPid(pid)])?;
            Some(succession::GRACE)
        }
        None => {
            successor.give_up();
            sd_notify::notify(&[sd_notify::NotifyState::Stopping])?;
            None
        }
    };
    Ok(stop(agent, grace, terminate, interrupt).await)
}

/// Drains open requests; another signal ends that.
async fn stop(
    agent: Agent,
    grace: Option<Duration>,
    mut terminate: Signal,
    mut interrupt: Signal,
) -> ExitCode {
    tokio::select! {
        () = agent.stop(grace) => ExitCode::SUCCESS,
        _ = terminate.recv() => ExitCode::FAILURE,
        _ = interrupt.recv() => ExitCode::FAILURE,
    }
}

/// The next attempt to take back what a successor was handed before it failed.
struct TakeBack {
    at: Instant,
    /// The pause after it, if it fails.
    pause: Duration,
}

/// Resolves with the pause that follows once the attempt is due.
async fn due(attempt: Option<&TakeBack>) -> Option<Duration> {
    let TakeBack { at, pause } = attempt?;
    sleep_until(*at).await;
    Some(*pause)
}

/// Replaces the process with a new run of its program; returns only if that fails.
async fn restart(agent: Agent) -> anyhow::Error {
    let ports = agent.ports();
    match agent.leave().await {
        Ok(_) => succession::exec(ports),
        Err(error) => error.into(),
    }
}
