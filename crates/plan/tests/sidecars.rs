//! The sidecar plan, rule by rule.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is not as expected"
)]

mod sidecar_world;
mod worlds;

use std::collections::BTreeMap;
use std::path::Path;

use longshore_model::{Endpoint, RunState};
use longshore_plan::sidecars::{SidecarFile, Step};
use proptest::prelude::*;
use sidecar_world::{Bench, compose, file, main, read};

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
fn a_plan_that_begins_anew_finds_what_there_is_and_removes_what_was_left() {
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
        let started = bench.orders().iter().any(|o| matches!(o.step, Step::Start { again: true, .. }));
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
fn a_sidecar_is_made_anew_when_what_it_is_made_of_changes_and_only_then() {
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
    insta::assert_snapshot!(bench.shown(), @r#"! container c1 (100000000000): sidecar s: it waits for "consul", and there is no such sidecar, compose service or container"#);
    let mut consul = compose(main(3, "consul"), "p", "consul", 1);
    consul.state = RunState::Created;
    bench.put(consul);
    insta::assert_snapshot!(bench.shown(), @r#"! container c1 (100000000000): sidecar s: it waits for "consul", which does not run"#);
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
    insta::assert_snapshot!(bench.problems(), @"! container c1 (100000000000): depends_on: the sidecars a, b wait for each other: none of them is made");
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
fn labels_of_the_main_ask_for_sidecars() {
    let mut bench = Bench::without_file();
    let mut web = main(1, "img");
    for (key, value) in [
        ("log.image", "fluentd:1"),
        ("log.command", "fluentd -c '/etc/my conf'"),
        ("log.environment", "A=1,2\nB=x y"),
        ("log.ports", "8080:80, 53/udp"),
        ("log.volumes", "/data:/data:ro,z\ncache:/cache"),
        ("bare.image", "b"),
        ("bare.network_mode", "service"),
        ("bare.depends_on", "{log: {condition: service_started}}"),
        ("lost.image", "l"),
        ("lost.volumes", "./here:/there"),
        ("odd.image", "o"),
        ("odd.comand", "x"),
        ("odd", "x"),
    ] {
        web.labels.insert(format!("longshore.sidecar.{key}"), value.to_owned());
    }
    bench.put(web);
    insta::assert_snapshot!(bench.shown(), @r#"
    create podder_log_100000000000 for c1: fluentd:1 ["fluentd", "-c", "/etc/my conf"] on bridge [bridge] env [A=1,2 B=x y PODDER_MASTER=c1] port 8080->80/Tcp port 0->53/Udp Bind { source: "/data", target: "/data", options: ["ro", "z"], create: true } Bind { source: "cache", target: "/cache", options: [], create: true }
    ! container c1 (100000000000): longshore.sidecar.odd: it does nothing: write longshore.sidecar.NAME.KEY, as in …db.image
    ! container c1 (100000000000): longshore.sidecar.lost.volumes: "./here:/there" is no volume: a label cannot name a relative path: write it from / on: the sidecar is not made
    ! container c1 (100000000000): longshore.sidecar.odd.comand: unknown key, which does nothing; did you mean "command"?: the sidecar is not made
    "#);
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
        web.baked.extend(is_baked.then_some(label));
    }
    bench.put(web);
    let shown = bench.shown();
    assert!(shown.contains("podder_good_") && !shown.contains("podder_evil_"), "{shown}");
    assert!(shown.contains("longshore.sidecar.evil.image: it is the image's own"), "{shown}");
}

#[test]
fn compose_reads_ports_and_so_do_we() {
    let shown = |ports: &str| {
        let (file, problems) = read(&file("s", &format!("ports: {ports}")));
        let sidecars = file.sidecars_of(&main(1, "img"), None).unwrap().0;
        let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
        let ports = sidecars.get("s").map(|s| s.ports.clone()).unwrap_or_default();
        let one = |p: &longshore_plan::sidecars::Port| {
            format!(
                "{}:{}->{}/{:?}",
                p.host_ip.map_or("*".to_owned(), |ip| ip.to_string()),
                p.published.map_or("?".to_owned(), |(a, b)| if a == b {
                    a.to_string()
                } else {
                    format!("{a}-{b}")
                }),
                p.target,
                p.transport
            )
        };
        [ports.iter().map(one).collect(), told].concat().join(" ")
    };
    insta::assert_snapshot!([
        "[3000]", "['8000:80']", "['9090-9091:8080-8081']", "['127.0.0.1:8001:80']", "['127.0.0.1::5000']", "['6060:6060/udp']",
        "['[::1]:80:81']", "['8000-9000:80']", "[{target: 80, published: '8080', host_ip: 127.0.0.1, protocol: udp, mode: host}]",
        "[{published: 80}]", "['80:x']", "[0]", "['65536']", "['1-3:1-2']", "[{target: 1, tarpit: 2}]",
    ].map(|ports| format!("{ports} {}", shown(ports))).join("\n"), @r#"
    [3000] *:?->3000/Tcp
    ['8000:80'] *:8000->80/Tcp
    ['9090-9091:8080-8081'] *:9090->8080/Tcp *:9091->8081/Tcp
    ['127.0.0.1:8001:80'] 127.0.0.1:8001->80/Tcp
    ['127.0.0.1::5000'] 127.0.0.1:?->5000/Tcp
    ['6060:6060/udp'] *:6060->6060/Udp
    ['[::1]:80:81'] ::1:80->81/Tcp
    ['8000-9000:80'] *:8000-9000->80/Tcp
    [{target: 80, published: '8080', host_ip: 127.0.0.1, protocol: udp, mode: host}] 127.0.0.1:8080->80/Udp
    [{published: 80}] /etc/sidecars.yml:6: sidecars.s.ports: target is missing: the sidecar is not made
    ['80:x'] /etc/sidecars.yml:6: sidecars.s.ports: "80:x" is no port: write 80, 8080:80 or 127.0.0.1:8080:80/tcp: the sidecar is not made
    [0] /etc/sidecars.yml:6: sidecars.s.ports: "0" is no port: write 80, 8080:80 or 127.0.0.1:8080:80/tcp: the sidecar is not made
    ['65536'] /etc/sidecars.yml:6: sidecars.s.ports: "65536" is no port: write 80, 8080:80 or 127.0.0.1:8080:80/tcp: the sidecar is not made
    ['1-3:1-2'] /etc/sidecars.yml:6: sidecars.s.ports: "1-3:1-2" has ranges of different length: the sidecar is not made
    [{target: 1, tarpit: 2}] *:?->1/Tcp /etc/sidecars.yml:6: sidecars.s.ports.tarpit: unknown or unsupported key, which does nothing
    "#);
}

#[test]
fn compose_reads_volumes_and_so_do_we() {
    let shown = |volumes: &str| {
        let (file, problems) = read(&file("s", &format!("volumes: {volumes}")));
        let sidecars = file.sidecars_of(&main(1, "img"), None).unwrap().0;
        let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
        let volumes = sidecars.get("s").map(|s| s.volumes.clone()).unwrap_or_default();
        [volumes.iter().map(|v| format!("{v:?}")).collect(), told].concat().join(" ")
    };
    insta::assert_snapshot!([
        "['/a:/b']", "['/a:/b:ro']", "['data:/b']", "['/b']", "['./x:/b']", "['../x:/b']", "['~/x:/b']", "['/a:b']", "['/a:/b:rx']", "['a:b:c:d']",
        "[{type: bind, source: ./x, target: /b, read_only: true, bind: {create_host_path: false}}]",
        "[{type: volume, source: d, target: /b, volume: {nocopy: true}}]", "[{type: tmpfs, target: /t, tmpfs: {size: 64m}}]",
        "[{type: volume, source: /d, target: /b}]", "[{type: nfs, target: /b}]",
    ].map(|volumes| format!("{volumes} {}", shown(volumes))).join("\n"), @r#"
    ['/a:/b'] Bind { source: "/a", target: "/b", options: [], create: true }
    ['/a:/b:ro'] Bind { source: "/a", target: "/b", options: ["ro"], create: true }
    ['data:/b'] Bind { source: "data", target: "/b", options: [], create: true }
    ['/b'] Anonymous { target: "/b", read_only: false }
    ['./x:/b'] Bind { source: "/etc/x", target: "/b", options: [], create: true }
    ['../x:/b'] Bind { source: "/x", target: "/b", options: [], create: true }
    ['~/x:/b'] /etc/sidecars.yml:6: sidecars.s.volumes: "~/x:/b" is no volume: ~ is not understood: write the path from / on: the sidecar is not made
    ['/a:b'] /etc/sidecars.yml:6: sidecars.s.volumes: "/a:b" is no volume: its place in the sidecar is no absolute path: the sidecar is not made
    ['/a:/b:rx'] /etc/sidecars.yml:6: sidecars.s.volumes: "/a:/b:rx" is no volume: "rx" is no option of it: the sidecar is not made
    ['a:b:c:d'] /etc/sidecars.yml:6: sidecars.s.volumes: "a:b:c:d" is no volume: it has more than two colons: the sidecar is not made
    [{type: bind, source: ./x, target: /b, read_only: true, bind: {create_host_path: false}}] Bind { source: "/etc/x", target: "/b", options: ["ro"], create: false }
    [{type: volume, source: d, target: /b, volume: {nocopy: true}}] Bind { source: "d", target: "/b", options: ["nocopy"], create: true }
    [{type: tmpfs, target: /t, tmpfs: {size: 64m}}] Tmpfs { target: "/t", options: ["size=64m"] }
    [{type: volume, source: /d, target: /b}] /etc/sidecars.yml:6: sidecars.s.volumes: source: "/d" does not suit the type volume: the sidecar is not made
    [{type: nfs, target: /b}] /etc/sidecars.yml:6: sidecars.s.volumes: type: "nfs" is none of bind, volume and tmpfs: the sidecar is not made
    "#);
}

#[test]
fn every_mistake_names_its_line_and_costs_only_its_sidecar() {
    let text = "services:
  img: {sidecars: [good, none, bad]}
  Bad Image: {sidecars: [good]}
sidecars:
  good: {image: g, command: [], cap_ad: [X], build: .}
  bad:
    image: b
    command: []
    ports: [eighty]
    environment: [A=1]
  bare:
    image: x
  worse: 7
  both:
    image: x
    command: 'open \"quote'
    network_mode: service
    ports: [80]
    restart: perhaps
    labels: {longshore.owner: me}
    depends_on: {good: {condition: service_completed_successfully}}
other: 1
";
    let (_, problems) = read(text);
    let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(told.join("\n"), @r#"
    /etc/sidecars.yml:5: sidecars.good.cap_ad: unknown key, which does nothing; did you mean "cap_add"?
    /etc/sidecars.yml:5: sidecars.good.build: unknown or unsupported key, which does nothing
    /etc/sidecars.yml:9: sidecars.bad.ports: "eighty" is no port: write 80, 8080:80 or 127.0.0.1:8080:80/tcp: the sidecar is not made
    /etc/sidecars.yml:12: sidecars.bare.command: it is required and missing; [] is the image's own: the sidecar is not made
    /etc/sidecars.yml:13: sidecars.worse: it is a number, not a map of its keys: the sidecar is not made
    /etc/sidecars.yml:16: sidecars.both.command: "open \"quote" cannot be split into words: a quote is open: the sidecar is not made
    /etc/sidecars.yml:19: sidecars.both.restart: "perhaps" is none of always, no, unless-stopped, on-failure[:times]: the sidecar is not made
    /etc/sidecars.yml:20: sidecars.both.labels: "longshore.owner" is Longshore's own: the sidecar is not made
    /etc/sidecars.yml:21: sidecars.both.depends_on: "good": condition "service_completed_successfully": write service_started or service_healthy: the sidecar is not made
    /etc/sidecars.yml:15: sidecars.both.ports: with this network_mode, there is no network of its own to publish from: the sidecar is not made
    /etc/sidecars.yml:22: other: unknown key, which does nothing: there are services and sidecars
    /etc/sidecars.yml:2: services.img: there is no sidecar "none"
    /etc/sidecars.yml:3: services.Bad Image: "Bad Image" is no image reference: a part of its path is not lower-case letters, digits, '.', '_' and '-': no container is its
    "#);
    let mut bench = Bench::with(text);
    bench.put(main(1, "img"));
    bench.settle();
    assert_eq!(bench.sidecars().len(), 1);
}

#[test]
fn what_is_no_yaml_is_refused_with_its_line() {
    let refused = |text: &str| {
        SidecarFile::read(Path::new("/etc/sidecars.yml"), text, BTreeMap::new()).unwrap_err().to_string()
    };
    assert!(
        refused("services:\n  a: [\n").starts_with("/etc/sidecars.yml:"),
        "{}",
        refused("services:\n  a: [\n")
    );
    assert!(refused("a: 1\na: 2\n").starts_with("/etc/sidecars.yml:2: "), "{}", refused("a: 1\na: 2\n"));
    let bomb =
        format!("a: &a [{}]\nb: &b [{}]\nc: [{}]\n", "x,".repeat(200), "*a,".repeat(200), "*b,".repeat(200));
    assert!(refused(&bomb).contains("no YAML"));
    assert!(refused(&"[".repeat(10_000)).contains("no YAML"));
    assert!(refused(&" ".repeat(2_000_000)).contains("longer than"));
    assert!(refused("services: {{ data.x }}\n{% if %}").contains("/etc/sidecars.yml:2: the template fails"));
    assert!(refused("- a\n").contains("not a map"));
}

const TEMPLATE: &str = "
{% macro address(data, network) -%}
  {% if data is defined and network is defined -%}
  {{ data['NetworkSettings']['Networks'][network]['IPAddress'] }}:50555
  {%- else -%} None:None {%- endif %}
{%- endmacro %}
services:
  img: {slaves: [s]}
slaves:
  s:
    image: s
    command: ['--grpc={{ address(data, network) }}', '{{ data.Name | default(\"\") | replace(\"/\", \"\") }}']
    environment: {LABEL: {{ data.Config.Labels['x'] | tojson }} }
";

#[test]
fn a_template_is_rendered_for_each_main_and_without_data_it_does_not_fail() {
    let (file, problems) = read(TEMPLATE);
    assert!(problems.is_empty() && file.is_template());
    let without = file.sidecars_of(&main(1, "img"), None).unwrap().0;
    assert_eq!(without["s"].command.as_deref().unwrap(), ["--grpc=None:None", ""]);
    let mut bench = Bench::with(TEMPLATE);
    bench.put(main(1, "img"));
    assert_eq!(bench.shown(), "", "nothing before the inspection is there");
    let ids = bench.plan.uninspected();
    assert_eq!(ids.len(), 1);
    assert!(bench.plan.uninspected().is_empty(), "each is asked for once");
    let inspection = serde_json::json!({
        "Name": "/c1", "Config": {"Labels": {"x": "}\ninjected: yes"}},
        "NetworkSettings": {"Networks": {"bridge": {"IPAddress": "10.1.2.3"}}},
    });
    bench.plan.inspected(&main(1, "").id, &inspection);
    insta::assert_snapshot!(bench.shown(), @r#"
    create podder_s_100000000000 for c1: s ["--grpc=10.1.2.3:50555", "c1"] on bridge [bridge] env [LABEL=}
    injected: yes PODDER_MASTER=c1]
    "#);
}

#[test]
fn a_template_that_fails_for_a_main_is_that_mains_problem() {
    let mut bench = Bench::with(
        "services: {img: {sidecars: [s]}}\nsidecars: {s: {image: s, command: '{{ data.n + 1 }}'}}\n",
    );
    bench.put(main(1, "img"));
    bench.orders();
    bench.plan.inspected(&main(1, "").id, &serde_json::json!({"n": "text"}));
    insta::assert_snapshot!(bench.shown(), @r#"! /etc/sidecars.yml:2: the template fails: invalid operation: "tried to use + operator on unsupported types string and numb"… (for the main container c1)"#);
    let endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}";
    let (file, _) = read(endless);
    assert!(file.sidecars_of(&main(1, "img"), None).is_err(), "it ends");
}

#[test]
fn a_variable_without_a_value_takes_the_agents_in_a_file_and_none_in_a_label() {
    let own = BTreeMap::from([("TOKEN".to_owned(), "secret".to_owned())]);
    let text = file("s", "environment: [TOKEN, ABSENT]");
    let (read, _) = SidecarFile::read(Path::new("/f.yml"), &text, own).unwrap();
    let sidecars = read.sidecars_of(&main(1, "img"), None).unwrap().0;
    assert_eq!(sidecars["s"].environment, BTreeMap::from([("TOKEN".to_owned(), "secret".to_owned())]));
    let mut bench = Bench::without_file();
    let mut web = main(1, "img");
    web.labels.insert("longshore.sidecar.s.image".to_owned(), "s".to_owned());
    web.labels.insert("longshore.sidecar.s.environment".to_owned(), "TOKEN".to_owned());
    bench.put(web);
    insta::assert_snapshot!(bench.shown(), @r#"! container c1 (100000000000): longshore.sidecar.s.environment: "TOKEN" has no value: the sidecar is not made"#);
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

    #[test]
    fn no_text_makes_it_panic_or_forges_a_line(text in "\\PC{0,200}", yaml in "(services|sidecars|  a|image|command|ports|: |\n|- |\\[|\\]|\\{|\\}|'|\"|&a|\\*a|!|#){0,60}") {
        for text in [text, yaml] {
            let problems = match SidecarFile::read(Path::new("/f"), &text, BTreeMap::new()) {
                Ok((file, mut problems)) => {
                    match file.sidecars_of(&main(1, "img"), Some(&serde_json::json!({}))) {
                        Ok((_, more)) => problems.extend(more),
                        Err(problem) => problems.push(problem),
                    }
                    problems
                }
                Err(problem) => vec![problem],
            };
            for problem in problems {
                prop_assert!(!problem.to_string().contains(['\n', '\u{1b}']), "{problem}");
            }
        }
    }
}
