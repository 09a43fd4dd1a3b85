//! What happens to a route as its containers come and go.

use std::time::Duration;

use longshore_testkit::{Agent, ContainerSpec, Host, TestResult, eventually};

use crate::engines::{answered_by, ask, served_by, status, upstreams, who, with_both_engines};

with_both_engines!(
    a_container_is_served_from_its_start_to_its_end,
    a_crash_takes_a_container_out,
    a_paused_container_takes_no_traffic,
    a_container_takes_traffic_while_it_is_healthy,
    a_container_takes_traffic_once_its_port_accepts,
    a_port_that_closes_is_left,
    a_rename_changes_no_traffic,
    a_container_on_a_network_of_its_own_is_reached,
    a_container_on_the_hosts_network_is_reached,
    a_stopping_container_finishes_what_it_began_and_gets_nothing_more,
    a_reload_signal_keeps_a_container_in,
);

fn server() -> ContainerSpec {
    ContainerSpec::server().label("longshore.http.80.host", "l.test")
}

async fn a_container_is_served_from_its_start_to_its_end(host: &Host, agent: &mut Agent) -> TestResult {
    let mut web = host.create(server()).await?;
    served_by(agent, "l.test", &[]).await;
    web.start().await?;
    answered_by(host, "l.test", "/", &web.name).await;
    web.stop(2).await?;
    served_by(agent, "l.test", &[]).await;
    assert_ne!(status(host, "l.test", "/").await, 200);
    web.start().await?;
    answered_by(host, "l.test", "/", &web.name).await;
    let name = web.name.clone();
    web.remove().await?;
    served_by(agent, "l.test", &[]).await;
    eventually("it is forgotten", async || {
        agent.api("/v1/containers").await.is_ok_and(|known| !known.to_string().contains(&name))
    })
    .await;
    Ok(())
}

async fn a_crash_takes_a_container_out(host: &Host, agent: &mut Agent) -> TestResult {
    let (stays, dies) = (host.run(server()).await?, host.run(server()).await?);
    served_by(agent, "l.test", &[&stays.name, &dies.name]).await;
    dies.kill().await?;
    served_by(agent, "l.test", &[&stays.name]).await;
    for _ in 0..10 {
        assert_eq!(who(host, "l.test", "/").await.as_deref(), Some(stays.name.as_str()));
    }
    Ok(())
}

async fn a_paused_container_takes_no_traffic(host: &Host, agent: &mut Agent) -> TestResult {
    let (stays, sleeps) = (host.run(server()).await?, host.run(server()).await?);
    served_by(agent, "l.test", &[&stays.name, &sleeps.name]).await;
    sleeps.pause().await?;
    served_by(agent, "l.test", &[&stays.name]).await;
    for _ in 0..6 {
        assert_eq!(who(host, "l.test", "/").await.as_deref(), Some(stays.name.as_str()));
    }
    sleeps.unpause().await?;
    served_by(agent, "l.test", &[&stays.name, &sleeps.name]).await;
    Ok(())
}

async fn a_container_takes_traffic_while_it_is_healthy(host: &Host, agent: &mut Agent) -> TestResult {
    let sick = server().unhealthy().health_check(Duration::from_millis(300));
    let web = host.run(sick).await?;
    let (name, ip) = (web.name.as_str(), web.ip.ok_or("no address")?);
    eventually("it waits for its health check", async || {
        let routes = agent.api("/v1/routes").await.unwrap_or_default();
        let reason = routes[0]["waiting"][0]["reason"].as_str().unwrap_or_default().to_owned();
        reason == "health_starting" || reason == "unhealthy"
    })
    .await;
    eventually("a route without a container that takes traffic says 503", async || {
        status(host, "l.test", "/").await == 503
    })
    .await;
    host.post(format!("http://{ip}:80/health/pass")).send().await?;
    answered_by(host, "l.test", "/", name).await;
    host.post(format!("http://{ip}:80/health/fail")).send().await?;
    served_by(agent, "l.test", &[]).await;
    eventually("it says 503 again", async || status(host, "l.test", "/").await == 503).await;
    Ok(())
}

async fn a_container_takes_traffic_once_its_port_accepts(host: &Host, agent: &mut Agent) -> TestResult {
    let stays = host.run(server()).await?;
    served_by(agent, "l.test", &[&stays.name]).await;
    let late = host.run(server().listens_after(Duration::from_millis(700))).await?;
    let report = host
        .load("http://127.0.0.1:80/")
        .host("l.test")
        .requests(200)
        .clients(2)
        .pause(Duration::from_millis(10))
        .run()
        .await?;
    assert_eq!(report.failed(), 0, "{report}");
    served_by(agent, "l.test", &[&stays.name, &late.name]).await;
    Ok(())
}

async fn a_port_that_closes_is_left(host: &Host, agent: &mut Agent) -> TestResult {
    let stays = host.run(server()).await?;
    let shy = ContainerSpec::busybox(&["sh", "-c", "httpd -h / -p 80; sleep 2; killall httpd; sleep 1000"])
        .label("longshore.http.80.host", "l.test");
    let shy = host.run(shy).await?;
    served_by(agent, "l.test", &[&stays.name, &shy.name]).await;
    served_by(agent, "l.test", &[&stays.name]).await;
    let routes = agent.api("/v1/routes").await?;
    assert_eq!(routes[0]["waiting"][0]["reason"], "port_closed", "{routes}");
    Ok(())
}

async fn a_rename_changes_no_traffic(host: &Host, agent: &mut Agent) -> TestResult {
    let mut web = host.run(server()).await?;
    served_by(agent, "l.test", &[&web.name]).await;
    let load = host.load("http://127.0.0.1:80/").host("l.test").requests(500).clients(2).start()?;
    load.until_sent(50).await;
    web.rename(&format!("{}-renamed", web.name)).await?;
    served_by(agent, "l.test", &[&web.name]).await;
    let report = load.report().await?;
    assert_eq!(report.failed(), 0, "{report}");
    Ok(())
}

async fn a_container_on_a_network_of_its_own_is_reached(host: &Host, agent: &mut Agent) -> TestResult {
    let network = host.network("longshore-own").await?;
    let web = host.run(server().on(&network)).await?;
    answered_by(host, "l.test", "/", &web.name).await;
    network.disconnect(&web.id).await?;
    served_by(agent, "l.test", &[]).await;
    network.connect(&web.id).await?;
    answered_by(host, "l.test", "/", &web.name).await;
    Ok(())
}

async fn a_container_on_the_hosts_network_is_reached(host: &Host, _agent: &mut Agent) -> TestResult {
    let spec = ContainerSpec::server()
        .network("host")
        .http_on(&[8099])
        .label("longshore.http.8099.host", "h.test")
        .label("longshore.http.8099.listen", "80");
    let web = host.run(spec).await?;
    answered_by(host, "h.test", "/", &web.name).await;
    Ok(())
}

async fn a_stopping_container_finishes_what_it_began_and_gets_nothing_more(
    host: &Host,
    agent: &mut Agent,
) -> TestResult {
    let (stays, goes) = (host.run(server()).await?, host.run(server()).await?);
    served_by(agent, "l.test", &[&stays.name, &goes.name]).await;
    let slow: Vec<_> = (0..6)
        .map(|_| {
            let request = host.get("http://127.0.0.1:80/slow?ms=1500").host("l.test");
            tokio::spawn(request.send())
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let stopping = goes.stop(10);
    let meanwhile = async {
        served_by(agent, "l.test", &[&stays.name]).await;
        let mut answered = Vec::new();
        for _ in 0..20 {
            answered.push(who(host, "l.test", "/").await);
        }
        answered
    };
    let (stopped, answered) = tokio::join!(stopping, meanwhile);
    stopped?;
    assert!(answered.iter().all(|by| by.as_deref() == Some(stays.name.as_str())), "{answered:?}");
    let mut by_the_one_that_went = 0;
    for request in slow {
        let answer = request.await??;
        assert_eq!(answer.status, 200);
        by_the_one_that_went += u32::from(answer.name() == Some(goes.name.as_str()));
    }
    assert!(by_the_one_that_went > 0, "it had open requests when it was told to stop");
    Ok(())
}

async fn a_reload_signal_keeps_a_container_in(host: &Host, agent: &mut Agent) -> TestResult {
    let spec =
        ContainerSpec::busybox(&["sh", "-c", "trap : HUP; httpd -h / -p 80; while :; do sleep 1; done"])
            .label("longshore.http.80.host", "l.test");
    let web = host.run(spec).await?;
    served_by(agent, "l.test", &[&web.name]).await;
    web.signal("HUP").await?;
    eventually("the signal was heard", async || {
        agent.get("/metrics").await.is_ok_and(|metrics| metrics.text().contains("action=\"kill\""))
    })
    .await;
    assert_eq!(upstreams(agent, "http:80", "l.test", "/").await, [web.name.as_str()]);
    assert_ne!(ask(host, "l.test", "/").await?.status, 503);
    Ok(())
}
