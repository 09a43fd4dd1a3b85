//! The program: its commands, its API, its signals, its settings.

use std::time::Duration;

use longshore_testkit::{Agent, AgentError, ContainerSpec, Lab, TestResult, eventually};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::engines::{answered_by, served_by};

fn server(name: &str) -> ContainerSpec {
    ContainerSpec::server().label("longshore.http.80.host", name)
}

#[tokio::test]
async fn each_command_prints_a_table_for_people_and_json_for_programs() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let agent = Agent::on(host).start().await?;
    let web = host.run(server("p.test")).await?;
    served_by(&agent, "p.test", &[&web.name]).await;
    let routes = agent.cli(&["routes"]).await?;
    assert!(routes.starts_with("FRONTEND   REQUEST   STRIP   CONTAINER"), "{routes}");
    assert!(routes.contains("http:80    p.test/") && routes.contains(&web.name), "{routes}");
    let json: serde_json::Value = serde_json::from_str(&agent.cli(&["routes", "--json"]).await?)?;
    assert_eq!(json, agent.api("/v1/routes").await?);
    assert_eq!(json[0]["upstreams"][0]["container"], web.id);
    let containers = agent.cli(&["containers"]).await?;
    assert!(containers.starts_with("CONTAINER ID") && containers.contains(&web.id[..12]), "{containers}");
    let json: serde_json::Value = serde_json::from_str(&agent.cli(&["containers", "--json"]).await?)?;
    assert_eq!(json[0]["state"], "running");
    assert_eq!(agent.cli(&["problems"]).await?, "no problems\n");
    Ok(())
}

#[tokio::test]
async fn events_are_followed_across_a_restart_of_the_agent() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let agent = Agent::on(host).start().await?;
    let data = tempfile::tempdir()?;
    let log = data.path().join("events");
    let mut events = host.command(env!("CARGO_BIN_EXE_longshore"));
    let _events = events
        .args(["events", "--follow"])
        .stdout(std::fs::File::create(&log)?)
        .kill_on_drop(true)
        .spawn()?;
    let shown = |part: &str| std::fs::read_to_string(&log).is_ok_and(|log| log.contains(part));
    // Events before the connection opens are not shown, so wait for one first.
    let first = host.run(server("first.test")).await?;
    eventually("an event is shown", async || {
        let _ = first.pause().await;
        let _ = first.unpause().await;
        shown(&format!("container pause {}", first.name))
    })
    .await;
    drop(agent);
    let _agent = Agent::on(host).start().await?;
    eventually("events are shown again", async || {
        let _ = first.pause().await;
        let _ = first.unpause().await;
        shown("events were missed") && shown("route http:80 first.test/")
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn a_container_is_inspected_by_its_name_or_the_beginning_of_its_id() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let agent = Agent::on(host).start().await?;
    let web = host.run(server("p.test").named("web")).await?;
    served_by(&agent, "p.test", &[&web.name]).await;
    for name in ["web", &web.id[..8]] {
        let shown: serde_json::Value =
            serde_json::from_str(&agent.cli(&["container", "inspect", name]).await?)?;
        assert_eq!(shown[0]["Id"], web.id, "{name}");
        assert_eq!(shown[0]["Config"]["Labels"]["longshore.http.80.host"], "p.test");
    }
    let names = agent.cli(&["container", "ls", "--format", "{{ name }} {{ state }}"]).await?;
    assert_eq!(names, "web running\n");
    assert_eq!(agent.cli(&["route", "ls", "-q"]).await?, "http:80 p.test/\n");
    Ok(())
}

#[tokio::test]
async fn explain_names_the_container_and_the_reason_and_ends_with_a_code_that_means_it() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let agent = Agent::on(host).start().await?;
    let web = host.run(server("e.test").label("longshore.http.80.prefix", "api")).await?;
    served_by(&agent, "none.test", &[]).await;
    answered_by(host, "e.test", "/api", &web.name).await;
    let told = agent.cli(&["explain", "route", "e.test/api/x"]).await?;
    assert!(told.contains("routed") && told.contains(&web.name) && told.contains("100%"), "{told}");
    let refused = agent.cli(&["explain", "route", "e.test/other"]).await;
    let Err(AgentError::Cli { output, .. }) = refused else { panic!("{refused:?}") };
    assert!(output.contains("404") && output.contains("does not cover /other"), "{output}");
    web.stop(1).await?;
    eventually("the reason is that it exited", async || {
        let told = agent.cli(&["explain", "route", "e.test/api"]).await;
        matches!(told, Err(AgentError::Cli { output, .. }) if output.contains("is exited"))
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn a_request_is_explained_however_it_is_written() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let agent = Agent::on(host).start().await?;
    let web = host.run(server("x.test").label("longshore.http.80.listen", "8080")).await?;
    eventually("the container answers", async || {
        let answer = host.get("http://127.0.0.1:8080/").host("x.test").send().await;
        answer.is_ok_and(|answer| answer.name() == Some(web.name.as_str()))
    })
    .await;
    for (target, frontend, verdict) in [
        ("x.test:8080/a?b=c", "http:8080", "routed"),
        ("http://x.test:8080/a", "http:8080", "routed"),
        ("x.test/a", "http:80", "404"),
        ("https://x.test/a", "http:443", "404"),
        ("[::1]/x", "http:80", "404"),
        ("[::1]:8080/x", "http:8080", "404"),
    ] {
        let told = match agent.cli(&["route", "explain", target]).await {
            Ok(told) => told,
            Err(AgentError::Cli { output, .. }) => output,
            Err(error) => return Err(error.into()),
        };
        assert!(told.starts_with(&format!("{target} at {frontend}: {verdict}")), "{told}");
    }
    Ok(())
}

#[tokio::test]
async fn the_api_documents_itself_and_answers_no_stranger() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let agent = Agent::on(host).start().await?;
    let document = agent.api("/openapi.json").await?;
    for path in [
        "/v1/containers",
        "/v1/routes",
        "/v1/problems",
        "/v1/events",
        "/v1/explain/route",
        "/healthz",
        "/readyz",
        "/metrics",
    ] {
        assert!(document["paths"][path]["get"].is_object(), "{path}");
    }
    let page = agent.get("/docs/").await?;
    assert!(page.status == 200 && page.text().contains("swagger-ui"));
    assert!(!page.text().contains("https://"), "nothing is downloaded");
    assert!(agent.metric("longshore_containers").await?.is_some());
    let stranger = agent.request("GET", "/v1/containers").host("evil.example").send().await?;
    assert_eq!(stranger.status, 421);
    let nothing = agent.get("/v1/nothing").await?;
    assert_eq!((nothing.status, nothing.json()?["error"].is_string()), (404, true));
    Ok(())
}

#[tokio::test]
async fn events_are_told_as_they_happen() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let _agent = Agent::on(host).start().await?;
    let (lines, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let reader = host.runtime().spawn(async move {
        let mut stream = tokio::net::TcpStream::connect("127.0.0.1:7051").await?;
        stream.write_all(b"GET /v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n").await?;
        let mut text = BufReader::new(stream).lines();
        while let Some(line) = text.next_line().await? {
            if lines.send(line).is_err() {
                break;
            }
        }
        Ok::<_, std::io::Error>(())
    });
    while !heard.recv().await.ok_or("the stream ended")?.is_empty() {}
    let web = host.run(server("s.test")).await?;
    let mut seen = Vec::new();
    let wait = async {
        while let Some(line) = heard.recv().await {
            seen.push(line);
            let text = seen.join("\n");
            let told = |part: &str| text.contains(part);
            if told("\"action\":\"start\"") && told("event: route") && told(&web.name) && told("s.test") {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.map_err(|_| "the start was not told")?;
    reader.abort();
    Ok(())
}

#[tokio::test]
async fn a_second_sigterm_ends_the_agent_at_once() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let mut agent = Agent::on(host).start().await?;
    let web = host.run(server("g.test")).await?;
    answered_by(host, "g.test", "/", &web.name).await;
    let slow = tokio::spawn(host.get("http://127.0.0.1:80/slow?ms=8000").host("g.test").send());
    tokio::time::sleep(Duration::from_millis(300)).await;
    agent.sigterm();
    tokio::time::sleep(Duration::from_millis(300)).await;
    agent.sigterm();
    assert!(!agent.ended_within(Duration::from_secs(2)).await?.success());
    slow.abort();
    Ok(())
}

#[tokio::test]
async fn sighup_reads_the_settings_again() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("longshore.toml");
    std::fs::write(&file, "resync = \"1m\"\ngrace = \"5s\"\nresinc = 1\n")?;
    let config = file.to_string_lossy().into_owned();
    let agent = Agent::on(host).flags(&["--config", &config]).start().await?;
    assert!(
        agent
            .log()
            .contains("longshore.toml:3: unknown setting \"resinc\" is ignored (did you mean \"resync\"?)"),
        "{}",
        agent.log()
    );
    let problems = agent.cli(&["problems"]).await?;
    assert!(problems.contains("resinc"), "{problems}");
    std::fs::write(&file, "resync = \"2m\"\ngrace = \"6s\"\n")?;
    agent.sighup();
    eventually("what needs a restart is a problem", async || {
        agent.cli(&["problems"]).await.is_ok_and(|p| p.contains("grace") && p.contains("restart the agent"))
    })
    .await;
    std::fs::write(&file, "resync = \"never\"\nlisten = \"nowhere\"\n")?;
    agent.sighup();
    eventually("every mistake is a problem with its line", async || {
        let problems = agent.cli(&["problems"]).await.unwrap_or_default();
        problems.contains("longshore.toml:1") && problems.contains("longshore.toml:2")
    })
    .await;
    let log = agent.log();
    assert!(log.contains("longshore.toml:1: resync") && log.contains("longshore.toml:2: listen"), "{log}");
    assert_eq!(agent.get("/readyz").await?.status, 200, "the old settings stay");
    Ok(())
}

#[tokio::test]
async fn wrong_settings_are_refused_with_every_mistake() -> TestResult {
    let run = async |arguments: &[&str]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_longshore"));
        let output = command.args(arguments).output().await?;
        Ok::<_, std::io::Error>((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    let (code, told) =
        run(&["run", "--listen", "0.0.0.0:7051", "--resync", "1ms", "--node", "no name"]).await?;
    assert_eq!(code, Some(2));
    for part in [
        "--listen: 0.0.0.0:7051 is reachable by others",
        "--resync: 1ms is too short",
        "--node: invalid host name",
    ] {
        assert!(told.contains(part), "{part:?} not in {told}");
    }
    let (code, told) = run(&["routes", "--agent", "127.0.0.1:1"]).await?;
    assert_eq!(code, Some(3), "{told}");
    assert!(told.contains("no agent answers at 127.0.0.1:1"), "{told}");
    Ok(())
}

#[tokio::test]
async fn a_token_is_wanted_where_one_is_set() -> TestResult {
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let dir = tempfile::tempdir()?;
    let token = dir.path().join("token");
    std::fs::write(&token, "0123456789abcdef-secret\n")?;
    let path = token.to_string_lossy().into_owned();
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644))?;
    let refused = Agent::on(host).flags(&["--token-file", &path]).start().await;
    let Err(AgentError::NotReady(_, log)) = refused else { panic!("a token that others can read was taken") };
    assert!(log.contains("others can read it"), "{log}");
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600))?;
    let agent = Agent::on(host).flags(&["--token-file", &path]).start().await?;
    assert_eq!(agent.get("/v1/containers").await?.status, 401);
    assert!(agent.cli(&["routes", "--token-file", &path]).await.is_ok());
    assert!(!agent.log().contains("0123456789abcdef"), "the token is in no log");
    Ok(())
}

#[tokio::test]
async fn a_dry_run_shows_the_plan_and_changes_nothing() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let web = host.run(server("dry.test")).await?;
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data").display().to_string();
    let run = async |flags: &[&str]| {
        let mut command = host.command(env!("CARGO_BIN_EXE_longshore"));
        command.args(["run", "--docker", &host.docker_host(), "--data-dir", &data]).args(flags);
        let output = command.output().await?;
        Ok::<_, std::io::Error>((output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned()))
    };
    let (code, plan) = run(&["--dry-run"]).await?;
    assert_eq!(code, Some(0));
    assert!(plan.contains("dry.test/") && plan.contains(&web.name), "{plan}");
    let (code, plan) = run(&["--dry-run", "--balancer", "haproxy"]).await?;
    assert_eq!(code, Some(0));
    assert!(plan.contains("frontend ") && plan.contains("dry.test"), "{plan}");
    assert!(!dir.path().join("data/haproxy").exists());
    let (code, _) = run(&["--once"]).await?;
    assert_eq!(code, Some(0));
    let away = dir.path().join("none.sock").display().to_string();
    let mut command = host.command(env!("CARGO_BIN_EXE_longshore"));
    command.args(["run", "--once", "--docker", &format!("unix://{away}"), "--data-dir", &data]);
    let output = command.output().await?;
    assert_eq!(output.status.code(), Some(1), "a single pass does not wait for Docker");
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not responding"));
    Ok(())
}

#[tokio::test]
async fn two_agents_do_not_share_a_data_directory() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let agent = Agent::on(host).start().await?;
    let second = Agent::on(host).data_dir(agent.data_dir()).listen("127.0.0.1:7052").start().await;
    let Err(AgentError::NotReady(_, log)) = second else { panic!("the second one runs") };
    assert!(log.contains("in use by another agent"), "{log}");
    Ok(())
}

#[tokio::test]
async fn a_program_that_does_not_run_replaces_no_agent() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    for balancer in ["built-in", "none"] {
        let folder = tempfile::tempdir()?;
        let program = folder.path().join("longshore");
        std::fs::copy(env!("CARGO_BIN_EXE_longshore"), &program)?;
        let agent = Agent::on(host).binary(&program).balancer(balancer).start().await?;
        std::fs::remove_file(&program)?;
        std::fs::write(&program, "#!/bin/sh\nexit 3\n")?;
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        agent.sigusr2();
        eventually("the agent says so", async || agent.log().contains("this agent keeps running")).await;
        let problems = agent.api("/v1/problems").await?;
        assert_eq!(problems.as_array().map(Vec::len), Some(0), "{problems}");
    }
    Ok(())
}
