//! Traffic that a change must not hurt.

use std::time::Duration;

use longshore_testkit::{Agent, ContainerSpec, Host, Lab, TestResult, eventually};

use crate::engines::{served_by, with_both_engines};

with_both_engines!(
    five_thousand_requests_through_scale_up_and_down_fail_none,
    a_websocket_lives_through_a_route_change,
    http_2_clients_are_served,
    a_large_body_streams_both_ways,
    an_agent_is_replaced_without_a_failed_request,
    an_agent_that_is_stopped_lets_open_requests_finish_and_takes_no_more,
);

fn server() -> ContainerSpec {
    ContainerSpec::server().label("longshore.http.80.host", "t.test")
}

async fn five_thousand_requests_through_scale_up_and_down_fail_none(
    host: &Host,
    agent: &mut Agent,
) -> TestResult {
    let first = host.run(server()).await?;
    served_by(agent, "t.test", &[&first.name]).await;
    let load = host.load("http://127.0.0.1:80/slow?ms=5").host("t.test").requests(5000).clients(8).start()?;
    load.until_sent(200).await;
    let mut more = Vec::new();
    for _ in 0..3 {
        more.push(host.run(server()).await?);
    }
    let names: Vec<&str> = more.iter().map(|c| c.name.as_str()).chain([first.name.as_str()]).collect();
    served_by(agent, "t.test", &names).await;
    load.until_sent(2000).await;
    first.stop(5).await?;
    more[0].stop(5).await?;
    more[1].kill().await?;
    served_by(agent, "t.test", &[&more[2].name]).await;
    let report = load.report().await?;
    assert_eq!((report.failed(), report.succeeded), (0, 5000), "{report}");
    assert_eq!(report.by_container.len(), 4, "everyone had a share: {:?}", report.by_container);
    Ok(())
}

async fn a_websocket_lives_through_a_route_change(host: &Host, agent: &mut Agent) -> TestResult {
    let first = host.run(server()).await?;
    served_by(agent, "t.test", &[&first.name]).await;
    let mut socket = host.websocket("ws://127.0.0.1:80/ws", "t.test").await?;
    assert_eq!(socket.echo("one").await?, format!("{}: one", first.name));
    let second = host.run(server()).await?;
    served_by(agent, "t.test", &[&first.name, &second.name]).await;
    assert_eq!(socket.echo("two").await?, format!("{}: two", first.name));
    let other = host.run(ContainerSpec::server().label("longshore.http.80.host", "other.test")).await?;
    served_by(agent, "other.test", &[&other.name]).await;
    other.remove().await?;
    served_by(agent, "other.test", &[]).await;
    assert_eq!(socket.echo("three").await?, format!("{}: three", first.name));
    socket.close().await?;
    Ok(())
}

async fn http_2_clients_are_served(host: &Host, agent: &mut Agent) -> TestResult {
    let web = host.run(server()).await?;
    served_by(agent, "t.test", &[&web.name]).await;
    let answer = host.get("http://127.0.0.1:80/two").host("t.test").http2().send().await?;
    assert_eq!((answer.status, answer.name()), (200, Some(web.name.as_str())));
    assert_eq!(answer.echo()?.path, "/two");
    Ok(())
}

async fn a_large_body_streams_both_ways(host: &Host, agent: &mut Agent) -> TestResult {
    let web = host.run(server()).await?;
    served_by(agent, "t.test", &[&web.name]).await;
    let sent = vec![b'x'; 3 << 20];
    let request = host.post("http://127.0.0.1:80/echo").host("t.test").body(sent.clone());
    let answer = request.timeout(Duration::from_secs(20)).send().await?;
    assert_eq!((answer.status, answer.body.len()), (200, sent.len()));
    Ok(())
}

async fn an_agent_is_replaced_without_a_failed_request(host: &Host, agent: &mut Agent) -> TestResult {
    let web = host.run(server()).await?;
    served_by(agent, "t.test", &[&web.name]).await;
    let mut socket = host.websocket("ws://127.0.0.1:80/ws", "t.test").await?;
    let load =
        host.load("http://127.0.0.1:80/slow?ms=2").host("t.test").requests(1_000_000).clients(8).start()?;
    load.until_sent(500).await;
    agent.sigusr2();
    eventually("another agent runs", async || agent.log().matches("agent started").count() == 2).await;
    let sent = load.sent();
    load.until_sent(sent + 500).await;
    let second = host.run(server()).await?;
    served_by(agent, "t.test", &[&web.name, &second.name]).await;
    load.stop();
    let report = load.report().await?;
    assert_eq!(report.failed(), 0, "{report}");
    assert_eq!(socket.echo("still here").await?, format!("{}: still here", web.name));
    Ok(())
}

async fn an_agent_that_is_stopped_lets_open_requests_finish_and_takes_no_more(
    host: &Host,
    agent: &mut Agent,
) -> TestResult {
    let web = host.run(server()).await?;
    served_by(agent, "t.test", &[&web.name]).await;
    let slow = tokio::spawn(host.get("http://127.0.0.1:80/slow?ms=3000").host("t.test").send());
    eventually("the request is open", async || {
        let metrics = agent.get("/metrics").await.map(|answer| answer.text()).unwrap_or_default();
        metrics.contains("longshore_connections_open{frontend=\"http:80\"} 1\n")
    })
    .await;
    agent.sigterm();
    eventually("nobody accepts new requests", async || {
        host.get("http://127.0.0.1:80/").host("t.test").send().await.is_err()
    })
    .await;
    assert!(!slow.is_finished(), "the port closes before the open request ends");
    assert_eq!(slow.await??.status, 200);
    assert!(agent.ended_within(Duration::from_secs(5)).await?.success());
    Ok(())
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_by_both_engines() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let web = host.run(server()).await?;
    for engine in ["built-in", "haproxy"] {
        for (trusted, forwarded) in [("127.0.0.1", "https"), ("10.9.9.0/24", "http")] {
            let builder = Agent::on(host).balancer(engine).flags(&["--trusted-proxy", trusted]);
            let mut agent = builder.start().await?;
            served_by(&agent, "t.test", &[&web.name]).await;
            let request =
                host.get("http://127.0.0.1:80/").host("t.test").header("x-forwarded-proto", "https");
            let answer = request.send().await?;
            let echo = answer.echo()?;
            assert_eq!(
                echo.header("x-forwarded-proto"),
                Some(forwarded),
                "{engine} with --trusted-proxy {trusted}"
            );
            // A HAProxy outlives an agent that is killed.
            agent.sigterm();
            agent.ended_within(Duration::from_secs(20)).await?;
        }
    }
    Ok(())
}
