use longshore_wire::facts::Line;

use super::*;

const ME: HostId = HostId::from_u128(1);

fn world() -> World {
    World::new(ME, Host::default())
}

fn put(world: &mut World, id: &str, started: i64) -> BTreeSet<Change> {
    let container = Container::new(ContainerId::new(id), id, "image");
    world.put_container(ME, Arc::new(Container { started, ..container }));
    changed(id)
}

fn remove(world: &mut World, id: &str) -> BTreeSet<Change> {
    world.remove_container(&longshore_model::ContainerRef::new(ME, ContainerId::new(id)));
    changed(id)
}

fn changed(id: &str) -> BTreeSet<Change> {
    let id = longshore_model::ContainerRef::new(ME, ContainerId::new(id));
    BTreeSet::from([Change::Container(id)])
}

fn loaded(world: &mut World, millicpus: u32) {
    let info = HostInfo { load: Load { millicpus, memory: 0 }, ..HostInfo::clone(&world.own().info) };
    world.put_host(ME, Host { info: Arc::new(info), ..world.own().clone() });
}

/// Returns a feed in words: each fact by its kind, containers by their id.
fn words(feed: Option<Feed>) -> Vec<String> {
    let line = |fact: &Arc<EncodedFact>| match Line::read(&fact.line(1)).unwrap().fact {
        FactRow::Hello { whole, .. } => if whole { "whole" } else { "since" }.to_owned(),
        FactRow::Host { .. } => "host".to_owned(),
        FactRow::Networks { .. } => "networks".to_owned(),
        FactRow::Container { container, .. } => {
            Container::try_from(*container).unwrap().id.as_str().to_owned()
        }
        FactRow::Gone { container, .. } => format!("-{container}"),
        FactRow::Listed { .. } => "listed".to_owned(),
        FactRow::Events { .. } | FactRow::Event { .. } | FactRow::Beat | FactRow::Unknown => {
            unreachable!("not in a log")
        }
    };
    feed.unwrap().facts.iter().map(line).collect()
}

/// Returns a log that has taken in a World with the containers `a` and `b`.
fn begun() -> (Log, World, Instant) {
    let (mut log, mut world, now) = (Log::new(ME, 7), world(), Instant::now());
    put(&mut world, "a", 1);
    put(&mut world, "b", 1);
    log.take(&world, &BTreeSet::from([Change::All]), now);
    (log, world, now)
}

#[test]
fn nothing_is_told_before_the_host_was_listed() {
    assert!(Log::new(ME, 7).begin(None).is_none());
}

#[test]
fn a_follower_gets_what_changed_since_and_each_container_once() {
    let (mut log, mut world, now) = begun();
    let first = log.begin(None);
    let revision = first.as_ref().unwrap().revision;
    assert_eq!(words(first), ["whole", "host", "networks", "a", "b", "listed"]);
    for started in 2..9 {
        let changes = put(&mut world, "a", started);
        log.take(&world, &changes, now);
    }
    let changes = put(&mut world, "c", 1);
    log.take(&world, &changes, now);
    let gone = remove(&mut world, "b");
    log.take(&world, &gone, now);
    log.take(&world, &gone, now);
    assert_eq!(words(log.after(revision)), ["a", "c", "-b"]);
    assert_eq!(words(log.begin(Some(Cursor { epoch: 7, revision }))), ["since", "a", "c", "-b"]);
    assert_eq!(words(log.begin(None)), ["whole", "host", "networks", "a", "c", "listed"]);
    assert_eq!(words(log.after(log.revision())), [""; 0]);
}

#[test]
fn another_run_or_a_revision_that_never_was_means_the_whole_list() {
    let (log, ..) = begun();
    for asked in [Cursor { epoch: 6, revision: 1 }, Cursor { epoch: 7, revision: log.revision() + 1 }] {
        assert_eq!(words(log.begin(Some(asked))).first().unwrap(), "whole");
    }
}

#[test]
fn what_is_the_same_after_a_new_list_is_not_told_again() {
    let (mut log, mut world, now) = begun();
    let revision = log.revision();
    log.take(&world, &BTreeSet::from([Change::All]), now);
    assert_eq!(log.revision(), revision);
    put(&mut world, "c", 1);
    remove(&mut world, "a");
    log.take(&world, &BTreeSet::from([Change::Host(ME)]), now);
    assert_eq!(words(log.after(revision)), ["-a", "c"]);
}

#[test]
fn removals_are_remembered_up_to_a_bound_and_beyond_it_the_list_is_whole() {
    let (mut log, mut world, now) = begun();
    let before = log.revision();
    for n in 0..=MAX_GONE {
        let id = format!("x{n}");
        let present = put(&mut world, &id, 1);
        log.take(&world, &present, now);
        let gone = remove(&mut world, &id);
        log.take(&world, &gone, now);
    }
    assert!(log.after(before).is_none());
    assert_eq!(words(log.begin(Some(Cursor { epoch: 7, revision: before }))).len(), 6);
    assert_eq!(log.entries.len(), MAX_GONE + 4);
    assert_eq!(log.order.len(), log.entries.len());
    assert!(log.after(log.forgotten).is_some());
}

#[test]
fn a_load_is_told_twice_a_second_at_most_and_a_name_at_once() {
    let (mut log, mut world, now) = begun();
    let none = BTreeSet::new();
    let mut told = Vec::new();
    for tick in 1..=20_u32 {
        let before = log.revision();
        loaded(&mut world, tick);
        log.take(&world, &none, now + Duration::from_millis(100) * tick);
        if log.revision() > before {
            told.push(tick);
        }
    }
    assert_eq!(told, [5, 10, 15, 20]);
    let info = HostInfo { name: "h2".to_owned(), ..HostInfo::clone(&world.own().info) };
    world.put_host(ME, Host { info: Arc::new(info), ..world.own().clone() });
    let before = log.revision();
    log.take(&world, &BTreeSet::from([Change::Host(ME)]), now + Duration::from_millis(2001));
    assert_eq!(words(log.after(before)), ["host"]);
}

#[test]
fn changes_of_other_hosts_are_not_this_ones_to_tell() {
    let (mut log, mut world, now) = begun();
    let (before, peer) = (log.revision(), HostId::from_u128(2));
    world.put_host(peer, Host::default());
    world.put_container(peer, Arc::new(Container::new(ContainerId::new("z"), "z", "image")));
    let far = longshore_model::ContainerRef::new(peer, ContainerId::new("z"));
    log.take(&world, &BTreeSet::from([Change::Container(far), Change::Host(peer)]), now);
    log.take(&world, &BTreeSet::from([Change::All]), now);
    assert_eq!(log.revision(), before);
}

#[test]
fn a_container_with_labels_beyond_all_measure_goes_without_them() {
    let (mut log, mut world, now) = begun();
    let before = log.revision();
    let big = [("big".to_owned(), "x".repeat(longshore_wire::facts::MAX_LINE))].into();
    let container = Container::new(ContainerId::new("c"), "c", "image");
    world.put_container(ME, Arc::new(Container { labels: big, ..container }));
    log.take(&world, &changed("c"), now);
    assert_eq!(words(log.after(before)), ["c"]);
    assert!(log.after(before).unwrap().facts.iter().all(|fact| !fact.is_too_long()));
}
