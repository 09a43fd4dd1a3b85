//! What a handler's file results in, and which events a handler receives.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use longshore_model::{
    ContainerFacts, ContainerId, DeliveryRules, EventFilter, EventId, EventSubject, Filter, Handler,
    HandlerEvent, Job, OpenVswitchJob, PublishJob,
};
use longshore_plan::handlers::{
    Definition, FollowerClass, FoundScript, Setting, Value, attention, define, read_ini, wants,
};
use proptest::prelude::*;

const FOLLOWERS: [&FollowerClass; 2] =
    [&longshore_plan::publisher::CLASS, &longshore_plan::openvswitch::CLASS];

/// Finds every script except those for networks of third parties.
fn found(script: &str) -> FoundScript {
    match script {
        "ovs-handler.sh" | "absent.sh" => FoundScript::Nowhere,
        "plain.txt" => FoundScript::NotExecutable("/scripts/plain.txt".into()),
        absolute if absolute.starts_with('/') => FoundScript::At(absolute.into()),
        other => FoundScript::At(Path::new("/scripts").join(other)),
    }
}

fn read(text: &str) -> (Option<Handler>, Vec<String>) {
    let file = Path::new("/etc/docker-glue.d/one.ini");
    let (handler, problems) = match read_ini("one", file, text) {
        Ok(definition) => define(&definition, &FOLLOWERS, found),
        Err(problems) => (None, problems),
    };
    (handler, problems.iter().map(ToString::to_string).collect())
}

/// Returns the handler of a valid file.
fn good(text: &str) -> Handler {
    let (handler, problems) = read(text);
    assert_eq!(problems, [""; 0]);
    let Some(handler) = handler else { unreachable!("neither a handler nor a problem: {text:?}") };
    handler
}

/// Returns the problems of a file that defines no handler.
fn bad(text: &str) -> String {
    let (handler, problems) = read(text);
    assert_eq!(handler, None, "{problems:?}");
    problems.join("\n")
}

/// Returns the remarks on a file whose handler works all the same.
fn lenient(text: &str) -> String {
    let (handler, problems) = read(text);
    assert!(handler.is_some(), "{problems:?}");
    problems.join("\n")
}

/// Returns the settings of a follower's handler.
fn asked<S: Clone + 'static>(job: &Job) -> S {
    let settings = match job {
        Job::Follow(job) => job.settings::<S>().cloned(),
        _ => None,
    };
    let Some(settings) = settings else { unreachable!("another job: {job:?}") };
    settings
}

fn script(more: &str) -> String {
    format!("[handler]\nclass=script\nevents=start\n{more}\n[params]\nscript=a.sh\n")
}

// Docker Glue's examples.

#[test]
fn the_documents_test_handler_runs_its_script_at_every_event() {
    let handler = good(
        "[handler]\nclass=DockerGlue.handlers.exec.ScriptHandler\nevents=all\nenabled=1\ntriggers-none=0\n\n\
         [params]\nscript=test-handler.sh\ndemo-option=some value\n",
    );
    assert_eq!(handler.name, "one");
    assert!(handler.enabled && !handler.triggers_none);
    assert_eq!(handler.filter.events, EventFilter { all: true, ..EventFilter::default() });
    assert_eq!(
        handler.job,
        Job::Script {
            program: "/scripts/test-handler.sh".into(),
            ini: Some("/etc/docker-glue.d/one.ini".into()),
            ignore_status: true,
        }
    );
    assert_eq!(handler.params["demo-option"], "some value");
    assert_eq!(handler.delivery, DeliveryRules::default());
}

#[test]
fn only_docker_glues_class_ignores_how_a_script_ends() {
    let ignores = |text: &str| matches!(good(text).job, Job::Script { ignore_status: true, .. });
    assert!(!ignores(&script("")));
    assert!(ignores(&script("").replace("class=script", "class=DockerGlue.handlers.exec.ScriptHandler")));
}

#[test]
fn the_example_of_the_load_balancer_selects_haproxy() {
    let text = "[handler]\nclass=DockerGlue.handlers.lb.HAProxyHandler\nevents=die,start,none\nenabled=1\n\n\
                [params]\n#template_dir=\n";
    let Job::Balance(job) = good(text).job else { panic!() };
    assert_eq!(job.template_dir, "");
    let Job::Balance(job) = good(&text.replace("#template_dir=", "template_dir=/srv/t:")).job else {
        panic!()
    };
    assert_eq!(job.template_dir, "/srv/t:");
}

#[test]
fn the_load_balancer_takes_docker_balancers_other_flags_too() {
    let text = "[handler]\nclass=DockerGlue.handlers.lb.HAProxyHandler\n[params]\ntemplate_file=t.j2\n\
                config_file=/srv/haproxy.cfg\nrc=/srv/rc\nsocket=/srv/admin.sock\nreload=sv reload haproxy\n\
                include_env=1\n";
    let Job::Balance(job) = good(text).job else { panic!() };
    assert_eq!(job.template_file.as_deref(), Some("t.j2"));
    assert_eq!(job.config_file, Some("/srv/haproxy.cfg".into()));
    assert_eq!(job.rc, Some("/srv/rc".into()));
    assert_eq!(job.socket, Some("/srv/admin.sock".into()));
    assert_eq!(job.reload.as_deref(), Some("sv reload haproxy"));
    assert!(job.include_env);
    insta::assert_snapshot!(bad(&text.replace("include_env=1", "include_env=2")), @r#"/etc/docker-glue.d/one.ini:9: include-env: invalid flag "2": expected 1 or 0"#);
}

#[test]
fn the_example_of_open_vswitch_is_the_agents_own_job_unless_the_script_is_there() {
    let text = "[handler]\nclass=DockerGlue.handlers.exec.ScriptHandler\nevents=create,destroy\nenabled=1\n\
                triggers-none=1\n\n[params]\n# a remark\n# another\nscript=ovs-handler.sh\novs-bridge=br-int\n\
                #ovs-interface=eth0\n#ovs-options=--mtu=1450\n";
    let handler = good(text);
    assert!(handler.triggers_none);
    let job: OpenVswitchJob = asked(&handler.job);
    assert_eq!((job.bridge.as_str(), job.interface.as_str()), ("br-int", "eth0"));
    assert!(job.options.is_empty());
    let text = text.replace("=br-int", "=br-x").replace("#ovs-interface=eth0", "ovs-interface=net1");
    let text = text.replace("#ovs-options=--mtu=1450", "ovs-options=--mtu=1450 --ipaddress='10.0.0.2/24'");
    let job: OpenVswitchJob = asked(&good(&text).job);
    assert_eq!((job.bridge.as_str(), job.interface.as_str()), ("br-x", "net1"));
    assert_eq!(job.options, ["--mtu=1450", "--ipaddress=10.0.0.2/24"]);
    let theirs = text.replace("ovs-handler.sh", "/opt/ovs-handler.sh");
    assert!(matches!(good(&theirs).job, Job::Script { .. }));
}

#[test]
fn the_examples_of_neutron_are_scripts_like_any_other() {
    for (script, option) in [("clampify-handler.sh", "neutron-net=demo"), ("neutron-handler.sh", "")] {
        let handler = good(&format!(
            "[handler]\nclass=DockerGlue.handlers.exec.ScriptHandler\nevents=create,destroy\nenabled=1\n\
             triggers-none=1\n\n[params]\nscript={script}\n{option}\n"
        ));
        let Job::Script { program, .. } = &handler.job else { panic!() };
        assert_eq!(program, &Path::new("/scripts").join(script));
        assert_eq!(handler.filter.events.named, ["create", "destroy"]);
        assert!(handler.triggers_none);
    }
}

fn publisher(params: &str) -> String {
    format!(
        "[handler]\nclass=DockerGlue.handlers.publishers.distconfig.Publisher\nevents=all,none\nenabled=1\n\n\
         [params]\n{params}\n"
    )
}

#[test]
fn the_example_of_the_publisher_names_two_members_of_etcd() {
    let handler = good(&publisher(
        "class=distconfig.backends.etcd.EtcdBackend\n\
         clientParams={\"host\": ((\"10.0.0.2\", 4001), (\"10.0.0.3\", 4001))}\n\
         #class=distconfig.backends.consul.ConsulBackend\n",
    ));
    let job: PublishJob = asked(&handler.job);
    assert_eq!(job.endpoints, ["http://10.0.0.2:4001", "http://10.0.0.3:4001"]);
    assert_eq!((job.prefix.as_ref(), job.lease), (None, Duration::from_secs(15)));
    assert!(!handler.params.contains_key("clientparams"));
}

// Publishing.

#[test]
fn every_way_to_say_where_etcd_is_is_read() {
    let endpoints = |params: &str| match good(&publisher(params)).job {
        Job::Follow(job) => job.settings::<PublishJob>().unwrap().endpoints.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(endpoints("clientParams={'host': 'etcd'}"), ["http://etcd:4001"]);
    assert_eq!(
        endpoints("clientParams={'host': 'e', 'port': 2379, 'protocol': 'https'}"),
        ["https://e:2379"]
    );
    assert_eq!(endpoints("clientParams={}"), ["http://127.0.0.1:4001"]);
    assert_eq!(endpoints("clientParams={'host': (('::1', 1),)}"), ["http://[::1]:1"]);
    assert_eq!(endpoints("clientParams={'host':\n  (('a', 1),\n   ('b', 2))}"), ["http://a:1", "http://b:2"]);
    assert_eq!(endpoints("endpoints=http://a:1, https://b:2"), ["http://a:1", "https://b:2"]);
    assert_eq!(endpoints("endpoints=http://a:1\nclientParams={'host': 'b'}"), ["http://a:1"]);
}

#[test]
fn everything_that_is_said_of_etcd_reaches_the_publisher() {
    let ours = "endpoints=https://e:2379\nprefix=/c/\nskydns=/skydns\nenv=1\nlease=30s\nuser=u\npassword-file=pw\n\
                ca=/ca.pem\ncert=c.pem\nkey=k.pem";
    let job: PublishJob = asked(&good(&publisher(ours)).job);
    assert_eq!((job.prefix.as_deref(), job.skydns.as_deref()), (Some("/c"), Some("/skydns")));
    assert_eq!((job.lease, job.user.as_deref()), (Duration::from_secs(30), Some("u")));
    assert!(job.env);
    assert_eq!(job.password_file, Some("/etc/docker-glue.d/pw".into()));
    assert_eq!(job.ca, Some("/ca.pem".into()));
    let pair = ("/etc/docker-glue.d/c.pem".into(), "/etc/docker-glue.d/k.pem".into());
    assert_eq!(job.identity, Some(pair));
    let theirs = "clientParams={'ca_cert': '/ca', 'cert': ('/c', '/k'), 'username': 'u', 'read_timeout': 3}\n\
                  password_file=/pw";
    let job: PublishJob = asked(&good(&publisher(theirs)).job);
    assert_eq!(job.ca, Some(PathBuf::from("/ca")));
    assert_eq!(job.identity, Some(("/c".into(), "/k".into())));
    assert_eq!((job.user.as_deref(), job.password_file), (Some("u"), Some("/pw".into())));
}

#[test]
fn a_password_in_the_file_is_refused_and_never_repeated() {
    let params = [
        "clientParams={'username': 'u', 'password': 'hunter2'}",
        "endpoints=http://a:1\nuser=u\npassword=hunter2",
        "endpoints=http://u:hunter2@a:1",
        "endpoints=ftp://u:hunter2@a:1",
        "clientParams={'host': 'u:hunter2@a'}",
        "clientParams={'password': 'hunter2'",
    ];
    for params in params {
        let told = bad(&publisher(params));
        assert!(!told.contains("hunter2"), "{told}");
    }
    insta::assert_snapshot!(bad(&publisher(params[0])), @"/etc/docker-glue.d/one.ini:7: clientparams: a password is not accepted here (write it to a file of mode 600, and name the file with password-file)");
}

#[test]
fn what_cannot_be_published_to_is_told() {
    insta::assert_snapshot!(bad(&publisher("class=distconfig.backends.consul.ConsulBackend\nclientParams={'host': '127.0.0.1'}")), @r#"/etc/docker-glue.d/one.ini:7: class: containers are published to etcd only, not by "distconfig.backends.consul.ConsulBackend" (class=distconfig.backends.etcd.EtcdBackend, or endpoints)"#);
    insta::assert_snapshot!(bad(&publisher("class=distconfig.backends.zookeeper.ZooKeeperBackend")), @r#"/etc/docker-glue.d/one.ini:7: class: containers are published to etcd only, not by "distconfig.backends.zookeeper.ZooKeeperBackend" (class=distconfig.backends.etcd.EtcdBackend, or endpoints)"#);
    insta::assert_snapshot!(bad(&publisher("clientParams={\"hosts\":\"10.0.0.2:2181\", auth_data:(\"digest\", \"x\")}")), @r#"/etc/docker-glue.d/one.ini:7: clientParams: not a Python dictionary of plain values (write {"host": (("10.0.0.2", 2379), ("10.0.0.3", 2379))})"#);
    insta::assert_snapshot!(bad(&publisher("")), @"/etc/docker-glue.d/one.ini: endpoints: missing: the publisher needs the address of etcd (endpoints=http://10.0.0.2:2379,http://10.0.0.3:2379)");
    insta::assert_snapshot!(bad(&publisher("endpoints=10.0.0.2:2379")), @r#"/etc/docker-glue.d/one.ini:7: endpoints: invalid URL "10.0.0.2:2379": expected http: or https:"#);
    insta::assert_snapshot!(bad(&publisher("clientParams={'host': 3}")), @r#"/etc/docker-glue.d/one.ini:7: clientParams: invalid host: expected a name or a tuple of pairs of a name and a port (write {"host": (("10.0.0.2", 2379), ("10.0.0.3", 2379))})"#);
    insta::assert_snapshot!(bad(&publisher("clientParams={'host': (('a', 70000),)}")), @r#"/etc/docker-glue.d/one.ini:7: clientParams: invalid host: expected a name or a tuple of pairs of a name and a port (write {"host": (("10.0.0.2", 2379), ("10.0.0.3", 2379))})"#);
    insta::assert_snapshot!(bad(&publisher("endpoints=http://a:1\nuser=u\ncert=c\nlease=1s")), @r"
    /etc/docker-glue.d/one.ini:10: lease: out of range: expected 2s to 1day
    /etc/docker-glue.d/one.ini:8: user: set both a user and a file with its password (write it to a file of mode 600, and name the file with password-file)
    /etc/docker-glue.d/one.ini: cert: set both a certificate and its key
    ");
    insta::assert_snapshot!(lenient(&publisher("clientParams={'hots': 'a'}")), @r#"/etc/docker-glue.d/one.ini:7: clientParams: unknown member "hots": ignored (did you mean "host"?)"#);
}

#[test]
fn a_deep_literal_is_refused_before_it_costs_anything() {
    let deep = |open: &str, close: &str| format!("clientParams={}1{}", open.repeat(4000), close.repeat(4000));
    for (open, close) in [("[", "]"), ("(", ",)"), ("{1:", "}"), ("{", "}")] {
        assert!(bad(&publisher(&deep(open, close))).contains("too long or too deep"));
    }
    assert!(bad(&publisher(&format!("clientParams={{1: '{}'}}", "[".repeat(20_000)))).contains("too long"));
    good(&publisher("clientParams={'host': '127.0.0.1', 'read_timeout': '((((((((((((('}"));
}

// Other classes.

#[test]
fn a_class_of_somebodys_own_is_a_python_plugin() {
    let text =
        "[handler]\nclass=DockerGlue.handlers.demo.DemoHandler\nevents=all\n[params]\ncustom_param=1\n";
    let command = |text: &str| match good(text).job {
        Job::Plugin { command } => command.join(" "),
        other => panic!("{other:?}"),
    };
    insta::assert_snapshot!(command(text), @"python3 -m longshore_plugin.glue --ini /etc/docker-glue.d/one.ini --path /etc/docker-glue.d");
    let other = text.replace("custom_param=1", "python=/opt/py/bin/python");
    assert!(command(&other).starts_with("/opt/py/bin/python -m longshore_plugin.glue "));
}

#[test]
fn our_own_classes_take_their_params() {
    let of = |class: &str, params: &str| {
        good(&format!("[handler]\nclass={class}\nevents=start\n[params]\n{params}\n")).job
    };
    let Job::Plugin { command } = of("plugin", "command=python3 'my plugin.py' -x") else { panic!() };
    assert_eq!(command, ["python3", "my plugin.py", "-x"]);
    let Job::Webhook { url, secret_file } = of("webhook", "url=https://a.b/c?d=e\nsecret-file=/run/s") else {
        panic!()
    };
    assert_eq!((url.as_str(), secret_file), ("https://a.b/c?d=e", Some("/run/s".into())));
    let job: OpenVswitchJob = asked(&of("openvswitch", "bridge=b\ninterface=i\noptions=-a -b"));
    assert_eq!((job.bridge.as_str(), job.interface.as_str(), job.options.len()), ("b", "i", 2));
    assert!(matches!(of("balancer", ""), Job::Balance(_)));
    assert_eq!(of("publisher", "endpoints=http://e:1").word(), "publisher");
}

#[test]
fn a_handler_that_follows_containers_needs_no_events() {
    good("[handler]\nclass=balancer\n");
    good("[handler]\nclass=openvswitch\n");
}

#[test]
fn what_a_class_lacks_is_told() {
    let of = |class: &str, params: &str| {
        bad(&format!("[handler]\nclass={class}\nevents=start\n[params]\n{params}\n"))
    };
    insta::assert_snapshot!(of("scirpt", ""), @r#"/etc/docker-glue.d/one.ini:2: class: unknown class "scirpt" (did you mean "script"?)"#);
    insta::assert_snapshot!(of("script", ""), @r#"/etc/docker-glue.d/one.ini: script: missing in [params]: the handler does not run"#);
    insta::assert_snapshot!(of("script", "script=absent.sh"), @r#"/etc/docker-glue.d/one.ini:5: script: no such script: "absent.sh" (put it into a folder of --script-paths, or give its absolute path)"#);
    insta::assert_snapshot!(of("script", "script=plain.txt"), @r#"/etc/docker-glue.d/one.ini:5: script: "/scripts/plain.txt" is not executable (chmod +x)"#);
    insta::assert_snapshot!(of("plugin", "command=a 'b"), @"/etc/docker-glue.d/one.ini:5: command: unclosed quote");
    insta::assert_snapshot!(of("webhook", "url=ftp://a"), @r#"/etc/docker-glue.d/one.ini:5: url: invalid URL "ftp://a": expected http: or https:"#);
    insta::assert_snapshot!(of("webhook", "url=http://a.b/secret path"), @r#"/etc/docker-glue.d/one.ini:5: url: invalid URL "http://a.b…": expected http: or https:"#);
    insta::assert_snapshot!(of("webhook", "url=a.b/secret"), @r#"/etc/docker-glue.d/one.ini:5: url: invalid URL "a.b…": expected http: or https:"#);
    insta::assert_snapshot!(of("webhook", "url=http://u:p@a"), @"/etc/docker-glue.d/one.ini:5: url: a user name or password in a URL would appear in logs (sign requests instead: secret-file)");
    insta::assert_snapshot!(bad("[handler]\nevents=start\n"), @"/etc/docker-glue.d/one.ini: class: missing: the handler does not run (one of script, plugin, webhook, balancer, publisher, openvswitch, or Docker Glue's name of a class)");
    insta::assert_snapshot!(bad("[handler]\nclass=script\n[params]\nscript=a.sh\n"), @"/etc/docker-glue.d/one.ini: events: no event: the handler would never run (expected all, none, or a comma-separated list of events: start,die)");
}

// The file as such.

#[test]
fn the_file_is_read_as_python_reads_it() {
    let handler = good(
        "\u{feff}; a remark\r\n# another\r\n[DEFAULT]\r\nretries: 2\r\n[handler]\r\nCLASS: script\r\n\
         Events = start , die ; and no other\r\nENABLED=On\r\ntriggers_none=yes\r\n\r\n[own]\r\nx=1\r\n[params]\r\n\
         script=a.sh\r\nMixed-Case=50% of %(x)s; all\r\nempty=\r\nquotes=\"\"\r\nlong=one\r\n  two\r\n  # no remark of \
         the value\r\n  three\r\nurl=http://a/#b;c\r\n",
    );
    assert!(handler.enabled && handler.triggers_none);
    assert_eq!(handler.filter.events.named, ["start", "die"]);
    assert_eq!(handler.delivery.retries, 2);
    let param = |key: &str| handler.params[key].as_str();
    assert_eq!(param("mixed-case"), "50% of %(x)s; all");
    assert_eq!((param("empty"), param("quotes")), ("", ""));
    assert_eq!(param("long"), "one\ntwo\nthree");
    assert_eq!(param("url"), "http://a/#b;c");
}

#[test]
fn enabled_and_triggers_none_are_read_in_all_of_pythons_spellings() {
    for on in ["1", "yes", "true", "on", "True", "YES"] {
        let handler = good(&script(&format!("enabled={on}\ntriggers-none={on}")));
        assert!(handler.enabled && handler.triggers_none, "{on}");
    }
    for off in ["0", "no", "false", "off", "False"] {
        let handler = good(&script(&format!("enabled={off}\ntriggers-none={off}")));
        assert!(!handler.enabled && !handler.triggers_none, "{off}");
    }
    let usual = good(&script(""));
    assert!(usual.enabled && !usual.triggers_none);
}

#[test]
fn filters_and_rules_of_delivery_are_read() {
    let handler = good(&script(
        "images=redis, registry.example/team/*\nlabels=app=web, tier\nnames=web-*,db\ntimeout=1m 30s\nretries=0\n\
         parallel=1",
    ));
    assert_eq!(handler.filter.images, ["redis", "registry.example/team/*"]);
    let labels = [("app".to_owned(), Some("web".to_owned())), ("tier".to_owned(), None)];
    assert_eq!(handler.filter.labels, labels);
    assert_eq!(handler.filter.names, ["web-*", "db"]);
    let rules = DeliveryRules { timeout: Duration::from_secs(90), retries: 0, parallel: 1 };
    assert_eq!(handler.delivery, rules);
}

#[test]
fn mistakes_are_told_all_at_once_with_their_lines() {
    insta::assert_snapshot!(bad(&script("enabled=maybe\nimages=UPPER\ntimeout=30\nretries=-1\nparallel=0")), @r#"
    /etc/docker-glue.d/one.ini:4: enabled: invalid flag "maybe": expected 1 or 0
    /etc/docker-glue.d/one.ini:5: images: invalid image "UPPER" (expected redis, redis:7 or registry.example/team/*)
    /etc/docker-glue.d/one.ini:6: timeout: invalid time "30" (expected 30s or 2m)
    /etc/docker-glue.d/one.ini:7: retries: invalid number "-1": expected 0 to 1000
    /etc/docker-glue.d/one.ini:8: parallel: invalid number "0": expected 1 to 256
    "#);
    insta::assert_snapshot!(lenient(&script("trigger-none=1\nevent=die")), @r#"
    /etc/docker-glue.d/one.ini:5: [handler]: unknown key "event": ignored (did you mean "events"?)
    /etc/docker-glue.d/one.ini:4: [handler]: unknown key "trigger-none": ignored (did you mean "triggers-none"?)
    "#);
    insta::assert_snapshot!(lenient("[handler]\nclass=script\nevents=strat,health_status: healthy\n[params]\nscript=a.sh\n"), @r#"/etc/docker-glue.d/one.ini:3: events: unknown event "strat": subscribed anyway (did you mean "start"?)"#);
    insta::assert_snapshot!(bad("class=script\n"), @r#"
    /etc/docker-glue.d/one.ini:1: "class" is before the first section
    /etc/docker-glue.d/one.ini: no section [handler] (add a section [handler] with class and events)
    "#);
    insta::assert_snapshot!(bad("[handler]\nclass script\n"), @r#"/etc/docker-glue.d/one.ini:2: missing = in "class script""#);
    insta::assert_snapshot!(bad("[handler\nclass=script\n"), @"/etc/docker-glue.d/one.ini:1: not an INI file: Found opening bracket for section name but no closing bracket");
    insta::assert_snapshot!(bad(""), @"/etc/docker-glue.d/one.ini: no section [handler] (add a section [handler] with class and events)");
}

#[test]
fn who_switches_a_handler_off_is_not_told_what_it_lacks() {
    assert_eq!(bad("[handler]\nenabled=0\nclass=script\n[params]\nscript=absent.sh\n"), "");
    assert!(!good("[handler]\nenabled=0\nclass=script\n[params]\nscript=a.sh\n").enabled);
}

#[test]
fn a_list_of_the_settings_file_may_hold_commas() {
    let setting = |value| Setting { value, line: Some(3) };
    let many = |values: &[&str]| setting(Value::Many(values.iter().map(ToString::to_string).collect()));
    let definition = Definition {
        name: "x".to_owned(),
        file: "/etc/longshore/longshore.toml".into(),
        line: Some(2),
        is_ini: false,
        script_paths: Vec::new(),
        head: BTreeMap::from([
            ("kind".to_owned(), setting(Value::One("plugin".to_owned()))),
            ("events".to_owned(), many(&["start", "die"])),
            ("labels".to_owned(), many(&["a=b,c"])),
        ]),
        params: BTreeMap::from([("command".to_owned(), many(&["p", "a b"]))]),
    };
    let (handler, problems) = define(&definition, &FOLLOWERS, found);
    assert_eq!(problems, []);
    let handler = handler.unwrap();
    assert_eq!(handler.job, Job::Plugin { command: vec!["p".to_owned(), "a b".to_owned()] });
    assert_eq!(handler.filter.labels, [("a".to_owned(), Some("b,c".to_owned()))]);
    assert_eq!(handler.filter.events.named, ["start", "die"]);
}

// Which events a handler receives.

fn filter(text: &str) -> Filter {
    good(&script("").replace("events=start", text)).filter
}

fn occurrence(event: &str) -> HandlerEvent {
    let facts = ContainerFacts {
        id: ContainerId::new("a".repeat(64)),
        name: "web-1".to_owned(),
        image: "redis:7".to_owned(),
        labels: BTreeMap::from([("app".to_owned(), "web".to_owned()), ("empty".to_owned(), String::new())]),
    };
    HandlerEvent {
        id: EventId("1".to_owned()),
        event: event.to_owned(),
        at: 1,
        synthetic: false,
        subject: EventSubject::Container(facts.into()),
        attributes: BTreeMap::from([("health_status".to_owned(), "healthy".to_owned())]),
    }
}

fn of_network(event: &str) -> HandlerEvent {
    let subject = EventSubject::Network { id: "n".to_owned(), name: "front".to_owned() };
    HandlerEvent { subject, ..occurrence(event) }
}

fn dummy() -> HandlerEvent {
    HandlerEvent { subject: EventSubject::Nothing, ..occurrence("none") }
}

#[test]
fn all_is_every_event_of_a_container_and_neither_the_dummy_nor_a_networks() {
    let all = filter("events=all");
    for event in ["start", "die", "connect", "disconnect", "health_status", "exec_start", "brand_new"] {
        assert!(wants(&all, &occurrence(event)), "{event}");
    }
    assert!(!wants(&all, &dummy()));
    assert!(!wants(&all, &of_network("network_create")));
    let named = filter("events=all,none,network_create");
    assert!(wants(&named, &dummy()));
    assert!(wants(&named, &of_network("network_create")));
    assert!(!wants(&named, &of_network("network_destroy")));
}

#[test]
fn an_event_is_named_as_docker_names_it_and_may_be_told_apart_by_its_detail() {
    let named = filter("events=die,exec_start");
    assert!(wants(&named, &occurrence("die")));
    assert!(wants(&named, &occurrence("exec_start")));
    assert!(!wants(&named, &occurrence("exec_create")));
    assert!(!wants(&named, &occurrence("start")));
    assert!(wants(&filter("events=health_status"), &occurrence("health_status")));
    assert!(wants(&filter("events=health_status: healthy"), &occurrence("health_status")));
    assert!(!wants(&filter("events=health_status:unhealthy"), &occurrence("health_status")));
}

#[test]
fn an_image_without_a_tag_is_every_tag_and_an_asterisk_any_text() {
    let wanted = |pattern: &str, image: &str| {
        let mut occurrence = occurrence("start");
        let EventSubject::Container(facts) = &mut occurrence.subject else { unreachable!() };
        Arc::make_mut(facts).image = image.to_owned();
        wants(&filter(&format!("events=all\nimages={pattern}")), &occurrence)
    };
    for (pattern, image) in [
        ("redis", "redis"),
        ("redis", "redis:7"),
        ("redis", "docker.io/library/redis:7"),
        ("docker.io/library/redis", "redis"),
        ("redis:latest", "redis"),
        ("redis:7", "redis:7"),
        ("r.example:5000/a/b", "r.example:5000/a/b:1"),
        ("r.example:5000/a/*", "r.example:5000/a/b:1"),
        ("*/b", "r.example:5000/a/b:1"),
        ("red*", "redis:7"),
        ("redis:7*", "redis:7.2"),
        ("redis:*", "redis"),
        ("*", "anything/at-all:1"),
        ("other,redis", "redis"),
    ] {
        assert!(wanted(pattern, image), "{pattern} {image}");
    }
    for (pattern, image) in [
        ("redis", "redis-stack"),
        ("redis", "team/redis"),
        ("redis:7", "redis:8"),
        ("redis:7", "redis"),
        ("r.example/a", "a"),
        ("r.example/a/*", "r.example/ab"),
        ("redis:7*", "redis:8"),
    ] {
        assert!(!wanted(pattern, image), "{pattern} {image}");
    }
}

#[test]
fn all_labels_must_be_there_and_any_of_the_names() {
    let wanted = |text: &str| wants(&filter(&format!("events=all\n{text}")), &occurrence("start"));
    assert!(wanted("labels=app"));
    assert!(wanted("labels=app=web,empty"));
    assert!(wanted("labels=empty="));
    assert!(!wanted("labels=app=db"));
    assert!(!wanted("labels=app,other"));
    assert!(wanted("names=web-*"));
    assert!(wanted("names=db,web-1"));
    assert!(wanted("names=*b*1"));
    assert!(!wanted("names=web"));
    assert!(!wanted("names=web-\nlabels=app"));
}

#[test]
fn a_network_has_a_name_but_neither_image_nor_labels_and_the_dummy_has_nothing() {
    let all = "events=network_create,none\n";
    assert!(wants(&filter(&format!("{all}names=fr*")), &of_network("network_create")));
    assert!(!wants(&filter(&format!("{all}names=back")), &of_network("network_create")));
    assert!(!wants(&filter(&format!("{all}images=redis")), &of_network("network_create")));
    assert!(!wants(&filter(&format!("{all}labels=app")), &of_network("network_create")));
    assert!(wants(&filter(&format!("{all}names=web\nimages=redis\nlabels=app")), &dummy()));
}

#[test]
fn docker_is_asked_for_what_enabled_handlers_of_events_name_and_no_more() {
    let handler = |events: &str| good(&script("").replace("events=start", events));
    let named = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    let one = handler("events=start,health_status: healthy,none");
    let two = handler("events=network_create");
    assert_eq!(attention([&one, &two]), (false, named(&["start", "health_status", "network_create"])));
    let all = handler("events=all");
    assert_eq!(attention([&two, &all]), (true, named(&["network_create"])));
    let off = handler("enabled=0\nevents=all");
    let follower = good("[handler]\nclass=balancer\nevents=all\n");
    assert_eq!(attention([&off, &follower]), (false, BTreeSet::new()));
}

// Arbitrary input.

/// Text that roughly looks like a handler's file.
fn ini() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        Just("[handler]".to_owned()),
        Just("[params]".to_owned()),
        Just("[DEFAULT]".to_owned()),
        Just("class=script".to_owned()),
        Just("class=publisher".to_owned()),
        Just("script=a.sh".to_owned()),
        Just("events=all,none".to_owned()),
        "(clientParams|images|labels|names|timeout|enabled)[=:].{0,20}",
        "\\PC{0,30}",
        "[ \t]{0,3}[\\[\\]{}()=:;#a'\",]{0,20}",
    ];
    proptest::collection::vec(line, 0..20).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn no_file_stops_the_agent_and_each_makes_a_handler_or_says_why(text in ini()) {
        let (handler, problems) = read(&text);
        let off = text.to_lowercase().contains("enabled");
        prop_assert!(handler.is_some() || !problems.is_empty() || off);
        for problem in problems {
            prop_assert!(!problem.contains(['\n', '\r', '\u{1b}']), "{problem:?}");
        }
    }

    #[test]
    fn a_more_general_filter_wants_no_less(
        images in proptest::collection::vec("(redis|\\*|red\\*|redis:7|other)", 0..3),
        names in proptest::collection::vec("(web-1|web\\*|\\*|db|)", 0..3),
        labels in proptest::collection::vec("(app|app=web|app=db|none)", 0..3),
    ) {
        let labels = labels.iter().map(|label| match label.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (label.clone(), None),
        });
        let events = EventFilter { all: true, ..EventFilter::default() };
        let narrow = Filter { events, images, labels: labels.collect(), names };
        let told = wants(&narrow, &occurrence("start"));
        for wide in [
            Filter { images: Vec::new(), ..narrow.clone() },
            Filter { names: Vec::new(), ..narrow.clone() },
            Filter { labels: Vec::new(), ..narrow.clone() },
            Filter { names: vec!["*".to_owned()], ..narrow.clone() },
        ] {
            prop_assert!(!told || wants(&wide, &occurrence("start")), "{narrow:?} {wide:?}");
        }
        let each = |pattern: &String| Filter { images: vec![pattern.clone()], ..narrow.clone() };
        let any = narrow.images.is_empty() || narrow.images.iter().any(|one| wants(&each(one), &occurrence("start")));
        let others = wants(&Filter { images: Vec::new(), ..narrow.clone() }, &occurrence("start"));
        prop_assert_eq!(told, any && others);
    }

    #[test]
    fn an_asterisk_stands_for_any_text(name in "[ab]{0,6}", pattern in "[ab*]{0,6}") {
        let mut occurrence = occurrence("start");
        let EventSubject::Container(facts) = &mut occurrence.subject else { unreachable!() };
        Arc::make_mut(facts).name = name.clone();
        let filter = Filter {
            events: EventFilter { all: true, ..EventFilter::default() },
            names: vec![pattern.clone()],
            ..Filter::default()
        };
        prop_assert_eq!(wants(&filter, &occurrence), model(pattern.as_bytes(), name.as_bytes()));
    }
}

/// Matches an asterisk in the simplest, slowest way.
fn model(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => {
            model(rest, text) || text.split_first().is_some_and(|(_, text)| model(pattern, text))
        }
        Some((c, rest)) => text.split_first().is_some_and(|(t, text)| t == c && model(rest, text)),
    }
}
