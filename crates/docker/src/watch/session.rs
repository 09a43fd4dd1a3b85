//! The logic of one connection to Docker. Pure: no clock, no IO.
//!
//! Subscribe, list, swap whole: events that arrive while everything is listed wait until the list is handed over.
//! Then each event is passed on and triggers an inspection of its container. A resync lists the containers
//! periodically; if one differs from World and no event for it came within `GRACE`, an event was missed.
//!
//! A failure of one container affects only that container: if Docker refuses to inspect it, it is left out and
//! retried after a pause. So is a list that fails once World follows the events: these go on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_model::{Container, ContainerEvent, ContainerId, EventKind, HostId, Network, World};
use longshore_runtime::state::{DockerEvent, DockerObservation};
use serde_json::value::RawValue;

use super::queue::{InspectionQueue, Worth};
use super::summary::Summary;

/// Further actions that World depends on and that the model does not name.
pub(super) const CHANGING: &[&str] = &["stop", "restart", "oom", "update"];

/// How long the stream may be silent before Docker is pinged: a hung engine leaves the connection open and sends
/// nothing.
const MAX_SILENCE: Duration = Duration::from_secs(5);

/// How long the event that explains a resync's finding may take: it may be on its way.
const GRACE: Duration = Duration::from_secs(2);

/// The pause before a refused inspection or a failed list is retried, doubled by each further failure.
const FIRST_RETRY: Duration = Duration::from_millis(250);
const MAX_RETRY: Duration = Duration::from_secs(30);

/// The pause before the stream is reopened after an unreadable event, doubled by each further one.
const FIRST_REOPEN: Duration = Duration::from_millis(100);
const MAX_REOPEN: Duration = Duration::from_secs(5);
/// After being readable for this long, the stream reopens with the shortest pause again.
const STEADY: Duration = Duration::from_secs(60);

/// Why a call to Docker failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The reason.
    pub why: String,
    /// Whether the engine itself is gone, rather than this answer bad.
    pub is_lost: bool,
}

/// A container's inspection.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// In World's form.
    pub container: Box<Container>,
    /// In Docker's form, if anyone requested it.
    pub json: Option<Arc<RawValue>>,
}

/// All containers as Docker lists them.
#[derive(Clone, Debug)]
pub struct Listing {
    /// One summary per container.
    pub containers: Vec<Summary>,
    /// World when the list arrived.
    pub world: Option<Arc<World>>,
}

/// Every input of a session.
#[derive(Clone, Debug)]
pub enum Happening {
    /// The stream delivered an event.
    Heard(DockerEvent),
    /// The stream delivered something unreadable, and broke.
    Unreadable,
    /// The stream ended, and why.
    StreamEnded(String),
    /// The containers were listed.
    Listed(Result<Listing, Failure>),
    /// The networks were listed.
    Networks(Result<Vec<(String, Network)>, Failure>),
    /// A container was inspected; `None` if it is gone.
    Inspected(ContainerId, Result<Option<Inspection>, Failure>),
    /// Docker answered a ping, or failed to.
    Ponged(Result<(), Failure>),
    /// The set of requested events changed.
    AttentionChanged,
    /// A container's inspection is requested.
    Wanted(ContainerId),
    /// The resync interval changed.
    ResyncEvery(Duration),
    /// The time [`Session::due`] has come.
    Due,
}

/// The state of a container's inspection in the cache.
#[derive(Clone, Debug)]
pub enum Shown {
    /// Being inspected.
    Pending,
    /// The inspection.
    As(Arc<RawValue>),
    /// Docker refuses to inspect the container.
    Refused(String),
    /// The container is gone.
    Gone,
}

/// An action to take.
#[derive(Debug)]
pub enum Effect {
    /// Pass this to World's writer.
    Observe(DockerObservation),
    /// Update a container's inspection in the cache.
    Show(ContainerId, Shown),
    /// Open the stream from this time on (nanoseconds since 1970, Docker's clock), replacing the previous one.
    Subscribe(i64),
    /// List all containers.
    List,
    /// List all networks.
    ListNetworks,
    /// Inspect a container.
    Inspect(ContainerId),
    /// Ping Docker.
    Ping,
    /// The containers that Docker refuses to inspect, each with its name if known, and the reason.
    Refused(BTreeMap<ContainerId, (String, String)>),
    /// Why lists fail, one reason for each that does.
    Unlisted(Vec<String>),
    /// End the session, for this reason.
    End(String),
}

/// The phase of a session.
#[derive(Debug)]
enum Phase {
    /// Everything is being listed.
    Listing(Box<First>),
    /// World has the list, and follows the events.
    Following,
}

/// The first list, as far as it is complete.
#[derive(Debug, Default)]
struct First {
    is_listed: bool,
    names: BTreeMap<ContainerId, String>,
    awaited: BTreeSet<ContainerId>,
    containers: Vec<Container>,
    networks: Option<Vec<(String, Network)>>,
    heard: VecDeque<DockerEvent>,
    /// Events were lost since the list was requested: it must be repeated.
    is_lossy: bool,
}

/// A difference between Docker's list and World that no event has explained.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    until: Instant,
    is_asked: bool,
}

/// A container that Docker refuses to inspect.
#[derive(Clone, Debug)]
struct Refusal {
    name: String,
    why: String,
    attempts: u32,
    /// When to retry; `None` while a retry is running.
    next: Option<Instant>,
}

/// A list or a ping, of which at most one is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Call {
    #[default]
    Idle,
    Running,
    /// Running, and to be repeated.
    Stale,
}

/// A list that fails again and again.
#[derive(Clone, Debug)]
struct Failing {
    why: String,
    attempts: u32,
    /// When to retry; `None` while a retry is running.
    next: Option<Instant>,
}

/// One connection to Docker, from the subscription until it breaks.
#[derive(Debug)]
pub struct Session {
    host: HostId,
    phase: Phase,
    inspections: InspectionQueue,
    doubts: BTreeMap<ContainerId, Doubt>,
    refusals: BTreeMap<ContainerId, Refusal>,
    /// When the session began: Docker's time in nanoseconds since 1970, and ours.
    began: (i64, Instant),
    /// The time of the last event received, by Docker's clock.
    heard_at: i64,
    /// When Docker last gave a sign of life.
    alive: Instant,
    ping: Call,
    networks: Call,
    listing: Call,
    /// While a list fails, its call counts as running, so that nothing else repeats it.
    failing_networks: Option<Failing>,
    failing_listing: Option<Failing>,
    resync: Duration,
    compared: Instant,
    /// When to reopen the stream, and from which time.
    reopen: Option<(Instant, i64)>,
    /// When the stream was last reopened, and after which pause.
    reopened: Option<(Instant, Duration)>,
}

impl Session {
    /// Begins a session with the engine of `host`, at `began` by its clock. `resume` is the time of the last event
    /// received, if any. Both are in nanoseconds since 1970.
    pub fn begin(
        host: HostId,
        began: i64,
        resume: Option<i64>,
        resync: Duration,
        now: Instant,
    ) -> (Self, Vec<Effect>) {
        // If the clock was set back, Docker must not stay silent until it catches up.
        let since = resume.map_or(began, |at| at.min(began));
        let session = Self {
            host,
            phase: Phase::Listing(Box::default()),
            inspections: InspectionQueue::default(),
            doubts: BTreeMap::new(),
            refusals: BTreeMap::new(),
            began: (began, now),
            heard_at: since,
            alive: now,
            ping: Call::Idle,
            networks: Call::Running,
            listing: Call::Running,
            failing_networks: None,
            failing_listing: None,
            resync,
            compared: now,
            reopen: None,
            reopened: None,
        };
        (session, vec![Effect::Subscribe(since), Effect::List, Effect::ListNetworks])
    }

    /// Returns the time of the last event received, in nanoseconds since 1970: the next session resumes there.
    pub fn heard_at(&self) -> i64 {
        self.heard_at
    }

    /// Returns when something is due without further input.
    pub fn due(&self) -> Instant {
        let doubts = self.doubts.values().filter(|doubt| !doubt.is_asked).map(|doubt| doubt.until);
        let refusals = self.refusals.values().filter_map(|refusal| refusal.next);
        let lists = self.failing().filter_map(|failing| failing.next);
        let reopen = self.reopen.map(|(at, _)| at);
        let resync = (self.listing == Call::Idle).then(|| self.compared + self.resync);
        let times = doubts.chain(refusals).chain(lists).chain(reopen).chain(resync);
        times.min().map_or(self.alive + MAX_SILENCE, |at| at.min(self.alive + MAX_SILENCE))
    }

    /// Takes in what happened. Returns the actions to take, in order.
    pub fn take(&mut self, happening: Happening, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        match happening {
            Happening::Heard(event) => {
                self.alive = now;
                match &mut self.phase {
                    Phase::Listing(first) => first.heard.push_back(event),
                    Phase::Following => self.hear(event, &mut effects),
                }
            }
            Happening::Unreadable => self.unreadable(now, &mut effects),
            Happening::StreamEnded(why) => effects.push(Effect::End(why)),
            Happening::Listed(Ok(listing)) => self.listed(listing, now, &mut effects),
            Happening::Listed(Err(failure)) => {
                let failure =
                    Failure { why: format!("cannot list its containers: {}", failure.why), ..failure };
                self.unlisted(failure, now, &mut effects, |session| &mut session.failing_listing);
            }
            Happening::Networks(Ok(networks)) => self.networks(networks, &mut effects),
            Happening::Networks(Err(failure)) => {
                let failure =
                    Failure { why: format!("cannot list its networks: {}", failure.why), ..failure };
                self.unlisted(failure, now, &mut effects, |session| &mut session.failing_networks);
            }
            Happening::Inspected(id, found) => self.inspected(id, found, now, &mut effects),
            Happening::Ponged(Ok(())) => self.ping = Call::Idle,
            Happening::Ponged(Err(failure)) => {
                effects.push(Effect::End(format!("it no longer answers a ping: {}", failure.why)));
            }
            // The new stream repeats events that were received but not taken in.
            Happening::AttentionChanged if self.reopen.is_none() => {
                effects.push(Effect::Subscribe(self.heard_at));
            }
            Happening::AttentionChanged => {}
            Happening::Wanted(id) => self.inspections.ask(id),
            Happening::ResyncEvery(resync) => self.resync = resync,
            Happening::Due => self.tick(now, &mut effects),
        }
        effects.extend(std::iter::from_fn(|| self.inspections.begin()).map(Effect::Inspect));
        effects
    }

    fn hear(&mut self, event: DockerEvent, effects: &mut Vec<Effect>) {
        let event = match event {
            DockerEvent::Network(event) => {
                self.heard_at = event.at;
                effects.push(Effect::Observe(DockerObservation::NetworkEvent(event)));
                if call(&mut self.networks) {
                    effects.push(Effect::ListNetworks);
                }
                return;
            }
            DockerEvent::Container(event) => event,
        };
        self.heard_at = event.at;
        let id = event.container.clone();
        self.doubts.remove(&id);
        let past = event.at < self.began.0;
        if !past && is_believed(&event) {
            // One that began before a removal would restore the container.
            self.inspections.refute(&id);
        }
        if !past && event.kind == EventKind::Destroy {
            effects.push(Effect::Show(id.clone(), Shown::Gone));
            self.forgive(&id, effects);
        }
        if !past && needs_a_look(&event) {
            effects.push(Effect::Show(id.clone(), Shown::Pending));
            self.inspections.ask(id);
        }
        effects.push(Effect::Observe(DockerObservation::Event { event, past }));
    }

    /// Reopens the stream after what is unreadable: any earlier, it would be repeated forever. The list recovers what
    /// is lost in between.
    fn unreadable(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let steady = self.reopened.filter(|(at, _)| now.duration_since(*at) < STEADY);
        let pause = steady.map_or(FIRST_REOPEN, |(_, pause)| MAX_REOPEN.min(pause * 2));
        let elapsed = now.duration_since(self.began.1).as_nanos();
        let docker_now = self.began.0.saturating_add(i64::try_from(elapsed).unwrap_or(i64::MAX));
        self.heard_at = self.heard_at.max(docker_now);
        self.reopen = Some((now + pause, self.heard_at));
        self.reopened = Some((now + pause, pause));
        match &mut self.phase {
            Phase::Listing(first) => first.is_lossy = true,
            Phase::Following if call(&mut self.listing) => effects.push(Effect::List),
            Phase::Following => {}
        }
    }

    /// Retries a list after a pause. There is nothing to follow without the first one, so that ends the session.
    fn unlisted(
        &mut self,
        failure: Failure,
        now: Instant,
        effects: &mut Vec<Effect>,
        place: impl FnOnce(&mut Self) -> &mut Option<Failing>,
    ) {
        let Failure { why, is_lost } = failure;
        if is_lost || matches!(self.phase, Phase::Listing(_)) {
            return effects.push(Effect::End(why));
        }
        let place = place(self);
        let attempts = place.as_ref().map_or(0, |failing| failing.attempts);
        let is_new = place.as_ref().is_none_or(|failing| failing.why != why);
        *place = Some(Failing { why, attempts: attempts + 1, next: Some(now + retry_delay(attempts)) });
        if is_new {
            effects.push(self.all_unlisted());
        }
    }

    fn failing(&self) -> impl Iterator<Item = &Failing> {
        self.failing_listing.iter().chain(&self.failing_networks)
    }

    fn all_unlisted(&self) -> Effect {
        Effect::Unlisted(self.failing().map(|failing| failing.why.clone()).collect())
    }

    fn listed(&mut self, listing: Listing, now: Instant, effects: &mut Vec<Effect>) {
        if self.failing_listing.take().is_some() {
            effects.push(self.all_unlisted());
        }
        if answered(&mut self.listing) {
            effects.push(Effect::List);
        }
        self.compared = now;
        let Phase::Listing(first) = &mut self.phase else {
            return self.compare(&listing, now);
        };
        if !mem::replace(&mut first.is_listed, true) {
            for summary in listing.containers {
                self.inspections.ask(summary.id.clone());
                first.awaited.insert(summary.id.clone());
                first.names.extend(summary.name.map(|name| (summary.id, name)));
            }
        }
        self.follow(effects);
    }

    /// Compares Docker's list with World. An event that explains a difference may be on its way.
    fn compare(&mut self, listing: &Listing, now: Instant) {
        let known = listing.world.as_ref().and_then(|world| world.host(self.host));
        let known = known.map(|host| &host.containers);
        let mut listed = BTreeSet::new();
        let mut doubtful = Vec::new();
        for summary in &listing.containers {
            if known.and_then(|known| known.get(&summary.id)).is_none_or(|known| summary.differs(known)) {
                doubtful.push(&summary.id);
            }
            listed.insert(&summary.id);
        }
        let known = known.into_iter().flat_map(|known| known.keys());
        doubtful.extend(known.filter(|id| !listed.contains(id)));
        let until = now + GRACE;
        for id in doubtful.into_iter().filter(|id| !self.refusals.contains_key(*id)) {
            self.doubts.entry(id.clone()).or_insert(Doubt { until, is_asked: false });
        }
    }

    fn networks(&mut self, networks: Vec<(String, Network)>, effects: &mut Vec<Effect>) {
        if self.failing_networks.take().is_some() {
            effects.push(self.all_unlisted());
        }
        if answered(&mut self.networks) {
            effects.push(Effect::ListNetworks);
        }
        match &mut self.phase {
            Phase::Following => effects.push(Effect::Observe(DockerObservation::Networks(networks))),
            Phase::Listing(first) => {
                first.networks = Some(networks);
                self.follow(effects);
            }
        }
    }

    fn inspected(
        &mut self,
        id: ContainerId,
        found: Result<Option<Inspection>, Failure>,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let worth = self.inspections.end(&id);
        let found = match found {
            Err(Failure { why, is_lost: true }) => return effects.push(Effect::End(why)),
            // Another inspection is queued.
            _ if worth == Worth::Refuted => return,
            Err(Failure { why, .. }) => {
                self.refuse(&id, why, now, effects);
                if let Phase::Listing(first) = &mut self.phase {
                    first.awaited.remove(&id);
                    self.follow(effects);
                }
                return;
            }
            Ok(found) => found,
        };
        self.forgive(&id, effects);
        let (container, json) = found.map(|found| (found.container, found.json)).unzip();
        let shown = match (&container, json.flatten()) {
            (None, _) => Some(Shown::Gone),
            // Waiters get the next one.
            (Some(_), _) if worth == Worth::Stale => None,
            (Some(_), json) => json.map(Shown::As),
        };
        effects.extend(shown.map(|shown| Effect::Show(id.clone(), shown)));
        match &mut self.phase {
            Phase::Following => {
                let resync = self.doubts.get(&id).is_some_and(|doubt| doubt.is_asked);
                if resync {
                    self.doubts.remove(&id);
                }
                effects.push(Effect::Observe(DockerObservation::Inspected { id, container, resync }));
            }
            Phase::Listing(first) => {
                if first.awaited.remove(&id) {
                    first.containers.extend(container.map(|container| *container));
                }
                self.follow(effects);
            }
        }
    }

    /// Hands over the first list once it is complete, followed by the events received in between.
    fn follow(&mut self, effects: &mut Vec<Effect>) {
        let Phase::Listing(first) = &mut self.phase else { return };
        let is_whole = first.is_listed && first.awaited.is_empty();
        let Some(networks) = first.networks.take_if(|_| is_whole) else { return };
        let First { containers, heard, is_lossy, .. } = mem::take(&mut **first);
        self.phase = Phase::Following;
        if is_lossy && call(&mut self.listing) {
            effects.push(Effect::List);
        }
        effects.push(Effect::Observe(DockerObservation::Listed { containers, networks }));
        for event in heard {
            self.hear(event, effects);
        }
    }

    fn refuse(&mut self, id: &ContainerId, why: String, now: Instant, effects: &mut Vec<Effect>) {
        let name = match &self.phase {
            Phase::Listing(first) => first.names.get(id).cloned().unwrap_or_default(),
            Phase::Following => String::new(),
        };
        let begin = || Refusal { name, why: String::new(), attempts: 0, next: None };
        let refusal = self.refusals.entry(id.clone()).or_insert_with(begin);
        refusal.next = Some(now + retry_delay(refusal.attempts));
        refusal.attempts += 1;
        let is_new = refusal.why != why;
        refusal.why.clone_from(&why);
        self.doubts.remove(id);
        effects.push(Effect::Show(id.clone(), Shown::Refused(why)));
        if is_new {
            effects.push(self.refused());
        }
    }

    /// Clears a refusal: Docker returned the inspection, or the container is gone.
    fn forgive(&mut self, id: &ContainerId, effects: &mut Vec<Effect>) {
        if self.refusals.remove(id).is_some() {
            effects.push(self.refused());
        }
    }

    fn refused(&self) -> Effect {
        let refused = self.refusals.iter();
        Effect::Refused(refused.map(|(id, r)| (id.clone(), (r.name.clone(), r.why.clone()))).collect())
    }

    fn tick(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if let Some((_, since)) = self.reopen.take_if(|(at, _)| *at <= now) {
            effects.push(Effect::Subscribe(since));
        }
        if self.alive + MAX_SILENCE <= now {
            self.alive = now;
            if call(&mut self.ping) {
                effects.push(Effect::Ping);
            }
        }
        if self.listing == Call::Idle && self.compared + self.resync <= now {
            self.listing = Call::Running;
            self.compared = now;
            effects.push(Effect::List);
            if call(&mut self.networks) {
                effects.push(Effect::ListNetworks);
            }
        }
        let is_due = |failing: &mut Option<Failing>| {
            failing.as_mut().is_some_and(|failing| failing.next.take_if(|at| *at <= now).is_some())
        };
        if is_due(&mut self.failing_listing) {
            effects.push(Effect::List);
        }
        if is_due(&mut self.failing_networks) {
            effects.push(Effect::ListNetworks);
        }
        for (id, doubt) in self.doubts.iter_mut().filter(|(_, doubt)| !doubt.is_asked && doubt.until <= now) {
            doubt.is_asked = true;
            self.inspections.ask(id.clone());
        }
        for (id, refusal) in &mut self.refusals {
            if refusal.next.take_if(|at| *at <= now).is_some() {
                self.inspections.ask(id.clone());
            }
        }
    }
}

/// Returns the pause after this many earlier failures.
fn retry_delay(failures: u32) -> Duration {
    FIRST_RETRY.saturating_mul(2_u32.saturating_pow(failures.min(16))).min(MAX_RETRY)
}

/// Requests a call, or a repetition of the one under way. Returns whether to make it now.
fn call(call: &mut Call) -> bool {
    let is_idle = *call == Call::Idle;
    *call = if is_idle { Call::Running } else { Call::Stale };
    is_idle
}

/// Records that a call was answered. Returns whether to repeat it.
fn answered(call: &mut Call) -> bool {
    let again = *call == Call::Stale;
    *call = if again { Call::Running } else { Call::Idle };
    again
}

/// Returns whether an event requires an inspection: a kill changes nothing yet, a destroy everything, and an action
/// inside a container or on a copy of it changes nothing.
fn needs_a_look(event: &ContainerEvent) -> bool {
    match &event.kind {
        EventKind::Kill(_) | EventKind::Destroy => false,
        EventKind::Other(action) => CHANGING.contains(&action.as_str()),
        _ => true,
    }
}

/// Returns whether World accepts the state that an event implies.
fn is_believed(event: &ContainerEvent) -> bool {
    matches!(event.kind, EventKind::Die | EventKind::Pause | EventKind::Unpause | EventKind::Destroy)
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
