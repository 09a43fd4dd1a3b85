//! Traffic to containers of other hosts: which way it takes, and what becomes of it when a host is gone.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use longshore_testkit::{
    Agent, Connections, Container, ContainerSpec, Host, Lab, TestError, TestResult, eventually,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::cluster::{member, secret, sees};
use crate::engines::{answered_by, served_by, upstreams, who};

/// Nothing that is asked here takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A cluster, whose agents end before their hosts.
struct Cluster {
    agents: Vec<Agent>,
    secret: PathBuf,
    _dir: TempDir,
}

/// Starts an agent on each host, and waits until all know each other.
async fn cluster(lab: &Lab, engine: &str, hosts: usize) -> Result<Cluster, TestError> {
    let dir = tempfile::tempdir()?;
    let first = lab.host(0);
    let secret = secret(first, dir.path(), "secret").await?;
    let mut agents = Vec::new();
    for index in 0..hosts {
        let seed = (index > 0).then_some(first);
        agents.push(member(lab.host(index), &secret, seed).balancer(engine).start().await?);
    }
    let names: Vec<String> = (0..hosts).map(|index| format!("{}=alive", lab.host(index).name)).collect();
    for agent in &agents {
        sees(agent, &names.join(" ")).await;
    }
    Ok(Cluster { agents, secret, _dir: dir })
}

fn web() -> ContainerSpec {
    ContainerSpec::server().label("longshore.http.80.host", "t.test").stop_timeout(1)
}

/// Returns the address of the only upstream of `http:80 t.test/`, as an agent shows it.
async fn way(agent: &Agent) -> String {
    let routes = agent.api("/v1/routes").await.unwrap_or_default();
    let is_it = |route: &&Value| route["frontend"] == "http:80" && route["host"] == "t.test";
    let route = routes.as_array().into_iter().flatten().find(is_it).cloned().unwrap_or_default();
    let addresses = route["upstreams"].as_array().cloned().unwrap_or_default();
    match addresses.as_slice() {
        [only] => only["address"].as_str().unwrap_or_default().to_owned(),
        _ => String::new(),
    }
}

async fn takes_way(agent: &Agent, expected: String) {
    eventually(&format!("the way is {expected}"), async || way(agent).await == expected).await;
}

/// Sends a line over TCP to a port of the host itself, and returns what comes back after the line.
async fn over_tcp(host: &Host, port: u16) -> Result<String, TestError> {
    let exchange = async move {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(b"ping").await?;
        stream.shutdown().await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok::<_, std::io::Error>(text)
    };
    Ok(host.inside(async move { timeout(PATIENCE, exchange).await }).await???)
}

async fn over_udp(host: &Host, port: u16) -> Result<String, TestError> {
    let exchange = async move {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        socket.connect(("127.0.0.1", port)).await?;
        let mut buffer = [0; 512];
        socket.send(b"ping").await?;
        let length = socket.recv(&mut buffer).await?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&buffer[..length]).into_owned())
    };
    Ok(host.inside(async move { timeout(Duration::from_secs(2), exchange).await }).await???)
}

/// A label on one host is enough: every host's balancer serves the container, for every protocol.
async fn a_container_without_a_published_port_is_served_by_every_host(engine: &str) -> TestResult {
    let lab = Lab::up(3).await?;
    let cluster = cluster(&lab, engine, 3).await?;
    let owner = lab.host(1);
    let spec = web()
        .http_on(&[80])
        .tcp_on(&[5432])
        .udp_on(&[5353])
        .label("longshore.tcp.5432", "")
        .label("longshore.udp.5353", "");
    let web = owner.run(spec).await?;
    for (index, agent) in cluster.agents.iter().enumerate() {
        let host = lab.host(index);
        served_by(agent, "t.test", &[&web.name]).await;
        answered_by(host, "t.test", "/", &web.name).await;
        eventually("TCP leads there", async || {
            over_tcp(host, 5432).await.is_ok_and(|text| text.contains("ping") && text.contains(&web.name))
        })
        .await;
        eventually("UDP leads there", async || {
            over_udp(host, 5353).await.is_ok_and(|text| text == format!("{}: ping", web.name))
        })
        .await;
    }
    let (asker, agent) = (lab.host(0), &cluster.agents[0]);
    assert_eq!(way(agent).await, format!("agent:{}:7052", owner.address));
    assert!(!way(&cluster.agents[1]).await.starts_with("agent:"));
    let explained = agent.cli(&["route", "explain", "t.test/"]).await?;
    let expected = format!(
        "through the agent of host {} at {}:7052, as it publishes no port",
        owner.name, owner.address
    );
    assert!(explained.contains(&expected), "{explained}");

    let sent: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 251) as u8).collect();
    let request = asker.post("http://127.0.0.1:80/echo").host("t.test").body(sent.clone());
    let answer = request.timeout(PATIENCE).send().await?;
    assert!(
        answer.status == 200 && answer.body == sent,
        "{} with {} bytes",
        answer.status,
        answer.body.len()
    );
    let mut socket = asker.websocket("ws://127.0.0.1:80/ws", "t.test").await?;
    assert_eq!(socket.echo("one").await?, format!("{}: one", web.name));

    let load = asker.load("http://127.0.0.1:80/").host("t.test").requests(2000).clients(8).run().await?;
    assert_eq!((load.failed(), load.succeeded), (0, 2000), "{load}");
    let fresh = asker.load("http://127.0.0.1:80/").host("t.test").requests(300).clients(4);
    let fresh = fresh.connections(Connections::Fresh).run().await?;
    assert_eq!(fresh.failed(), 0, "{fresh}");
    assert_eq!(socket.echo("two").await?, format!("{}: two", web.name));

    // What the owner sees of the container counts everywhere.
    web.pause().await?;
    served_by(agent, "t.test", &[]).await;
    web.unpause().await?;
    served_by(agent, "t.test", &[&web.name]).await;
    web.remove().await?;
    served_by(agent, "t.test", &[]).await;
    Ok(())
}

#[tokio::test]
async fn built_in_a_container_without_a_published_port_is_served_by_every_host() -> TestResult {
    a_container_without_a_published_port_is_served_by_every_host("built-in").await
}

#[tokio::test]
async fn haproxy_a_container_without_a_published_port_is_served_by_every_host() -> TestResult {
    a_container_without_a_published_port_is_served_by_every_host("haproxy").await
}

#[tokio::test]
async fn a_published_port_is_preferred_and_outlives_its_hosts_agent() -> TestResult {
    let lab = Lab::up(2).await?;
    let mut cluster = cluster(&lab, "built-in", 2).await?;
    let (asker, owner) = (lab.host(0), lab.host(1));
    let port = owner.free_port().await?;
    let published = owner.run(web().http_on(&[80]).publish(port, 80)).await?;
    takes_way(&cluster.agents[0], format!("{}:{port}", owner.address)).await;
    answered_by(asker, "t.test", "/", &published.name).await;

    // One that answers on the port, but whose server does not, is known by its host.
    let late = owner.free_port().await?;
    let slow = web().http_on(&[80]).publish(late, 80).listens_after(Duration::from_secs(600));
    let slow = owner.run(slow).await?;
    let relayed = owner.run(web().http_on(&[80])).await?;
    served_by(&cluster.agents[0], "t.test", &[&published.name, &relayed.name]).await;
    assert!(slow.runs().await?);

    let second = &mut cluster.agents[1];
    second.sigterm();
    second.ended_within(PATIENCE).await?;
    served_by(&cluster.agents[0], "t.test", &[&published.name]).await;
    answered_by(asker, "t.test", "/", &published.name).await;
    Ok(())
}

#[tokio::test]
async fn a_host_that_is_cut_off_leaves_the_routes_and_no_later_request_fails() -> TestResult {
    let lab = Lab::up(3).await?;
    let cluster = cluster(&lab, "built-in", 3).await?;
    let (asker, agent) = (lab.host(0), &cluster.agents[0]);
    let (lost, kept) = (lab.host(1).run(web()).await?, lab.host(2).run(web()).await?);
    let only = ContainerSpec::server().label("longshore.http.80.host", "only.test").stop_timeout(1);
    let only = lab.host(1).run(only).await?;
    served_by(agent, "t.test", &[&lost.name, &kept.name]).await;
    served_by(agent, "only.test", &[&only.name]).await;
    let clients = 8;
    let load = asker.load("http://127.0.0.1:80/").host("t.test").requests(1_000_000).clients(clients);
    let load = load.pause(Duration::from_millis(2)).timeout(Duration::from_secs(5)).start()?;
    load.until_sent(500).await;
    lab.host(1).cut().await?;
    let cut = Instant::now();
    while upstreams(agent, "http:80", "t.test", "/").await != [kept.name.clone()] {
        assert!(cut.elapsed() < Duration::from_secs(5), "it is still in the route");
        tokio::task::yield_now().await;
    }
    let out = cut.elapsed();
    println!("out of the route after {out:?}");
    assert!(out < Duration::from_millis(1500), "out of the route after {out:?}");
    // Nobody else has this one: it stays as the last resort, as long as its host is not dead.
    assert_eq!(upstreams(agent, "http:80", "only.test", "/").await, std::slice::from_ref(&only.name));
    let explained = agent.cli(&["route", "explain", "only.test/"]).await?;
    assert!(explained.contains("as the last resort: its host does not answer"), "{explained}");
    let sent = load.sent();
    load.until_sent(sent + 1000).await;
    served_by(agent, "only.test", &[]).await;
    load.stop();
    let report = load.report().await?;
    println!("{report}");
    assert!(report.failed() <= u64::from(clients), "only what was in flight: {report}");
    lab.host(1).heal().await?;
    served_by(agent, "t.test", &[&lost.name, &kept.name]).await;
    served_by(agent, "only.test", &[&only.name]).await;
    Ok(())
}

/// Replaces an agent under load, and checks that no request failed.
async fn replaced(load: &Host, agent: &Agent, container: &Container) -> TestResult {
    let mut socket = load.websocket("ws://127.0.0.1:80/ws", "t.test").await?;
    let running =
        load.load("http://127.0.0.1:80/slow?ms=2").host("t.test").requests(1_000_000).clients(4).start()?;
    running.until_sent(300).await;
    agent.sigusr2();
    eventually("another agent runs", async || agent.log().matches("agent started").count() == 2).await;
    let sent = running.sent();
    running.until_sent(sent + 300).await;
    running.stop();
    let report = running.report().await?;
    assert_eq!(report.failed(), 0, "{report}");
    assert_eq!(socket.echo("still here").await?, format!("{}: still here", container.name));
    Ok(())
}

#[tokio::test]
async fn agents_on_both_sides_are_replaced_without_a_failed_request() -> TestResult {
    let lab = Lab::up(2).await?;
    let cluster = cluster(&lab, "built-in", 2).await?;
    let (asker, owner) = (lab.host(0), lab.host(1));
    let web = owner.run(web()).await?;
    answered_by(asker, "t.test", "/", &web.name).await;
    replaced(asker, &cluster.agents[0], &web).await?;
    replaced(asker, &cluster.agents[1], &web).await?;
    Ok(())
}

#[tokio::test]
async fn an_agent_that_restarts_behind_its_haproxy_loses_no_route_to_other_hosts() -> TestResult {
    let lab = Lab::up(2).await?;
    let mut cluster = cluster(&lab, "built-in", 1).await?;
    let (asker, owner) = (lab.host(0), lab.host(1));
    let data = cluster._dir.path().join("data");
    let second = member(owner, &cluster.secret, Some(asker)).balancer("haproxy").data_dir(&data);
    let mut second = second.start().await?;
    let web = asker.run(web()).await?;
    answered_by(owner, "t.test", "/", &web.name).await;
    second.kill9();
    second.ended_within(PATIENCE).await?;
    let again =
        member(owner, &cluster.secret, Some(asker)).balancer("haproxy").data_dir(&data).start().await?;
    for _ in 0..50 {
        assert_eq!(who(owner, "t.test", "/").await.as_deref(), Some(web.name.as_str()));
    }
    drop(again);
    cluster.agents.clear();
    Ok(())
}

/// Cuts the link between two hosts, both ways, or restores it.
async fn set_link(one: &Host, two: &Host, action: &str) -> TestResult {
    for (host, other) in [(one, two), (two, one)] {
        host.exec_in_namespace(&["ip", "route", action, "blackhole", &format!("{}/32", other.address)])
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn hosts_that_cannot_reach_each_other_avoid_each_other_and_nobody_else_does() -> TestResult {
    let lab = Lab::up(3).await?;
    let cluster = cluster(&lab, "built-in", 3).await?;
    let (far, near) = (lab.host(1).run(web()).await?, lab.host(2).run(web()).await?);
    for agent in &cluster.agents {
        served_by(agent, "t.test", &[&far.name, &near.name]).await;
    }
    set_link(lab.host(0), lab.host(1), "add").await?;
    served_by(&cluster.agents[0], "t.test", &[&near.name]).await;
    let load = lab.host(0).load("http://127.0.0.1:80/").host("t.test").requests(200).run().await?;
    assert_eq!(load.failed(), 0, "{load}");
    for agent in &cluster.agents[1..] {
        assert_eq!(upstreams(agent, "http:80", "t.test", "/").await.len(), 2);
    }
    set_link(lab.host(0), lab.host(1), "del").await?;
    served_by(&cluster.agents[0], "t.test", &[&far.name, &near.name]).await;
    Ok(())
}
