use longshore_model::ContainerId;
use longshore_wire::facts::ContainerRow;
use proptest::prelude::*;

use super::*;

const PEER: HostId = HostId::from_u128(2);

fn hello(whole: bool) -> FactRow {
    FactRow::Hello { format: FORMAT, host: PEER.to_string(), epoch: 7, whole }
}

fn container(revision: u64, id: &str) -> FactRow {
    let row = ContainerRow::from(&Container::new(ContainerId::new(id), id, "image"));
    FactRow::Container { revision, container: Box::new(row) }
}

fn info(revision: u64) -> FactRow {
    FactRow::Host { revision, host: Box::new((&HostInfo::default()).into()) }
}

fn lines(facts: impl IntoIterator<Item = FactRow>) -> Vec<Vec<u8>> {
    (1..).zip(facts).map(|(number, fact)| fact.encode().line(number)).collect()
}

fn take(replica: &mut Replica, lines: &[Vec<u8>]) -> Result<Vec<PeerObservation>, Broken> {
    let taken: Result<Vec<_>, _> = lines.iter().map(|line| replica.take(line)).collect();
    taken.map(|observations| observations.into_iter().flatten().collect())
}

/// Returns a replica that has followed a list with the container `a`, up to revision 5.
fn following() -> Replica {
    let mut replica = Replica::new(PEER);
    assert_eq!(replica.open(), None);
    let list = [hello(true), info(1), container(5, "a"), FactRow::Listed { revision: 5 }];
    let observations = take(&mut replica, &lines(list)).unwrap();
    let [PeerObservation::Listed(host)] = &observations[..] else { panic!("{observations:?}") };
    assert_eq!(host.containers.size(), 1);
    replica
}

#[test]
fn a_list_counts_when_it_is_complete() {
    let mut replica = Replica::new(PEER);
    replica.open();
    assert_eq!(take(&mut replica, &lines([hello(true), info(1), container(5, "a")])).unwrap(), []);
    assert_eq!(replica.open(), None, "half a list is none");
}

#[test]
fn a_break_is_followed_by_what_changed_since() {
    let mut replica = following();
    assert_eq!(replica.open(), Some(Cursor { epoch: 7, revision: 5 }));
    let gone = FactRow::Gone { revision: 8, container: "a".to_owned() };
    let since = [hello(false), container(6, "b"), gone, FactRow::Beat];
    let observations = take(&mut replica, &lines(since)).unwrap();
    assert!(matches!(
        &observations[..],
        [PeerObservation::Container(b), PeerObservation::Gone(a)] if b.id.as_str() == "b" && a.as_str() == "a"
    ));
    assert_eq!(replica.open(), Some(Cursor { epoch: 7, revision: 8 }));
}

#[test]
fn a_line_that_is_lost_repeated_moved_or_unreadable_ends_the_stream_and_nothing_else() {
    let good = lines([hello(false), container(6, "b"), container(7, "c"), container(8, "d")]);
    let [hello, b, c, d] = &good[..] else { panic!("four lines") };
    let cases: [&[&Vec<u8>]; 5] =
        [&[hello, c], &[hello, b, b], &[hello, b, d, c], &[b, c], &[hello, b, &b"{\"line\":3".to_vec()]];
    for case in cases {
        let mut replica = following();
        replica.open();
        let last = case.iter().map(|line| replica.take(line)).find_map(Result::err);
        assert!(last.is_some(), "{case:?}");
        assert!(replica.take(c).is_err(), "it stays closed");
        let Some(Cursor { revision, .. }) = replica.open() else { panic!("what was known stays known") };
        let rest = [self::hello(false), container(revision + 1, "z")];
        assert_eq!(take(&mut replica, &lines(rest)).unwrap().len(), 1);
    }
}

#[test]
fn a_revision_that_goes_back_ends_the_stream() {
    let mut replica = following();
    replica.open();
    assert!(take(&mut replica, &lines([hello(false), container(5, "b")])).is_err());
}

#[test]
fn changes_without_what_they_are_changes_of_are_refused() {
    let mut replica = Replica::new(PEER);
    replica.open();
    assert!(take(&mut replica, &lines([hello(false)])).is_err());
    let mut replica = following();
    replica.open();
    let restarted = FactRow::Hello { format: FORMAT, host: PEER.to_string(), epoch: 8, whole: false };
    assert!(take(&mut replica, &lines([restarted])).is_err());
}

#[test]
fn another_host_and_a_later_format_are_refused_by_name() {
    let greet = |format, host: HostId| {
        let mut replica = Replica::new(PEER);
        replica.open();
        let hello = FactRow::Hello { format, host: host.to_string(), epoch: 7, whole: true };
        take(&mut replica, &lines([hello])).map(drop)
    };
    assert!(matches!(greet(FORMAT, HostId::from_u128(3)), Err(Broken::Stranger)));
    assert!(matches!(greet(FORMAT + 1, PEER), Err(Broken::Newer(2))));
    assert!(greet(FORMAT, PEER).is_ok());
}

#[test]
fn a_container_that_cannot_be_read_costs_only_itself() {
    let mut replica = following();
    replica.open();
    let observations =
        take(&mut replica, &lines([hello(false), container(6, "not an id"), container(7, "b")]));
    assert_eq!(observations.unwrap().len(), 1);
}

proptest! {
    #[test]
    fn no_lines_are_more_than_observations_or_an_error(
        lines in prop::collection::vec(prop_oneof![
            prop::collection::vec(any::<u8>(), 0..60),
            (0..9_u64, prop_oneof![
                Just(hello(true)), Just(hello(false)), Just(info(1)), Just(FactRow::Beat),
                (0..9_u64).prop_map(|revision| container(revision, "a")),
                (0..9_u64).prop_map(|revision| FactRow::Listed { revision }),
                (0..9_u64).prop_map(|revision| FactRow::Gone { revision, container: "a".to_owned() }),
            ]).prop_map(|(number, fact)| fact.encode().line(number)),
        ], 0..20),
    ) {
        let mut replica = Replica::new(PEER);
        replica.open();
        for line in lines {
            if replica.take(&line).is_err() {
                replica.open();
            }
        }
    }
}
