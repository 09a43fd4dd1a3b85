//! The follower's side: one peer's lines become observations.

use std::sync::Arc;

use longshore_model::{Container, EventSummary, Host, HostId, HostInfo};
use longshore_runtime::state::PeerObservation;
use longshore_wire::facts::{FORMAT, FactRow, Line, container_id};

use super::events::{EventCursor, EventReplica, PeerEvent};
use super::log::Cursor;

/// The most containers of one host that are accepted.
const MAX_CONTAINERS: usize = 100_000;

/// Why a stream cannot be followed any further. A new one can.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// A line cannot be read.
    #[error("a line of the peer's facts cannot be read")]
    Garbage(#[source] longshore_wire::facts::LineError),
    /// A line is missing, or came twice or out of order.
    #[error("line {found} of the peer's facts came in place of line {expected}")]
    Order {
        /// The number of the line that should have come.
        expected: u64,
        /// The number of the line that came.
        found: u64,
    },
    /// A line makes no sense where it came.
    #[error("unexpected line in the peer's facts: {0}")]
    Unexpected(&'static str),
    /// The peer is of a later release, whose facts this one would misread.
    #[error("the peer's facts have format {0}, and this version reads up to {FORMAT}: upgrade this host")]
    Newer(u32),
    /// It is another host that answers at this address.
    #[error("another host answers at the peer's address")]
    Stranger,
}

#[derive(Debug)]
enum Stream {
    /// No stream, or one that is broken.
    Closed,
    /// The first line has not come yet.
    Opened,
    /// The whole list is coming, which replaces what is known when it is complete.
    Listing { epoch: u64, info: Option<Arc<HostInfo>>, host: Box<Host> },
    /// Each change is coming.
    Following,
}

/// What is known of how far one peer's facts were followed. It outlives the streams that it reads.
#[derive(Debug)]
pub struct Replica {
    host: HostId,
    known: Option<Cursor>,
    stream: Stream,
    /// The number of the last line of the stream.
    number: u64,
    /// The run that the stream is of.
    epoch: u64,
    events: EventReplica,
}

impl Replica {
    /// Creates a replica of a peer of which nothing is known.
    pub fn new(host: HostId) -> Self {
        let events = EventReplica::default();
        Self { host, known: None, stream: Stream::Closed, number: 0, epoch: 0, events }
    }

    /// Creates a replica of a peer of which nothing is known but how far its events were followed.
    pub fn after_events(host: HostId, events: Option<EventCursor>) -> Self {
        let mut replica = Self::new(host);
        replica.events.set(events);
        replica
    }

    /// Begins a new stream. Returns what to ask for: what changed since then, or everything.
    pub fn open(&mut self) -> Option<Cursor> {
        self.stream = Stream::Opened;
        self.number = 0;
        self.known
    }

    /// Returns how far the events were followed: those after it are to be asked for.
    pub fn events(&self) -> Option<EventCursor> {
        self.events.known()
    }

    /// Takes the events that the lines so far told.
    pub fn take_events(&mut self) -> Vec<PeerEvent> {
        self.events.take()
    }

    /// Takes in one line. Returns what it says of the peer, if anything.
    ///
    /// # Errors
    /// The stream cannot be followed any further: open another.
    pub fn take(&mut self, line: &[u8]) -> Result<Option<PeerObservation>, Broken> {
        let taken = self.line(line);
        if taken.is_err() {
            self.stream = Stream::Closed;
        }
        taken
    }

    fn line(&mut self, line: &[u8]) -> Result<Option<PeerObservation>, Broken> {
        let Line { number, fact } = Line::read(line).map_err(Broken::Garbage)?;
        let expected = self.number.saturating_add(1);
        if number != expected {
            return Err(Broken::Order { expected, found: number });
        }
        self.number = number;
        match &mut self.stream {
            Stream::Closed => Err(Broken::Unexpected("after the stream's end")),
            Stream::Opened => self.hello(fact).map(|()| None),
            Stream::Listing { epoch, info, host } => {
                let Some(revision) = list(info, host, fact)? else { return Ok(None) };
                let Some(info) = info.take() else {
                    return Err(Broken::Unexpected("a list without its host"));
                };
                self.known = Some(Cursor { epoch: *epoch, revision });
                let listed = Host { info, ..std::mem::take(&mut **host) };
                self.stream = Stream::Following;
                Ok(Some(PeerObservation::Listed(listed)))
            }
            Stream::Following => self.change(fact),
        }
    }

    fn hello(&mut self, fact: FactRow) -> Result<(), Broken> {
        let FactRow::Hello { format, host, epoch, whole } = fact else {
            return Err(Broken::Unexpected("no greeting"));
        };
        if format > FORMAT {
            return Err(Broken::Newer(format));
        }
        if host.parse::<HostId>().ok() != Some(self.host) {
            return Err(Broken::Stranger);
        }
        self.epoch = epoch;
        self.stream = if whole {
            Stream::Listing { epoch, info: None, host: Box::default() }
        } else if self.known.is_some_and(|known| known.epoch == epoch) {
            Stream::Following
        } else {
            return Err(Broken::Unexpected("changes of something unknown"));
        };
        Ok(())
    }

    fn change(&mut self, fact: FactRow) -> Result<Option<PeerObservation>, Broken> {
        Ok(match fact {
            FactRow::Host { revision, host } => {
                self.advance(revision)?;
                Some(PeerObservation::Info(Arc::new((*host).into())))
            }
            FactRow::Networks { revision, networks } => {
                self.advance(revision)?;
                Some(PeerObservation::Networks(networks.into_iter().map(Into::into).collect()))
            }
            FactRow::Container { revision, container } => {
                self.advance(revision)?;
                // A container that cannot be read costs only itself.
                let container = Container::try_from(*container).ok();
                container.map(|container| PeerObservation::Container(Arc::new(container)))
            }
            FactRow::Gone { revision, container } => {
                self.advance(revision)?;
                container_id(&container).ok().map(PeerObservation::Gone)
            }
            FactRow::Events { after } => {
                self.events.begin(self.epoch, after);
                None
            }
            FactRow::Event { number, event } => {
                if let Ok(event) = EventSummary::try_from(*event) {
                    self.events.happened(number, event);
                }
                None
            }
            FactRow::Beat | FactRow::Unknown => None,
            FactRow::Hello { .. } | FactRow::Listed { .. } => {
                return Err(Broken::Unexpected("a list among changes"));
            }
        })
    }

    /// Records the revision of a change.
    fn advance(&mut self, revision: u64) -> Result<(), Broken> {
        match &mut self.known {
            Some(known) if known.revision < revision => {
                known.revision = revision;
                Ok(())
            }
            _ => Err(Broken::Unexpected("a revision that is not later than the one before")),
        }
    }
}

/// Adds a fact to a list. Returns the list's revision when it is complete.
fn list(info: &mut Option<Arc<HostInfo>>, host: &mut Host, fact: FactRow) -> Result<Option<u64>, Broken> {
    match fact {
        FactRow::Host { host: row, .. } => *info = Some(Arc::new((*row).into())),
        FactRow::Networks { networks, .. } => host.networks = networks.into_iter().map(Into::into).collect(),
        FactRow::Container { container, .. } => {
            if host.containers.size() >= MAX_CONTAINERS {
                return Err(Broken::Unexpected("too many containers"));
            }
            if let Ok(container) = Container::try_from(*container) {
                host.containers.insert_mut(container.id.clone(), Arc::new(container));
            }
        }
        FactRow::Listed { revision } => return Ok(Some(revision)),
        FactRow::Beat | FactRow::Unknown => {}
        FactRow::Hello { .. } | FactRow::Gone { .. } | FactRow::Events { .. } | FactRow::Event { .. } => {
            return Err(Broken::Unexpected("a change in a list"));
        }
    }
    Ok(None)
}

#[cfg(test)]
#[path = "replica_tests.rs"]
mod tests;
