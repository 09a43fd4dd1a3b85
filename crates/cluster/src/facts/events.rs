//! What happens to a host's containers, as its peers are told: each event once, in order, for as long as it is kept.

use std::collections::VecDeque;
use std::sync::Arc;

use longshore_model::EventSummary;
use longshore_wire::facts::{EncodedFact, EventRow, FactRow};

/// How many events an owner keeps for followers that come back.
const MAX_KEPT: usize = 4096;

/// How far a follower has followed the events of one run of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventCursor {
    /// The run.
    pub epoch: u64,
    /// The last event that it has.
    pub number: u64,
}

/// What a follower learns of a peer's containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerEvent {
    /// Something happened.
    Happened(EventSummary),
    /// Events are missing: this many, if known.
    Missed(Option<u64>),
}

/// The last events of one run of this host's agent, numbered from 1.
#[derive(Debug, Default)]
pub(super) struct EventLog {
    /// The number of the last event.
    last: u64,
    kept: VecDeque<(u64, Arc<EncodedFact>)>,
}

impl EventLog {
    /// Returns the number of the last event.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Adds an event.
    pub(super) fn push(&mut self, event: &EventSummary) {
        self.last += 1;
        if self.kept.len() == MAX_KEPT {
            self.kept.pop_front();
        }
        let row = FactRow::Event { number: self.last, event: Box::new(EventRow::from(event)) };
        self.kept.push_back((self.last, Arc::new(row.encode())));
    }

    /// Adds events of which nothing is known but their number.
    pub(super) fn skip(&mut self, missed: u64) {
        self.last = self.last.saturating_add(missed);
    }

    /// Returns the number after which a follower that comes with this cursor begins: a new one with the next event, one
    /// of an earlier run with the first.
    pub(super) fn begin(&self, epoch: u64, asked: Option<EventCursor>) -> u64 {
        match asked {
            None => self.last,
            Some(asked) if asked.epoch == epoch => asked.number.min(self.last),
            Some(_) => 0,
        }
    }

    /// Returns the events after a number that are kept.
    pub(super) fn after(&self, number: u64) -> impl Iterator<Item = Arc<EncodedFact>> {
        let begin = self.kept.partition_point(|(kept, _)| *kept <= number);
        self.kept.range(begin..).map(|(_, event)| Arc::clone(event))
    }
}

/// The follower's side: how far it has come, and what it has not passed on yet.
#[derive(Debug, Default)]
pub(super) struct EventReplica {
    known: Option<EventCursor>,
    told: Vec<PeerEvent>,
}

impl EventReplica {
    /// Returns what to ask for.
    pub(super) fn known(&self) -> Option<EventCursor> {
        self.known
    }

    pub(super) fn set(&mut self, known: Option<EventCursor>) {
        self.known = known;
    }

    /// Takes what was told since the last time.
    pub(super) fn take(&mut self) -> Vec<PeerEvent> {
        std::mem::take(&mut self.told)
    }

    /// Events of this run follow, after this number.
    pub(super) fn begin(&mut self, epoch: u64, after: u64) {
        match self.known {
            Some(known) if known.epoch != epoch => self.told.push(PeerEvent::Missed(None)),
            Some(known) if known.number < after => self.missed(after - known.number),
            _ => {}
        }
        self.known = Some(EventCursor { epoch, number: after });
    }

    /// Takes in an event. One that came before is passed over.
    pub(super) fn happened(&mut self, number: u64, event: EventSummary) {
        let Some(known) = self.known.filter(|known| known.number < number) else { return };
        if number - known.number > 1 {
            self.missed(number - known.number - 1);
        }
        self.known = Some(EventCursor { number, ..known });
        self.told.push(PeerEvent::Happened(event));
    }

    fn missed(&mut self, missed: u64) {
        self.told.push(PeerEvent::Missed(Some(missed)));
    }
}

#[cfg(test)]
mod tests {
    use longshore_model::ContainerId;
    use longshore_wire::facts::Line;
    use proptest::prelude::*;

    use super::*;

    fn event(at: i64) -> EventSummary {
        EventSummary {
            container: ContainerId::new("c0ffee"),
            name: "web".to_owned(),
            action: "start".to_owned(),
            at,
        }
    }

    /// Follows an owner until nothing is left. Returns what was told.
    fn follow(log: &EventLog, epoch: u64, replica: &mut EventReplica) -> Vec<PeerEvent> {
        let after = log.begin(epoch, replica.known());
        replica.begin(epoch, after);
        for (number, line) in log.after(after).enumerate() {
            let line = Line::read(&line.line(number as u64 + 1)).unwrap();
            let FactRow::Event { number, event } = line.fact else { panic!("no event") };
            replica.happened(number, EventSummary::try_from(*event).unwrap());
        }
        replica.take()
    }

    #[test]
    fn a_follower_begins_with_the_next_event_and_goes_on_where_it_was() {
        let (mut log, mut replica) = (EventLog::default(), EventReplica::default());
        log.push(&event(1));
        assert_eq!(follow(&log, 7, &mut replica), []);
        log.push(&event(2));
        log.push(&event(3));
        let told = [PeerEvent::Happened(event(2)), PeerEvent::Happened(event(3))];
        assert_eq!(follow(&log, 7, &mut replica), told);
        assert_eq!(follow(&log, 7, &mut replica), []);
    }

    #[test]
    fn another_run_is_told_from_its_beginning_and_what_lies_between_is_missing() {
        let (mut log, mut replica) = (EventLog::default(), EventReplica::default());
        log.push(&event(1));
        follow(&log, 7, &mut replica);
        let mut next = EventLog::default();
        next.push(&event(9));
        let told = [PeerEvent::Missed(None), PeerEvent::Happened(event(9))];
        assert_eq!(follow(&next, 8, &mut replica), told);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn every_event_is_told_once_or_counted_as_missed(
            steps in prop::collection::vec(prop_oneof![
                4 => (1_u64..40).prop_map(|count| (count, false)),
                1 => (1_u64..9000).prop_map(|count| (count, false)),
                1 => (1_u64..20).prop_map(|count| (count, true)),
            ], 1..30),
        ) {
            let (mut log, mut replica) = (EventLog::default(), EventReplica::default());
            follow(&log, 7, &mut replica);
            let (mut at, mut counted) = (0, 0);
            for (number, (count, is_unknown)) in steps.into_iter().enumerate() {
                if is_unknown {
                    log.skip(count);
                } else {
                    (0..count).for_each(|_| {
                        at += 1;
                        log.push(&event(at));
                    });
                }
                if number % 2 == 0 {
                    let mut last = i64::MIN;
                    for told in follow(&log, 7, &mut replica) {
                        match told {
                            PeerEvent::Missed(missed) => counted += missed.unwrap(),
                            PeerEvent::Happened(event) => {
                                prop_assert!(event.at > last);
                                last = event.at;
                                counted += 1;
                            }
                        }
                    }
                    // What was skipped at the very end is counted with the next event.
                    prop_assert!(counted <= log.last());
                }
            }
            log.push(&event(at + 1));
            for told in follow(&log, 7, &mut replica) {
                counted += match told {
                    PeerEvent::Missed(missed) => missed.unwrap(),
                    PeerEvent::Happened(_) => 1,
                };
            }
            prop_assert_eq!(counted, log.last());
        }
    }
}
