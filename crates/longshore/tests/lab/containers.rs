//! Hosts, containers and images through the API and the command line, beside Docker's own answers.

use std::process::Stdio;
use std::time::Duration;

use longshore_testkit::{Agent, Container, ContainerSpec, Host, Lab, TestError, TestResult, eventually};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;

fn busy() -> ContainerSpec {
    ContainerSpec::busybox(&["sleep", "1000"]).stop_timeout(1)
}

/// Returns a container that runs this shell line.
fn shell(line: &str) -> ContainerSpec {
    ContainerSpec::busybox(&["sh", "-c", line]).stop_timeout(1)
}

/// Waits until the agent knows a container in this state.
async fn known(agent: &Agent, container: &Container, state: &str) {
    let path = format!("/v1/containers?name={}", container.name);
    eventually(&format!("the agent knows that it is {state}"), async || {
        agent.api(&path).await.is_ok_and(|found| found[0]["state"] == state)
    })
    .await;
}

/// Sends a request without a body; returns its status and JSON.
async fn send(agent: &Agent, method: &str, path: &str) -> Result<(u16, Value), TestError> {
    let answer = agent.request(method, path).timeout(Duration::from_secs(40)).send().await?;
    Ok((answer.status, answer.json()?))
}

/// Returns the program inside the host's namespace.
fn longshore(host: &Host, arguments: &[&str]) -> Command {
    let mut command = host.command(env!("CARGO_BIN_EXE_longshore"));
    command.args(arguments);
    command
}

/// Runs the program with this input; returns its exit code, its output and its errors.
async fn run(
    host: &Host,
    arguments: &[&str],
    input: &str,
) -> Result<(Option<i32>, String, String), TestError> {
    let mut command = longshore(host, arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).await?;
    }
    let ended = tokio::time::timeout(Duration::from_secs(30), child.wait_with_output()).await??;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((ended.status.code(), text(ended.stdout), text(ended.stderr)))
}

#[tokio::test]
async fn orders_do_what_dockers_own_do_and_errors_keep_dockers_status() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let agent = Agent::on(host).start().await?;
    let mut web = host.run(busy()).await?;
    known(&agent, &web, "running").await;
    let order = async |verb: &str| send(&agent, "POST", &format!("/v1/containers/{}/{verb}", web.name)).await;
    let state = async || Ok::<_, TestError>(web.inspect().await?.state.unwrap_or_default());

    let (status, changed) = order("start").await?;
    assert_eq!((status, &changed["changed"]), (200, &false.into()), "{changed}");
    assert_eq!((&changed["id"], &changed["host"]), (&web.id.as_str().into(), &host.name.as_str().into()));
    assert_eq!(order("pause").await?.1["changed"], true);
    assert_eq!(state().await?.paused, Some(true));
    let (status, refused) = order("pause").await?;
    assert!(status == 409 && refused["error"].as_str().is_some_and(|e| e.contains("paused")), "{refused}");
    assert_eq!(order("unpause").await?.0, 200);
    let before = state().await?.started_at;
    assert_eq!(order("restart?timeout=0").await?.0, 200);
    assert_ne!(state().await?.started_at, before);
    assert_eq!(order("stop?timeout=0").await?.1["changed"], true);
    assert_eq!(state().await?.running, Some(false));
    assert_eq!(order("stop?timeout=0").await?.1["changed"], false);
    let (status, refused) = order("kill?signal=TERM").await?;
    assert!(
        status == 409 && refused["error"].as_str().is_some_and(|e| e.contains("not running")),
        "{refused}"
    );
    assert_eq!(order("start").await?.0, 200);
    assert_eq!(order("kill").await?.0, 200);
    assert_eq!(state().await?.exit_code, Some(137));
    assert_eq!(order("start").await?.0, 200);
    assert_eq!(order("stop?timeout=soon").await?.0, 400);

    let path = format!("/v1/containers/{}", &web.id[..20]);
    let (status, refused) = send(&agent, "DELETE", &path).await?;
    assert!(status == 409 && refused["error"].as_str().is_some_and(|e| e.contains("running")), "{refused}");
    assert_eq!(send(&agent, "DELETE", &format!("{path}?force=true&volumes=1")).await?.0, 200);
    assert!(web.inspect().await.is_err());
    web.keep();
    let (status, gone) = send(&agent, "POST", "/v1/containers/never-there/start").await?;
    assert_eq!((status, &gone["error"]), (404, &"no such container: never-there".into()));
    Ok(())
}

#[tokio::test]
async fn containers_are_listed_by_filters_and_in_pages() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let agent = Agent::on(host).start().await?;
    let mut all = Vec::new();
    for number in 0..3 {
        all.push(host.run(busy().label("tier", if number == 0 { "back" } else { "front" })).await?);
    }
    all[2].stop(0).await?;
    known(&agent, &all[2], "exited").await;
    let names = |found: &Value| -> Vec<String> {
        let listed = found.as_array().into_iter().flatten();
        listed.filter_map(|container| Some(container["name"].as_str()?.to_owned())).collect()
    };
    let of = |wanted: &[usize]| {
        let mut wanted: Vec<_> =
            wanted.iter().map(|number| (&all[*number].id, all[*number].name.clone())).collect();
        wanted.sort();
        wanted.into_iter().map(|(_, name)| name).collect::<Vec<_>>()
    };
    for (query, wanted) in [
        ("", of(&[0, 1, 2])),
        ("label=tier%3Dfront", of(&[1, 2])),
        ("label=tier&state=running", of(&[0, 1])),
        (&format!("host={}&state=exited&state=dead", host.name), of(&[2])),
        (&format!("name={}", all[1].name), of(&[1])),
        ("host=elsewhere", of(&[])),
    ] {
        let found = agent.api(&format!("/v1/containers?{query}")).await?;
        assert_eq!(names(&found), wanted, "{query}");
    }
    let path = format!("/v1/containers?name={}", all[2].name);
    // The event of its end has no exit code: the inspection that follows has.
    eventually("its exit code is known", async || {
        agent.api(&path).await.is_ok_and(|found| found[0]["exit_code"] == 137)
    })
    .await;
    let found = agent.api(&path).await?;
    assert_eq!(found[0]["host"], host.name.as_str(), "{found}");
    assert!(found[0]["started_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{found}");

    let (mut path, mut paged) = ("/v1/containers?label=tier&limit=2".to_owned(), Vec::new());
    loop {
        let answer = agent.get(&path).await?;
        paged.push(names(&answer.json()?));
        let Some(link) = answer.header("link") else { break };
        let (next, rel) = link.split_once('>').ok_or("no link")?;
        assert_eq!(rel, "; rel=\"next\"");
        path = next.trim_start_matches('<').to_owned();
    }
    assert_eq!(paged.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(paged.concat(), of(&[0, 1, 2]));
    assert_eq!(send(&agent, "GET", "/v1/containers?cursor=x").await?.0, 400);

    let rows = agent.cli(&["ps", "-q", "--filter", "label=tier=front", "--filter", "state=running"]).await?;
    assert_eq!(rows.trim(), &all[1].id[..12]);
    Ok(())
}

#[tokio::test]
async fn an_inspection_is_dockers_own() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let agent = Agent::on(host).start().await?;
    let web = host.run(busy()).await?;
    known(&agent, &web, "running").await;
    let socket = host.docker_socket.display().to_string();
    let version = agent.api("/v1/status").await?;
    assert_eq!(version["docker"]["connected"], true);
    let asked = async |path: &str| {
        let url = format!("http://docker{path}");
        let answer = host.exec_in_namespace(&["curl", "-s", "--unix-socket", &socket, &url]).await?;
        Ok::<Value, TestError>(serde_json::from_str(&answer)?)
    };
    let of_docker = asked(&format!("/containers/{}/json", web.id)).await?;
    let details = agent.api(&format!("/v1/containers/{}", web.name)).await?;
    assert_eq!(details["inspection"], of_docker);
    assert_eq!((&details["name"], &details["state"]), (&web.name.as_str().into(), &"running".into()));
    let printed: Value = serde_json::from_str(&agent.cli(&["container", "inspect", &web.id[..12]]).await?)?;
    assert_eq!(printed[0], of_docker);
    let missing = agent.cli(&["container", "inspect", "never-there"]).await;
    assert!(missing.is_err_and(|error| error.to_string().contains("no such container: never-there")));

    let images = agent.api("/v1/images").await?;
    assert_eq!(images[0]["host"], host.name.as_str());
    // Docker lists images of the same age in any order.
    let sorted = |list: &Value| {
        let mut images = list.as_array().cloned().unwrap_or_default();
        images.sort_by_key(|image| image["Id"].to_string());
        images
    };
    let of_docker = sorted(&asked("/images/json").await?);
    assert!(!of_docker.is_empty());
    assert_eq!(sorted(&images[0]["images"]), of_docker);
    let table = agent.cli(&["image", "ls"]).await?;
    assert!(table.starts_with("HOST") && table.contains("busybox"), "{table}");
    Ok(())
}

#[tokio::test]
async fn a_log_is_shown_with_its_errors_apart_and_followed_as_it_grows() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let agent = Agent::on(host).start().await?;
    let line =
        "echo one; echo two; echo oops >&2; while [ ! -e /go ]; do sleep 0.1; done; echo three; sleep 1000";
    let web = host.run(shell(line)).await?;
    known(&agent, &web, "running").await;
    eventually("it has written", async || web.logs().await.is_ok_and(|log| log.contains("oops"))).await;
    let path = format!("/v1/containers/{}/logs", web.name);
    let whole = agent.get(&path).await?;
    assert_eq!(whole.header("content-type"), Some("text/plain; charset=utf-8"));
    let mut lines: Vec<String> = whole.text().lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["one", "oops", "two"]);
    assert_eq!(agent.get(&format!("{path}?stderr=false")).await?.text(), "one\ntwo\n");
    assert_eq!(agent.get(&format!("{path}?tail=1")).await?.text().lines().count(), 1);
    let stamped = agent.get(&format!("{path}?timestamps=true&stdout=false")).await?.text();
    assert!(stamped.starts_with("20") && stamped.ends_with(" oops\n"), "{stamped}");
    assert_eq!(agent.get(&format!("{path}?since=2100-01-01T00:00:00Z")).await?.text(), "");
    assert_eq!(agent.get(&format!("{path}?since=soon")).await?.status, 400);
    let framed = agent.request("GET", &path).header("accept", "application/vnd.docker.multiplexed-stream");
    let framed = framed.send().await?;
    assert!(framed.text().contains("\u{2}\0\0\0\0\0\0\u{5}oops\n"), "{:?}", framed.text());

    let (code, out, err) = run(host, &["logs", &web.name, "--since", "10m"], "").await?;
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "one\ntwo\n", "oops\n"));

    let mut follow = longshore(host, &["container", "logs", "--follow", "--tail", "0", &web.name]);
    let mut follow = follow.stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(follow.stdout.take().ok_or("no output")?).lines();
    // What is written before the stream begins is not shown with `--tail 0`.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (code, ..) = run(host, &["container", "exec", &web.name, "busybox", "touch", "/go"], "").await?;
    assert_eq!(code, Some(0));
    let next = tokio::time::timeout(Duration::from_secs(10), lines.next_line()).await??;
    assert_eq!(next.as_deref(), Some("three"));
    web.kill().await?;
    let ended = tokio::time::timeout(Duration::from_secs(10), follow.wait()).await??;
    assert!(ended.success(), "the log ends with the container");
    Ok(())
}

#[tokio::test]
async fn a_long_log_passes_through_without_being_gathered() -> TestResult {
    const BYTES: usize = 160 << 20;
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let agent = Agent::on(host).start().await?;
    let web =
        host.run(shell(&format!("busybox yes $(busybox seq -s , 1000) | busybox head -c {BYTES}"))).await?;
    known(&agent, &web, "exited").await;
    let peak = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid()?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().strip_suffix(" kB")?.parse::<usize>().ok()
    };
    let before = peak().ok_or("no peak")?;
    let path = format!("/v1/containers/{}/logs", web.name);
    let read = host.inside(async move {
        let mut stream = TcpStream::connect("127.0.0.1:7051").await?;
        let request = format!("GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let (mut total, mut piece) = (0, vec![0; 1 << 16]);
        loop {
            match stream.read(&mut piece).await? {
                0 => return Ok::<_, std::io::Error>(total),
                length => total += length,
            }
            if total < 1 << 20 {
                // A slow reader: what it does not take must wait in Docker.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    let read = read.await??;
    assert!(read >= BYTES, "{read}");
    let grown = peak().ok_or("no peak")?.saturating_sub(before);
    assert!(grown < 48 << 10, "the agent grew by {grown} KiB");
    Ok(())
}

#[tokio::test]
async fn a_command_inside_a_container_has_its_input_its_outputs_and_its_exit_code() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let agent = Agent::on(host).start().await?;
    let web = host.run(busy()).await?;
    known(&agent, &web, "running").await;
    let name = web.name.as_str();
    let exec = async |arguments: &[&str], input: &str| {
        run(host, &[&["container", "exec"], arguments].concat(), input).await
    };
    let (code, out, err) = exec(&[name, "sh", "-c", "echo out; echo err >&2; exit 7"], "").await?;
    assert_eq!((code, out.as_str(), err.as_str()), (Some(7), "out\n", "err\n"));
    let many = "0123456789".repeat(100_000);
    let (code, out, _) = exec(&["-i", name, "busybox", "wc", "-c"], &many).await?;
    assert_eq!((code, out.trim()), (Some(0), "1000000"), "its input has an end");
    let (code, out, _) = exec(&["-i", name, "cat"], &many).await?;
    assert_eq!((code, out.len()), (Some(0), many.len()), "input and output flow at once");
    let (code, out, _) =
        exec(&["-e", "A=b c", "-w", "/bin", name, "sh", "-c", "echo \"$A\"; pwd"], "").await?;
    assert_eq!((code, out.as_str()), (Some(0), "b c\n/bin\n"));
    let (code, out, _) = exec(&["-t", name, "busybox", "tty"], "").await?;
    assert!(code == Some(0) && out.starts_with("/dev/pts/"), "{out}");
    let (code, _, err) = exec(&["-it", name, "sh"], "").await?;
    assert!(code == Some(1) && err.contains("not a terminal"), "{err}");
    assert_eq!(exec(&["-d", name, "busybox", "touch", "/detached"], "").await?.0, Some(0));
    eventually("a detached command runs", async || {
        exec(&[name, "busybox", "test", "-e", "/detached"], "").await.is_ok_and(|(code, ..)| code == Some(0))
    })
    .await;
    let (code, _, err) = exec(&["never-there", "true"], "").await?;
    assert!(code == Some(1) && err.contains("no such container: never-there"), "{err}");
    let (code, ..) = exec(&[name, "/no/such/program"], "").await?;
    assert!(code.is_some_and(|code| code != 0));
    web.pause().await?;
    known(&agent, &web, "paused").await;
    let (code, _, err) = exec(&[name, "true"], "").await?;
    assert!(code == Some(1) && err.contains("paused"), "{err}");
    Ok(())
}

#[tokio::test]
async fn a_terminal_has_the_size_of_the_callers() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let agent = Agent::on(host).start().await?;
    let web = host.run(busy()).await?;
    known(&agent, &web, "running").await;
    // `script` gives the program a terminal of its own.
    let program = env!("CARGO_BIN_EXE_longshore");
    let line = format!(
        "stty rows 33 cols 77; {program} container exec -it {} sh -c 'sleep 1; busybox stty size'",
        web.name
    );
    let output = host.exec_in_namespace(&["script", "-qec", &line, "/dev/null"]).await?;
    assert!(output.contains("33 77"), "{output:?}");
    Ok(())
}

#[tokio::test]
async fn a_page_of_another_site_opens_no_command() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let agent = Agent::on(host).start().await?;
    let web = host.run(busy()).await?;
    known(&agent, &web, "running").await;
    let path = format!("/v1/containers/{}/exec?cmd=busybox&cmd=touch&cmd=/seized", web.name);
    let shake = |origin: &str| {
        let request =
            agent.request("GET", &path).header("connection", "upgrade").header("upgrade", "websocket");
        let request = request.header("sec-websocket-version", "13").header("origin", origin);
        request.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
    };
    let answer = shake("http://evil.example").send().await?;
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert_eq!(agent.get(&path).await?.status, 400, "a plain request runs nothing");
    let (code, ..) =
        run(host, &["container", "exec", &web.name, "busybox", "test", "-e", "/seized"], "").await?;
    assert_eq!(code, Some(1));
    Ok(())
}

#[tokio::test]
async fn stats_are_dockers_samples_and_a_table() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let agent = Agent::on(host).start().await?;
    let web = host.run(busy()).await?;
    known(&agent, &web, "running").await;
    let one = agent.get(&format!("/v1/containers/{}/stats?follow=false", web.name)).await?;
    let sample: Value = serde_json::from_str(&one.text())?;
    assert!(sample["memory_stats"]["usage"].is_number(), "{sample}");
    let mut follow = longshore(host, &["container", "stats", "--json", &web.name]);
    let mut follow = follow.stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(follow.stdout.take().ok_or("no output")?).lines();
    for _ in 0..2 {
        let line = tokio::time::timeout(Duration::from_secs(10), lines.next_line()).await??;
        let sample: Value = serde_json::from_str(&line.ok_or("it ended")?)?;
        assert_eq!(sample["name"], format!("/{}", web.name));
    }
    drop(follow);
    let table = agent.cli(&["container", "stats", "--no-stream"]).await?;
    assert!(table.starts_with("CONTAINER ID") && table.contains(&web.id[..12]), "{table}");
    assert!(table.contains("MiB / ") || table.contains("KiB / "), "{table}");
    Ok(())
}

#[tokio::test]
async fn an_image_is_pulled_with_a_result_for_each_host() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let agent = Agent::on(host).start().await?;
    let image = format!("{}/lab/pulled:1", lab.registry());
    let docker = host.docker_host();
    for line in [["tag", "busybox:latest", &image].as_slice(), &["push", "-q", &image], &["rmi", &image]] {
        host.exec_in_namespace(&[&["docker", "-H", &docker], line].concat()).await?;
    }
    eventually("the agent has listed", async || agent.get("/v1/images").await.is_ok_and(|a| a.status == 200))
        .await;
    let pull = async |image: &str| {
        let body = serde_json::json!({ "image": image }).to_string();
        let request = agent.request("POST", "/v1/images/pull").header("content-type", "application/json");
        let answer = request.timeout(Duration::from_secs(60)).body(body).send().await?;
        let lines: Vec<Value> =
            answer.text().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        Ok::<_, TestError>((answer.status, lines))
    };
    let (status, lines) = pull(&image).await?;
    let last = lines.last().ok_or("no lines")?;
    assert!(status == 200 && last["done"] == true && last["error"].is_null(), "{lines:?}");
    assert_eq!(last["host"], host.name.as_str());
    assert!(lines.iter().any(|line| line["progress"]["status"].is_string()), "{lines:?}");
    let listed = agent.cli(&["image", "ls", "--format", "{{ repository }}:{{ tag }}"]).await?;
    assert!(listed.lines().any(|line| line == image), "{listed}");

    let missing = format!("{}/lab/never-there", lab.registry());
    let (status, lines) = pull(&missing).await?;
    let [only] = lines.as_slice() else { return Err(format!("{lines:?}").into()) };
    assert!(status == 200 && only["done"] == true && only["error"].is_string(), "{only}");
    assert_eq!(pull("No Image").await?.0, 400);
    assert_eq!(agent.cli(&["image", "pull", &image]).await?, format!("{}: done\n", host.name));
    let (code, _, err) = run(host, &["image", "pull", &missing], "").await?;
    assert!(code == Some(1) && err.contains(&host.name), "{err}");
    let (code, _, err) = run(host, &["image", "pull", "--host", "elsewhere", &image], "").await?;
    assert!(code == Some(1) && err.contains("no such host: elsewhere"), "{err}");
    Ok(())
}

#[tokio::test]
async fn a_container_is_created_as_docker_would_and_its_image_pulled_if_it_is_missing() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let agent = Agent::on(host).start().await?;
    let image = format!("{}/lab/created:1", lab.registry());
    let docker = host.docker_host();
    for line in [["tag", "busybox:latest", &image].as_slice(), &["push", "-q", &image], &["rmi", &image]] {
        host.exec_in_namespace(&[&["docker", "-H", &docker], line].concat()).await?;
    }
    let create = async |query: &str, image: &str| {
        let body = serde_json::json!({ "Image": image, "Cmd": ["sleep", "1000"], "Labels": { "a": "b" } });
        let request = agent.request("POST", &format!("/v1/containers?{query}"));
        let request = request.header("content-type", "application/json").body(body.to_string());
        let answer = request.timeout(Duration::from_secs(60)).send().await?;
        Ok::<_, TestError>((answer.status, answer.json()?))
    };
    eventually("the agent has listed", async || agent.get("/v1/images").await.is_ok_and(|a| a.status == 200))
        .await;
    let (status, refused) = create("name=made&pull=never", &image).await?;
    assert!(
        status == 404 && refused["error"].as_str().is_some_and(|e| e.contains("No such image")),
        "{refused}"
    );
    let (status, made) = create("name=made", &image).await?;
    assert_eq!((status, &made["host"]), (201, &host.name.as_str().into()), "{made}");
    let (status, refused) = create("name=made", &image).await?;
    assert!(status == 409 && refused["error"].as_str().is_some_and(|e| e.contains("made")), "{refused}");
    assert_eq!(create("name=made&pull=soon", &image).await?.0, 400);
    eventually("the agent knows it", async || {
        let found = agent.api("/v1/containers?name=made").await.unwrap_or_default();
        found[0]["state"] == "created" && found[0]["labels"]["a"] == "b"
    })
    .await;
    assert_eq!(send(&agent, "DELETE", "/v1/containers/made").await?.0, 200);
    Ok(())
}

#[tokio::test]
async fn only_root_and_the_agents_user_reach_docker_without_a_token() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let agent = Agent::on(host).start().await?;
    let web = host.run(busy()).await?;
    known(&agent, &web, "running").await;
    let ask = async |user: &str, method: &str, path: &str| {
        let url = format!("http://127.0.0.1:7051{path}");
        let mut command = host.command("setpriv");
        command.args([
            "--reuid",
            user,
            "--clear-groups",
            "curl",
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
        ]);
        let output = command.args(["-X", method, &url]).output().await?;
        Ok::<_, TestError>(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let path = format!("/v1/containers/{}", web.name);
    assert_eq!(ask("65534", "GET", &path).await?, "403");
    assert_eq!(ask("65534", "POST", &format!("{path}/stop?timeout=0")).await?, "403");
    assert_eq!(ask("65534", "GET", "/v1/containers").await?, "200", "the list tells nothing secret");
    assert!(web.runs().await?);
    assert_eq!(ask("0", "GET", &path).await?, "200");
    Ok(())
}

#[tokio::test]
async fn a_host_tells_what_it_has_and_what_is_in_use() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let agent = Agent::on(host).start().await?;
    let web = host.run(busy()).await?;
    known(&agent, &web, "running").await;
    eventually("its capacity and its load are known", async || {
        let hosts = agent.api("/v1/hosts").await.unwrap_or_default();
        hosts[0]["capacity"]["memory"].is_number() && hosts[0]["load"]["memory"].is_number()
    })
    .await;
    let hosts = agent.api("/v1/hosts").await?;
    let own = &hosts[0];
    assert_eq!((&own["name"], &own["state"]), (&host.name.as_str().into(), &"alive".into()), "{own}");
    assert_eq!((&own["containers"], &own["running"]), (&1.into(), &1.into()), "{own}");
    let (used, all) = (own["load"]["memory"].as_u64(), own["capacity"]["memory"].as_u64());
    assert!(used > Some(0) && used < all, "{own}");
    let cpus = own["capacity"]["cpus"].as_u64().unwrap_or_default();
    assert!(own["load"]["millicpus"].as_u64().is_some_and(|used| used <= cpus * 1000), "{own}");
    assert_eq!(own["version"], env!("CARGO_PKG_VERSION"));
    let table = agent.cli(&["host", "ls"]).await?;
    assert!(table.contains(&host.name) && table.contains("alive"), "{table}");
    Ok(())
}

#[tokio::test]
async fn the_command_line_orders_many_containers_at_once_and_names_those_that_fail() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let agent = Agent::on(host).start().await?;
    let (one, other) = (host.run(busy()).await?, host.run(busy()).await?);
    known(&agent, &one, "running").await;
    known(&agent, &other, "running").await;
    let (code, out, err) =
        run(host, &["container", "stop", "-t", "0", &one.name, "never-there", &other.name], "").await?;
    assert_eq!((code, out), (Some(1), format!("{}\n{}\n", one.name, other.name)));
    assert!(err.contains("no such container: never-there"), "{err}");
    assert!(!one.runs().await? && !other.runs().await?);
    let json = agent.cli(&["container", "start", "--json", &one.name]).await?;
    let json: Value = serde_json::from_str(&json)?;
    assert_eq!((&json[0]["name"], &json[0]["changed"]), (&one.name.as_str().into(), &true.into()));
    agent.cli(&["container", "pause", &one.name]).await?;
    agent.cli(&["container", "unpause", &one.name]).await?;
    agent.cli(&["container", "restart", "-t", "0", &one.name]).await?;
    agent.cli(&["container", "kill", "--signal", "KILL", &one.name]).await?;
    assert_eq!(one.inspect().await?.state.and_then(|state| state.exit_code), Some(137));
    agent.cli(&["container", "rm", "--force", &one.name, &other.name]).await?;
    assert!(one.inspect().await.is_err() && other.inspect().await.is_err());
    Ok(())
}

#[tokio::test]
async fn a_docker_that_is_down_is_named_and_one_that_is_back_is_used() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let agent = Agent::on(host).start().await?;
    let web = host.create(busy()).await?;
    known(&agent, &web, "created").await;
    host.stop_dockerd().await?;
    let path = format!("/v1/containers/{}", web.name);
    let (status, told) = send(&agent, "GET", &path).await?;
    let error = told["error"].as_str().unwrap_or_default();
    assert!(status == 503 && error.contains(&host.name) && error.contains("not responding"), "{told}");
    let images = agent.api("/v1/images").await?;
    assert!(images[0]["error"].as_str().is_some_and(|error| error.contains(&host.name)), "{images}");
    host.start_dockerd().await?;
    assert_eq!(send(&agent, "GET", &path).await?.0, 200);
    Ok(())
}
