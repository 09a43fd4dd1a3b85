//! Synthetic events, for those that Docker did not report.

mod worlds;

use longshore_model::{
    Container, ContainerEvent, ContainerId, EventKind, Health, LastReported, Phase, RunState,
};
use longshore_plan::{all_reported, missed, report};
use proptest::prelude::*;
use worlds::container;

fn names(told: Option<&LastReported>, is: Option<&Container>) -> Vec<&'static str> {
    missed(told, is).into_iter().map(|missed| missed.event).collect()
}

fn like(change: impl FnOnce(&mut Container)) -> Container {
    let mut is = container(1, &[]);
    change(&mut is);
    is
}

#[test]
fn nothing_is_missed_where_all_was_told() {
    let is = container(1, &[]);
    assert_eq!(names(Some(&all_reported(&is)), Some(&is)), Vec::<&str>::new());
    assert_eq!(names(None, None), Vec::<&str>::new());
}

#[test]
fn a_container_that_came_is_told_from_its_creation_on() {
    let ended = like(|is| is.state = RunState::Exited);
    let created = like(|is| (is.state, is.started) = (RunState::Created, 0));
    let paused = like(|is| is.state = RunState::Paused);
    assert_eq!(names(None, Some(&container(1, &[]))), ["create", "connect", "start"]);
    assert_eq!(names(None, Some(&ended)), ["create", "start", "die"]);
    assert_eq!(names(None, Some(&created)), ["create"]);
    assert_eq!(names(None, Some(&paused)), ["create", "connect", "start", "pause"]);
}

#[test]
fn a_container_that_went_still_gets_its_end() {
    let ended = like(|is| is.state = RunState::Exited);
    assert_eq!(names(Some(&all_reported(&container(1, &[]))), None), ["die", "destroy"]);
    assert_eq!(names(Some(&all_reported(&ended)), None), ["destroy"]);
    assert_eq!(names(Some(&all_reported(&container(1, &[]))), Some(&ended)), ["die"]);
}

#[test]
fn another_run_is_an_end_and_a_start_and_its_time_is_dockers() {
    let told = all_reported(&container(1, &[]));
    let again = like(|is| is.started = 50);
    assert_eq!(names(Some(&told), Some(&again)), ["die", "connect", "start"]);
    let start = missed(Some(&told), Some(&again)).pop().unwrap();
    assert_eq!(start.at, Some(50));
}

#[test]
fn a_start_that_was_told_late_is_no_other_run() {
    let is = container(1, &[]);
    let mut told = all_reported(&is);
    // Docker reports a start after it recorded its time.
    told.started = is.started + 5_000_000;
    assert_eq!(names(Some(&told), Some(&is)), Vec::<&str>::new());
}

#[test]
fn names_health_and_networks_are_compared() {
    let told = all_reported(&container(1, &[]));
    let is = like(|is| {
        is.name = "other".to_owned();
        is.health = Health::Unhealthy;
        let bridge = is.networks.remove("bridge").unwrap();
        is.networks.insert("front".to_owned(), bridge);
    });
    let events = missed(Some(&told), Some(&is));
    let shown: Vec<String> = events.iter().map(|m| format!("{} {:?}", m.event, m.attributes)).collect();
    assert_eq!(
        shown,
        [
            r#"rename {"oldName": "/c1"}"#,
            r#"health_status {"health_status": "unhealthy"}"#,
            r#"disconnect {"network": "bridge"}"#,
            r#"connect {"network": "front"}"#,
        ]
    );
}

#[test]
fn a_paused_container_may_change_its_networks_and_its_health_is_not_compared() {
    let told = all_reported(&container(1, &[]));
    let is = like(|is| {
        (is.state, is.health) = (RunState::Paused, Health::Unhealthy);
        is.networks.clear();
    });
    assert_eq!(names(Some(&told), Some(&is)), ["pause", "disconnect"]);
}

#[test]
fn a_destroyed_container_is_never_told_of_again() {
    let mut reported = all_reported(&container(1, &[]));
    report(&mut reported, &event(EventKind::Destroy, 60));
    assert_eq!(reported.phase, Phase::Destroyed);
    // An observation that still shows the container is outdated; later reports change nothing.
    assert_eq!(names(Some(&reported), Some(&container(1, &[]))), Vec::<&str>::new());
    assert_eq!(names(Some(&reported), None), Vec::<&str>::new());
    let before = reported.clone();
    report(&mut reported, &event(EventKind::Start, 70));
    assert_eq!(reported, before);
}

/// What can happen to a container: its state changes, and Docker reports events.
#[derive(Clone, Copy, Debug)]
enum Step {
    Start,
    Die,
    Pause,
    Unpause,
}

fn step() -> impl Strategy<Value = (Step, bool)> {
    let step = prop_oneof![Just(Step::Start), Just(Step::Die), Just(Step::Pause), Just(Step::Unpause)];
    (step, any::<bool>())
}

fn event(kind: EventKind, at: i64) -> ContainerEvent {
    let container = ContainerId::new(container(1, &[]).id.as_str());
    ContainerEvent { container, name: "c1".to_owned(), kind, at, attributes: Default::default() }
}

proptest! {
    /// However many events are lost, reported and synthetic events lead to the current state in a possible
    /// order.
    #[test]
    fn told_and_made_up_together_are_a_life(steps in proptest::collection::vec(step(), 0..30)) {
        let mut is = like(|is| {
            (is.state, is.started) = (RunState::Created, 0);
            is.networks.clear();
        });
        let mut told = all_reported(&is);
        let mut heard = Vec::new();
        for (at, (step, is_heard)) in (10..).step_by(10).zip(steps) {
            let kind = match (step, is.state) {
                (Step::Start, RunState::Created | RunState::Exited) => {
                    (is.state, is.started) = (RunState::Running, at);
                    EventKind::Start
                }
                (Step::Die, RunState::Running | RunState::Paused) => {
                    is.state = RunState::Exited;
                    EventKind::Die
                }
                (Step::Pause, RunState::Running) => {
                    is.state = RunState::Paused;
                    EventKind::Pause
                }
                (Step::Unpause, RunState::Paused) => {
                    is.state = RunState::Running;
                    EventKind::Unpause
                }
                _ => continue,
            };
            if is_heard {
                report(&mut told, &event(kind.clone(), at + 1));
                heard.push(kind.to_string());
            }
        }
        let made_up = missed(Some(&told), Some(&is));
        let mut after = told.clone();
        for missed in &made_up {
            let kind = match missed.event {
                "start" => EventKind::Start,
                "die" => EventKind::Die,
                "pause" => EventKind::Pause,
                "unpause" => EventKind::Unpause,
                other => EventKind::Other(other.to_owned()),
            };
            report(&mut after, &event(kind, missed.at.unwrap_or(i64::MAX)));
        }
        prop_assert_eq!(names(Some(&after), Some(&is)), Vec::<&str>::new(), "{:?} then {:?}", heard, made_up);
        let starts = made_up.iter().filter(|missed| missed.event == "start").count();
        prop_assert!(starts <= 1);
    }
}
