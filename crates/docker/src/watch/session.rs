//! What one connection to Docker makes of what happens on it. Pure: no clock, no IO.
//!
//! Subscribe, list, swap whole: what the stream brings while everything is listed waits until the list is handed over.
//! Then each event hands over what it says by itself and has its container inspected. A resync lists the containers on a
//! timer; one that differs from World, and of which no event came within `GRACE`, was missed.
//!
//! What goes wrong with one container costs only that container: where Docker refuses to show it, it is left out and asked
//! for again after a pause.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_model::{Container, ContainerEvent, ContainerId, EventKind, HostId, Network, World};
use longshore_runtime::state::{DockerEvent, DockerObservation};
use serde_json::value::RawValue;

use super::queue::{InspectionQueue, Worth};
use super::summary::Summary;

/// Further actions that World depends on, and the model has no word for.
pub(super) const CHANGING: &[&str] = &["stop", "restart", "oom", "update"];

/// How long the stream may be silent before Docker is asked whether it is still there: a half-dead engine leaves
/// the connection open and says nothing.
const MAX_SILENCE: Duration = Duration::from_secs(5);

/// How long the event may take that explains what a resync found: it may be on its way.
const GRACE: Duration = Duration::from_secs(2);

/// The pause before a container that Docker refused to show is asked for again, doubled by each refusal that follows.
const FIRST_RETRY: Duration = Duration::from_millis(250);
const MAX_RETRY: Duration = Duration::from_secs(30);

/// The pause before the stream is opened again after an event that cannot be read, doubled by each that follows.
const FIRST_REOPEN: Duration = Duration::from_millis(100);
const MAX_REOPEN: Duration = Duration::from_secs(5);
/// A stream that was readable for so long begins with the shortest pause again.
const STEADY: Duration = Duration::from_secs(60);

/// Why a call to Docker came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Why.
    pub why: String,
    /// The engine itself is gone, rather than this one answer bad.
    pub is_lost: bool,
}

/// A container as an inspection shows it.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// As World has it.
    pub container: Box<Container>,
    /// As Docker has it, where somebody wants that.
    pub json: Option<Arc<RawValue>>,
}

/// All containers as Docker lists them.
#[derive(Clone, Debug)]
pub struct Listing {
    /// A line for each container.
    pub containers: Vec<Summary>,
    /// World when the list was there.
    pub world: Option<Arc<World>>,
}

/// Anything that can happen to a session.
#[derive(Clone, Debug)]
pub enum Happening {
    /// The stream brought an event.
    Heard(DockerEvent),
    /// The stream brought something that cannot be read, and broke.
    Unreadable,
    /// The stream is over, and why.
    StreamEnded(String),
    /// The containers were listed.
    Listed(Result<Listing, Failure>),
    /// The networks were listed.
    Networks(Result<Vec<(String, Network)>, Failure>),
    /// A container was inspected; nothing if it is gone.
    Inspected(ContainerId, Result<Option<Inspection>, Failure>),
    /// Docker was asked whether it is there.
    Ponged(Result<(), Failure>),
    /// Other events matter from here on.
    AttentionChanged,
    /// Somebody wants to see this container as it is.
    Wanted(ContainerId),
    /// The containers are to be compared this often.
    ResyncEvery(Duration),
    /// The time is [`Session::due`].
    Due,
}

/// What others see of a container's inspection.
#[derive(Clone, Debug)]
pub enum Shown {
    /// It is being looked at.
    Pending,
    /// As it is.
    As(Arc<RawValue>),
    /// Docker refuses to show it.
    Refused(String),
    /// It is gone.
    Gone,
}

/// What is to be done about something that happened.
#[derive(Debug)]
pub enum Effect {
    /// World's writer is told.
    Observe(DockerObservation),
    /// Those who want a container's inspection see this.
    Show(ContainerId, Shown),
    /// The stream is opened from this time on (nanoseconds since 1970, Docker's clock), in place of the one before.
    Subscribe(i64),
    /// All containers are to be listed.
    List,
    /// All networks are to be listed.
    ListNetworks,
    /// A container is to be inspected.
    Inspect(ContainerId),
    /// Docker is to be asked whether it is there.
    Ping,
    /// These containers Docker refuses to show, each with its name where that is known, and why.
    Refused(BTreeMap<ContainerId, (String, String)>),
    /// The session is over, and why.
    End(String),
}

/// Where a session stands.
#[derive(Debug)]
enum Phase {
    /// Everything is being listed.
    Listing(Box<First>),
    /// World has the list, and follows the events.
    Following,
}

/// The first list, as far as it has come.
#[derive(Debug, Default)]
struct First {
    is_listed: bool,
    names: BTreeMap<ContainerId, String>,
    awaited: BTreeSet<ContainerId>,
    containers: Vec<Container>,
    networks: Option<Vec<(String, Network)>>,
    heard: VecDeque<DockerEvent>,
    /// Events were lost since the list was asked for: it is not enough.
    is_lossy: bool,
}

/// A difference between Docker's list and World that no event has explained.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    until: Instant,
    is_asked: bool,
}

/// A container that Docker refuses to show.
#[derive(Clone, Debug)]
struct Refusal {
    name: String,
    why: String,
    attempts: u32,
    /// When it is asked for again; nothing while it is.
    next: Option<Instant>,
}

/// A list or a ping, of which one at most is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Call {
    #[default]
    Idle,
    Running,
    /// Running, and to be made again.
    Stale,
}

/// One connection to Docker, from the subscription to the break.
#[derive(Debug)]
pub struct Session {
    host: HostId,
    phase: Phase,
    inspections: InspectionQueue,
    doubts: BTreeMap<ContainerId, Doubt>,
    refusals: BTreeMap<ContainerId, Refusal>,
    /// Docker's time when the session began, in nanoseconds since 1970, and ours.
    began: (i64, Instant),
    /// The time of the last event heard, by Docker's clock.
    heard_at: i64,
    /// When Docker last gave a sign of life.
    alive: Instant,
    ping: Call,
    networks: Call,
    listing: Call,
    resync: Duration,
    compared: Instant,
    /// When the stream is opened again, and from which time on.
    reopen: Option<(Instant, i64)>,
    /// When the stream was last opened again, and after which pause.
    reopened: Option<(Instant, Duration)>,
}

impl Session {
    /// Begins a session with the engine of `host`, whose clock says `began`. `resume` is the time of the last event that
    /// was heard, if any was. Both are in nanoseconds since 1970.
    pub fn begin(
        host: HostId,
        began: i64,
        resume: Option<i64>,
        resync: Duration,
        now: Instant,
    ) -> (Self, Vec<Effect>) {
        // A clock that was set back must not silence Docker until it has caught up.
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
            resync,
            compared: now,
            reopen: None,
            reopened: None,
        };
        (session, vec![Effect::Subscribe(since), Effect::List, Effect::ListNetworks])
    }

    /// Returns the time of the last event heard, in nanoseconds since 1970: the next session resumes there.
    pub fn heard_at(&self) -> i64 {
        self.heard_at
    }

    /// Returns when something is due though nothing happens.
    pub fn due(&self) -> Instant {
        let doubts = self.doubts.values().filter(|doubt| !doubt.is_asked).map(|doubt| doubt.until);
        let refusals = self.refusals.values().filter_map(|refusal| refusal.next);
        let reopen = self.reopen.map(|(at, _)| at);
        let resync = (self.listing == Call::Idle).then(|| self.compared + self.resync);
        let times = doubts.chain(refusals).chain(reopen).chain(resync);
        times.min().map_or(self.alive + MAX_SILENCE, |at| at.min(self.alive + MAX_SILENCE))
    }

    /// Takes in what happened. Returns what is to be done about it, in order.
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
                effects.push(Effect::End(format!("cannot list its containers: {}", failure.why)));
            }
            Happening::Networks(Ok(networks)) => self.networks(networks, &mut effects),
            Happening::Networks(Err(failure)) => {
                effects.push(Effect::End(format!("cannot list its networks: {}", failure.why)));
            }
            Happening::Inspected(id, found) => self.inspected(id, found, now, &mut effects),
            Happening::Ponged(Ok(())) => self.ping = Call::Idle,
            Happening::Ponged(Err(failure)) => {
                effects.push(Effect::End(format!("it no longer answers a ping: {}", failure.why)));
            }
            // What was heard and not taken in yet is told again by the new stream.
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
            // One that began before a removal would put the container back.
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

    /// Opens the stream again behind what cannot be read: before it, it would be told again for ever. What is lost in
    /// between, the list finds.
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

    fn listed(&mut self, listing: Listing, now: Instant, effects: &mut Vec<Effect>) {
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

    /// Holds Docker's list against World. Where they differ, an event may be on its way that says why.
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
            // Another one is on its way.
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
            // Those who want it wait for the next one.
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

    /// Hands the first list over as soon as it is whole, and what was heard meanwhile after it.
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
        let pause = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(refusal.attempts.min(16)));
        refusal.next = Some(now + pause.min(MAX_RETRY));
        refusal.attempts += 1;
        let is_new = refusal.why != why;
        refusal.why.clone_from(&why);
        self.doubts.remove(id);
        effects.push(Effect::Show(id.clone(), Shown::Refused(why)));
        if is_new {
            effects.push(self.refused());
        }
    }

    /// Docker shows the container, or it is gone.
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

/// Makes a call, or has the one under way made again. Returns whether it is to be made now.
fn call(call: &mut Call) -> bool {
    let is_idle = *call == Call::Idle;
    *call = if is_idle { Call::Running } else { Call::Stale };
    is_idle
}

/// Takes note that a call was answered. Returns whether it is to be made again.
fn answered(call: &mut Call) -> bool {
    let again = *call == Call::Stale;
    *call = if again { Call::Running } else { Call::Idle };
    again
}

/// Returns whether an event leaves open what the container is like: a kill changes nothing yet, a destroy everything, and
/// what is done inside a container or with a copy of it changes nothing.
fn needs_a_look(event: &ContainerEvent) -> bool {
    match &event.kind {
        EventKind::Kill(_) | EventKind::Destroy => false,
        EventKind::Other(action) => CHANGING.contains(&action.as_str()),
        _ => true,
    }
}

/// Returns whether World takes the event's word for what the container is like.
fn is_believed(event: &ContainerEvent) -> bool {
    matches!(event.kind, EventKind::Die | EventKind::Pause | EventKind::Unpause | EventKind::Destroy)
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
