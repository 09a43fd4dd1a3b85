//! Docker on its ordinary bad days.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use longshore_testkit::{
    Agent, ContainerSpec, EngineOptions, Lab, TestResult, certificates, eventually, never_within,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{Notify, watch};

use crate::engines::{answered_by, ask, served_by, status, who};

fn server() -> ContainerSpec {
    ContainerSpec::server().label("longshore.http.80.host", "d.test")
}

#[tokio::test]
async fn an_absent_docker_is_waited_for_and_named() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.private_host(&EngineOptions::default()).await?;
    let web = host.run(server().restarts()).await?;
    host.stop_dockerd().await?;
    let mut agent = Agent::on(&host).spawn()?;
    eventually("the agent says that it is not ready, and why", async || {
        let answer = agent.get("/readyz").await;
        answer.is_ok_and(|a| a.status == 503 && a.text().contains("Docker is not responding"))
    })
    .await;
    assert_eq!(agent.get("/healthz").await?.status, 200);
    eventually("the problem names Docker's address", async || {
        agent.cli(&["problems"]).await.is_ok_and(|p| p.contains(&host.docker_host()))
    })
    .await;
    host.start_dockerd().await?;
    agent.until_ready().await?;
    answered_by(&host, "d.test", "/", &web.name).await;
    assert_eq!(agent.cli(&["problems"]).await?.trim(), "no problems");
    Ok(())
}

#[tokio::test]
async fn routes_of_containers_that_run_on_outlive_a_docker_that_is_killed_and_started_again() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.private_host(&EngineOptions { live_restore: true }).await?;
    let (one, two) = (host.run(server()).await?, host.run(server()).await?);
    let agent = Agent::on(&host).start().await?;
    served_by(&agent, "d.test", &[&one.name, &two.name]).await;
    let load = host
        .load("http://127.0.0.1:80/")
        .host("d.test")
        .requests(1_000_000)
        .clients(2)
        .pause(Duration::from_millis(5))
        .start()?;
    host.kill_dockerd().await?;
    eventually("the agent notices", async || {
        agent.cli(&["problems"]).await.is_ok_and(|p| p.contains("not responding"))
    })
    .await;
    assert_eq!(agent.get("/readyz").await?.status, 200, "what it carries is still good");
    host.start_dockerd().await?;
    eventually("the agent is back", async || {
        agent.cli(&["problems"]).await.is_ok_and(|p| p.contains("no problems"))
    })
    .await;
    let third = host.run(server()).await?;
    served_by(&agent, "d.test", &[&one.name, &two.name, &third.name]).await;
    load.stop();
    let report = load.report().await?;
    assert_eq!(report.failed(), 0, "{report}");
    assert!(report.succeeded > 100, "{report}");
    Ok(())
}

#[tokio::test]
async fn what_happened_while_the_stream_was_cut_is_made_up_for() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let relay = host.docker_relay().await?;
    let agent = Agent::on(host).docker(relay.unix()).flags(&["--resync", "10m"]).start().await?;
    let (stays, goes) = (host.run(server()).await?, host.run(server()).await?);
    served_by(&agent, "d.test", &[&stays.name, &goes.name]).await;
    relay.cut();
    goes.remove().await?;
    let comes = host.run(server()).await?;
    eventually("the agent notices", async || {
        agent.cli(&["problems"]).await.is_ok_and(|p| p.contains("not responding"))
    })
    .await;
    relay.heal();
    served_by(&agent, "d.test", &[&stays.name, &comes.name]).await;
    Ok(())
}

#[tokio::test]
async fn a_docker_that_hangs_is_noticed_on_a_silent_stream() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let relay = host.docker_relay().await?;
    let agent = Agent::on(host).docker(relay.unix()).start().await?;
    let web = host.run(server()).await?;
    served_by(&agent, "d.test", &[&web.name]).await;
    relay.stall();
    let told = async || agent.cli(&["problems"]).await.is_ok_and(|p| p.contains("no longer answers a ping"));
    longshore_testkit::eventually_within(Duration::from_secs(40), "the hanging Docker is named", told).await;
    assert_eq!(who(host, "d.test", "/").await.as_deref(), Some(web.name.as_str()));
    relay.heal();
    let back = async || agent.cli(&["problems"]).await.is_ok_and(|p| p.contains("no problems"));
    longshore_testkit::eventually_within(Duration::from_secs(40), "the agent is back", back).await;
    Ok(())
}

#[tokio::test]
async fn a_burst_of_events_with_the_agent_stalled_loses_nothing_that_matters() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let agent = Agent::on(host).flags(&["--resync", "1s"]).start().await?;
    let (stays, goes) = (host.run(server()).await?, host.run(server()).await?);
    let mut noisy = host.create(ContainerSpec::server()).await?;
    served_by(&agent, "d.test", &[&stays.name, &goes.name]).await;
    agent.freeze();
    goes.kill().await?;
    for n in 0..300 {
        noisy.rename(&format!("noisy-{n}")).await?;
    }
    let comes = host.run(server()).await?;
    agent.thaw();
    served_by(&agent, "d.test", &[&stays.name, &comes.name]).await;
    eventually("the last name is known", async || {
        agent.api("/v1/containers").await.is_ok_and(|c| c.to_string().contains("noisy-299"))
    })
    .await;
    Ok(())
}

/// Relays to Docker, and passes on everything but events: of their stream, only the headers.
async fn deaf_relay(docker: PathBuf, listener: UnixListener) {
    while let Ok((mut client, _)) = listener.accept().await {
        let docker = docker.clone();
        tokio::spawn(async move {
            let mut server = UnixStream::connect(docker).await?;
            let mut first = vec![0; 4096];
            let length = client.read(&mut first).await?;
            server.write_all(&first[..length]).await?;
            let line = first.split(|byte| *byte == b'\r').next().unwrap_or_default();
            if String::from_utf8_lossy(line).contains("/events?") {
                let mut answer = BufReader::new(&mut server);
                let mut line = Vec::new();
                while line != b"\r\n" {
                    line.clear();
                    answer.read_until(b'\n', &mut line).await?;
                    client.write_all(&line).await?;
                }
                std::future::pending::<()>().await;
            } else {
                copy_bidirectional(&mut client, &mut server).await?;
            }
            Ok::<_, std::io::Error>(())
        });
    }
}

/// What a relay spoils.
#[derive(Clone, Default)]
struct Spoils {
    /// The container whose inspection is refused, if any.
    refused: watch::Sender<Option<String>>,
    /// Sends something unreadable among the events.
    unreadable: Arc<Notify>,
}

/// Relays to Docker, and spoils some of its answers.
async fn spoiling_relay(docker: PathBuf, listener: UnixListener, spoils: Spoils) {
    while let Ok((mut client, _)) = listener.accept().await {
        let (docker, spoils) = (docker.clone(), spoils.clone());
        tokio::spawn(async move {
            let mut server = UnixStream::connect(docker).await?;
            let mut first = vec![0; 4096];
            let length = client.read(&mut first).await?;
            let request = String::from_utf8_lossy(&first[..length]).into_owned();
            let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
            let refused = spoils.refused.borrow().clone();
            if refused.is_some_and(|id| path.ends_with(&format!("/containers/{id}/json"))) {
                let body = r#"{"message":"it has a cold"}"#;
                let head = "HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json";
                let answer = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                return client.write_all(answer.as_bytes()).await;
            }
            server.write_all(&first[..length]).await?;
            if !path.contains("/events?") {
                return copy_bidirectional(&mut client, &mut server).await.map(drop);
            }
            let (mut buffer, mut more, mut is_open) = (vec![0; 64 * 1024], [0; 64], false);
            loop {
                tokio::select! {
                    count = client.read(&mut more) => match count? {
                        0 => return Ok(()),
                        count => server.write_all(&more[..count]).await?,
                    },
                    count = server.read(&mut buffer) => match count? {
                        0 => return Ok(()),
                        count => {
                            client.write_all(&buffer[..count]).await?;
                            is_open = true;
                        }
                    },
                    // After the head of the answer.
                    () = spoils.unreadable.notified(), if is_open => {
                        let line = "{\"Type\":\"container\",\"Action\":7}\n";
                        client.write_all(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes()).await?;
                    }
                }
            }
        });
    }
}

#[tokio::test]
async fn a_container_that_docker_refuses_to_show_costs_only_itself() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("docker.sock");
    let spoils = Spoils::default();
    let listener = UnixListener::bind(&socket)?;
    let relay = tokio::spawn(spoiling_relay(host.docker_socket.clone(), listener, spoils.clone()));
    let (sick, well) = (host.run(server()).await?, host.run(server()).await?);
    spoils.refused.send_replace(Some(sick.id.clone()));
    let agent = Agent::on(host).docker(format!("unix://{}", socket.display())).start().await?;
    served_by(&agent, "d.test", &[&well.name]).await;
    let problems = agent.cli(&["problems"]).await?;
    assert!(problems.contains(&sick.name) && problems.contains("it has a cold"), "{problems}");
    spoils.refused.send_replace(None);
    served_by(&agent, "d.test", &[&sick.name, &well.name]).await;
    eventually("the problem is over", async || {
        agent.cli(&["problems"]).await.is_ok_and(|problems| problems.contains("no problems"))
    })
    .await;
    relay.abort();
    Ok(())
}

#[tokio::test]
async fn an_event_that_cannot_be_read_costs_only_itself() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("docker.sock");
    let spoils = Spoils::default();
    let listener = UnixListener::bind(&socket)?;
    let relay = tokio::spawn(spoiling_relay(host.docker_socket.clone(), listener, spoils.clone()));
    let agent = Agent::on(host)
        .docker(format!("unix://{}", socket.display()))
        .flags(&["--resync", "10m"])
        .start()
        .await?;
    let first = host.run(server()).await?;
    served_by(&agent, "d.test", &[&first.name]).await;
    for n in 1..=3 {
        spoils.unreadable.notify_one();
        eventually("it is skipped", async || agent.log().matches("cannot be read; skipping").count() == n)
            .await;
    }
    let second = host.run(server()).await?;
    served_by(&agent, "d.test", &[&first.name, &second.name]).await;
    assert_eq!(agent.log().matches("watching Docker").count(), 1, "the connection is kept");
    relay.abort();
    Ok(())
}

#[tokio::test]
async fn a_resync_repairs_and_counts_what_was_missed_and_nothing_else() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("docker.sock");
    let relay = tokio::spawn(deaf_relay(host.docker_socket.clone(), UnixListener::bind(&socket)?));
    let address = format!("unix://{}", socket.display());
    let agent = Agent::on(host).docker(address).flags(&["--resync", "500ms"]).start().await?;
    let web = host.run(server()).await?;
    served_by(&agent, "d.test", &[&web.name]).await;
    let repaired = agent.metric("longshore_resync_repairs_total").await?;
    assert_eq!(repaired, Some(1.0), "one container was missed");
    assert!(agent.log().contains("an event was missed"));

    let network = host.network("repaired").await?;
    let sick = server().on(&network).unhealthy().health_check(Duration::from_secs(60));
    let (_sick, paused, mut gone) =
        (host.run(sick).await?, host.run(server()).await?, host.create(server()).await?);
    paused.pause().await?;
    gone.start().await?;
    gone.kill().await?;
    eventually("all four are known as they are", async || {
        let known = agent.api("/v1/containers").await.unwrap_or_default();
        let states: Vec<_> = known.as_array().into_iter().flatten().map(|c| c["state"].clone()).collect();
        let count = |state: &str| states.iter().filter(|s| *s == state).count();
        (count("running"), count("paused"), count("exited")) == (2, 1, 1)
    })
    .await;
    let settled = agent.metric("longshore_resync_repairs_total").await?;
    let is_repaired =
        async || agent.metric("longshore_resync_repairs_total").await.is_ok_and(|repairs| repairs != settled);
    never_within(Duration::from_secs(2), "something is repaired where nothing changes", is_repaired).await;
    relay.abort();
    Ok(())
}

#[tokio::test]
async fn another_hosts_containers_are_reached_by_their_published_ports() -> TestResult {
    let lab = Lab::up(2).await?;
    let (balancer, docker) = (lab.host(0), lab.host(1));
    let socket = docker.docker_socket.clone();
    let address = docker.address;
    let listener = docker.inside(async move { TcpListener::bind((address, 0)).await }).await??;
    let tcp = format!("tcp://{}", listener.local_addr()?);
    let relay = docker.runtime().spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let socket = socket.clone();
            tokio::spawn(async move {
                if let Ok(mut server) = UnixStream::connect(socket).await {
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                }
            });
        }
    });
    let agent = Agent::on(balancer).docker(tcp).start().await?;
    let published = docker.run(server().publish(18080, 80)).await?;
    answered_by(balancer, "d.test", "/", &published.name).await;
    let hidden = docker.run(ContainerSpec::server().label("longshore.http.80.host", "hidden.test")).await?;
    eventually("a container without a published port waits for one", async || {
        let routes = agent.api("/v1/routes").await.unwrap_or_default().to_string();
        routes.contains(&hidden.name) && routes.contains("no_address")
    })
    .await;
    assert_eq!(status(balancer, "hidden.test", "/").await, 503);
    relay.abort();
    Ok(())
}

#[tokio::test]
async fn an_agent_that_is_killed_has_its_routes_back_when_it_starts_again() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let web = host.run(server()).await?;
    let data = tempfile::tempdir()?;
    let mut agent = Agent::on(host).data_dir(data.path()).start().await?;
    answered_by(host, "d.test", "/", &web.name).await;
    agent.kill9();
    agent.ended_within(Duration::from_secs(5)).await?;
    assert!(ask(host, "d.test", "/").await.is_err());
    let _again = Agent::on(host).data_dir(data.path()).start().await?;
    assert_eq!(status(host, "d.test", "/").await, 200, "ready means that the routes are there");
    Ok(())
}

#[tokio::test]
async fn docker_is_reached_over_tls_with_a_certificate_and_not_without() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let dir = tempfile::tempdir()?;
    certificates(dir.path()).await?;
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(
        path("both.pem"),
        [std::fs::read(path("server.pem"))?, std::fs::read(path("server-key.pem"))?].concat(),
    )?;
    std::fs::create_dir(path("client"))?;
    // The names that Docker's own program expects.
    for (made, name) in [("ca.pem", "ca.pem"), ("client.pem", "cert.pem"), ("client-key.pem", "key.pem")] {
        std::fs::copy(path(made), dir.path().join("client").join(name))?;
    }
    let config = format!(
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 1h\n timeout server 1h\nlisten docker\n bind 127.0.0.1:2376 ssl crt {} ca-file {} verify required\n server docker unix@{}\n",
        path("both.pem"),
        path("ca.pem"),
        host.docker_socket.display()
    );
    std::fs::write(path("tls.cfg"), config)?;
    let mut relay = host.command("haproxy");
    let _relay = relay.args(["-db", "-f", &path("tls.cfg")]).kill_on_drop(true).spawn()?;
    let docker = "tcp://127.0.0.1:2376";
    let stranger = Agent::on(host).docker(docker).spawn()?;
    eventually("without a certificate Docker does not answer", async || {
        stranger.cli(&["problems"]).await.is_ok_and(|p| p.contains("Docker at tcp://127.0.0.1:2376"))
    })
    .await;
    drop(stranger);
    let agent = Agent::on(host).docker(docker).env("DOCKER_CERT_PATH", &path("client")).start().await?;
    let web = host.run(server()).await?;
    served_by(&agent, "d.test", &[&web.name]).await;
    let path = format!("/v1/containers/{}", web.name);
    assert_eq!(agent.api(&path).await?["inspection"]["Id"], web.id, "calls are encrypted as well");
    let stopped = agent.request("POST", &format!("{path}/stop?timeout=0")).send().await?;
    assert_eq!(stopped.status, 200, "{}", stopped.text());
    assert!(!web.runs().await?);
    Ok(())
}
