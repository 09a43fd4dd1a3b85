//! Ports of Open vSwitch, rule by rule.

mod worlds;

use std::collections::BTreeSet;

use longshore_model::{Container, OpenVswitchJob, RunState};
use longshore_plan::openvswitch::{Action, Mark, OpenVswitchPlan, Port};
use proptest::prelude::*;
use worlds::container;

fn plan() -> OpenVswitchPlan {
    let job =
        OpenVswitchJob { bridge: "br-int".to_owned(), interface: "eth0".to_owned(), options: Vec::new() };
    OpenVswitchPlan { handler: "ovs".to_owned(), job }
}

fn bridges() -> BTreeSet<String> {
    ["br-int", "br-other"].map(str::to_owned).into()
}

/// Returns a running container without a network.
fn bare(labels: &[(&str, &str)]) -> Container {
    Container { network_mode: "none".to_owned(), networks: [].into(), ..container(1, labels) }
}

fn port(name: &str, interface: &str, mark: Mark) -> Port {
    let container = bare(&[]).id;
    Port { name: name.to_owned(), container, interface: interface.to_owned(), mark }
}

fn ours(name: &str, mark: &str) -> Port {
    port(name, "eth0", Mark::Ours(mark.to_owned()))
}

/// Returns the decision, one line for each action and problem.
fn shown(plan: &OpenVswitchPlan, container: Option<&Container>, ports: &[Port]) -> String {
    let decision = plan.decide(container, ports, &bridges());
    let actions = decision.actions.iter().map(|action| match action {
        Action::Remove(name) => format!("remove {name}"),
        Action::Add(a) => format!("add {} {} {:?} [{}]", a.bridge, a.interface, a.options, a.mark),
    });
    actions
        .chain(decision.problems.iter().map(|problem| format!("! {problem}")))
        .collect::<Vec<_>>()
        .join("\n")
}

fn with_labels(labels: &[(&str, &str)]) -> String {
    shown(&plan(), Some(&bare(labels)), &[])
}

#[test]
fn a_running_container_without_a_network_is_connected_and_no_other() {
    assert_eq!(with_labels(&[]), "add br-int eth0 [] [1 br-int eth0]");
    assert_eq!(shown(&plan(), Some(&container(1, &[])), &[]), "");
    for state in
        [RunState::Created, RunState::Exited, RunState::Restarting, RunState::Removing, RunState::Dead]
    {
        assert_eq!(shown(&plan(), Some(&Container { state, ..bare(&[]) }), &[]), "", "{state}");
    }
    let paused = Container { state: RunState::Paused, ..bare(&[]) };
    assert_eq!(shown(&plan(), Some(&paused), &[ours("a", "1 br-int eth0")]), "");
}

#[test]
fn labels_of_both_spellings_say_where_and_ours_count_before_the_old_ones() {
    let ours = [
        ("longshore.ovs.bridge", "br-other"),
        ("longshore.ovs.interface", "net1"),
        ("longshore.ovs.options", " --ipaddress=10.9.0.2/24  --mtu=1450"),
    ];
    let said = r#"add br-other net1 ["--ipaddress=10.9.0.2/24", "--mtu=1450"] [1 br-other net1 --ipaddress=10.9.0.2/24 --mtu=1450]"#;
    assert_eq!(with_labels(&ours), said);
    let old = [
        ("ovs_bridge", "br-other"),
        ("ovs_interface", "net1"),
        ("ovs_options", "--ipaddress=10.9.0.2/24 --mtu=1450"),
    ];
    assert_eq!(with_labels(&old), said);
    let both = [ours, old.map(|(key, _)| (key, "!"))].concat();
    assert_eq!(with_labels(&both), said);
    let mut plan = plan();
    plan.job.options = vec!["--mtu=1400".to_owned()];
    assert_eq!(
        shown(&plan, Some(&bare(&[])), &[]),
        r#"add br-int eth0 ["--mtu=1400"] [1 br-int eth0 --mtu=1400]"#
    );
    let none = bare(&[("longshore.ovs.options", "")]);
    assert_eq!(shown(&plan, Some(&none), &[]), "add br-int eth0 [] [1 br-int eth0]");
}

#[test]
fn its_labels_are_no_unknown_ones_to_the_routes() {
    let container =
        bare(&[("longshore.ovs.bridge", "br-other"), ("ovs_options", ""), ("longshore.ovx.a", "")]);
    let problems = longshore_plan::claims(&container).1;
    assert_eq!(
        problems.iter().filter_map(|problem| problem.key.as_deref()).collect::<Vec<_>>(),
        ["longshore.ovx.a"]
    );
}

#[test]
fn a_label_that_asks_for_more_than_it_may_is_named_and_nothing_is_done() {
    let told =
        |key: &str, value: &str| with_labels(&[(key, value)]).replace("container c1 (100000000000): ", "");
    insta::assert_snapshot!([
        told("longshore.ovs.options", "--mtu=1450 --help"),
        told("ovs_options", "--ipaddress=$(reboot)/24"),
        told("longshore.ovs.bridge", "br-new"),
        told("longshore.ovs.bridge", "--db=tcp:1.2.3.4:6640"),
        told("longshore.ovs.interface", "lo"),
        told("ovs_interface", "a name\nof two lines"),
        told("longshore.ovs.interface", ""),
        told("longshore.ovs.briged", "br-other"),
    ].join("\n"), @r#"
    ! longshore.ovs.options: unknown option "--help": it is not connected to Open vSwitch (expected --ipaddress=, --macaddress=, --gateway= and --mtu=)
    ! ovs_options: invalid value in "--ipaddress=$(reboot)/24": it is not connected to Open vSwitch (examples: --ipaddress=10.0.0.2/24 --macaddress=a2:c3:0d:49:7f:f8 --gateway=10.0.0.1 --mtu=1450)
    ! longshore.ovs.bridge: no such bridge: "br-new": it is not connected to Open vSwitch (create it: ovs-vsctl add-br)
    ! longshore.ovs.bridge: invalid interface name "--db=tcp:1.2.3.4:6640": it is not connected to Open vSwitch (expected 1 to 15 letters, digits, dots, underscores and hyphens, not starting with a hyphen)
    ! longshore.ovs.interface: every container already has a "lo": it is not connected to Open vSwitch (the usual name is "eth0")
    ! ovs_interface: invalid interface name "a name\nof two lines": it is not connected to Open vSwitch (expected 1 to 15 letters, digits, dots, underscores and hyphens, not starting with a hyphen)
    ! longshore.ovs.interface: invalid interface name "": it is not connected to Open vSwitch (expected 1 to 15 letters, digits, dots, underscores and hyphens, not starting with a hyphen)
    add br-int eth0 [] [1 br-int eth0]
    ! longshore.ovs.briged: unknown label, ignored (expected longshore.ovs.bridge, longshore.ovs.interface, longshore.ovs.options)
    "#);
    let mut wrong = plan();
    wrong.job.options = vec!["--vlan=7".to_owned()];
    insta::assert_snapshot!(shown(&wrong, Some(&bare(&[])), &[]), @r#"! handler ovs: ovs-options: unknown option "--vlan=7": containers without a label of their own are not connected to Open vSwitch (expected --ipaddress=, --macaddress=, --gateway= and --mtu=)"#);
}

#[test]
fn options_are_let_through_with_good_values_only() {
    let goes = |option: &str| with_labels(&[("longshore.ovs.options", option)]).starts_with("add ");
    for good in [
        "--ipaddress=10.0.0.2",
        "--ipaddress=10.0.0.2/32",
        "--ipaddress=fd00::2/64",
        "--gateway=10.0.0.1",
        "--gateway=fd00::1",
        "--macaddress=a2:C3:0d:49:7f:f8",
        "--mtu=68",
        "--mtu=65535",
    ] {
        assert!(goes(good), "{good}");
    }
    for bad in [
        "--ipaddress",
        "--ipaddress=",
        "--ipaddress=10.0.0.2/33",
        "--ipaddress=10.0.0.2/+8",
        "--ipaddress=10.0.0.2/24/8",
        "--ipaddress=host",
        "--gateway=10.0.0.1/24",
        "--gateway=",
        "--macaddress=a2:c3:0d:49:7f",
        "--macaddress=a2:c3:0d:49:7f:f8:00",
        "--macaddress=a2-c3-0d-49-7f-f8",
        "--mtu=67",
        "--mtu=+1450",
        "--mtu=65536",
        "--mtu=",
        "eth1",
        "--",
        "--mtu=1450;reboot",
    ] {
        assert!(!goes(bad), "{bad}");
    }
}

#[test]
fn a_port_goes_with_its_run_of_the_container_and_with_its_settings() {
    let container = bare(&[]);
    let this = ours("a", "1 br-int eth0");
    assert_eq!(shown(&plan(), Some(&container), std::slice::from_ref(&this)), "");
    assert_eq!(shown(&plan(), None, std::slice::from_ref(&this)), "remove a");
    let again = Container { started: 2, ..container.clone() };
    assert_eq!(
        shown(&plan(), Some(&again), std::slice::from_ref(&this)),
        "remove a\nadd br-int eth0 [] [2 br-int eth0]"
    );
    let twice = [this.clone(), ours("b", "1 br-int eth0"), port("c", "eth0", Mark::Unfinished)];
    assert_eq!(shown(&plan(), Some(&container), &twice), "remove b\nremove c");
    let mut other = plan();
    other.job.interface = "eth1".to_owned();
    assert_eq!(shown(&other, Some(&container), &[this]), "remove a\nadd br-int eth1 [] [1 br-int eth1]");
}

#[test]
fn what_somebody_else_attached_stays_and_serves() {
    let container = bare(&[]);
    let same = port("a", "eth0", Mark::Others);
    assert_eq!(shown(&plan(), Some(&container), std::slice::from_ref(&same)), "");
    assert_eq!(shown(&plan(), None, &[same]), "");
    let other = port("a", "eth1", Mark::Others);
    assert_eq!(shown(&plan(), Some(&container), &[other]), "add br-int eth0 [] [1 br-int eth0]");
}

fn any_mark() -> impl Strategy<Value = Mark> {
    prop_oneof![
        "[12] br-(int|other) eth[01]".prop_map(Mark::Ours),
        Just(Mark::Unfinished),
        Just(Mark::Others),
    ]
}

proptest! {
    /// Whatever a label contains, no program takes the arguments for anything else.
    #[test]
    fn no_label_gets_more_than_four_options_through(
        bridge in ".{0,20}", interface in "[-/a-z0-9.= ]{0,18}", options in "(--[a-z]{2,10}=?[-0-9a-f:./\"' \\\\$]{0,12} ?){0,3}"
    ) {
        let labels =
            [("ovs_bridge", &*bridge), ("longshore.ovs.interface", &*interface), ("ovs_options", &*options)];
        for action in plan().decide(Some(&bare(&labels)), &[], &[bridge.clone()].into()).actions {
            let Action::Add(attachment) = action else { panic!("{action:?}") };
            for name in [&attachment.bridge, &attachment.interface] {
                prop_assert!(!name.is_empty() && !name.starts_with('-') && !name.contains(['/', ' ', '"']));
            }
            prop_assert!(!attachment.mark.contains(['"', '\\', '\'', '$']));
        }
    }

    /// Once its actions are carried out, nothing remains to be done, and others' ports are untouched.
    #[test]
    fn one_pass_settles_it(
        marks in proptest::collection::vec((any_mark(), 0..2_u8), 0..5), runs: bool, gone: bool
    ) {
        let mut ports: Vec<Port> = marks
            .into_iter()
            .enumerate()
            .map(|(n, (mark, interface))| port(&format!("p{n}"), &format!("eth{interface}"), mark))
            .collect();
        let others = ports.iter().filter(|port| port.mark == Mark::Others).count();
        let state = if runs { RunState::Running } else { RunState::Exited };
        let container = Container { state, ..bare(&[]) };
        let container = (!gone).then_some(&container);
        for action in plan().decide(container, &ports, &bridges()).actions {
            match action {
                Action::Remove(name) => ports.retain(|port| port.name != name),
                Action::Add(a) => ports.push(port("added", &a.interface, Mark::Ours(a.mark))),
            }
        }
        prop_assert_eq!(plan().decide(container, &ports, &bridges()).actions, []);
        prop_assert_eq!(ports.iter().filter(|port| port.mark == Mark::Others).count(), others);
        let eth0 = ports.iter().filter(|port| port.interface == "eth0" && port.mark != Mark::Others).count();
        prop_assert!(eth0 <= usize::from(runs && !gone));
    }
}
