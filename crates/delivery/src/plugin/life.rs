//! The lifecycle of a plugin, one process after another: start, greeting, events, end, restart.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use longshore_model::{Problem, Subject};
use longshore_runtime::{Problems, Source, backoff, chain};
use rustix::process::Signal;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

use super::ledger::{Delivery, Ledger};
use super::log::{Log, plain};
use super::process::{Act, Process};
use super::wire::{self, PROTOCOL, PluginMessage};
use crate::attempt::Failure;

/// How long a plugin may take to answer the hello, unless it has longer per event: it may need to prepare.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take to end after a shutdown request.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long it may take to end after SIGTERM.
const TERM_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a plugin that closed a pipe may take to end by itself.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How often dropped log lines are reported.
const FLUSH_INTERVAL: Duration = Duration::from_secs(5);
/// Initial restart delay; it rises to half a minute. A plugin that exits at once costs little, and one that exited
/// once is back before its next event.
const FIRST_DELAY: Duration = Duration::from_millis(200);
const MAX_DELAY: Duration = Duration::from_secs(30);
/// Most characters reported of a plugin's reason.
const MAX_REASON: usize = 500;

/// Why a delivery was aborted that the plugin did not answer before its end.
pub(super) const SHUT_DOWN: &str = "the plugin was shut down";

/// The recipient of a delivery's outcome.
pub(super) type Answer = oneshot::Sender<Result<(), Failure>>;

/// A request to the keeper of a plugin.
#[derive(Debug)]
pub(super) enum Order {
    Deliver(Delivery<Answer>),
    /// Stop, and report when done.
    Stop(oneshot::Sender<()>),
}

/// What is needed to start a plugin.
#[derive(Debug)]
pub(super) struct Recipe {
    pub(super) handler: String,
    pub(super) command: Vec<String>,
    pub(super) docker_host: String,
    /// Where the Python package for plugins is.
    pub(super) python: Option<PathBuf>,
    /// The first line sent to it.
    pub(super) hello: Vec<u8>,
    /// How long it may take per event.
    pub(super) patience: Duration,
    /// How many events it receives at once, unless it accepts fewer.
    pub(super) parallel: usize,
    /// Where a failure to start is reported.
    pub(super) problems: Problems,
}

impl Recipe {
    /// Reports why the plugin does not start, or clears the problem.
    fn tell(&self, why: Option<&str>) {
        let problem = why.map(|why| Problem {
            subject: Subject::Handler { name: self.handler.clone() },
            key: None,
            message: format!("the plugin does not start: {why}"),
            hint: Some(
                "retrying; see its messages in the log, and docs/plugins.md for what a plugin must do"
                    .to_owned(),
            ),
        });
        self.problems.set(Source::Plugin(self.handler.clone()), problem);
    }
}

/// Keeps a plugin running until it is ordered to stop, or its owner is gone.
pub(super) async fn keep(recipe: Recipe, orders: mpsc::UnboundedReceiver<Order>) {
    keep_running(&recipe, orders).await;
    recipe.tell(None);
}

async fn keep_running(recipe: &Recipe, mut orders: mpsc::UnboundedReceiver<Order>) {
    let log = Arc::new(Log::new(&recipe.handler));
    let mut ledger = Ledger::new(recipe.patience);
    let mut delays = backoff::exponential(FIRST_DELAY, MAX_DELAY);
    loop {
        let began = Instant::now();
        let end = match Life::begin(recipe, &log, &mut ledger) {
            Ok(life) => life.live(&mut orders).await,
            Err(why) => End::Failed { why, greeted: false },
        };
        log.flush();
        let (why, greeted) = match end {
            End::Failed { why, greeted } => (why, greeted),
            End::Stopped(done) => {
                let _ = done.send(());
                return;
            }
        };
        let failure = Failure::passing(why.clone());
        for answer in ledger.take_under_way() {
            let _ = answer.send(Err(failure.clone()));
        }
        // Waiting deliveries go to the next process, unless it is unlikely that one will start.
        if !greeted {
            recipe.tell(Some(&why));
            for answer in ledger.take_queue() {
                let _ = answer.send(Err(failure.clone()));
            }
        }
        if began.elapsed() > MAX_DELAY {
            delays = backoff::exponential(FIRST_DELAY, MAX_DELAY);
        }
        let delay = delays.next().unwrap_or(MAX_DELAY);
        tracing::warn!(handler = recipe.handler, retry_in = ?delay, "plugin exited, restarting: {why}");
        let again = sleep(delay);
        tokio::pin!(again);
        loop {
            let order = tokio::select! {
                order = orders.recv() => order,
                () = &mut again => break,
            };
            match order {
                Some(Order::Deliver(delivery)) => ledger.push(delivery),
                Some(Order::Stop(done)) => {
                    for answer in ledger.take_queue() {
                        let _ = answer.send(Err(Failure::broken_off(SHUT_DOWN, false)));
                    }
                    let _ = done.send(());
                    return;
                }
                None => return,
            }
        }
    }
}

/// How a process ended.
enum End {
    /// Unexpectedly.
    Failed { why: String, greeted: bool },
    /// As ordered.
    Stopped(oneshot::Sender<()>),
}

/// Everything that can happen in a life.
enum Happening {
    Act(Act),
    Order(Option<Order>),
    Time,
}

/// The next step for a plugin that was asked to stop.
#[derive(Clone, Copy)]
enum Farewell {
    Term(Instant),
    Kill(Instant),
}

/// One process, from start to end.
struct Life<'a> {
    recipe: &'a Recipe,
    log: &'a Log,
    ledger: &'a mut Ledger<Answer>,
    process: Process,
    /// How many events it accepts at once; unknown until it answered the hello.
    parallel: Option<usize>,
    greet_by: Instant,
    flush_at: Instant,
    stopping: Option<(Farewell, oneshot::Sender<()>)>,
}

/// Why a process is finished, and how long it may take to exit by itself.
struct Over {
    why: String,
    grace: Duration,
}

impl Over {
    fn at_once(why: impl Into<String>) -> Self {
        Self { why: why.into(), grace: Duration::ZERO }
    }
}

impl<'a> Life<'a> {
    fn begin(recipe: &'a Recipe, log: &'a Arc<Log>, ledger: &'a mut Ledger<Answer>) -> Result<Self, String> {
        let process = Process::start(
            &recipe.command,
            &recipe.docker_host,
            recipe.python.as_deref(),
            recipe.patience,
            log,
        )
        .map_err(|error| {
            let program = recipe.command.first().map_or("", String::as_str);
            format!("its program {program:?} cannot be started: {}", chain(&error))
        })?;
        process.tell(recipe.hello.clone());
        let now = Instant::now();
        Ok(Self {
            recipe,
            log,
            ledger,
            process,
            parallel: None,
            greet_by: now + recipe.patience.max(HELLO_TIMEOUT),
            flush_at: now + FLUSH_INTERVAL,
            stopping: None,
        })
    }

    async fn live(mut self, orders: &mut mpsc::UnboundedReceiver<Order>) -> End {
        let over = loop {
            let wake = self.wake();
            let happening = tokio::select! {
                act = self.process.next() => Happening::Act(act),
                order = orders.recv(), if self.stopping.is_none() => Happening::Order(order),
                () = sleep_until(wake) => Happening::Time,
            };
            if let Err(over) = self.take(happening, Instant::now()) {
                break over;
            }
        };
        let greeted = self.parallel.is_some();
        let (words, status) = self.process.end(over.grace).await;
        let now = Instant::now();
        for said in words {
            // After its end, only answers matter.
            settle(self.ledger, self.log, said, now);
        }
        let why = match status {
            Some(status) => match self.log.last_words() {
                Some(words) => format!("the plugin exited ({status}): {words}"),
                None => format!("the plugin exited ({status})"),
            },
            None => format!("the plugin was killed: {}", over.why),
        };
        match self.stopping {
            Some((_, done)) => {
                for answer in self.ledger.take_under_way() {
                    let _ = answer.send(Err(Failure::broken_off(SHUT_DOWN, true)));
                }
                End::Stopped(done)
            }
            None => End::Failed { why, greeted },
        }
    }

    /// Returns when [`Happening::Time`] has something to do.
    fn wake(&self) -> Instant {
        let greet_by = if self.parallel.is_none() { Some(self.greet_by) } else { None };
        let farewell = self.stopping.as_ref().map(|(Farewell::Term(at) | Farewell::Kill(at), _)| *at);
        [greet_by, farewell, self.ledger.deadline()].into_iter().flatten().fold(self.flush_at, Instant::min)
    }

    fn take(&mut self, happening: Happening, now: Instant) -> Result<(), Over> {
        match happening {
            Happening::Act(act) => self.act(act, now)?,
            Happening::Order(Some(Order::Deliver(delivery))) => self.ledger.push(delivery),
            Happening::Order(Some(Order::Stop(done))) => self.stop(done, now),
            Happening::Order(None) => return Err(Over::at_once("it is no longer needed")),
            Happening::Time => self.time(now)?,
        }
        if let Some(parallel) = self.parallel
            && self.stopping.is_none()
        {
            while let Some(line) = self.ledger.next(now, parallel, |answer| !answer.is_closed()) {
                self.process.tell(line);
            }
        }
        Ok(())
    }

    fn act(&mut self, act: Act, now: Instant) -> Result<(), Over> {
        let closed = |why: &str| Over { why: why.to_owned(), grace: CLOSE_TIMEOUT };
        match act {
            Act::Wrote(PluginMessage::Hello { protocol, .. }) if protocol != PROTOCOL => {
                let why = format!(
                    "it speaks version {protocol} of the protocol, but this agent speaks version {PROTOCOL}"
                );
                Err(Over::at_once(why))
            }
            Act::Wrote(PluginMessage::Hello { name, parallel, .. }) if self.parallel.is_none() => {
                let most = parallel.map_or(usize::MAX, std::num::NonZeroUsize::get);
                self.parallel = Some(self.recipe.parallel.clamp(1, most));
                let name = plain(&name.unwrap_or_default(), 100);
                tracing::info!(handler = self.recipe.handler, plugin = name, "plugin ready");
                self.recipe.tell(None);
                Ok(())
            }
            Act::Wrote(said) => {
                settle(self.ledger, self.log, said, now);
                Ok(())
            }
            Act::TooLong => {
                Err(Over::at_once(format!("it wrote a line of more than {} bytes", wire::LONGEST)))
            }
            // A plugin that is stopping may close any pipe.
            Act::Silent | Act::Unheard(_) if self.stopping.is_some() => Ok(()),
            Act::Silent => Err(closed("it closed its standard output")),
            Act::Unheard(why) => Err(closed(why)),
            Act::Ended => Err(closed("it exited")),
        }
    }

    fn stop(&mut self, done: oneshot::Sender<()>, now: Instant) {
        for answer in self.ledger.take_queue() {
            let _ = answer.send(Err(Failure::broken_off(SHUT_DOWN, false)));
        }
        self.process.tell(wire::shutdown());
        self.process.hang_up();
        self.stopping = Some((Farewell::Term(now + SHUTDOWN_TIMEOUT), done));
    }

    fn time(&mut self, now: Instant) -> Result<(), Over> {
        if now >= self.flush_at {
            self.log.flush();
            self.flush_at = now + FLUSH_INTERVAL;
        }
        if let Some((farewell, _)) = &mut self.stopping {
            match *farewell {
                Farewell::Term(at) if now >= at => {
                    self.process.signal(Signal::TERM);
                    *farewell = Farewell::Kill(now + TERM_TIMEOUT);
                }
                Farewell::Kill(at) if now >= at => return Err(Over::at_once("it did not exit")),
                Farewell::Term(_) | Farewell::Kill(_) => {}
            }
        } else if self.parallel.is_none() && now >= self.greet_by {
            let limit = self.recipe.patience.max(HELLO_TIMEOUT);
            return Err(Over::at_once(format!("it did not answer the hello within {limit:?}")));
        }
        let overdue = self.ledger.overdue(now);
        for answer in overdue.late {
            let failure =
                Failure::passing(format!("it did not answer the event within {:?}", self.recipe.patience));
            let _ = answer.send(Err(failure));
        }
        if overdue.hangs && self.stopping.is_none() {
            let why = format!("it hangs: it answered no event for {:?}", self.recipe.patience);
            return Err(Over::at_once(why));
        }
        Ok(())
    }
}

/// Passes an answer to its recipient.
fn settle(ledger: &mut Ledger<Answer>, log: &Log, said: PluginMessage, now: Instant) {
    let (id, attempt, outcome) = match said {
        PluginMessage::Ack { id, attempt } => (id, attempt, Ok(())),
        PluginMessage::Nack { id, attempt, reason, retry } => {
            let why = match plain(&reason.replace('\n', " "), MAX_REASON) {
                reason if reason.is_empty() => "it refused".to_owned(),
                reason => format!("it refused: {reason}"),
            };
            (id, attempt, Err(if retry { Failure::passing(why) } else { Failure::for_good(why) }))
        }
        PluginMessage::Hello { .. } | PluginMessage::Log { .. } | PluginMessage::Unknown => {
            log.say("warning", "ignoring an unexpected or unknown message");
            return;
        }
    };
    match ledger.settle(now, &id, attempt) {
        Some(answer) => {
            let _ = answer.send(outcome);
        }
        None => {
            log.say(
                "debug",
                &format!("ignoring an answer to {}, which is not pending: too late?", plain(&id, 100)),
            );
        }
    }
}
