//! Recent events of all hosts, numbered as they arrive here, so that a reader that was disconnected or slow can continue
//! where it stopped.
//!
//! A route's event keeps only the key and is resolved with the table when it is read: a burst of changes to a
//! large route costs nothing until then.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use longshore_cluster::facts::PeerEvent;
use longshore_model::{ContainerEvent, ContainerRef, EventSummary, HostId, RouteKey};
use longshore_runtime::state::Reader;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};

/// How many events are kept.
const MAX_KEPT: usize = 4096;

/// An event's id: the run of the agent, and the event's number in it. Written `1732200000000-17`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EventId {
    /// When the agent started, in milliseconds since 1970.
    run: i64,
    number: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.run, self.number)
    }
}

/// The text is not an event id.
#[derive(Debug)]
pub(super) struct EventIdError;

impl FromStr for EventId {
    type Err = EventIdError;

    fn from_str(text: &str) -> Result<Self, EventIdError> {
        let (run, number) = text.split_once('-').ok_or(EventIdError)?;
        match (run.parse(), number.parse()) {
            (Ok(run), Ok(number)) => Ok(Self { run, number }),
            _ => Err(EventIdError),
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Happening {
    /// To a container of this host.
    Container(HostId, EventSummary),
    /// The route with this key changed.
    Route(RouteKey),
    /// Events are missing: of one host, or of all.
    Missed {
        /// The host.
        host: Option<HostId>,
        /// How many, if known.
        missed: Option<u64>,
    },
}

#[derive(Debug, Default)]
struct Ring {
    /// The number of the oldest event that is kept.
    first: u64,
    events: VecDeque<Happening>,
}

impl Ring {
    /// Returns the number that the next event will have.
    fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    fn push(&mut self, event: Happening) {
        if self.events.len() == MAX_KEPT {
            self.events.pop_front();
            self.first += 1;
        }
        self.events.push_back(event);
    }

    /// Returns the event for a reader at this number, and the number after it.
    fn get(&self, next: u64) -> Option<(Happening, u64)> {
        if next < self.first {
            let missed = Happening::Missed { host: None, missed: Some(self.first - next) };
            return Some((missed, self.first));
        }
        let index = usize::try_from(next - self.first).ok()?;
        self.events.get(index).map(|event| (event.clone(), next + 1))
    }
}

#[derive(Debug)]
struct Shared {
    run: i64,
    ring: Mutex<Ring>,
    grown: watch::Sender<()>,
}

/// The recent events of this agent. Cheap to clone; every clone has the same events.
#[derive(Clone, Debug)]
pub(crate) struct Feed(Arc<Shared>);

impl Feed {
    /// Creates an empty feed.
    pub(crate) fn new() -> Self {
        let run = jiff::Timestamp::now().as_millisecond();
        Self(Arc::new(Shared { run, ring: Mutex::default(), grown: watch::Sender::default() }))
    }

    /// Collects events of this host until both sources are gone.
    pub(crate) async fn collect(
        self,
        host: HostId,
        mut containers: broadcast::Receiver<ContainerEvent>,
        mut routes: broadcast::Receiver<RouteKey>,
        world: Reader,
    ) {
        loop {
            let event = tokio::select! {
                event = containers.recv() => event.map(|event| Happening::Container(host, summary(&event, host, &world))),
                key = routes.recv() => key.map(Happening::Route),
            };
            match event {
                Ok(event) => self.push(event),
                Err(RecvError::Lagged(missed)) => {
                    self.push(Happening::Missed { host: Some(host), missed: Some(missed) });
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// Adds what another host told.
    pub(crate) fn told(&self, host: HostId, event: PeerEvent) {
        self.push(match event {
            PeerEvent::Happened(event) => Happening::Container(host, event),
            PeerEvent::Missed(missed) => Happening::Missed { host: Some(host), missed },
        });
    }

    fn push(&self, event: Happening) {
        self.ring().push(event);
        self.0.grown.send_replace(());
    }

    fn ring(&self) -> std::sync::MutexGuard<'_, Ring> {
        self.0.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates a reader of the events from now on, or after `last`.
    pub(super) fn read(&self, last: Option<EventId>) -> FeedReader {
        let grown = self.0.grown.subscribe();
        let end = self.ring().end();
        let (next, is_lost) = match last {
            None => (end, false),
            Some(last) if last.run == self.0.run && last.number < end => (last.number + 1, false),
            // An event of another run: the events between the two are unknown.
            Some(_) => (end, true),
        };
        FeedReader { feed: self.clone(), grown, next, is_lost }
    }
}

/// One reader of the events.
#[derive(Debug)]
pub(super) struct FeedReader {
    feed: Feed,
    grown: watch::Receiver<()>,
    /// The number of the event that it gets next.
    next: u64,
    /// Whether to report missing events first.
    is_lost: bool,
}

impl FeedReader {
    /// Waits for the next event; returns it with its number.
    pub(super) async fn next(&mut self) -> (EventId, Happening) {
        loop {
            self.grown.mark_unchanged();
            let found = match std::mem::take(&mut self.is_lost) {
                true => Some((Happening::Missed { host: None, missed: None }, self.next)),
                false => self.feed.ring().get(self.next),
            };
            if let Some((event, next)) = found {
                self.next = next;
                // A gap has the number of the last missed event: a reader that reconnects continues after it.
                return (EventId { run: self.feed.0.run, number: next.saturating_sub(1) }, event);
            }
            // This reader holds the feed, so its sender is there.
            let _ = self.grown.changed().await;
        }
    }
}

/// Returns a host's event as its readers get it. Docker does not name the container that joins or leaves a network, so
/// the name comes from World.
pub(crate) fn summary(event: &ContainerEvent, host: HostId, world: &Reader) -> EventSummary {
    let mut told = EventSummary::from(event);
    if told.name.is_empty()
        && let Some(world) = world.snapshot()
        && let Some(container) = world.container(&ContainerRef::new(host, told.container.clone()))
    {
        told.name.clone_from(&container.name);
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missed(number: u64) -> Happening {
        Happening::Missed { host: None, missed: Some(number) }
    }

    async fn next(reader: &mut FeedReader) -> Happening {
        reader.next().await.1
    }

    #[tokio::test]
    async fn a_reader_gets_what_happens_from_its_beginning_on() {
        let feed = Feed::new();
        feed.push(missed(1));
        let mut reader = feed.read(None);
        feed.push(missed(2));
        feed.push(missed(3));
        assert_eq!(next(&mut reader).await, missed(2));
        let waiting = tokio::spawn(async move {
            assert_eq!(next(&mut reader).await, missed(3));
            next(&mut reader).await
        });
        tokio::task::yield_now().await;
        feed.push(missed(4));
        assert_eq!(waiting.await.unwrap(), missed(4));
    }

    #[tokio::test]
    async fn a_reader_goes_on_after_the_last_event_that_it_got() {
        let feed = Feed::new();
        let mut reader = feed.read(None);
        feed.push(missed(1));
        let (id, _) = reader.next().await;
        drop(reader);
        feed.push(missed(2));
        let mut again = feed.read(Some(id.to_string().parse().unwrap()));
        assert_eq!(next(&mut again).await, missed(2));
    }

    #[tokio::test]
    async fn a_reader_that_is_too_slow_is_told_how_much_it_missed() {
        let feed = Feed::new();
        let mut reader = feed.read(None);
        for number in 0..MAX_KEPT as u64 + 10 {
            feed.push(missed(number));
        }
        assert_eq!(next(&mut reader).await, missed(10));
        let (id, event) = reader.next().await;
        assert_eq!((id.number, event), (10, missed(10)), "the oldest that is kept");
    }

    #[tokio::test]
    async fn a_reader_of_another_run_is_told_that_something_is_missing() {
        let feed = Feed::new();
        feed.push(missed(1));
        for other in [EventId { run: 5, number: 0 }, EventId { number: 7, ..feed.read(None).next_id() }] {
            let mut reader = feed.read(Some(other));
            let (id, event) = reader.next().await;
            assert_eq!(event, Happening::Missed { host: None, missed: None });
            feed.push(missed(2));
            assert_eq!(next(&mut feed.read(Some(id))).await, missed(2), "and can go on from there");
            assert_eq!(next(&mut reader).await, missed(2));
        }
    }

    impl FeedReader {
        fn next_id(&self) -> EventId {
            EventId { run: self.feed.0.run, number: self.next }
        }
    }

    #[test]
    fn a_container_that_joins_a_network_is_named() {
        let id = longshore_model::ContainerId::new("a".repeat(64));
        let mut event = ContainerEvent {
            container: id,
            name: String::new(),
            kind: longshore_model::EventKind::Connect,
            at: 1_700_000_000_123_456_789,
            attributes: std::collections::BTreeMap::new(),
        };
        let nobody = Reader::default();
        let host = HostId::from_u128(1);
        assert_eq!(summary(&event, host, &nobody).name, "");
        event.name = "web".to_owned();
        let told = summary(&event, host, &nobody);
        assert_eq!((told.name.as_str(), told.action.as_str()), ("web", "connect"));
    }
}
