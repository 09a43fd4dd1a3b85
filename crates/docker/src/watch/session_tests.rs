use std::collections::BTreeMap;

use longshore_model::{Health, Host, RunState};

use super::*;

const ME: HostId = HostId::from_u128(1);
const RESYNC: Duration = Duration::from_secs(30);

fn id(name: &str) -> ContainerId {
    ContainerId::new(name)
}

fn container(name: &str, state: RunState) -> Container {
    Container { state, ..Container::new(id(name), name, "image") }
}

fn found(container: Container) -> Happening {
    let inspection = Inspection { container: Box::new(container.clone()), json: None };
    Happening::Inspected(container.id, Ok(Some(inspection)))
}

fn event(name: &str, kind: EventKind, at: i64) -> Happening {
    let (container, attributes) = (id(name), BTreeMap::new());
    Happening::Heard(DockerEvent::Container(ContainerEvent {
        container,
        name: name.to_owned(),
        kind,
        at,
        attributes,
    }))
}

fn listing(names: &[&str], world: Option<World>) -> Happening {
    let summary = |name: &&str| Summary {
        id: id(name),
        name: Some((*name).to_owned()),
        state: Some("running".to_owned()),
        health: Health::None,
        networks: BTreeMap::new(),
    };
    let containers = names.iter().map(summary).collect();
    Happening::Listed(Ok(Listing { containers, world: world.map(Arc::new) }))
}

fn world(names: &[&str]) -> World {
    let mut world = World::new(ME, Host::default());
    names.iter().for_each(|name| world.put_container(ME, Arc::new(container(name, RunState::Running))));
    world
}

fn refused(name: &str) -> Happening {
    let failure = Failure { why: "status code 500".to_owned(), is_lost: false };
    Happening::Inspected(id(name), Err(failure))
}

/// Returns an effect in a word or two.
fn shown(effect: &Effect) -> Option<String> {
    Some(match effect {
        Effect::Observe(DockerObservation::Event { event, past }) => {
            format!("tell {} {}{}", event.container, event.kind, if *past { " (past)" } else { "" })
        }
        Effect::Observe(DockerObservation::Inspected { id, container, resync }) => {
            let state = container.as_ref().map_or("gone".to_owned(), |c| c.state.to_string());
            format!("{id} is {state}{}", if *resync { " (missed)" } else { "" })
        }
        Effect::Observe(DockerObservation::Listed { containers, .. }) => {
            let names: Vec<&str> = containers.iter().map(|c| c.name.as_str()).collect();
            format!("listed [{}]", names.join(" "))
        }
        Effect::Observe(_) => "tell".to_owned(),
        Effect::Show(..) => return None,
        Effect::Subscribe(since) => format!("subscribe from {since}"),
        Effect::List => "list".to_owned(),
        Effect::ListNetworks => "list networks".to_owned(),
        Effect::Inspect(id) => format!("inspect {id}"),
        Effect::Ping => "ping".to_owned(),
        Effect::Refused(refused) => format!("refused {:?}", refused.keys()),
        Effect::Unlisted(whys) => format!("unlisted {whys:?}"),
        Effect::End(why) => format!("end: {why}"),
    })
}

/// A session with its own time.
struct Bench {
    session: Session,
    now: Instant,
}

impl Bench {
    fn begin() -> Self {
        let now = Instant::now();
        let (session, effects) = Session::begin(ME, 1_000, None, RESYNC, now);
        let effects: Vec<String> = effects.iter().filter_map(shown).collect();
        assert_eq!(effects, ["subscribe from 1000", "list", "list networks"]);
        Self { session, now }
    }

    /// Creates a session that has handed over these containers.
    fn following(names: &[&str]) -> Self {
        let mut bench = Self::begin();
        bench.take(Happening::Networks(Ok(Vec::new())));
        bench.take(listing(names, None));
        for name in names {
            bench.take(found(container(name, RunState::Running)));
        }
        bench
    }

    fn take(&mut self, happening: Happening) -> Vec<String> {
        self.session.take(happening, self.now).iter().filter_map(shown).collect()
    }

    /// Advances time, and handles everything that comes due.
    fn pass(&mut self, time: Duration) -> Vec<String> {
        let until = self.now + time;
        let mut effects = Vec::new();
        while self.session.due() <= until {
            self.now = self.now.max(self.session.due());
            effects.extend(self.take(Happening::Due));
        }
        self.now = until;
        effects
    }
}

#[test]
fn everything_is_handed_over_at_once_and_what_was_heard_meanwhile_after_it() {
    let mut bench = Bench::begin();
    assert_eq!(bench.take(listing(&["a", "b"], None)), ["inspect a", "inspect b"]);
    assert_eq!(bench.take(event("a", EventKind::Die, 1_001)), [""; 0]);
    assert_eq!(bench.take(found(container("b", RunState::Running))), [""; 0]);
    assert_eq!(bench.take(Happening::Networks(Ok(Vec::new()))), [""; 0]);
    let effects = bench.take(found(container("a", RunState::Running)));
    assert_eq!(effects, ["listed [b a]", "tell a die", "inspect a"]);
    let past = bench.take(event("a", EventKind::Die, 999));
    assert_eq!(past, ["tell a die (past)"]);
}

#[test]
fn a_container_that_docker_refuses_to_show_costs_only_itself() {
    let mut bench = Bench::begin();
    bench.take(Happening::Networks(Ok(Vec::new())));
    bench.take(listing(&["a", "b"], None));
    bench.take(found(container("b", RunState::Running)));
    assert_eq!(bench.take(refused("a")), [r#"refused [a]"#, "listed [b]"]);
    assert_eq!(bench.pass(FIRST_RETRY), ["inspect a"]);
    assert_eq!(bench.take(refused("a")), [""; 0], "it is said once");
    assert_eq!(bench.pass(FIRST_RETRY), [""; 0], "and asked for ever more seldom");
    assert_eq!(bench.pass(FIRST_RETRY), ["inspect a"]);
    assert_eq!(bench.take(found(container("a", RunState::Running))), ["refused []", "a is running"]);
}

#[test]
fn a_list_that_cannot_be_read_is_retried_ever_more_seldom_while_events_are_followed() {
    let bad = || Failure { why: "no JSON".to_owned(), is_lost: false };
    let mut bench = Bench::following(&["a"]);
    bench.pass(RESYNC);
    bench.take(Happening::Ponged(Ok(())));
    assert_eq!(
        bench.take(Happening::Listed(Err(bad()))),
        [r#"unlisted ["cannot list its containers: no JSON"]"#]
    );
    assert_eq!(
        bench.take(Happening::Networks(Err(bad()))),
        [r#"unlisted ["cannot list its containers: no JSON", "cannot list its networks: no JSON"]"#]
    );
    assert_eq!(bench.pass(FIRST_RETRY), ["list", "list networks"]);
    assert_eq!(bench.take(Happening::Listed(Err(bad()))), [""; 0], "it is said once");
    assert_eq!(bench.take(Happening::Networks(Ok(Vec::new()))).len(), 2);
    assert_eq!(bench.take(event("a", EventKind::Die, 40_000_000_000)), ["tell a die", "inspect a"]);
    assert_eq!(bench.pass(FIRST_RETRY), [""; 0]);
    assert_eq!(bench.pass(FIRST_RETRY), ["list"]);
    assert_eq!(bench.take(listing(&["a"], Some(world(&["a"])))), ["unlisted []"]);
    assert_eq!(bench.pass(RESYNC / 2).iter().filter(|effect| *effect == "list").count(), 0);
}

#[test]
fn a_first_list_that_fails_and_a_lost_engine_end_the_session() {
    let failure = |is_lost| Failure { why: "no".to_owned(), is_lost };
    let mut bench = Bench::begin();
    let end = ["end: cannot list its containers: no"];
    assert_eq!(bench.take(Happening::Listed(Err(failure(false)))), end);
    let mut bench = Bench::following(&["a"]);
    bench.pass(RESYNC);
    assert_eq!(bench.take(Happening::Listed(Err(failure(true)))), end);
}

#[test]
fn an_answer_that_was_refuted_meanwhile_is_told_to_nobody_and_asked_for_again() {
    let mut bench = Bench::following(&["a"]);
    assert_eq!(bench.take(event("a", EventKind::Start, 1_001)), ["tell a start", "inspect a"]);
    assert_eq!(bench.take(event("a", EventKind::Die, 1_002)), ["tell a die"]);
    assert_eq!(bench.take(found(container("a", RunState::Running))), ["inspect a"]);
    assert_eq!(bench.take(found(container("a", RunState::Exited))), ["a is exited"]);
}

#[test]
fn an_answer_that_may_be_old_is_told_and_followed_by_another() {
    let mut bench = Bench::following(&["a"]);
    bench.take(event("a", EventKind::Create, 1_001));
    bench.take(event("a", EventKind::Start, 1_002));
    assert_eq!(bench.take(found(container("a", RunState::Created))), ["a is created", "inspect a"]);
    assert_eq!(bench.take(found(container("a", RunState::Running))), ["a is running"]);
}

#[test]
fn an_event_that_cannot_be_read_costs_one_list_and_is_not_asked_for_again() {
    let mut bench = Bench::following(&["a"]);
    bench.pass(Duration::from_secs(3));
    assert_eq!(bench.take(Happening::Unreadable), ["list"]);
    let since = 1_000 + 3_000_000_000_u64;
    assert_eq!(bench.pass(FIRST_REOPEN), [format!("subscribe from {since}")]);
    assert_eq!(bench.take(listing(&["a"], Some(world(&["a"])))), [""; 0]);
    assert_eq!(bench.take(Happening::Unreadable), ["list"]);
    assert_eq!(bench.pass(FIRST_REOPEN), [""; 0], "each pause is longer");
    assert_eq!(bench.pass(FIRST_REOPEN).len(), 1);
}

#[test]
fn a_death_is_told_while_docker_takes_its_time_over_a_list() {
    let mut bench = Bench::following(&["a"]);
    let network = longshore_model::NetworkEvent {
        network: "id".to_owned(),
        name: "zoo".to_owned(),
        action: "create".to_owned(),
        at: 1_001,
    };
    assert_eq!(
        bench.take(Happening::Heard(DockerEvent::Network(network.clone()))),
        ["tell", "list networks"]
    );
    assert_eq!(bench.take(event("a", EventKind::Die, 1_002)), ["tell a die", "inspect a"]);
    assert_eq!(bench.take(Happening::Heard(DockerEvent::Network(network))), ["tell"]);
    let again = bench.take(Happening::Networks(Ok(Vec::new())));
    assert_eq!(again, ["list networks", "tell"], "the list may be older than the last event");
}

#[test]
fn a_difference_that_an_event_explains_was_not_missed_and_another_was() {
    let mut bench = Bench::following(&["a", "b"]);
    assert!(bench.pass(RESYNC).contains(&"list".to_owned()));
    // Both are missing from the list; the event for one of them is on its way.
    bench.take(listing(&[], Some(world(&["a", "b"]))));
    assert_eq!(bench.pass(GRACE / 2), [""; 0]);
    assert_eq!(bench.take(event("a", EventKind::Destroy, 2_000)), ["tell a destroy"]);
    assert_eq!(bench.pass(GRACE), ["inspect b"]);
    assert_eq!(bench.take(Happening::Inspected(id("b"), Ok(None))), ["b is gone (missed)"]);
}

#[test]
fn a_silent_engine_is_asked_whether_it_is_there_and_given_up_if_not() {
    let mut bench = Bench::following(&[]);
    assert_eq!(bench.pass(MAX_SILENCE), ["ping"]);
    assert_eq!(bench.pass(MAX_SILENCE), [""; 0], "one at a time");
    assert_eq!(bench.take(Happening::Ponged(Ok(()))), [""; 0]);
    assert_eq!(bench.pass(MAX_SILENCE), ["ping"]);
    let failure = Failure { why: "timeout".to_owned(), is_lost: true };
    assert_eq!(bench.take(Happening::Ponged(Err(failure))), ["end: it no longer answers a ping: timeout"]);
}
