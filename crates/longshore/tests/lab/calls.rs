//! Any host answers for all: calls to the containers of other hosts.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use longshore_testkit::{
    Agent, Container, ContainerSpec, Host, Lab, TestError, TestResult, eventually, eventually_within,
};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::cluster::{member, secret, sees};

/// Three hosts that know each other.
struct Trio<'a> {
    hosts: [&'a Host; 3],
    agents: [Agent; 3],
}

impl<'a> Trio<'a> {
    async fn start(lab: &'a Lab, dir: &Path) -> Result<Self, TestError> {
        let hosts = [lab.host(0), lab.host(1), lab.host(2)];
        let secret = secret(hosts[0], dir, "secret").await?;
        let first = member(hosts[0], &secret, None).start().await?;
        let second = member(hosts[1], &secret, Some(hosts[0])).start().await?;
        let third = member(hosts[2], &secret, Some(hosts[0])).start().await?;
        let trio = Self { hosts, agents: [first, second, third] };
        let all = hosts.map(|host| format!("{}=alive", host.name)).join(" ");
        for agent in &trio.agents {
            sees(agent, &all).await;
            eventually("it knows all hosts' containers", async || {
                let listed = agent.get("/v1/containers").await;
                listed.is_ok_and(|listed| listed.header("longshore-silent-hosts").is_none())
            })
            .await;
        }
        Ok(trio)
    }

    fn name(&self, host: usize) -> &str {
        &self.hosts[host].name
    }

    /// Waits until all agents know a container.
    async fn know(&self, container: &Container) {
        let path = format!("/v1/containers?name={}", container.name);
        for agent in &self.agents {
            eventually("all know the container", async || {
                agent.api(&path).await.is_ok_and(|found| found[0]["state"] == "running")
            })
            .await;
        }
    }
}

fn busy() -> ContainerSpec {
    ContainerSpec::busybox(&["sleep", "1000"]).stop_timeout(1)
}

fn shell(line: &str) -> ContainerSpec {
    ContainerSpec::busybox(&["sh", "-c", line]).stop_timeout(1)
}

async fn send(agent: &Agent, method: &str, path: &str) -> Result<(u16, Value), TestError> {
    let answer = agent.request(method, path).timeout(Duration::from_secs(40)).send().await?;
    Ok((answer.status, answer.json()?))
}

async fn ask(agent: &Agent, request: Value) -> Result<(u16, Value), TestError> {
    let answer = agent.request("POST", "/").body(request.to_string()).timeout(Duration::from_secs(40));
    let answer = answer.send().await?;
    Ok((answer.status, answer.json()?))
}

fn longshore(host: &Host, arguments: &[&str]) -> Command {
    let mut command = host.command(env!("CARGO_BIN_EXE_longshore"));
    command.args(arguments);
    command
}

/// Runs the program; returns its exit code, its output and its errors.
async fn run(host: &Host, arguments: &[&str]) -> Result<(Option<i32>, String, String), TestError> {
    let ended = longshore(host, arguments).output();
    let ended = tokio::time::timeout(Duration::from_secs(30), ended).await??;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((ended.status.code(), text(ended.stdout), text(ended.stderr)))
}

/// Runs the program in the background; returns it with the lines of its output.
fn follow(host: &Host, arguments: &[&str]) -> Result<(Child, Lines<BufReader<ChildStdout>>), TestError> {
    let mut command = longshore(host, arguments);
    // Open for as long as the program is: a command that reads its input must not end by itself.
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
    Ok((child, lines))
}

async fn line(lines: &mut Lines<BufReader<ChildStdout>>) -> Result<String, TestError> {
    let line = tokio::time::timeout(Duration::from_secs(20), lines.next_line()).await??;
    Ok(line.ok_or("no further line")?)
}

#[tokio::test]
async fn a_container_of_another_host_takes_orders_and_shows_logs_stats_and_sessions() -> TestResult {
    let lab = Lab::up(3).await?;
    let dir = tempfile::tempdir()?;
    let trio = Trio::start(&lab, dir.path()).await?;
    let (asked, host) = (&trio.agents[0], trio.hosts[0]);
    let script =
        "trap 'exit 7' TERM; n=0; while :; do n=$((n+1)); echo out $n; echo err $n >&2; sleep 0.2; done";
    let mut web = trio.hosts[2].run(shell(script)).await?;
    trio.know(&web).await;

    // By its name, the beginning of its id, and its id; with Docker's own errors.
    let inspected = asked.api(&format!("/v1/containers/{}", &web.id[..12])).await?;
    assert_eq!((&inspected["host"], &inspected["inspection"]["Id"]), (&json!(trio.name(2)), &json!(web.id)));
    let order =
        async |id: &str, verb: &str| send(asked, "POST", &format!("/v1/containers/{id}/{verb}")).await;
    let (status, changed) = order(&web.name, "start").await?;
    assert_eq!((status, &changed["changed"], &changed["host"]), (200, &json!(false), &json!(trio.name(2))));
    assert_eq!(order(&web.id, "pause").await?.1["changed"], true);
    assert_eq!(web.inspect().await?.state.and_then(|state| state.paused), Some(true));
    let (status, refused) = order(&web.name, "pause").await?;
    assert!(status == 409 && refused["error"].as_str().is_some_and(|e| e.contains("paused")), "{refused}");
    assert_eq!(order(&web.name, "unpause").await?.0, 200);

    // Logs as they are written, both streams apart.
    let (mut child, mut lines) = follow(host, &["logs", "-f", "--tail", "1", &web.name])?;
    let first = line(&mut lines).await?;
    assert!(first.starts_with("out "), "{first}");
    assert_ne!(line(&mut lines).await?, first);
    child.start_kill()?;
    let mut errors = String::new();
    let mut stderr = child.stderr.take().ok_or("no errors")?;
    stderr.read_to_string(&mut errors).await?;
    assert!(errors.contains("err ") && !errors.contains("out "), "{errors}");

    let (code, table, errors) = run(host, &["container", "stats", "--no-stream"]).await?;
    assert!(code == Some(0) && table.contains(&web.name), "{table}{errors}");

    // A command: its input, output and exit code.
    let mut command = longshore(host, &["container", "exec", "-i", &web.name, "sh", "-c", "cat; exit 9"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    child.stdin.take().ok_or("no input")?.write_all(b"over the wire\n").await?;
    let ended = tokio::time::timeout(Duration::from_secs(20), child.wait_with_output()).await??;
    assert_eq!((ended.status.code(), ended.stdout.as_slice()), (Some(9), &b"over the wire\n"[..]));
    // Many bytes, both ways, unchanged.
    let line = format!(
        "head -c 3000000 /dev/urandom | tee /tmp/sent | {} container exec -i {} sh -c md5sum; md5sum < /tmp/sent",
        env!("CARGO_BIN_EXE_longshore"),
        web.name
    );
    let ended = host
        .command("sh")
        .args(["-c", &line.replace("/tmp/sent", &dir.path().join("sent").to_string_lossy())])
        .output()
        .await?;
    let sums = String::from_utf8_lossy(&ended.stdout).into_owned();
    let sums: Vec<&str> = sums.lines().collect();
    assert!(sums.len() == 2 && sums[0] == sums[1], "{sums:?}");

    let (code, out, errors) = run(host, &["container", "stop", &web.name]).await?;
    assert_eq!((code, out.trim()), (Some(0), web.name.as_str()), "{errors}");
    assert_eq!(web.inspect().await?.state.and_then(|state| state.exit_code), Some(7));
    let (code, _, errors) = run(host, &["container", "rm", "--host", trio.name(1), &web.name]).await?;
    assert!(code == Some(1) && errors.contains("no such container"), "{errors}");
    assert_eq!(run(host, &["container", "rm", "--host", trio.name(2), &web.name]).await?.0, Some(0));
    assert!(web.inspect().await.is_err());
    web.keep();
    Ok(())
}

#[tokio::test]
async fn a_container_is_created_where_it_is_wanted_and_images_are_those_of_all_hosts() -> TestResult {
    let lab = Lab::up(3).await?;
    let dir = tempfile::tempdir()?;
    let trio = Trio::start(&lab, dir.path()).await?;
    let asked = &trio.agents[0];
    let path = format!("/v1/containers?name=far&host={}", trio.name(1));
    let body = json!({ "Image": "busybox", "Cmd": ["sleep", "100"] }).to_string();
    let created =
        asked.request("POST", &path).body(body).header("content-type", "application/json").send().await?;
    let created: Value = created.json()?;
    assert_eq!(created["host"], trio.name(1), "{created}");
    let id = created["id"].as_str().unwrap_or_default();
    let shown = trio.hosts[1].docker().inspect_container(id, None).await?;
    assert_eq!(shown.name.as_deref(), Some("/far"));
    let images = asked.api("/v1/images").await?;
    let mut of: Vec<_> = images.as_array().into_iter().flatten().collect();
    assert!(of.iter().all(|host| host["images"].is_array()), "{images}");
    of.sort_by_key(|host| host["host"].as_str());
    let mut names: Vec<&str> = of.iter().filter_map(|host| host["host"].as_str()).collect();
    names.dedup();
    assert_eq!(names, [trio.name(0), trio.name(1), trio.name(2)]);
    let pull = json!({ "image": "127.0.0.1:1/none" }).to_string();
    let pulled =
        asked.request("POST", "/v1/images/pull").body(pull).header("content-type", "application/json");
    let pulled = pulled.timeout(Duration::from_secs(40)).send().await?;
    let text = String::from_utf8_lossy(&pulled.body).into_owned();
    for host in trio.hosts {
        let ended = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap_or_default();
            line["host"] == host.name.as_str() && line["done"] == true && line["error"].is_string()
        };
        assert!(text.lines().any(ended), "{} in {text}", host.name);
    }
    Ok(())
}

#[tokio::test]
async fn a_name_that_two_hosts_have_is_refused_with_both_and_the_host_decides() -> TestResult {
    let lab = Lab::up(3).await?;
    let dir = tempfile::tempdir()?;
    let trio = Trio::start(&lab, dir.path()).await?;
    let twins =
        [trio.hosts[1].run(busy().named("twin")).await?, trio.hosts[2].run(busy().named("twin")).await?];
    let asked = &trio.agents[0];
    eventually("both are known", async || {
        let found = asked.api("/v1/containers?name=twin").await;
        found.is_ok_and(|found| found.as_array().is_some_and(|found| found.len() == 2))
    })
    .await;
    let (status, refused) = send(asked, "POST", "/v1/containers/twin/stop").await?;
    let text = refused["error"].as_str().unwrap_or_default();
    assert_eq!(status, 409, "{text}");
    for (number, twin) in [(1, &twins[0]), (2, &twins[1])] {
        assert!(text.contains(trio.name(number)) && text.contains(&twin.id[..12]), "{text}");
    }
    let (status, refused) = ask(asked, json!({ "action": "stop-container", "id": "twin" })).await?;
    let text = refused["error"].as_str().unwrap_or_default();
    assert!(status == 409 && text.contains(trio.name(1)) && text.contains(trio.name(2)), "{refused}");
    let path = format!("/v1/containers/twin/stop?timeout=0&host={}", trio.name(2));
    assert_eq!(send(asked, "POST", &path).await?.0, 200);
    assert!(twins[0].runs().await? && !twins[1].runs().await?);
    Ok(())
}

#[tokio::test]
async fn a_host_that_is_cut_off_ends_what_was_under_way_and_is_named() -> TestResult {
    let lab = Lab::up(3).await?;
    let dir = tempfile::tempdir()?;
    let trio = Trio::start(&lab, dir.path()).await?;
    let (asked, host, name) = (&trio.agents[0], trio.hosts[0], trio.name(2).to_owned());
    let quiet = trio.hosts[2].run(shell("echo ready; exec sleep 1000")).await?;
    // It takes a minute to stop.
    let slow = trio.hosts[2]
        .run(shell("trap '' TERM; echo ready; while :; do sleep 1; done").stop_timeout(60))
        .await?;
    let near = trio.hosts[1].run(busy()).await?;
    trio.know(&quiet).await;
    trio.know(&slow).await;
    let (mut logs, mut lines) = follow(host, &["logs", "-f", &quiet.name])?;
    assert_eq!(line(&mut lines).await?, "ready");
    let (mut stats, mut samples) = follow(host, &["container", "stats", "--json", &quiet.name])?;
    line(&mut samples).await?;
    let (mut session, mut shell) =
        follow(host, &["container", "exec", &quiet.name, "sh", "-c", "echo in; sleep 1000"])?;
    assert_eq!(line(&mut shell).await?, "in");
    let mut stop = longshore(host, &["container", "stop", &slow.name]);
    let stop = stop.stderr(Stdio::piped()).spawn()?;
    let path = format!("/v1/containers?name={}", slow.name);
    eventually("the order is under way", async || {
        asked.api(&path).await.is_ok_and(|found| found[0]["stopping"] == true)
    })
    .await;

    trio.hosts[2].cut().await?;
    let cut = Instant::now();
    // While nobody knows whether it is dead, it is named beside what is known.
    let named = async || {
        let listed = asked.get("/v1/containers").await.ok()?;
        let silent = listed.header("longshore-silent-hosts")?.to_owned();
        Some((silent, listed.json().ok()?))
    };
    eventually_within(Duration::from_secs(5), "the host is named", async || named().await.is_some()).await;
    let (silent, known): (String, Value) = named().await.ok_or("it is not named any more")?;
    assert!(silent.contains(&format!("\"{name}\";why=")), "{silent}");
    assert!(known.to_string().contains(&quiet.id), "{known}");
    let (code, table, errors) = run(host, &["container", "ls"]).await?;
    // By then it may be known to be dead.
    let is_gone = !table.contains(&quiet.name);
    assert!(
        table.contains(&near.name) && (is_gone || code == Some(5) && errors.contains(&name)),
        "{code:?} {table}{errors}"
    );
    let (status, images) = send(asked, "GET", "/v1/images").await?;
    let of_it = images.as_array().into_iter().flatten().find(|host| host["host"] == name.as_str());
    if let Some(of_it) = of_it {
        assert!(of_it["error"].as_str().is_some_and(|error| error.contains(&name)), "{of_it}");
    }
    assert!(status == 200 && images.to_string().contains("Id"), "{images}");

    let mut text = String::new();
    for child in [&mut logs, &mut stats, &mut session] {
        let ended = tokio::time::timeout(Duration::from_secs(10), child.wait()).await??;
        assert_eq!(ended.code(), Some(1));
        text.clear();
        child.stderr.take().ok_or("no errors")?.read_to_string(&mut text).await?;
        assert!(text.contains(&name) && text.contains("dead"), "{text}");
    }
    let ended = tokio::time::timeout(Duration::from_secs(10), stop.wait_with_output()).await??;
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.code() == Some(1) && errors.contains(&name) && errors.contains("dead"), "{errors}");
    let took = cut.elapsed();
    assert!(took < Duration::from_secs(6), "it took {took:?}");
    let (status, refused) = send(asked, "POST", &format!("/v1/containers?host={name}")).await?;
    assert!(matches!(status, 400 | 415), "a create needs a body: {refused}");
    let (status, images) = send(asked, "GET", &format!("/v1/images?host={name}")).await?;
    assert!(status == 200 && images[0]["error"].as_str().is_some_and(|e| e.contains("dead")), "{images}");

    trio.hosts[2].heal().await?;
    trio.know(&quiet).await;
    let (code, out, errors) = run(host, &["container", "exec", &quiet.name, "echo", "back"]).await?;
    assert_eq!((code, out.as_str()), (Some(0), "back\n"), "{errors}");
    // For a moment, it may be alive and not answer this host.
    eventually_within(Duration::from_secs(5), "the list is whole again", async || {
        run(host, &["ps", "-q"]).await.is_ok_and(|(code, ..)| code == Some(0))
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn a_follower_that_goes_away_ends_its_stream_at_the_far_docker() -> TestResult {
    let lab = Lab::up(3).await?;
    let dir = tempfile::tempdir()?;
    let trio = Trio::start(&lab, dir.path()).await?;
    let quiet = trio.hosts[2].run(busy()).await?;
    trio.know(&quiet).await;
    // Each command inside a container is a process there, which ends when its input does.
    let (mut child, _lines) =
        follow(trio.hosts[0], &["container", "exec", "-i", &quiet.name, "sh", "-c", "cat"])?;
    let cats = async || {
        let top = trio.hosts[2].docker().top_processes(&quiet.id, None).await;
        let processes = top.ok().and_then(|top| top.processes).unwrap_or_default();
        processes.iter().filter(|fields| fields.last().is_some_and(|command| command.contains("cat"))).count()
    };
    eventually("the command runs", async || cats().await == 1).await;
    child.start_kill()?;
    eventually("the command ends", async || cats().await == 0).await;
    Ok(())
}

#[tokio::test]
async fn dockermods_api_spreads_over_all_hosts_and_names_who_does_not_answer() -> TestResult {
    let lab = Lab::up(3).await?;
    let dir = tempfile::tempdir()?;
    let trio = Trio::start(&lab, dir.path()).await?;
    let asked = &trio.agents[1];
    let create = |instances: u32| {
        let body = json!({ "Image": "busybox", "Cmd": ["sleep", "100"], "StopTimeout": 1 });
        json!({ "action": "create-raw-container", "body": body, "instances": instances })
    };
    let count = |reply: &Value, host: &str| {
        let replies = reply["containers"].as_array().into_iter().flatten();
        replies.filter(|one| one["dockerInstance"] == host && one["statusCode"] == 201).count()
    };
    let (status, six) = ask(asked, create(6)).await?;
    assert_eq!(status, 201, "{six}");
    assert_eq!([0, 1, 2].map(|number| count(&six, trio.name(number))), [2, 2, 2], "{six}");

    // By its id, on any host.
    let far =
        six["containers"].as_array().into_iter().flatten().find(|one| one["dockerInstance"] == trio.name(2));
    let id = far.and_then(|far| far["Response"]["Body"]["Id"].as_str()).ok_or("no id")?.to_owned();
    for (action, code) in [("start-container", 204), ("start-container", 304), ("shutdown-container", 204)] {
        let (_, reply) = ask(asked, json!({ "action": action, "id": &id[..12] })).await?;
        assert_eq!(
            (&reply["statusCode"], &reply["dockerInstance"]),
            (&json!(code), &json!(trio.name(2))),
            "{reply}"
        );
    }

    // A host that is unregistered, through any other, takes nothing more and is asked nevertheless.
    let register = |action: &str| json!({ "action": action, "hostname": trio.name(2) });
    let (status, reply) = ask(&trio.agents[0], register("unregister")).await?;
    assert_eq!((status, &reply["dockerInstance"]), (200, &json!(trio.name(2))), "{reply}");
    let (status, four) = ask(&trio.agents[0], create(4)).await?;
    assert_eq!((status, count(&four, trio.name(2))), (201, 0), "{four}");
    let (_, four) = ask(&trio.agents[2], create(4)).await?;
    assert_eq!([0, 1, 2].map(|number| count(&four, trio.name(number))), [2, 2, 0], "{four}");
    let (status, all) = ask(asked, json!({ "action": "list-containers", "all": true })).await?;
    let listed = all["Response"]["Body"].as_array().map(Vec::len);
    assert_eq!((status, listed, &all["errors"]), (200, Some(14), &Value::Null), "{all}");
    assert_eq!(ask(asked, register("register")).await?.0, 200);
    let (_, one) = ask(asked, json!({ "action": "create-container", "image": "busybox" })).await?;
    assert_eq!(one["dockerInstance"], trio.name(2), "it runs and has the fewest: {one}");

    // One that does not answer is named while it has its place, and takes nothing.
    trio.hosts[2].cut().await?;
    let list = json!({ "action": "list-containers", "all": true });
    let begun = Instant::now();
    let (status, all) = ask(asked, list.clone()).await?;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!((status, &all["errors"][0]["dockerInstance"]), (200, &json!(trio.name(2))), "{all}");
    assert_eq!(all["Response"]["Body"].as_array().map(Vec::len), Some(12), "{all}");
    sees(asked, &format!("{}=alive {}=alive {}=dead", trio.name(0), trio.name(1), trio.name(2))).await;
    let (status, three) = ask(asked, create(3)).await?;
    assert_eq!((status, count(&three, trio.name(0)) + count(&three, trio.name(1))), (201, 3), "{three}");
    let (status, all) = ask(asked, list).await?;
    assert_eq!((status, &all["errors"]), (200, &Value::Null), "dead hosts have left: {all}");
    trio.hosts[2].heal().await?;
    Ok(())
}

#[tokio::test]
async fn events_of_all_hosts_are_told_by_any_and_none_is_lost_while_a_host_is_cut_off() -> TestResult {
    let lab = Lab::up(3).await?;
    let dir = tempfile::tempdir()?;
    let trio = Trio::start(&lab, dir.path()).await?;
    let far = trio.name(2);
    let of_it = format!("host={far}");
    let arguments = [
        "events",
        "--json",
        "--after",
        "1-17",
        "--filter",
        &of_it,
        "--filter",
        "event=start",
        "--filter",
        "event=die",
    ];
    let (_child, mut told) = follow(trio.hosts[0], &arguments)?;
    let next = async |told: &mut Lines<BufReader<ChildStdout>>| -> Result<Value, TestError> {
        Ok(serde_json::from_str(&line(told).await?)?)
    };
    // The id of another run: the stream tells so as soon as it begins.
    assert_eq!(next(&mut told).await?["type"], "lagged");
    let first = trio.hosts[2].run(busy()).await?;
    first.kill().await?;
    let near = trio.hosts[1].run(busy()).await?;
    let started = next(&mut told).await?;
    assert_eq!(
        (&started["action"], &started["host"], &started["name"]),
        (&json!("start"), &json!(far), &json!(first.name))
    );
    let died = next(&mut told).await?;
    assert_eq!((&died["action"], &died["container"]), (&json!("die"), &json!(first.id)), "{died}");

    // A reader goes on where another one stopped.
    let id = started["id"].as_str().ok_or("no id")?.to_owned();
    let (_again, mut rest) =
        follow(trio.hosts[0], &["events", "--json", "--after", &id, "--filter", "event=die"])?;
    assert_eq!(next(&mut rest).await?, died);

    // What happens while the host is held for dead is told when it is back.
    trio.hosts[2].cut().await?;
    sees(&trio.agents[0], &format!("{}=alive {}=alive {far}=dead", trio.name(0), trio.name(1))).await;
    let meanwhile = trio.hosts[2].run(busy()).await?;
    trio.hosts[2].heal().await?;
    let late = next(&mut told).await?;
    assert_eq!((&late["action"], &late["container"]), (&json!("start"), &json!(meanwhile.id)), "{late}");

    // An id of which nothing is known any more, and none at all.
    let (_gone, mut lost) = follow(trio.hosts[0], &["events", "--after", "1-17"])?;
    assert_eq!(line(&mut lost).await?, "events were missed");
    let (code, _, errors) = run(trio.hosts[0], &["events", "--after", "yesterday"]).await?;
    assert!(code == Some(1) && errors.contains("event id"), "{errors}");
    drop(near);
    Ok(())
}
