//! The keys of sidecars in a file and in labels, one by one.

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

use longshore_model::RunState;
use longshore_plan::sidecars::{EnvText, SidecarFile};
use proptest::prelude::*;
use sidecar_world::{Bench, file, main, read};

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
    ! container c1 (100000000000): longshore.sidecar.odd: ignored: expected longshore.sidecar.NAME.KEY, such as …db.image
    ! container c1 (100000000000): longshore.sidecar.lost.volumes: invalid volume "./here:/there": a label cannot name a relative path: use an absolute one: the sidecar is not created
    ! container c1 (100000000000): longshore.sidecar.odd.comand: unknown key: ignored; did you mean "command"?: the sidecar is not created
    "#);
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
        "{80: 8080}", "{53/udp: [5353, 5354], 80: null}", "{80: '127.0.0.1:8080'}", "{80: {HostIp: 127.0.0.1, HostPort: 8080}}",
        "{eighty: 8080}", "{80: x}", "{80: {host: 1}}",
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
    [{published: 80}] /etc/sidecars.yml:6: sidecars.s.ports: target is missing: the sidecar is not created
    ['80:x'] /etc/sidecars.yml:6: sidecars.s.ports: invalid port "80:x": expected 80, 8080:80 or 127.0.0.1:8080:80/tcp: the sidecar is not created
    [0] /etc/sidecars.yml:6: sidecars.s.ports: invalid port "0": expected 80, 8080:80 or 127.0.0.1:8080:80/tcp: the sidecar is not created
    ['65536'] /etc/sidecars.yml:6: sidecars.s.ports: invalid port "65536": expected 80, 8080:80 or 127.0.0.1:8080:80/tcp: the sidecar is not created
    ['1-3:1-2'] /etc/sidecars.yml:6: sidecars.s.ports: invalid port "1-3:1-2": its ranges differ in length: the sidecar is not created
    [{target: 1, tarpit: 2}] *:?->1/Tcp /etc/sidecars.yml:6: sidecars.s.ports.tarpit: unknown or unsupported key: ignored
    {80: 8080} *:8080->80/Tcp
    {53/udp: [5353, 5354], 80: null} *:5353->53/Udp *:5354->53/Udp *:?->80/Tcp
    {80: '127.0.0.1:8080'} 127.0.0.1:8080->80/Tcp
    {80: {HostIp: 127.0.0.1, HostPort: 8080}} 127.0.0.1:8080->80/Tcp
    {eighty: 8080} /etc/sidecars.yml:6: sidecars.s.ports: invalid port "eighty": expected a port of the sidecar, as 80 or 53/udp: the sidecar is not created
    {80: x} /etc/sidecars.yml:6: sidecars.s.ports: invalid host port "x" for port 80: expected as 8080 or 127.0.0.1:8080: the sidecar is not created
    {80: {host: 1}} /etc/sidecars.yml:6: sidecars.s.ports: invalid host port "host" for port 80: expected as 8080 or 127.0.0.1:8080: the sidecar is not created
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
        "{/a: /b}", "{data: '/b:ro'}", "{/a: {bind: /b, mode: 'ro,z'}, ./x: {bind: /c, ro: true}}", "{/b: null}", "{/a: {mode: ro}}", "{/a: {bind: b}}",
    ].map(|volumes| format!("{volumes} {}", shown(volumes))).join("\n"), @r#"
    ['/a:/b'] Bind { source: "/a", target: "/b", options: [], create: true }
    ['/a:/b:ro'] Bind { source: "/a", target: "/b", options: ["ro"], create: true }
    ['data:/b'] Bind { source: "data", target: "/b", options: [], create: true }
    ['/b'] Anonymous { target: "/b", read_only: false }
    ['./x:/b'] Bind { source: "/etc/x", target: "/b", options: [], create: true }
    ['../x:/b'] Bind { source: "/x", target: "/b", options: [], create: true }
    ['~/x:/b'] /etc/sidecars.yml:6: sidecars.s.volumes: invalid volume "~/x:/b": ~ is not expanded: use an absolute path: the sidecar is not created
    ['/a:b'] /etc/sidecars.yml:6: sidecars.s.volumes: invalid volume "/a:b": its path in the sidecar is not absolute: the sidecar is not created
    ['/a:/b:rx'] /etc/sidecars.yml:6: sidecars.s.volumes: invalid volume "/a:/b:rx": unknown option "rx": the sidecar is not created
    ['a:b:c:d'] /etc/sidecars.yml:6: sidecars.s.volumes: invalid volume "a:b:c:d": it has more than two colons: the sidecar is not created
    [{type: bind, source: ./x, target: /b, read_only: true, bind: {create_host_path: false}}] Bind { source: "/etc/x", target: "/b", options: ["ro"], create: false }
    [{type: volume, source: d, target: /b, volume: {nocopy: true}}] Bind { source: "d", target: "/b", options: ["nocopy"], create: true }
    [{type: tmpfs, target: /t, tmpfs: {size: 64m}}] Tmpfs { target: "/t", options: ["size=64m"] }
    [{type: volume, source: /d, target: /b}] /etc/sidecars.yml:6: sidecars.s.volumes: source: "/d" does not suit the type volume: the sidecar is not created
    [{type: nfs, target: /b}] /etc/sidecars.yml:6: sidecars.s.volumes: type: "nfs" is not bind, volume or tmpfs: the sidecar is not created
    {/a: /b} Bind { source: "/a", target: "/b", options: [], create: true }
    {data: '/b:ro'} Bind { source: "data", target: "/b", options: ["ro"], create: true }
    {/a: {bind: /b, mode: 'ro,z'}, ./x: {bind: /c, ro: true}} Bind { source: "/a", target: "/b", options: ["ro", "z"], create: true } Bind { source: "/etc/x", target: "/c", options: ["ro"], create: true }
    {/b: null} Anonymous { target: "/b", read_only: false }
    {/a: {mode: ro}} /etc/sidecars.yml:6: sidecars.s.volumes: invalid volume "/a": bind, its path in the sidecar, is missing: the sidecar is not created
    {/a: {bind: b}} /etc/sidecars.yml:6: sidecars.s.volumes: invalid volume "/a": its path in the sidecar is not absolute: the sidecar is not created
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
    depends_on: {good: {condition: service_finished}}
other: 1
";
    let (_, problems) = read(text);
    let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(told.join("\n"), @r#"
    /etc/sidecars.yml:5: sidecars.good.cap_ad: unknown key: ignored; did you mean "cap_add"?
    /etc/sidecars.yml:5: sidecars.good.build: unknown or unsupported key: ignored
    /etc/sidecars.yml:9: sidecars.bad.ports: invalid port "eighty": expected 80, 8080:80 or 127.0.0.1:8080:80/tcp: the sidecar is not created
    /etc/sidecars.yml:12: sidecars.bare.command: required; [] for the image's own: the sidecar is not created
    /etc/sidecars.yml:13: sidecars.worse: it is a number, not a map of its keys: the sidecar is not created
    /etc/sidecars.yml:16: sidecars.both.command: invalid command "open \"quote": unclosed quote: the sidecar is not created
    /etc/sidecars.yml:19: sidecars.both.restart: invalid restart policy "perhaps": expected always, no, unless-stopped or on-failure[:times]: the sidecar is not created
    /etc/sidecars.yml:20: sidecars.both.labels: "longshore.owner" is reserved for Longshore: the sidecar is not created
    /etc/sidecars.yml:21: sidecars.both.depends_on: "good": condition "service_finished": expected service_started, service_healthy or service_completed_successfully: the sidecar is not created
    /etc/sidecars.yml:15: sidecars.both.ports: with this network_mode, the sidecar has no network of its own to publish from: the sidecar is not created
    /etc/sidecars.yml:22: other: unknown key: ignored; expected services or sidecars
    /etc/sidecars.yml:2: services.img: no such sidecar: "none"
    /etc/sidecars.yml:3: services.Bad Image: invalid image reference "Bad Image": expected a path of lower-case letters and digits, separated by '.', '_', '__' or '-': it matches no container
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
    assert!(refused(&bomb).contains("invalid YAML"));
    assert!(refused(&"[".repeat(10_000)).contains("invalid YAML"));
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
  img: {sidecars: [s]}
sidecars:
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
    insta::assert_snapshot!(bench.shown(), @r#"! container c1 (100000000000): longshore.sidecar.s.environment: "TOKEN" has no value: the sidecar is not created"#);
}

#[test]
fn compose_reads_health_checks_and_so_do_we() {
    let shown = |check: &str| {
        let (file, problems) = read(&file("s", &format!("healthcheck: {check}")));
        let sidecars = file.sidecars_of(&main(1, "img"), None).unwrap().0;
        let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
        let check = sidecars.get("s").and_then(|s| s.health_check.clone());
        let check = check.map(|c| {
            let times = [c.interval, c.timeout, c.start_period, c.start_interval];
            format!("{:?} {:?} {times:?}", c.test, c.retries)
        });
        check.into_iter().chain(told).collect::<Vec<_>>().join(" ")
    };
    insta::assert_snapshot!([
        "{test: curl -f localhost, interval: 1m30s, timeout: 10s, retries: 3, start_period: 40s, start_interval: 500ms}",
        "{test: [CMD, curl, -f, localhost]}", "{test: [CMD-SHELL, 'a || b']}", "{test: [NONE]}", "{disable: true}", "{disable: false}", "{interval: 0s}",
        "{disable: true, test: x}", "{test: [curl]}", "{test: [CMD]}", "{interval: 5us}", "{interval: soon}", "{retries: -1}", "{tets: x}", "[x]",
    ].map(|check| format!("{check} {}", shown(check))).join("\n"), @r#"
    {test: curl -f localhost, interval: 1m30s, timeout: 10s, retries: 3, start_period: 40s, start_interval: 500ms} Some(["CMD-SHELL", "curl -f localhost"]) Some(3) [Some(90s), Some(10s), Some(40s), Some(500ms)]
    {test: [CMD, curl, -f, localhost]} Some(["CMD", "curl", "-f", "localhost"]) None [None, None, None, None]
    {test: [CMD-SHELL, 'a || b']} Some(["CMD-SHELL", "a || b"]) None [None, None, None, None]
    {test: [NONE]} Some(["NONE"]) None [None, None, None, None]
    {disable: true} Some(["NONE"]) None [None, None, None, None]
    {disable: false} 
    {interval: 0s} 
    {disable: true, test: x} /etc/sidecars.yml:6: sidecars.s.healthcheck: a disabled health check cannot have a test: the sidecar is not created
    {test: [curl]} /etc/sidecars.yml:6: sidecars.s.healthcheck: test: expected a string, or a list that begins with CMD, CMD-SHELL or NONE: the sidecar is not created
    {test: [CMD]} /etc/sidecars.yml:6: sidecars.s.healthcheck: test: expected a string, or a list that begins with CMD, CMD-SHELL or NONE: the sidecar is not created
    {interval: 5us} /etc/sidecars.yml:6: sidecars.s.healthcheck: interval: it is less than 1ms: the sidecar is not created
    {interval: soon} /etc/sidecars.yml:6: sidecars.s.healthcheck: interval: invalid time "soon": expected 30s or 1m30s: the sidecar is not created
    {retries: -1} /etc/sidecars.yml:6: sidecars.s.healthcheck: retries: expected a number: the sidecar is not created
    {tets: x} /etc/sidecars.yml:6: sidecars.s.healthcheck.tets: unknown or unsupported key: ignored
    [x] /etc/sidecars.yml:6: sidecars.s.healthcheck: it is a list, not a map: the sidecar is not created
    "#);
}

#[test]
fn files_of_variables_are_taken_and_what_the_sidecar_says_itself_counts() {
    let mut bench = Bench::with(&file(
        "s",
        "env_file: [one.env, {path: ../two.env, required: false}, {path: /three.env, format: raw}]\n    environment: {C: own}",
    ));
    bench.put(main(1, "img"));
    assert_eq!(bench.shown(), "", "nothing before the files are read");
    let paths: Vec<String> = bench.plan.env_unread().into_iter().collect();
    assert_eq!(paths, ["/etc/one.env", "/three.env", "/two.env"]);
    let text = |text: &str| EnvText::Text(text.to_owned());
    bench.plan.env_read("/etc/one.env".to_owned(), text("A='1'\nB=1\nC=1"));
    bench.plan.env_read("/two.env".to_owned(), EnvText::Missing);
    bench.plan.env_read("/three.env".to_owned(), text("B='3'"));
    assert!(bench.shown().contains("env [A=1 B='3' C=own PODDER_MASTER=c1]"), "{}", bench.shown());
    bench.settle();
    bench.plan.env_read("/two.env".to_owned(), text("A=2"));
    assert!(bench.shown().starts_with("remove podder_s_"), "what it says has changed: {}", bench.shown());
    bench.settle();
    assert!(bench.plan.env_unread().is_empty());
    assert_eq!(bench.plan.env_files().len(), 3);
    bench.plan.env_read("/etc/one.env".to_owned(), EnvText::Missing);
    insta::assert_snapshot!(bench.shown(), @r#"! container c1 (100000000000): sidecar s: its env_file "/etc/one.env": no such file (the sidecar stays as it is until the file can be read)"#);
    bench.plan.env_read("/etc/one.env".to_owned(), text("A=1\nsecret words"));
    insta::assert_snapshot!(bench.shown(), @r#"! container c1 (100000000000): sidecar s: its env_file "/etc/one.env": line 2: expected NAME=value (the sidecar stays as it is until the file can be read)"#);
    assert_eq!(bench.running(), 1, "it stays as it is");
    bench.forget();
    assert!(!bench.shown().contains("remove"), "before the files are read, too: {}", bench.shown());
    bench.change(1, |main| main.state = RunState::Exited);
    bench.settle();
    assert!(bench.sidecars().is_empty());
    assert!(bench.plan.env_files().is_empty(), "what nobody takes is forgotten");
}

#[test]
fn a_label_has_no_file_read() {
    let mut bench = Bench::without_file();
    let mut web = main(1, "img");
    for (key, value) in [("image", "s"), ("env_file", "/etc/shadow")] {
        web.labels.insert(format!("longshore.sidecar.s.{key}"), value.to_owned());
    }
    bench.put(web);
    assert!(bench.shown().contains("allowed only in a file"), "{}", bench.shown());
    assert!(bench.plan.env_unread().is_empty());
}

proptest! {
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
