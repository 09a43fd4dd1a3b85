//! Tests of the lab itself.

use std::time::Duration;

use longshore_testkit::{ContainerSpec, EngineOptions, Lab, TestResult, eventually};

#[tokio::test]
async fn lab_two_hosts_reach_each_others_published_ports() -> TestResult {
    let lab = Lab::up(2).await?;
    let (one, two) = (lab.host(0), lab.host(1));
    let web = one.run(ContainerSpec::server().publish(8080, 80)).await?;
    let url = format!("http://{}:8080/x?y=1", one.address);
    eventually("the other host reaches it", || async { two.get(&url).send().await.is_ok() }).await;
    let echo = two.get(&url).send().await?.echo()?;
    assert_eq!(echo.name, web.name);
    assert_eq!((echo.path.as_str(), echo.query.as_str()), ("/x", "y=1"));
    Ok(())
}

#[tokio::test]
async fn lab_a_container_answers_inside_its_hosts_namespace_only() -> TestResult {
    let lab = Lab::up(2).await?;
    let web = lab.host(0).run(ContainerSpec::server()).await?;
    let url = format!("http://{}/", web.ip.ok_or("no address")?);
    eventually("its own host reaches it", || async { lab.host(0).get(&url).send().await.is_ok() }).await;
    let elsewhere = lab.host(1).get(&url).timeout(Duration::from_secs(1)).send().await;
    assert!(elsewhere.map_or(true, |answer| answer.name() != Some(web.name.as_str())));
    Ok(())
}

#[tokio::test]
async fn lab_a_health_check_follows_what_the_server_is_told() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let web = host.run(ContainerSpec::server().health_check(Duration::from_millis(500))).await?;
    let says = |wanted: &'static str| {
        let web = &web;
        move || async move { web.health().await.is_ok_and(|health| health == wanted) }
    };
    eventually("it becomes healthy", says("healthy")).await;
    let url = format!("http://{}/health/fail", web.ip.ok_or("no address")?);
    host.post(url).send().await?;
    eventually("it becomes unhealthy", says("unhealthy")).await;
    Ok(())
}

#[tokio::test]
async fn lab_a_stopped_server_finishes_its_open_request() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let web = host.run(ContainerSpec::server()).await?;
    let address = web.ip.ok_or("no address")?;
    eventually("it answers", || async { host.get(format!("http://{address}/")).send().await.is_ok() }).await;
    let slow = tokio::spawn(host.get(format!("http://{address}/slow?ms=700")).send());
    tokio::time::sleep(Duration::from_millis(200)).await;
    web.stop(10).await?;
    assert_eq!(slow.await??.status, 200);
    assert!(!web.runs().await?);
    Ok(())
}

#[tokio::test]
async fn lab_a_paused_container_does_not_answer_until_it_is_thawed() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let web = host.run(ContainerSpec::server()).await?;
    let url = format!("http://{}/", web.ip.ok_or("no address")?);
    eventually("it answers", || async { host.get(&url).send().await.is_ok() }).await;
    web.pause().await?;
    assert!(host.get(&url).timeout(Duration::from_millis(300)).send().await.is_err());
    web.unpause().await?;
    assert_eq!(host.get(&url).send().await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn lab_containers_outlive_a_killed_dockerd_with_live_restore() -> TestResult {
    let lab = Lab::up_with(1, &EngineOptions { live_restore: true }).await?;
    let host = lab.host(0);
    let web = host.run(ContainerSpec::server()).await?;
    let url = format!("http://{}/", web.ip.ok_or("no address")?);
    eventually("it answers", || async { host.get(&url).send().await.is_ok() }).await;
    host.kill_dockerd().await?;
    assert!(host.docker().ping().await.is_err());
    assert_eq!(host.get(&url).send().await?.status, 200);
    host.start_dockerd().await?;
    assert!(web.runs().await?);
    assert_eq!(host.get(&url).send().await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn lab_a_stopped_dockerd_starts_again() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    host.stop_dockerd().await?;
    assert!(host.docker().ping().await.is_err());
    host.start_dockerd().await?;
    assert!(host.docker().ping().await.is_ok());
    Ok(())
}

#[tokio::test]
async fn lab_a_host_that_was_given_back_is_found_empty() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let mut left = host.run(ContainerSpec::server()).await?;
    left.keep();
    host.network("left-over").await?;
    let name = host.name.clone();
    drop(lab);
    // Another test may have taken this very host: then this test gets a different one, also clean.
    let lab = Lab::up(1).await?;
    let all = longshore_testkit::bollard::query_parameters::ListContainersOptions {
        all: true,
        ..Default::default()
    };
    let containers = lab.host(0).docker().list_containers(Some(all)).await?;
    assert!(containers.is_empty(), "{name}: {containers:?}");
    assert_eq!(lab.host(0).docker().list_networks(None).await?.len(), 3);
    Ok(())
}

#[tokio::test]
async fn lab_a_cut_host_is_reached_again_when_it_is_healed() -> TestResult {
    let lab = Lab::up(2).await?;
    let (one, two) = (lab.host(0), lab.host(1));
    let _web = one.run(ContainerSpec::server().publish(8080, 80)).await?;
    let url = format!("http://{}:8080/", one.address);
    let reached = || async { two.get(&url).timeout(Duration::from_millis(500)).send().await.is_ok() };
    eventually("it is reached", reached).await;
    one.cut().await?;
    assert!(!reached().await);
    one.heal().await?;
    eventually("it is reached again", reached).await;
    Ok(())
}

#[tokio::test]
async fn lab_a_relay_passes_dockers_events_until_it_is_cut() -> TestResult {
    use futures_util::StreamExt;
    use longshore_testkit::bollard::{API_DEFAULT_VERSION, Docker};
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let relay = host.docker_relay().await?;
    let docker = Docker::connect_with_unix(&relay.unix(), 5, API_DEFAULT_VERSION)?;
    let mut events = docker.events(None);
    let first = tokio::spawn(async move {
        let first = events.next().await;
        (first, events)
    });
    // The subscription is not acknowledged: opened before the container, it is very likely active first, not
    // certainly.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let _container = host.run(ContainerSpec::server()).await?;
    let (first, mut events) = first.await?;
    assert!(first.is_some_and(|event| event.is_ok()));
    relay.cut();
    while let Some(Ok(_)) = tokio::time::timeout(Duration::from_secs(5), events.next()).await? {}
    assert!(docker.ping().await.is_err());
    relay.heal();
    assert!(docker.ping().await.is_ok());
    Ok(())
}

#[tokio::test]
async fn lab_a_load_counts_its_answers_by_container() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let web = host.run(ContainerSpec::server().named("web")).await?;
    let url = format!("http://{}/", web.ip.ok_or("no address")?);
    eventually("it answers", || async { host.get(&url).send().await.is_ok() }).await;
    let report = host.load(&url).requests(500).clients(4).run().await?;
    assert_eq!((report.succeeded, report.failed()), (500, 0), "{report}");
    assert_eq!(report.by_container.get("web"), Some(&500));
    let report = host.load(format!("{url}status/503")).requests(10).run().await?;
    assert_eq!(report.failures.get("status 503"), Some(&10), "{report}");
    Ok(())
}

#[tokio::test]
async fn lab_a_websocket_is_echoed() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let web = host.run(ContainerSpec::server().named("web")).await?;
    let url = format!("http://{}/ws", web.ip.ok_or("no address")?);
    eventually("it answers", || async { host.get(&url).send().await.is_ok() }).await;
    let mut socket = host.websocket(&url, "a.test").await?;
    assert_eq!(socket.container.as_deref(), Some("web"));
    assert_eq!(socket.echo("hello").await?, "web: hello");
    socket.close().await?;
    Ok(())
}

#[tokio::test]
async fn lab_an_image_pushed_by_one_host_is_pulled_by_another() -> TestResult {
    use futures_util::TryStreamExt;
    use longshore_testkit::bollard::query_parameters::{
        CreateImageOptions, PushImageOptions, TagImageOptions,
    };
    let lab = Lab::up(2).await?;
    let name = format!("{}/lab/busybox", lab.registry());
    let tag = TagImageOptions { repo: Some(name.clone()), tag: Some("1".into()) };
    lab.host(0).docker().tag_image("busybox:latest", Some(tag)).await?;
    let push = PushImageOptions { tag: Some("1".into()), ..Default::default() };
    lab.host(0).docker().push_image(&name, Some(push), None).try_collect::<Vec<_>>().await?;
    let pull =
        CreateImageOptions { from_image: Some(name.clone()), tag: Some("1".into()), ..Default::default() };
    lab.host(1).docker().create_image(Some(pull), None, None).try_collect::<Vec<_>>().await?;
    lab.host(1).docker().inspect_image(&format!("{name}:1")).await?;
    Ok(())
}
