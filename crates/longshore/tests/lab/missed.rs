//! Events that handlers receive about the time when the agent or Docker was away.

use std::collections::BTreeMap;
use std::time::Duration;

use longshore_testkit::{
    ContainerSpec, EngineOptions, Lab, TestResult, eventually, eventually_within, never_within,
};

use crate::handlers::{Folder, RECORD};

#[tokio::test]
async fn a_killed_agent_loses_no_event_and_marks_repeats() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let folder = Folder::new()?;
    let data = tempfile::tempdir()?;
    let script = format!("{RECORD}; if [ ! -e go ]; then sleep 1000; fi");
    folder.handler("slow", "start,die,destroy", "timeout=30s\nparallel=2", &script)?;
    let mut agent = folder.agent(host).data_dir(data.path()).start().await?;
    let mut containers = Vec::new();
    for number in 0..4 {
        containers
            .push(host.run(ContainerSpec::busybox(&["sleep", "1000"]).named(format!("c{number}"))).await?);
    }
    eventually("two are under way, and two wait", async || {
        let handlers = agent.api("/v1/handlers").await.unwrap_or_default();
        (&handlers[0]["pending"], &handlers[0]["running"]) == (&4.into(), &2.into())
    })
    .await;
    agent.kill9();
    agent.ended_within(Duration::from_secs(5)).await?;
    // Changes while nobody watches: an end, a removal, and a container that comes and goes.
    let gone = containers.pop().ok_or("no container")?;
    gone.remove().await?;
    containers[0].kill().await?;
    let short = host.run(ContainerSpec::busybox(&["true"]).named("short")).await?;
    eventually("the short one ended", async || short.runs().await.is_ok_and(|runs| !runs)).await;
    short.remove().await?;
    std::fs::write(folder.path().join("go"), "")?;
    let _agent = folder.agent(host).data_dir(data.path()).start().await?;
    let twice_started = ["c0", "c1", "c2", "c3"];
    eventually_within(Duration::from_secs(20), "all is told", async || {
        let of = |name: &str| folder.events_of("slow", name);
        twice_started.iter().all(|name| of(name).contains(&"start".to_owned()))
            && of("c0").ends_with(&["die".to_owned()])
            && of("c3").ends_with(&["die".to_owned(), "destroy".to_owned()])
            && of("short") == ["start", "die", "destroy"]
    })
    .await;
    let mut by_id: BTreeMap<String, Vec<bool>> = BTreeMap::new();
    for heard in folder.heard("slow") {
        by_id.entry(heard.id).or_default().push(heard.redelivered);
    }
    for (id, marks) in &by_id {
        assert!(marks.iter().skip(1).all(|mark| *mark), "{id} was repeated without a mark: {marks:?}");
    }
    assert_eq!(
        by_id.values().filter(|marks| marks.len() > 1).count(),
        2,
        "only what was under way is repeated"
    );
    Ok(())
}

#[tokio::test]
async fn what_docker_forgot_is_made_up_from_the_difference() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let folder = Folder::new()?;
    let data = tempfile::tempdir()?;
    folder.recorder("all", "create,start,die,destroy", "")?;
    let mut agent = folder.agent(host).data_dir(data.path()).start().await?;
    let mut noise = host.create(ContainerSpec::busybox(&["true"]).named("noise")).await?;
    let ends = host.run(ContainerSpec::busybox(&["sleep", "1000"]).named("ends")).await?;
    let goes = host.run(ContainerSpec::busybox(&["sleep", "1000"]).named("goes")).await?;
    folder.hears("all", "goes", &["create", "start"]).await;
    agent.sigterm();
    agent.ended_within(Duration::from_secs(10)).await?;
    ends.kill().await?;
    goes.remove().await?;
    let _comes = host.run(ContainerSpec::busybox(&["sleep", "1000"]).named("comes")).await?;
    // Docker remembers 256 events.
    for turn in 0..260 {
        noise.rename(&format!("noise-{turn}")).await?;
    }
    let _agent = folder.agent(host).data_dir(data.path()).start().await?;
    folder.hears("all", "ends", &["create", "start", "die"]).await;
    folder.hears("all", "goes", &["create", "start", "die", "destroy"]).await;
    folder.hears("all", "comes", &["create", "start"]).await;
    let made_up = folder.heard("all").into_iter().filter(|heard| heard.made_up);
    let made_up: Vec<String> = made_up.map(|heard| format!("{} {}", heard.container, heard.event)).collect();
    for event in ["ends die", "goes die", "goes destroy", "comes create", "comes start"] {
        assert!(made_up.iter().any(|it| it == event), "{event} is not in {made_up:?}");
    }
    Ok(())
}

#[tokio::test]
async fn containers_that_die_with_docker_get_their_end_and_their_next_start_once() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.private_host(&EngineOptions::default()).await?;
    let folder = Folder::new()?;
    folder.recorder("all", "start,die", "")?;
    let _agent = folder.agent(&host).start().await?;
    let _gone = host.run(ContainerSpec::busybox(&["sleep", "1000"]).named("gone")).await?;
    let _back = host.run(ContainerSpec::busybox(&["sleep", "1000"]).named("back").restarts()).await?;
    folder.hears("all", "back", &["start"]).await;
    host.kill_dockerd().await?;
    host.start_dockerd().await?;
    folder.hears("all", "gone", &["start", "die"]).await;
    folder.hears("all", "back", &["start", "die", "start"]).await;
    let heard_more = async || folder.heard("all").len() > 5;
    never_within(Duration::from_secs(2), "an event is told twice", heard_more).await;
    Ok(())
}

#[tokio::test]
async fn what_docker_forgot_is_made_up_while_a_health_check_goes_on() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let folder = Folder::new()?;
    let data = tempfile::tempdir()?;
    folder.recorder("all", "start,die", "")?;
    // A handler that wants executions also makes Docker report the health check's.
    folder.recorder("execs", "exec_create,exec_start,exec_die", "")?;
    let mut agent = folder.agent(host).data_dir(data.path()).start().await?;
    let mut noise = host.create(ContainerSpec::busybox(&["true"]).named("noise")).await?;
    let checked = ContainerSpec::server().named("checked").health_check(Duration::from_millis(100));
    let checked = host.run(checked).await?;
    folder.hears("all", "checked", &["start"]).await;
    agent.sigterm();
    agent.ended_within(Duration::from_secs(10)).await?;
    checked.restart(0).await?;
    for turn in 0..260 {
        noise.rename(&format!("noise-{turn}")).await?;
    }
    let _agent = folder.agent(host).data_dir(data.path()).start().await?;
    folder.hears("all", "checked", &["start", "die", "start"]).await;
    Ok(())
}
