//! The agent itself: reloading settings, its successor, its data directory, and dry runs.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use longshore_testkit::{Agent, AgentError, ContainerSpec, Lab, TestResult, eventually, eventually_within};

use crate::engines::{answered_by, served_by, status};

fn server(name: &str) -> ContainerSpec {
    ContainerSpec::server().label("longshore.http.80.host", name)
}

/// Replaces a program with another, as an upgrade does.
fn replace(program: &Path, text: &str) -> std::io::Result<()> {
    std::fs::remove_file(program)?;
    std::fs::write(program, text)?;
    std::fs::set_permissions(program, Permissions::from_mode(0o755))
}

#[tokio::test]
async fn sighup_changes_the_log_and_names_what_needs_a_restart_as_it_was_written() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("longshore.toml");
    std::fs::write(&file, "log = \"warn\"\nworkers = 1\n")?;
    let agent = Agent::on(host).flags(&["--config".into(), file.clone().into_os_string()]).start().await?;
    assert!(!agent.log().contains("INFO"), "{}", agent.log());
    std::fs::write(&file, "log = \"info\"\nworkers = 2\nbind = [\"127.0.0.1\"]\n")?;
    agent.sighup();
    eventually("the log has another filter", async || agent.log().contains("settings reloaded")).await;
    let problems = agent.api("/v1/problems").await?;
    let mut keys: Vec<&str> =
        problems.as_array().into_iter().flatten().filter_map(|p| p["key"].as_str()).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["bind", "workers"], "{problems}");
    std::fs::write(&file, "log = \"info\"\nworkers = 1\n")?;
    agent.sighup();
    eventually("what is as it was is no problem", async || {
        agent.api("/v1/problems").await.is_ok_and(|problems| problems.as_array().is_some_and(Vec::is_empty))
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn a_data_directory_that_others_can_write_to_is_refused() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let dir = tempfile::tempdir()?;
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o777))?;
    let refused = Agent::on(host).data_dir(dir.path()).start().await;
    let Err(AgentError::NotReady(_, log)) = refused else { panic!("it was taken") };
    assert!(log.contains("every user can write to the data directory") && log.contains("chmod o-w"), "{log}");
    Ok(())
}

#[tokio::test]
async fn an_agent_takes_back_what_a_successor_lost() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("longshore");
    let real = env!("CARGO_BIN_EXE_longshore");
    std::fs::copy(real, &program)?;
    let handlers = folder.path().join("handlers");
    std::fs::create_dir(&handlers)?;
    let told = folder.path().join("told");
    let script = folder.path().join("tell.sh");
    std::fs::write(&script, format!("#!/bin/sh\necho \"$1 $2\" >> {}\n", told.display()))?;
    std::fs::set_permissions(&script, Permissions::from_mode(0o755))?;
    let ini = format!("[handler]\nclass = script\nevents = start\n[params]\nscript = {}\n", script.display());
    std::fs::write(handlers.join("tell.ini"), ini)?;
    let paths = handlers.into_os_string();
    let builder = Agent::on(host).binary(&program).flags(&["--handler-paths".into(), paths]);
    let agent = builder.start().await?;
    let web = host.run(server("b.test")).await?;
    answered_by(host, "b.test", "/", &web.name).await;

    // The successor finds its API's port taken after the handover.
    let _taken = host.inside(async { tokio::net::TcpListener::bind("127.0.0.1:7099").await }).await??;
    replace(&program, &format!("#!/bin/sh\nexec {real} \"$@\" --listen 127.0.0.1:7099\n"))?;
    agent.sigusr2();
    eventually("the agent hands over", async || agent.log().contains("handing over")).await;
    // Meanwhile a third process takes the agent's own.
    let third = host.inside(async {
        loop {
            if let Ok(listener) = tokio::net::TcpListener::bind("127.0.0.1:7051").await {
                return listener;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let third = third.await?;
    eventually_within(Duration::from_secs(60), "the third is in the way", async || {
        agent.log().contains("cannot resume after")
    })
    .await;
    // Nothing but the API waits for it.
    let while_away = host.run(server("away.test")).await?;
    answered_by(host, "away.test", "/", &while_away.name).await;
    eventually("deliveries go on without the API", async || {
        std::fs::read_to_string(&told).is_ok_and(|told| told.lines().count() == 2)
    })
    .await;
    drop(third);
    eventually_within(Duration::from_secs(60), "the agent resumed", async || {
        agent.log().contains("resumed after the successor failed")
    })
    .await;
    assert_eq!(status(host, "b.test", "/").await, 200);
    let late = host.run(server("late.test")).await?;
    answered_by(host, "late.test", "/", &late.name).await;
    served_by(&agent, "late.test", &[&late.name]).await;
    eventually("deliveries go on", async || {
        std::fs::read_to_string(&told).is_ok_and(|told| told.lines().count() == 3)
    })
    .await;

    std::fs::remove_file(&program)?;
    std::fs::copy(real, &program)?;
    agent.sigusr2();
    eventually("a good successor takes over", async || agent.log().matches("agent started").count() == 2)
        .await;
    assert_eq!(status(host, "late.test", "/").await, 200);
    Ok(())
}

#[tokio::test]
async fn an_agent_that_is_stopped_before_its_handover_ends_with_its_successor() -> TestResult {
    let lab = Lab::up(1).await?;
    let folder = tempfile::tempdir()?;
    let (program, started) = (folder.path().join("longshore"), folder.path().join("started"));
    std::fs::copy(env!("CARGO_BIN_EXE_longshore"), &program)?;
    let mut agent = Agent::on(lab.host(0)).binary(&program).start().await?;
    replace(&program, &format!("#!/bin/sh\necho $$ > {}\nexec sleep 1000\n", started.display()))?;
    agent.sigusr2();
    let command = || {
        let successor = std::fs::read_to_string(&started).ok()?;
        std::fs::read_to_string(format!("/proc/{}/cmdline", successor.trim())).ok()
    };
    eventually("a successor starts", async || command().is_some_and(|line| line.contains("sleep"))).await;
    agent.sigterm();
    assert!(agent.ended_within(Duration::from_secs(10)).await?.success());
    eventually("the successor has ended", async || command().is_none_or(|line| line.is_empty())).await;
    Ok(())
}

#[tokio::test]
async fn a_dry_run_shows_everything_that_would_be_done() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let web = host.run(server("dry.test")).await?;
    let own = host.run(server("own.test").label("longshore.http.80.listen", "7051")).await?;
    let dir = tempfile::tempdir()?;
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::create_dir(path("handlers"))?;
    let ini = "[handler]\nclass = script\nevents = start\n[params]\nscript = /bin/true\n";
    std::fs::write(path("handlers/tell.ini"), ini)?;
    let main = host.run(ContainerSpec::busybox(&["sleep", "1000"]).stop_timeout(1)).await?;
    let sidecars =
        "services:\n  busybox: {sidecars: [log]}\nsidecars:\n  log: {image: busybox, command: sleep 1}\n";
    std::fs::write(path("sidecars.yml"), sidecars)?;
    let run = async |sidecars: &str| {
        let mut command = host.command(env!("CARGO_BIN_EXE_longshore"));
        command.args(["run", "--dry-run", "--docker", &host.docker_host(), "--data-dir", &path("data")]);
        command.args(["--node", "h1", "--dns", "127.0.0.1:5399", "--publish-etcd", "http://127.0.0.1:1"]);
        command.args(["--handler-paths", &path("handlers"), "--sidecars", sidecars]);
        let output = command.output().await?;
        let text = [output.stdout, output.stderr].concat();
        Ok::<_, std::io::Error>((output.status.code(), String::from_utf8_lossy(&text).into_owned()))
    };
    let (code, plan) = run(&path("sidecars.yml")).await?;
    assert_eq!(code, Some(0), "{plan}");
    for part in [
        "dry.test/".to_owned(),
        format!("podder_log_{}", &main.id[..12]),
        format!("{}.h1.longshore.internal", web.name),
        format!("/longshore/containers/h1/{}", web.id),
        "tell".to_owned(),
        "port 7051".to_owned(),
    ] {
        assert!(plan.contains(&part), "{part:?} is not in\n{plan}");
    }
    let is_up = |line: &&str| line.contains("own.test") && line.contains("up");
    assert!(!plan.lines().any(|line| is_up(&line)), "the API's port belongs to no frontend:\n{plan}");
    assert!(!Path::new(&path("data")).exists(), "a dry run makes nothing");
    let (_, again) = run(&path("sidecars.yml")).await?;
    assert!(again.contains(&format!("podder_log_{}", &main.id[..12])), "nothing was done:\n{again}");
    let (_, plan) = run(&path("none.yml")).await?;
    assert!(plan.contains("none.yml") && plan.contains("No such file"), "{plan}");
    drop(own);
    Ok(())
}
