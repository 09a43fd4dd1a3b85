use std::path::PathBuf;

use longshore_model::{
    Container, ContainerEvent, DeliveryRules, EventFilter, EventKind, Filter, Host, HostId, Job, Origin,
    RunState,
};
use longshore_runtime::state::DockerEvent;

use super::*;

const ME: HostId = HostId::from_u128(1);

/// A dispatcher with one handler that wants every event and retries nothing.
struct Case {
    dispatcher: Dispatcher,
    world: World,
    disk: Remembered,
    now: Instant,
}

impl Case {
    fn new(disk: Remembered) -> (Self, Vec<Effect>) {
        let now = Instant::now();
        let mut world = World::new(ME, Host::default());
        let mut web = Container::new(ContainerId::new("web"), "web", "nginx");
        (web.state, web.started) = (RunState::Running, 5);
        world.put_container(ME, Arc::new(web));
        let dispatcher = Dispatcher::resume(disk.clone(), 10, now);
        let mut case = Self { dispatcher, world, disk, now };
        let effects = case.take(Happening::Handlers(handlers("one")));
        (case, effects)
    }

    /// Passes in what happened and confirms every write.
    fn take(&mut self, happening: Happening) -> Vec<Effect> {
        let moment = Moment { now: self.now, at: 20, world: Some(&self.world) };
        let mut effects = self.dispatcher.take(happening, &moment);
        let written: Vec<u64> = effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Write { number, batch } => {
                    self.disk.apply(batch);
                    Some(*number)
                }
                _ => None,
            })
            .collect();
        written.into_iter().for_each(|number| effects.extend(self.take(Happening::Written(number))));
        effects
    }

    /// Reports the container's death at this time.
    fn dies(&mut self, at: i64) -> Vec<Effect> {
        let event = ContainerEvent {
            container: ContainerId::new("web"),
            name: "web".to_owned(),
            kind: EventKind::Die,
            at,
            attributes: BTreeMap::new(),
        };
        self.take(Happening::Events(vec![DockerEvent::Container(event)]))
    }

    fn finish(&mut self, order: AttemptOrder, outcome: Result<(), Failure>) -> Vec<Effect> {
        let AttemptOrder { name, lane, entry, .. } = order;
        self.take(Happening::Finished(Finished { name, lane, entry, outcome, took: Duration::ZERO }))
    }
}

fn handlers(turn: &str) -> Arc<HandlerSet> {
    let handler = Handler {
        name: "all".to_owned(),
        origin: Origin { file: PathBuf::from("/all.ini"), line: None },
        enabled: true,
        triggers_none: false,
        filter: Filter { events: EventFilter { all: true, ..EventFilter::default() }, ..Filter::default() },
        delivery: DeliveryRules { retries: 0, ..DeliveryRules::default() },
        job: Job::Plugin { command: vec!["plugin".to_owned()] },
        params: [("turn".to_owned(), turn.to_owned())].into(),
    };
    let handlers = [("all".to_owned(), Arc::new(handler))].into();
    Arc::new(HandlerSet { handlers, ..HandlerSet::default() })
}

fn orders(effects: Vec<Effect>) -> Vec<AttemptOrder> {
    let order = |effect| match effect {
        Effect::Attempt(order) => Some(order),
        _ => None,
    };
    effects.into_iter().filter_map(order).collect()
}

#[test]
fn deliveries_whose_events_cannot_be_read_are_removed_from_the_disk() {
    let disk = Remembered {
        unreadable: [7].into(),
        deliveries: [
            (("all".to_owned(), 7), DeliveryRow::default()),
            (("gone".to_owned(), 9), DeliveryRow::default()),
        ]
        .into(),
        begun: Some(1),
        ..Remembered::default()
    };
    let (case, _) = Case::new(disk);
    assert_eq!(case.disk.deliveries, BTreeMap::new());
    assert_eq!(case.dispatcher.pending(), 0);
}

#[test]
fn editing_a_handler_that_retries_nothing_loses_none_of_its_deliveries() {
    let (mut case, _) = Case::new(Remembered::default());
    let begun = orders(case.dies(30));
    assert_eq!(begun.len(), 1);
    case.take(Happening::Handlers(handlers("two")));
    for told in [false, true] {
        let order = begun.first().cloned().unwrap();
        let again = orders(case.finish(order, Err(Failure::broken_off("the plugin was shut down", told))));
        let [again] = again.as_slice() else { panic!("{again:?}") };
        assert_eq!((again.entry.attempts, again.entry.redelivered), (0, told));
        assert_eq!(again.handler.params["turn"], "two");
    }
    assert!(case.dispatcher.failed().is_empty());
    let last = begun.into_iter().next().unwrap();
    case.finish(last, Ok(()));
    assert_eq!((case.dispatcher.pending(), case.disk.deliveries.len(), case.disk.events.len()), (0, 0, 0));
}

#[test]
fn a_journal_that_lost_everything_gets_it_again() {
    let (mut case, _) = Case::new(Remembered::default());
    let begun = orders(case.dies(30));
    case.finish(begun.into_iter().next().unwrap(), Err(Failure::passing("it failed")));
    case.dies(40);
    let before = std::mem::take(&mut case.disk);
    assert_eq!((before.deliveries.len(), before.events.len(), before.reported.len()), (2, 2, 1));
    case.take(Happening::JournalLost);
    assert_eq!(case.disk, before);
}
