//! The loop of everything that is kept like World, other than routes: woken by changes, tried again with back-off.

use std::collections::BTreeSet;
use std::time::Duration;

use longshore_model::{Problem, World};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::delays;
use crate::docker::DockerClient;
use crate::problems::{Problems, Source};
use crate::state::{Change, Changes, Reader, Subscribers};

/// What a pass came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    /// What is not as it should be, all of it: it replaces what the last pass said.
    pub(crate) problems: Vec<Problem>,
    /// Something failed that may work later: the same changes come again, after a back-off.
    pub(crate) retry: bool,
    /// When a pass is due though nothing changes; that pass may get no changes.
    pub(crate) due: Option<Instant>,
}

/// Something outside that is kept like World.
pub(crate) trait Follower: Send + 'static {
    /// Makes the outside like World. `changed` names what may differ since the last pass that did not ask for a retry:
    /// everything, the first time. World has been listed. It must be cheap where nothing differs, and may be dropped
    /// at any await when the agent ends or the handler goes.
    fn pass(&mut self, world: &World, changed: &BTreeSet<Change>) -> impl Future<Output = Passed> + Send;

    /// Resolves when something outside was disturbed and all of it must be looked at again; pends for ever unless
    /// there is such a thing.
    fn disturbed(&mut self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
}

/// What every follower stands on.
#[derive(Clone, Debug)]
pub(crate) struct Ground {
    pub(crate) node: String,
    pub(crate) docker: DockerClient,
    pub(crate) world: Reader,
    pub(crate) subscribers: Subscribers,
    pub(crate) problems: Problems,
    pub(crate) stop: CancellationToken,
    /// How many followers have not made a pass yet.
    pub(crate) unsettled: watch::Sender<usize>,
}

impl Ground {
    /// Starts a follower, its problems under `source`. It ends with the agent, or when `stop` is cancelled; what the
    /// task returns is the follower, so that who takes it away for good can have it clean up.
    pub(crate) fn follow<F: Follower>(
        &self,
        follower: F,
        source: Source,
        stop: CancellationToken,
    ) -> AbortOnDropHandle<F> {
        let (world, changes) = (self.world.clone(), self.subscribers.subscribe());
        self.unsettled.send_modify(|count| *count += 1);
        let first = First(Some(self.unsettled.clone()));
        AbortOnDropHandle::new(tokio::spawn(follow(
            follower,
            source,
            world,
            changes,
            self.problems.clone(),
            first,
            stop,
        )))
    }
}

/// Counts a follower as settled once: after its first pass, or when it ends without one.
struct First(Option<watch::Sender<usize>>);

impl First {
    fn settle(&mut self) {
        if let Some(unsettled) = self.0.take() {
            unsettled.send_modify(|count| *count = count.saturating_sub(1));
        }
    }
}

impl Drop for First {
    fn drop(&mut self) {
        self.settle();
    }
}

/// Keeps what `follower` keeps like World until told to stop.
async fn follow<F: Follower>(
    mut follower: F,
    source: Source,
    world: Reader,
    mut changes: Changes,
    problems: Problems,
    mut first: First,
    stop: CancellationToken,
) -> F {
    let mut changed = BTreeSet::new();
    let mut delays = delays::rising(FIRST_DELAY, MAX_DELAY);
    let mut wake = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            more = changes.next() => changed.extend(more),
            () = follower.disturbed() => {
                changed.insert(Change::Everything);
            }
            () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
        }
        let world = world.snapshot();
        if !world.listed {
            continue;
        }
        let passed = tokio::select! {
            () = stop.cancelled() => break,
            passed = follower.pass(&world, &changed) => passed,
        };
        problems.set(source.clone(), passed.problems);
        first.settle();
        wake = passed.due;
        if passed.retry {
            let retry = Instant::now() + delays.next().unwrap_or(MAX_DELAY);
            wake = Some(wake.map_or(retry, |due| due.min(retry)));
        } else {
            changed.clear();
            delays = delays::rising(FIRST_DELAY, MAX_DELAY);
        }
    }
    problems.set(source, []);
    follower
}

const FIRST_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(10);
