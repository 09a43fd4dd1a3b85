//! The sidecar plan, rule by rule.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is not as expected"
)]

mod sidecar_world;
mod worlds;

use longshore_model::{Endpoint, RunState};
use longshore_plan::sidecars::Step;
use proptest::prelude::*;
use sidecar_world::{Bench, compose, file, main};

const OLD_FILE: &str = "
services:
  cord/voltha:
    slaves: [chameleon, ofagent]

slaves:
  chameleon:
    image: cord/chameleon
    command: [/chameleon/main.py, -v]
    ports:
    - 8881
    depends_on:
    - voltha
    links:
    - consul
    environment:
      SERVICE_8881_NAME: chameleon-rest
    volumes:
    - /var/run/docker.sock:/tmp/docker.sock
  ofagent:
    image: cord/ofagent
    command: /ofagent/main.py --name 'two words'
";

#[test]
fn a_file_of_podders_makes_its_sidecars_beside_a_main() {
    let mut bench = Bench::with(OLD_FILE);
    bench.put(compose(main(1, "cord/voltha"), "shop", "voltha", 1));
    insta::assert_snapshot!(bench.shown(), @r#"
    create podder_chameleon_1 for c1: cord/chameleon ["/chameleon/main.py", "-v"] on bridge [bridge consul:consul] env [PODDER_MASTER=c1 SERVICE_8881_NAME=chameleon-rest] port 0->8881/Tcp Bind { source: "/var/run/docker.sock", target: "/tmp/docker.sock", options: [], create: true }
    create podder_ofagent_1 for c1: cord/ofagent ["/ofagent/main.py", "--name", "two words"] on bridge [bridge] env [PODDER_MASTER=c1]
    "#);
    bench.carry_out();
    assert_eq!(bench.shown(), "");
}

#[test]
fn sidecars_run_exactly_while_their_main_runs() {
    let mut bench = Bench::with(OLD_FILE);
    bench.put(compose(main(1, "cord/voltha:1.2"), "shop", "voltha", 1));
    bench.settle();
    assert_eq!(bench.sidecars(), ["podder_chameleon_1", "podder_ofagent_1"]);
    bench.change(1, |main| main.state = RunState::Exited);
    bench.settle();
    assert!(bench.sidecars().is_empty());
    bench.change(1, |main| {
        main.state = RunState::Running;
        main.started += 1000;
    });
    bench.settle();
    assert_eq!(bench.sidecars().len(), 2);
    bench.gone(1);
    bench.settle();
    assert!(bench.sidecars().is_empty());
}

#[test]
fn a_plan_that_begins_again_finds_what_there_is_and_removes_what_was_left() {
    let mut bench = Bench::with(OLD_FILE);
    bench.put(compose(main(1, "cord/voltha"), "p", "voltha", 1));
    bench.put(compose(main(2, "cord/voltha"), "p", "voltha", 2));
    bench.settle();
    assert_eq!(bench.sidecars().len(), 4);
    bench.forget();
    assert_eq!(bench.shown(), "");
    bench.forget_after(|bench| bench.gone(2));
    bench.settle();
    assert_eq!(bench.sidecars().len(), 2);
}

#[test]
fn an_image_is_compared_as_docker_reads_it() {
    let file = |key: &str| {
        format!("services: {{'{key}': {{sidecars: [s]}}}}\nsidecars: {{s: {{image: s, command: []}}}}\n")
    };
    for (key, image, is_it) in [
        ("img", "img:latest", true),
        ("img", "img:3", true),
        ("img", "docker.io/library/img", true),
        ("img:latest", "img", true),
        ("img:2", "img:3", false),
        ("img", "reg.test:5000/img", false),
        ("reg.test:5000/img", "reg.test:5000/img:7", true),
        ("img@sha256:aa", "img:1@sha256:aa", true),
        ("img@sha256:aa", "img:1", false),
        ("sha256:0123456789ab", "sha256:0123456789ab", true),
        ("img", "image", false),
    ] {
        let mut bench = Bench::with(&file(key));
        bench.put(main(1, image));
        assert_eq!(!bench.shown().is_empty(), is_it, "{key} {image}");
    }
}

#[test]
fn the_project_is_added_where_two_mains_would_collide_and_stays() {
    let mut bench = Bench::with(OLD_FILE);
    bench.put(compose(main(1, "cord/voltha"), "a", "voltha", 1));
    bench.settle();
    bench.put(compose(main(2, "cord/voltha"), "b", "voltha", 1));
    bench.put(compose(main(3, "cord/voltha"), "b", "other", 1));
    bench.settle();
    let three = main(3, "").id.short().to_owned();
    let mut expected = vec![
        "podder_chameleon_1".to_owned(),
        "podder_chameleon_b_1".to_owned(),
        format!("podder_chameleon_{three}"),
    ];
    let chameleons =
        |bench: &Bench| bench.sidecars().into_iter().filter(|n| n.contains("chameleon")).collect::<Vec<_>>();
    expected.sort();
    assert_eq!(chameleons(&bench), expected);
    bench.gone(1);
    bench.settle();
    expected.retain(|name| name != "podder_chameleon_1");
    assert_eq!(chameleons(&bench), expected, "who stays keeps its name");
    bench.forget();
    assert_eq!(bench.shown(), "");
}

#[test]
fn a_main_that_is_replaced_gives_its_names_to_its_successor() {
    let mut bench = Bench::with(OLD_FILE);
    bench.put(compose(main(1, "cord/voltha"), "a", "voltha", 1));
    bench.settle();
    bench.change(1, |main| main.state = RunState::Exited);
    bench.put(compose(main(2, "cord/voltha"), "a", "voltha", 1));
    let orders = bench.orders();
    assert!(orders.iter().all(|order| matches!(order.step, Step::Remove { .. })), "{orders:?}");
    bench.settle();
    assert_eq!(bench.sidecars(), ["podder_chameleon_1", "podder_ofagent_1"]);
}

#[test]
fn a_strangers_container_with_the_name_is_left_alone() {
    let mut bench = Bench::with(OLD_FILE);
    let mut stranger = main(9, "busybox");
    stranger.name = "podder_chameleon_1".to_owned();
    bench.put(stranger);
    bench.put(compose(main(1, "cord/voltha"), "a", "voltha", 1));
    insta::assert_snapshot!(bench.shown(), @r#"
    create podder_ofagent_1 for c1: cord/ofagent ["/ofagent/main.py", "--name", "two words"] on bridge [bridge] env [PODDER_MASTER=c1]
    ! container c1 (100000000000): sidecar chameleon: its name podder_chameleon_1 is another container's, which is left alone
    "#);
    bench.gone(9);
    bench.settle();
    assert_eq!(bench.sidecars().len(), 2);
}

#[test]
fn a_sidecar_that_ended_is_started_again_unless_it_is_told_not_to() {
    for (restart, again) in
        [("always", true), ("unless-stopped", true), ("'no'", false), ("on-failure:3", false)]
    {
        let mut bench = Bench::with(&file("s", &format!("restart: {restart}")));
        bench.put(main(1, "img"));
        bench.settle();
        bench.change_sidecar("s", |sidecar| sidecar.state = RunState::Exited);
        let started = bench.orders().iter().any(|o| matches!(o.step, Step::Start { last, .. } if last != 0));
        assert_eq!(started, again, "{restart}");
        bench.change(1, |main| main.started += 1_000_000);
        bench.settle();
        assert_eq!(bench.running(), 1, "a new run of its main is a new run of it");
    }
}

#[test]
fn a_run_of_the_main_that_is_over_takes_its_sidecars_along() {
    let mut bench = Bench::with(&file("s", "network_mode: service"));
    bench.put(main(1, "img"));
    bench.settle();
    let shared = bench.sidecar("s").network_mode.clone();
    assert_eq!(shared, format!("container:{}", main(1, "").id.as_str()));
    bench.change(1, |main| main.started += 1_000_000);
    assert!(matches!(bench.orders().as_slice(), [order] if matches!(order.step, Step::Remove { .. })));
    bench.settle();
    assert_eq!(bench.running(), 1);
}

#[test]
fn a_sidecar_is_recreated_when_what_it_is_made_of_changes_and_only_then() {
    let mut bench = Bench::with(&file("s", "environment: [A=1]"));
    bench.put(main(1, "img"));
    bench.settle();
    bench.read(&file("s", "environment: {A: 1}"));
    assert_eq!(bench.shown(), "", "it says the same");
    bench.change(1, |main| main.name = "renamed".to_owned());
    assert_eq!(bench.shown(), "", "a rename changes nothing");
    bench.read(&file("s", "environment: {A: 2}"));
    assert!(bench.shown().starts_with("remove podder_s_"), "{}", bench.shown());
    bench.settle();
    let endpoint = Endpoint { network_id: "x".to_owned(), ipv4: None, ipv6: None };
    bench.change(1, |main| {
        main.networks.insert("extra".to_owned(), endpoint);
    });
    bench.settle();
    let networks: Vec<_> = bench.sidecar("s").networks.keys().cloned().collect();
    assert_eq!(networks, ["bridge", "extra"], "it is on all its main's networks");
    bench.read("services: {img: {sidecars: []}}");
    bench.settle();
    assert!(bench.sidecars().is_empty());
}

#[test]
fn a_file_that_was_never_read_costs_no_running_sidecar() {
    let mut bench = Bench::with(&file("s", ""));
    bench.put(main(1, "img"));
    bench.put(main(2, "img"));
    bench.settle();
    bench.forget_unread();
    assert_eq!(bench.shown(), "");
    bench.change(2, |main| main.state = RunState::Exited);
    bench.settle();
    assert_eq!(bench.sidecars().len(), 1, "its main has gone, whatever the file says");
}

#[test]
fn an_agent_without_a_file_leaves_what_anothers_file_asked_for_while_its_main_runs() {
    let mut bench = Bench::with(&file("s", ""));
    bench.put(main(1, "img"));
    bench.settle();
    bench.forget_file();
    assert_eq!(bench.shown(), "");
    bench.change_sidecar("s", |sidecar| sidecar.state = RunState::Exited);
    assert_eq!(bench.shown(), "", "it is not this agent's to start either");
    bench
        .change(1, |main| main.labels.extend([("longshore.sidecar.s.image".to_owned(), "other".to_owned())]));
    assert!(bench.shown().starts_with("remove podder_s_"), "what it is asked for itself counts");
    bench.settle();
    bench.change(1, |main| main.labels.clear());
    bench.settle();
    assert!(bench.sidecars().is_empty(), "what labels asked for is anybody's to remove");
    bench.put(main(2, "img"));
    bench.read(&file("s", ""));
    bench.settle();
    bench.forget_file();
    bench.gone(2);
    bench.gone(1);
    bench.settle();
    assert!(bench.sidecars().is_empty());
}

#[test]
fn what_a_sidecar_depends_on_comes_first_and_goes_last() {
    let mut bench = Bench::with(
        "services: {img: {sidecars: [app]}}\nsidecars:\n  app: {image: a, command: [], depends_on: [cache], links: ['db:base']}\n  cache: {image: c, command: [], depends_on: {db: {condition: service_healthy}}}\n  db: {image: d, command: []}\n",
    );
    bench.put(compose(main(1, "img"), "p", "img", 4));
    let mut made = Vec::new();
    while !bench.orders().is_empty() {
        made.push(bench.shown());
        bench.carry_out();
        bench.change_sidecar("db", |db| db.health = longshore_model::Health::Healthy);
    }
    assert_eq!(made.len(), 3);
    assert!(
        made[0].starts_with("create podder_db_4") && made[1].starts_with("create podder_cache_4"),
        "{made:?}"
    );
    assert!(made[2].contains("podder_db_4:base"), "{made:?}");
    bench.gone(1);
    let mut removed = Vec::new();
    while !bench.orders().is_empty() {
        removed.push(bench.shown());
        bench.carry_out();
    }
    assert_eq!(removed, ["remove podder_app_4", "remove podder_cache_4", "remove podder_db_4"]);
}

#[test]
fn a_service_of_the_mains_project_can_be_waited_for() {
    let mut bench = Bench::with(&file("s", "depends_on: [consul]"));
    bench.put(compose(main(1, "img"), "p", "img", 1));
    bench.put(compose(main(2, "consul"), "other", "consul", 1));
    insta::assert_snapshot!(bench.shown(), @r#"! container c1 (100000000000): sidecar s: waiting for "consul": no such sidecar, compose service or container"#);
    let mut consul = compose(main(3, "consul"), "p", "consul", 1);
    consul.state = RunState::Created;
    bench.put(consul);
    insta::assert_snapshot!(bench.shown(), @r#"! container c1 (100000000000): sidecar s: waiting for "consul", which is not running"#);
    bench.change(3, |consul| consul.state = RunState::Running);
    assert!(bench.shown().starts_with("create podder_s_1"));
}

#[test]
fn sidecars_that_wait_for_each_other_are_a_problem_and_cost_no_other() {
    let mut bench = Bench::with(
        "services: {img: {sidecars: [a, b, c]}}\nsidecars:\n  a: {image: a, command: [], depends_on: [b]}\n  b: {image: b, command: [], depends_on: [a]}\n  c: {image: c, command: []}\n",
    );
    bench.put(main(1, "img"));
    bench.settle();
    assert_eq!(bench.sidecars().len(), 1);
    insta::assert_snapshot!(bench.problems(), @"! container c1 (100000000000): depends_on: the sidecars a, b wait for each other: none of them is created");
}

#[test]
fn a_sidecar_is_never_a_main() {
    let mut bench =
        Bench::with("services: {img: {sidecars: [s]}}\nsidecars: {s: {image: img, command: []}}\n");
    bench.put(main(1, "img"));
    bench.settle();
    assert_eq!(bench.sidecars().len(), 1);
}

#[test]
fn labels_of_the_image_itself_ask_for_nothing() {
    let mut bench = Bench::without_file();
    let mut web = main(1, "img");
    for (key, value, is_baked) in
        [("evil.image", "e", true), ("evil.privileged", "true", true), ("good.image", "g", false)]
    {
        let label = format!("longshore.sidecar.{key}");
        web.labels.insert(label.clone(), value.to_owned());
        web.image_labels.extend(is_baked.then_some(label));
    }
    bench.put(web);
    let shown = bench.shown();
    assert!(shown.contains("podder_good_") && !shown.contains("podder_evil_"), "{shown}");
    assert!(shown.contains("longshore.sidecar.evil.image: ignored, as it comes from the image"), "{shown}");
}

#[test]
fn a_sidecar_waits_for_another_to_end_well_which_is_not_started_again() {
    let mut bench = Bench::with(
        "services: {img: {sidecars: [app]}}\nsidecars:\n  app: {image: a, command: [], depends_on: {setup: {condition: service_completed_successfully}}}\n  setup: {image: s, command: []}\n",
    );
    bench.put(main(1, "img"));
    bench.carry_out();
    assert_eq!(bench.shown(), "", "it waits while the other runs");
    let ends = |bench: &mut Bench, code| {
        bench.change_sidecar("setup", |setup| {
            setup.state = RunState::Exited;
            setup.exit_code = code;
        });
    };
    ends(&mut bench, None);
    assert_eq!(bench.shown(), "", "it is not known yet how it ended");
    ends(&mut bench, Some(3));
    insta::assert_snapshot!(bench.shown(), @r#"! container c1 (100000000000): sidecar app: waiting for "setup" to succeed, but it exited with code 3"#);
    ends(&mut bench, Some(0));
    assert!(bench.shown().starts_with("create podder_app_"), "{}", bench.shown());
    bench.settle();
    assert_eq!((bench.sidecars().len(), bench.running()), (2, 1));
    bench.change_sidecar("app", |app| app.state = RunState::Exited);
    assert!(
        bench.shown().starts_with("start podder_app_"),
        "the other is not run once more: {}",
        bench.shown()
    );
    bench.settle();
    bench.change(1, |main| main.started += 1_000_000);
    bench.carry_out();
    bench.carry_out();
    bench.carry_out();
    assert_eq!(bench.sidecar("setup").state, RunState::Running, "a new run of the main is one of it");
}

#[test]
fn a_sidecar_in_the_network_of_another_is_recreated_with_each_run_of_it() {
    let mut bench = Bench::with(
        "services: {img: {sidecars: [probe]}}\nsidecars:\n  probe: {image: p, command: [], network_mode: 'service:vpn'}\n  vpn: {image: v, command: []}\n",
    );
    bench.put(main(1, "img"));
    assert!(
        bench.shown().starts_with("create podder_vpn_") && !bench.shown().contains('!'),
        "{}",
        bench.shown()
    );
    bench.settle();
    let is_in = |bench: &Bench| {
        bench.sidecar("probe").network_mode == format!("container:{}", bench.sidecar("vpn").id.as_str())
    };
    assert!(is_in(&bench) && bench.running() == 2);
    bench.forget();
    assert_eq!(bench.shown(), "");
    bench.change_sidecar("vpn", |vpn| vpn.state = RunState::Exited);
    bench.carry_out();
    assert!(bench.shown().starts_with("remove podder_probe_"), "its network is gone: {}", bench.shown());
    bench.settle();
    assert!(is_in(&bench) && bench.running() == 2);
    let id = bench.sidecar("vpn").id.clone();
    bench.lose(&id);
    assert!(bench.shown().contains("remove podder_probe_"), "{}", bench.shown());
    bench.settle();
    assert!(is_in(&bench) && bench.running() == 2);
    bench.gone(1);
    assert!(bench.shown().starts_with("remove podder_probe_"), "whoever is in its network goes first");
    bench.settle();
    assert!(bench.sidecars().is_empty());
}

#[test]
fn a_sidecar_can_be_in_the_network_of_a_compose_service() {
    let mut bench = Bench::with(&file("s", "network_mode: service:gate"));
    bench.put(compose(main(1, "img"), "p", "img", 1));
    insta::assert_snapshot!(bench.shown(), @r#"! container c1 (100000000000): sidecar s: waiting for "gate": no such sidecar, compose service or container"#);
    bench.put(compose(main(2, "gate"), "p", "gate", 1));
    bench.settle();
    assert_eq!(bench.sidecar("s").network_mode, format!("container:{}", main(2, "").id.as_str()));
    bench.gone(2);
    assert!(bench.shown().starts_with("remove podder_s_"), "{}", bench.shown());
    let mut bench = Bench::with(
        "services: {img: {sidecars: [a, b]}}\nsidecars:\n  a: {image: a, command: [], network_mode: 'service:b'}\n  b: {image: b, command: [], network_mode: 'service:a'}\n",
    );
    bench.put(main(1, "img"));
    assert!(bench.shown().contains("the sidecars a, b wait for each other"), "{}", bench.shown());
}

/// Something that happens to a world.
#[derive(Clone, Debug)]
enum Happens {
    Starts(u8),
    Ends(u8),
    Goes(u8),
    SidecarEnds(usize),
    SidecarGoes(usize),
    FileSays(u8),
    Agent,
    Done,
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        (1..5_u8).prop_map(Happens::Starts),
        (1..5_u8).prop_map(Happens::Ends),
        (1..5_u8).prop_map(Happens::Goes),
        (0..8_usize).prop_map(Happens::SidecarEnds),
        (0..8_usize).prop_map(Happens::SidecarGoes),
        (0..4_u8).prop_map(Happens::FileSays),
        Just(Happens::Agent),
        Just(Happens::Done),
        Just(Happens::Done),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_in_the_end_each_running_main_has_its_sidecars_and_nobody_else_has_any(
        history in proptest::collection::vec(happens(), 0..40),
    ) {
        let says = |n: u8| format!(
            "services: {{img: {{sidecars: [a, b]}}}}\nsidecars:\n  a: {{image: a, command: ['{n}']}}\n  b: {{image: b, command: [], depends_on: [a]{}}}\n",
            if n == 2 { ", network_mode: service" } else { "" },
        );
        let mut bench = Bench::with(&says(0));
        let mut running = std::collections::BTreeSet::new();
        for event in history {
            match event {
                Happens::Starts(n) => {
                    running.insert(n);
                    bench.start_main(n);
                }
                Happens::Ends(n) => {
                    running.remove(&n);
                    bench.change(n, |main| main.state = RunState::Exited);
                }
                Happens::Goes(n) => {
                    running.remove(&n);
                    bench.gone(n);
                }
                Happens::SidecarEnds(n) => bench.nth_sidecar(n, false),
                Happens::SidecarGoes(n) => bench.nth_sidecar(n, true),
                Happens::FileSays(n) => bench.read(&says(n)),
                Happens::Agent => bench.forget(),
                Happens::Done => bench.carry_out(),
            }
        }
        bench.settle();
        prop_assert_eq!(bench.running(), running.len() * 2);
        prop_assert_eq!(bench.sidecars().len(), running.len() * 2);
        bench.forget();
        prop_assert_eq!(bench.orders(), vec![]);
    }
}
