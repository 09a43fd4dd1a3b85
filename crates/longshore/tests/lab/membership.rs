//! Who is in a cluster, by whose order, and what strangers on its network can do.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use longshore_testkit::{
    Agent, AgentBuilder, ContainerSpec, Host, Lab, TestError, TestResult, eventually, never_within,
};
use serde_json::{Value, json};

use crate::cluster::{hosts, member, secret, sees};

/// Starts members on all hosts of a lab, which join through the first, and waits until they have found together.
async fn members(lab: &Lab, secret: &Path, dir: &Path) -> Result<Vec<Agent>, TestError> {
    let mut agents = Vec::new();
    for (index, host) in lab.hosts().iter().enumerate() {
        let builder = member(host, secret, (index > 0).then(|| lab.host(0)));
        agents.push(builder.data_dir(dir.join(&host.name)).start().await?);
    }
    for agent in &agents {
        sees(agent, &alive(lab)).await;
    }
    Ok(agents)
}

fn alive(lab: &Lab) -> String {
    let mut shown: Vec<String> = lab.hosts().iter().map(|host| format!("{}=alive", host.name)).collect();
    shown.sort();
    shown.join(" ")
}

/// A member that has to find the others by itself.
fn told_nothing(host: &Host, secret: &Path) -> AgentBuilder {
    Agent::on(host).flags(&[
        "--cluster".to_owned(),
        "lab".to_owned(),
        "--advertise".to_owned(),
        host.address.to_string(),
        "--cluster-secret-file".to_owned(),
        secret.display().to_string(),
    ])
}

#[tokio::test]
async fn hosts_on_one_network_find_each_other_by_multicast_and_no_stranger() -> TestResult {
    let lab = Lab::up(4).await?;
    let dir = tempfile::tempdir()?;
    let ours = secret(lab.host(0), dir.path(), "ours").await?;
    let theirs = secret(lab.host(0), dir.path(), "theirs").await?;
    let begin = Instant::now();
    let mut agents = Vec::new();
    for host in &lab.hosts()[..3] {
        agents.push(told_nothing(host, &ours).start().await?);
    }
    let stranger = told_nothing(lab.host(3), &theirs).start().await?;
    let mut shown: Vec<String> = lab.hosts()[..3].iter().map(|host| format!("{}=alive", host.name)).collect();
    shown.sort();
    for agent in &agents {
        sees(agent, &shown.join(" ")).await;
    }
    println!("found by multicast {:.2} s after the first start", begin.elapsed().as_secs_f64());
    never_within(Duration::from_secs(2), "a stranger is met", async || {
        let of = async |agent: &Agent| hosts(agent).await.unwrap_or_default();
        of(&stranger).await.contains(&lab.host(0).name) || of(&agents[0]).await.contains(&lab.host(3).name)
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn a_host_that_leaves_has_left_at_once_and_runs_on_alone_until_it_is_started_again() -> TestResult {
    let lab = Lab::up(3).await?;
    let dir = tempfile::tempdir()?;
    let secret = secret(lab.host(0), dir.path(), "secret").await?;
    let mut agents = members(&lab, &secret, dir.path()).await?;
    let [one, two, three] = [lab.host(0), lab.host(1), lab.host(2)];
    let data = dir.path().join(&three.name);
    let web = three.run(ContainerSpec::busybox(&["sleep", "1000"]).stop_timeout(1)).await?;
    let count = async |agent: &Agent| {
        agent.api("/v1/containers").await.ok().and_then(|all| all.as_array().map(Vec::len))
    };
    for agent in &agents {
        eventually("all know the container", async || count(agent).await == Some(1)).await;
    }

    let refused = agents[2].cli(&["host", "leave"]).await;
    assert!(
        refused.is_err_and(|error| error.to_string().contains("--yes")),
        "nobody confirms without a terminal"
    );
    let told = agents[2].cli(&["host", "leave", "--yes"]).await?;
    assert_eq!(told, format!("{} left the cluster\n", three.name));
    // At once, and not after the patience for a restart.
    let begin = Instant::now();
    let left = format!("{}=alive {}=alive {}=left", one.name, two.name, three.name);
    sees(&agents[0], &left).await;
    sees(&agents[1], &left).await;
    println!("left: {:.2} s", begin.elapsed().as_secs_f64());
    eventually("its containers are gone", async || count(&agents[0]).await == Some(0)).await;
    sees(&agents[2], &format!("{}=alive", three.name)).await;
    assert_eq!(count(&agents[2]).await, Some(1), "it keeps its own container");
    let problems = agents[2].api("/v1/problems").await?.to_string();
    assert!(problems.contains("left the cluster lab"), "{problems}");

    // Another host can be taken out from here; by its id as well as by its name.
    let all = agents[0].api("/v1/cluster").await?;
    let id = all["hosts"].as_array().into_iter().flatten().find(|host| host["name"] == two.name.as_str());
    let id = id.and_then(|host| host["id"].as_str()).unwrap_or_default().to_owned();
    agents[0].cli(&["host", "leave", "--yes", &id]).await?;
    sees(&agents[0], &format!("{}=alive {}=left {}=left", one.name, two.name, three.name)).await;
    sees(&agents[1], &format!("{}=alive", two.name)).await;
    let unknown = agents[0].cli(&["host", "leave", "--yes", "nobody"]).await;
    assert!(unknown.is_err_and(|error| error.to_string().contains("nobody")));

    agents[2].sigterm();
    agents[2].ended_within(Duration::from_secs(10)).await?;
    agents[2] = member(three, &secret, None).data_dir(&data).start().await?;
    let back = format!("{}=alive {}=left {}=alive", one.name, two.name, three.name);
    sees(&agents[0], &back).await;
    sees(&agents[2], &back).await;
    drop(web);
    Ok(())
}

#[tokio::test]
async fn labels_are_changed_on_any_host_from_any_host_and_outlive_the_agent() -> TestResult {
    let lab = Lab::up(2).await?;
    let dir = tempfile::tempdir()?;
    let secret = secret(lab.host(0), dir.path(), "secret").await?;
    let [one, two] = [lab.host(0), lab.host(1)];
    let data = dir.path().join("data");
    let labelled = || {
        let builder = member(two, &secret, Some(one)).data_dir(&data);
        builder.flags(&["--host-label", "zone=a", "--host-label", "disk=ssd"])
    };
    let first = member(one, &secret, None).start().await?;
    let mut second = labelled().start().await?;
    let both = format!("{}=alive {}=alive", one.name, two.name);
    sees(&first, &both).await;
    sees(&second, &both).await;
    let labels = async |agent: &Agent| {
        let hosts = agent.api("/v1/hosts").await.unwrap_or_default();
        let mut hosts = hosts.as_array().cloned().unwrap_or_default().into_iter();
        hosts
            .find(|host| host["name"] == two.name.as_str())
            .map_or(Value::Null, |host| host["labels"].clone())
    };
    let all_see = async |expected: Value, agents: &[&Agent]| {
        for agent in agents {
            eventually(&format!("it sees {expected}"), async || labels(agent).await == expected).await;
        }
    };
    all_see(json!({ "zone": "a", "disk": "ssd" }), &[&first, &second]).await;
    let printed = first.cli(&["host", "label", &two.name, "zone=b", "disk-", "rack=7"]).await?;
    assert_eq!(printed, "rack=7\nzone=b\n");
    all_see(json!({ "zone": "b", "rack": "7" }), &[&first, &second]).await;
    second.cli(&["host", "label", &two.name, "rack=8"]).await?;
    all_see(json!({ "zone": "b", "rack": "8" }), &[&first, &second]).await;
    let refused = first.cli(&["host", "label", &two.name, "a b=c"]).await;
    assert!(refused.is_err_and(|error| error.to_string().contains("invalid label")));

    second.sigterm();
    second.ended_within(Duration::from_secs(10)).await?;
    let second = labelled().start().await?;
    sees(&first, &both).await;
    all_see(json!({ "zone": "b", "rack": "8" }), &[&first, &second]).await;
    Ok(())
}

/// Returns the fingerprints that each host has, as the agent gathers them.
async fn secrets(agent: &Agent) -> Vec<Vec<String>> {
    let cluster = agent.api("/v1/cluster").await.unwrap_or_default();
    let of = |host: &Value| {
        let all = host["secrets"].as_array().cloned().unwrap_or_default();
        all.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect()
    };
    cluster["hosts"].as_array().into_iter().flatten().map(of).collect()
}

#[tokio::test]
async fn the_secret_is_rotated_under_traffic_without_an_alarm_and_the_old_one_opens_nothing() -> TestResult {
    let lab = Lab::up(3).await?;
    let dir = tempfile::tempdir()?;
    let [one, two, three] = [lab.host(0), lab.host(1), lab.host(2)];
    let old = secret(one, dir.path(), "secret").await?;
    // Two hosts keep the secret in their data directories, and the third has a file of its operator's.
    let mut agents = Vec::new();
    for host in [one, two] {
        let data = dir.path().join(&host.name);
        std::fs::create_dir(&data)?;
        std::fs::copy(&old, data.join("cluster-secret"))?;
        let mut flags = vec!["--cluster", "lab", "--multicast", "false", "--advertise"];
        let (own, seed) = (host.address.to_string(), one.address.to_string());
        flags.extend([own.as_str(), "--join", seed.as_str()]);
        agents.push(Agent::on(host).data_dir(&data).flags(&flags).start().await?);
    }
    let data = dir.path().join(&three.name);
    agents.push(member(three, &old, Some(one)).data_dir(&data).start().await?);
    for agent in &agents {
        sees(agent, &alive(&lab)).await;
    }
    let before = secrets(&agents[1]).await;
    assert_eq!(before.len(), 3);
    assert_eq!(before.iter().collect::<BTreeSet<_>>().len(), 1, "{before:?}");

    // Facts flow while the secret changes: containers come on one host and are known to the others.
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let (alarms, flowed) = tokio::join!(
        async {
            let mut alarms = Vec::new();
            while !*stopped.borrow_and_update() {
                for agent in &agents {
                    let seen = hosts(agent).await.unwrap_or_default();
                    if seen != alive(&lab) {
                        alarms.push(seen);
                    }
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            alarms
        },
        async {
            let mut made = Vec::new();
            let mut results = Vec::new();
            for round in 0..3 {
                made.push(three.run(ContainerSpec::busybox(&["sleep", "1000"]).stop_timeout(1)).await?);
                let begin = Instant::now();
                results.push(agents[1].cli(&["cluster", "rotate"]).await?);
                println!("rotation {round}: {:.2} s", begin.elapsed().as_secs_f64());
                for agent in &agents {
                    eventually("facts flow on", async || {
                        let all = agent.api("/v1/containers").await.unwrap_or_default();
                        all.as_array().is_some_and(|all| all.len() == made.len())
                    })
                    .await;
                }
            }
            stop.send_replace(true);
            Ok::<_, TestError>((made, results))
        }
    );
    let (_made, printed) = flowed?;
    assert_eq!(alarms, Vec::<String>::new(), "nobody was suspected");
    assert!(printed[2].contains(&format!("{} still has the old secret", old.display())), "{}", printed[2]);
    let after = secrets(&agents[0]).await;
    assert_eq!((after.iter().collect::<BTreeSet<_>>().len(), after[0].len()), (1, 1), "{after:?}");
    assert_ne!(after[0], before[0]);
    let problems = agents[2].api("/v1/problems").await?.to_string();
    assert!(problems.contains("this file still has the old one"), "{problems}");
    let logs: String = agents.iter().map(Agent::log).collect();
    assert!(!logs.contains("longshore-secret-1-"), "a secret is in a log");

    // A host that was away has the old secret only, and stays outside.
    drop(agents.pop());
    eventually("it is suspected", async || hosts(&agents[0]).await.is_ok_and(|seen| seen != alive(&lab)))
        .await;
    let late = member(three, &old, Some(one)).start().await?;
    never_within(Duration::from_secs(2), "the old secret opens the cluster", async || {
        hosts(&agents[0]).await.unwrap_or_default().contains(&format!("{}=alive", three.name))
    })
    .await;
    drop(late);

    // The rotated secret survives the restart, also where the operator's file is the old one.
    let back = member(three, &old, Some(one)).data_dir(&data).start().await?;
    sees(&back, &alive(&lab)).await;
    // The operator follows the hint.
    std::fs::copy(data.join("cluster-secret-rotated"), &old)?;
    back.sighup();
    eventually("the problem is solved", async || {
        back.api("/v1/problems").await.is_ok_and(|all| !all.to_string().contains("still has the old one"))
    })
    .await;
    eventually("nothing is kept beside it", async || !data.join("cluster-secret-rotated").exists()).await;
    sees(&back, &alive(&lab)).await;

    // Without a host, a rotation does not begin unless that is said.
    drop(back);
    eventually("it is gone", async || {
        hosts(&agents[0]).await.is_ok_and(|seen| seen.contains(&format!("{}=dead", three.name)))
    })
    .await;
    let refused = agents[0].cli(&["cluster", "rotate"]).await;
    assert!(refused.is_err_and(|error| {
        let text = error.to_string();
        text.contains(&three.name) && text.contains("--leave-out-absent")
    }));
    let printed = agents[0].cli(&["cluster", "rotate", "--leave-out-absent"]).await?;
    assert!(printed.contains(&format!("{}: left out", three.name)), "{printed}");
    Ok(())
}

/// Listens to the members' datagrams on the wire, and sends them again: as they are, damaged, cut short, from other
/// addresses. Prints how many it sent, and how many answers it got.
const ATTACKER: &str = r#"
import os, random, select, socket, sys, time
own, targets = sys.argv[1], sys.argv[2:]
raw = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
raw.settimeout(0.1)
seen, end = [], time.time() + 2
while time.time() < end:
    try: packet = raw.recv(65536)
    except socket.timeout: continue
    head = (packet[0] & 15) * 4
    if packet[9] == 17 and packet[head + 2:head + 4] == (7052).to_bytes(2, "big"):
        seen.append(packet[head + 8:])
strange = [os.urandom(random.randrange(0, 1500)) for _ in range(200)] + [b"", b"\0" * 79, b"\xff" * 1452]
damaged = []
for datagram in seen:
    flipped = bytearray(datagram)
    flipped[random.randrange(len(flipped))] ^= 1 << random.randrange(8)
    damaged += [bytes(flipped), datagram[:-1], datagram + b"\0", datagram[:random.randrange(len(datagram))]]
attack = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
attack.bind((own, 0))
sent = 0
for datagram in strange + damaged + seen * 3:
    for target in targets:
        try: attack.sendto(datagram, (target, 7052))
        except OSError: continue
        sent += 1
    if sent % 50 == 0: time.sleep(0.002)
answers = 0
while select.select([attack], [], [], 1)[0]:
    attack.recv(65536)
    answers += 1
print(len(seen), sent, answers)
"#;

#[tokio::test]
async fn forged_replayed_and_damaged_datagrams_are_unanswered_and_harmless() -> TestResult {
    let lab = Lab::up(3).await?;
    let dir = tempfile::tempdir()?;
    let [one, two, three] = [lab.host(0), lab.host(1), lab.host(2)];
    let ours = secret(one, dir.path(), "secret").await?;
    let first = member(one, &ours, None).start().await?;
    let second = member(two, &ours, Some(one)).start().await?;
    // Another cluster with the same secret, on the attacker's host, which is told where to join.
    let (own, seed) = (three.address.to_string(), one.address.to_string());
    let file = ours.display().to_string();
    let neighbour =
        ["--cluster", "another", "--advertise", &own, "--join", &seed, "--cluster-secret-file", &file];
    let neighbour = Agent::on(three).flags(&neighbour);
    let both = format!("{}=alive {}=alive", one.name, two.name);
    for agent in [&first, &second] {
        sees(agent, &both).await;
    }
    let program = dir.path().join("attack.py");
    std::fs::write(&program, ATTACKER)?;
    let attack = async |from: &Host, own: &Host| {
        let mut command = from.command("python3");
        command.arg(&program).arg(own.address.to_string());
        let output = command.args([one.address.to_string(), two.address.to_string()]).output().await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let numbers: Vec<usize> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        Ok::<_, TestError>((numbers, errors))
    };
    // On a member's own wire it hears all that the member hears and says.
    let (alarms, attacked) = tokio::join!(
        async {
            let mut alarms = Vec::new();
            for _ in 0..200 {
                for agent in [&first, &second] {
                    let seen = hosts(agent).await.unwrap_or_default();
                    if seen != both {
                        alarms.push(seen);
                    }
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            alarms
        },
        attack(two, two)
    );
    let (numbers, errors) = attacked?;
    println!("heard, sent, answered: {numbers:?}");
    assert!(numbers.len() == 3 && numbers[0] > 20 && numbers[1] > 500, "{numbers:?} {errors}");
    assert_eq!(numbers[2], 0, "a stranger is answered");
    assert_eq!(alarms, Vec::<String>::new());
    let neighbour = neighbour.start().await?;
    never_within(Duration::from_secs(2), "two clusters see each other", async || {
        let of = async |agent: &Agent| hosts(agent).await.unwrap_or_default();
        of(&first).await != both || of(&neighbour).await != format!("{}=alive", three.name)
    })
    .await;
    Ok(())
}
