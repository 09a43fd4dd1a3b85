//! Containers without a network, on a real Open vSwitch.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use longshore_testkit::{
    Agent, AgentBuilder, Container, ContainerSpec, Host, Lab, OpenVswitch, TestError, TestResult, eventually,
};

/// Writes Docker Glue's own example, with other options.
fn handler(folder: &Path, options: &str) -> std::io::Result<()> {
    let ini = format!(
        "[handler]\nclass=DockerGlue.handlers.exec.ScriptHandler\nevents=create,destroy\nenabled=1\ntriggers-none=1\n\n[params]\nscript=ovs-handler.sh\novs-bridge=br-int\n{options}\n"
    );
    std::fs::write(folder.join("ovs.ini"), ini)
}

/// A switch with the handler for it.
struct Bench {
    switch: OpenVswitch,
    folder: tempfile::TempDir,
}

impl Bench {
    async fn on(host: &Host) -> Result<Self, TestError> {
        let folder = tempfile::tempdir()?;
        handler(folder.path(), "")?;
        Ok(Self { switch: OpenVswitch::on(host).await?, folder })
    }

    fn agent(&self, host: &Host) -> AgentBuilder {
        let (name, value) = self.switch.env();
        let folder = self.folder.path().display().to_string();
        Agent::on(host).flags(&["--handler-paths", &folder]).env(name, &value)
    }

    /// Returns the ports that lead into a container and their owners: the agent's name, or none.
    async fn ports(&self, container: &str) -> Vec<(String, String)> {
        let of = format!("external_ids:container_id={container}");
        let line = ["--format=csv", "--no-heading", "--data=bare", "--columns=name,external_ids", "find"];
        let found = self.switch.vsctl(&[&line[..], &["interface", &of]].concat()).await.unwrap_or_default();
        let whose = |ids: &str| {
            let mark = ids.split_whitespace().find_map(|id| id.strip_prefix("longshore="));
            mark.unwrap_or_default().to_owned()
        };
        let rows = found.lines().filter_map(|row| row.split_once(','));
        rows.map(|(name, ids)| (name.to_owned(), whose(ids.trim_matches('"')))).collect()
    }

    /// Waits until one port of the agent's leads into the container, and returns its name.
    async fn connected(&self, host: &Host, container: &Container) -> String {
        let what = format!("{} is connected", container.name);
        eventually(&what, async || {
            matches!(self.ports(&container.id).await.as_slice(), [(_, whose)] if *whose == host.name)
        })
        .await;
        self.ports(&container.id).await.remove(0).0
    }

    /// Waits until nothing of the agent's is left: no port, no cable end, no note of an unfinished port.
    async fn empty(&self, host: &Host) {
        eventually("nothing is left", async || {
            let ports = self.switch.ports("br-int").await.is_ok_and(|ports| ports.is_empty());
            let links = host.exec_in_namespace(&["ip", "-o", "link"]).await.unwrap_or_default();
            let notes = self.switch.vsctl(&["get", "Open_vSwitch", ".", "external_ids"]).await;
            let cables = links.lines().filter(|line| line.contains("_l@") || line.contains("_c@")).count();
            ports && cables == 0 && notes.is_ok_and(|notes| !notes.contains("longshore"))
        })
        .await;
    }
}

/// Returns a container without a network, with this address once it is connected.
fn at(address: &str) -> ContainerSpec {
    bare().label("longshore.ovs.options", format!("--ipaddress={address}/24"))
}

fn bare() -> ContainerSpec {
    ContainerSpec::busybox(&["sleep", "1000"]).network("none").stop_timeout(1)
}

/// Returns a container that reports when it has reached this address.
fn reaching(address: &str) -> ContainerSpec {
    let script = format!("until ping -c 1 -W 1 {address}; do sleep 0.1; done; echo REACHED; sleep 1000");
    at("10.9.0.1").command(&["sh", "-c", &script])
}

async fn says_reached(container: &Container) {
    let what = format!("{} reaches the other", container.name);
    let reached = async || container.logs().await.is_ok_and(|log| log.contains("REACHED"));
    longshore_testkit::eventually_within(Duration::from_secs(20), &what, reached).await;
}

#[tokio::test]
async fn two_containers_without_a_network_talk_over_the_switch() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let bench = Bench::on(host).await?;
    let early = host.run(at("10.9.0.2")).await?;
    let agent = bench.agent(host).start().await?;
    bench.connected(host, &early).await;
    let late = host.run(reaching("10.9.0.2")).await?;
    bench.connected(host, &late).await;
    says_reached(&late).await;
    let other = host.run(ContainerSpec::server()).await?;
    let made = host.create(bare()).await?;
    let third = host.run(at("10.9.0.3")).await?;
    bench.connected(host, &third).await;
    assert_eq!(bench.ports(&other.id).await, [], "it has a network of Docker's");
    assert_eq!(bench.ports(&made.id).await, [], "it does not run");
    assert_eq!(agent.cli(&["problems"]).await?.trim(), "no problems");
    Ok(())
}

#[tokio::test]
async fn a_port_goes_with_its_container_however_that_ends() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let bench = Bench::on(host).await?;
    let agent = bench.agent(host).start().await?;
    let (killed, stopped, removed) =
        (host.run(bare()).await?, host.run(bare()).await?, host.run(bare()).await?);
    for container in [&killed, &stopped, &removed] {
        bench.connected(host, container).await;
    }
    killed.kill().await?;
    stopped.stop(0).await?;
    removed.remove().await?;
    bench.empty(host).await;
    assert_eq!(agent.cli(&["problems"]).await?.trim(), "no problems");
    Ok(())
}

#[tokio::test]
async fn a_container_that_starts_again_is_connected_again() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let bench = Bench::on(host).await?;
    let mut agent = bench.agent(host).start().await?;
    let other = host.run(at("10.9.0.2")).await?;
    let container = host.run(reaching("10.9.0.2")).await?;
    bench.connected(host, &other).await;
    let before = bench.connected(host, &container).await;
    says_reached(&container).await;
    container.restart(0).await?;
    eventually("there is another port, and only that", async || {
        let ports = bench.ports(&container.id).await;
        matches!(ports.as_slice(), [(name, whose)] if *name != before && *whose == host.name)
    })
    .await;
    let reached = async |times| {
        let what = format!("it has reached the other in {times} runs");
        eventually(&what, async || {
            container.logs().await.is_ok_and(|log| log.matches("REACHED").count() == times)
        })
        .await;
    };
    reached(2).await;
    // The next agent misses both the end and the start: it can only tell from the port's mark.
    agent.kill9();
    agent.ended_within(Duration::from_secs(5)).await?;
    container.restart(0).await?;
    let _again = bench.agent(host).start().await?;
    reached(3).await;
    bench.connected(host, &container).await;
    Ok(())
}

#[tokio::test]
async fn leftovers_go_when_the_agent_starts_and_what_others_attached_stays() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let bench = Bench::on(host).await?;
    let (goes, stays) = (host.run(bare()).await?, host.run(bare()).await?);
    let by_hand = host.run(bare()).await?;
    let begun = host.run(bare()).await?;
    bench.switch.docker(host, &["add-port", "br-int", "eth0", &by_hand.id]).await?;
    bench.switch.docker(host, &["add-port", "br-int", "eth1", &stays.id]).await?;
    let mut agent = bench.agent(host).start().await?;
    bench.connected(host, &goes).await;
    bench.connected(host, &begun).await;
    let two = async || {
        let whose: Vec<String> = bench.ports(&stays.id).await.into_iter().map(|(_, whose)| whose).collect();
        whose.len() == 2 && whose.contains(&host.name) && whose.contains(&String::new())
    };
    eventually("the agent's port is beside the other", two).await;
    agent.kill9();
    agent.ended_within(Duration::from_secs(5)).await?;
    goes.remove().await?;
    // What an agent leaves if it is killed between creating a port and marking it.
    let (half, _) = bench.ports(&begun.id).await.remove(0);
    bench
        .switch
        .vsctl(&[
            "remove",
            "interface",
            &half,
            "external_ids",
            "longshore",
            "longshore_handler",
            "longshore_mark",
        ])
        .await?;
    let note = format!("external_ids:longshore_adding_{}_eth0=\"{} ovs\"", begun.id, host.name);
    bench.switch.vsctl(&["set", "Open_vSwitch", ".", &note]).await?;

    let _again = bench.agent(host).start().await?;
    eventually("the half-made port is recreated", async || {
        let ports = bench.ports(&begun.id).await;
        matches!(ports.as_slice(), [(name, whose)] if *name != half && *whose == host.name)
    })
    .await;
    eventually("three containers are connected, one of them twice", async || {
        bench.switch.ports("br-int").await.is_ok_and(|ports| ports.len() == 4)
    })
    .await;
    assert!(two().await);
    assert!(matches!(bench.ports(&by_hand.id).await.as_slice(), [(_, whose)] if whose.is_empty()));
    Ok(())
}

#[tokio::test]
async fn containers_that_end_at_once_leave_nothing() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let bench = Bench::on(host).await?;
    let agent = bench.agent(host).start().await?;
    let mut containers = Vec::new();
    for n in 0..8 {
        let life = format!("sleep 0.{n}");
        let spec = ContainerSpec::busybox(&["sh", "-c", &life]).network("none");
        containers.push(host.run(spec).await?);
    }
    let last = host.run(bare()).await?;
    bench.connected(host, &last).await;
    last.remove().await?;
    bench.empty(host).await;
    eventually("there are no problems", async || {
        agent.cli(&["problems"]).await.is_ok_and(|told| told.trim() == "no problems")
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn a_bad_label_costs_its_own_container_and_no_other() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let bench = Bench::on(host).await?;
    let agent = bench.agent(host).start().await?;
    let bad = host.run(bare().label("ovs_options", "--ipaddress=10.9.0.2/24;reboot")).await?;
    let elsewhere = host.run(bare().label("longshore.ovs.bridge", "br-late")).await?;
    let good = host.run(at("10.9.0.2").label("longshore.ovs.interface", "net7")).await?;
    let port = bench.connected(host, &good).await;
    let interface = bench.switch.vsctl(&["get", "interface", &port, "external_ids:container_iface"]).await?;
    assert_eq!(interface.trim(), "net7");
    eventually("both are named, with label and reason", async || {
        let told = agent.cli(&["problems"]).await.unwrap_or_default();
        let names = [&bad.name, &elsewhere.name].into_iter().all(|name| told.contains(name.as_str()));
        names && told.contains("ovs_options") && told.contains("br-late")
    })
    .await;
    let unreachable =
        at("10.9.0.5").label("longshore.ovs.options", "--ipaddress=10.9.0.5/24 --gateway=10.8.0.1");
    let unreachable = host.run(unreachable).await?;
    eventually("what `ip` says of an option is the problem of its container", async || {
        let told = agent.cli(&["problems"]).await.unwrap_or_default();
        told.lines().any(|line| line.contains(&unreachable.name) && line.contains("invalid gateway"))
    })
    .await;
    assert_eq!(bench.connected(host, &good).await, port);
    assert_eq!(bench.ports(&bad.id).await, []);
    assert_eq!(bench.ports(&elsewhere.id).await, []);
    Ok(())
}

#[tokio::test]
async fn an_open_vswitch_that_is_away_is_named_and_made_up_for() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let mut bench = Bench::on(host).await?;
    let agent = bench.agent(host).start().await?;
    let before = host.run(bare()).await?;
    bench.connected(host, &before).await;
    bench.switch.kill().await?;
    let meanwhile = host.run(bare()).await?;
    before.remove().await?;
    eventually("it is named", async || {
        agent
            .cli(&["problems"])
            .await
            .is_ok_and(|told| told.contains("Open vSwitch") && told.contains("handler"))
    })
    .await;
    bench.switch.start().await?;
    let made_up = async || {
        let ports = bench.switch.ports("br-int").await.unwrap_or_default();
        ports.len() == 1 && bench.ports(&meanwhile.id).await.len() == 1
    };
    longshore_testkit::eventually_within(
        Duration::from_secs(30),
        "what was missed is caught up with",
        made_up,
    )
    .await;
    eventually("there are no problems", async || {
        agent.cli(&["problems"]).await.is_ok_and(|told| told.trim() == "no problems")
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn a_handler_that_changes_or_goes_takes_its_ports_along() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let bench = Bench::on(host).await?;
    let _agent = bench.agent(host).start().await?;
    let container = host.run(bare()).await?;
    let before = bench.connected(host, &container).await;
    handler(bench.folder.path(), "ovs-interface=net1\novs-options=--mtu=1400 --ipaddress=10.9.0.9/24")?;
    eventually("the interface has its other name", async || {
        let ports = bench.ports(&container.id).await;
        matches!(ports.as_slice(), [(name, whose)] if *name != before && *whose == host.name)
    })
    .await;
    let pid = container.inspect().await?.state.and_then(|state| state.pid).unwrap_or_default().to_string();
    let inside = ["nsenter", "--target", &pid, "--net", "ip", "-o", "address", "show", "net1"];
    assert!(host.exec_in_namespace(&inside).await?.contains("10.9.0.9/24"));
    std::fs::remove_file(bench.folder.path().join("ovs.ini"))?;
    bench.empty(host).await;
    assert!(container.runs().await?);
    Ok(())
}

#[tokio::test]
async fn two_handlers_connect_a_container_twice_and_each_takes_its_own_port_away() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let bench = Bench::on(host).await?;
    let second = bench.folder.path().join("second.ini");
    std::fs::write(
        &second,
        "[handler]\nclass=openvswitch\n[params]\novs-bridge=br-ext\novs-interface=eth1\n",
    )?;
    bench.switch.bridge("br-ext").await?;
    let agent = bench.agent(host).start().await?;
    let container = host.run(bare()).await?;
    let twice = async |container: &Container| {
        let ports = bench.ports(&container.id).await;
        ports.len() == 2 && ports.iter().all(|(_, whose)| *whose == host.name)
    };
    let both = async || {
        let on = async |bridge| bench.switch.ports(bridge).await.unwrap_or_default().len();
        (on("br-int").await, on("br-ext").await) == (1, 1) && twice(&container).await
    };
    eventually("each bridge has its port", both).await;
    let sorted = async || bench.ports(&container.id).await.into_iter().collect::<BTreeSet<_>>();
    let before = sorted().await;
    // On any change of another container, both handlers check the ports.
    let other = host.run(bare()).await?;
    eventually("the other is connected twice", async || twice(&other).await).await;
    other.remove().await?;
    eventually("no port of the other is left", both).await;
    assert_eq!(sorted().await, before, "what fits is left alone");
    assert_eq!(agent.cli(&["problems"]).await?, "no problems\n");

    std::fs::remove_file(second)?;
    bench.connected(host, &container).await;
    assert!(bench.switch.ports("br-ext").await?.is_empty());
    drop(agent);
    // A file removed while no agent runs leaves nothing behind either.
    std::fs::rename(bench.folder.path().join("ovs.ini"), bench.folder.path().join("third.ini"))?;
    let _agent = bench.agent(host).start().await?;
    container.remove().await?;
    bench.empty(host).await;
    Ok(())
}

#[tokio::test]
async fn an_agent_that_is_killed_in_the_middle_of_it_leaves_nothing_that_the_next_does_not_mend() -> TestResult
{
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let bench = Bench::on(host).await?;
    let mut agent = bench.agent(host).start().await?;
    for delay in [20, 60, 100, 140, 180, 240] {
        let container = host.run(bare()).await?;
        tokio::time::sleep(Duration::from_millis(delay)).await;
        agent.kill9();
        agent.ended_within(Duration::from_secs(5)).await?;
        agent = bench.agent(host).start().await?;
        bench.connected(host, &container).await;
        container.remove().await?;
        bench.empty(host).await;
    }
    Ok(())
}
