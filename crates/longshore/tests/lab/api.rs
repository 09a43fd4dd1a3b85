//! The HTTP API: its clients, its errors, its document, its events.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use longshore_testkit::{Agent, ContainerSpec, Host, Lab, TestError, TestResult, eventually};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::engines::{answered_by, status};

fn server(name: &str) -> ContainerSpec {
    ContainerSpec::server().label("longshore.http.80.host", name)
}

/// Creates a program in `folder` that runs this shell line and then Longshore.
fn after(folder: &Path, line: &str) -> std::io::Result<PathBuf> {
    let program = folder.join("longshore");
    let script = format!("#!/bin/sh\n{line}\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_longshore"));
    std::fs::write(&program, script)?;
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755))?;
    Ok(program)
}

/// Returns the soft limit of open files of a process.
fn descriptors(pid: u32) -> Option<u64> {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits.lines().find(|line| line.starts_with("Max open files"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

#[tokio::test]
async fn silent_clients_of_the_api_keep_nobody_from_the_api_or_the_traffic() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let folder = tempfile::tempdir()?;
    let agent = Agent::on(host).binary(after(folder.path(), "ulimit -n 256")?).start().await?;
    let web = host.run(server("a.test")).await?;
    answered_by(host, "a.test", "/", &web.name).await;
    let silent = host
        .inside(async {
            let mut silent = Vec::new();
            for _ in 0..600 {
                silent.push(TcpStream::connect("127.0.0.1:7051").await?);
            }
            Ok::<_, std::io::Error>(silent)
        })
        .await??;
    for _ in 0..40 {
        assert_eq!(status(host, "a.test", "/").await, 200, "traffic goes on");
    }
    assert_eq!(agent.get("/v1/routes").await?.status, 200, "a client that asks is answered");
    let open = format!("/proc/{}/fd", agent.pid().ok_or("no process")?);
    assert!(std::fs::read_dir(open)?.count() < 128, "descriptors are left for the traffic");
    drop(silent);
    Ok(())
}

#[tokio::test]
async fn the_agent_raises_its_limit_of_open_files() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let folder = tempfile::tempdir()?;
    let agent =
        Agent::on(host).binary(after(folder.path(), "ulimit -Sn 256; ulimit -Hn 4000")?).start().await?;
    assert_eq!(descriptors(agent.pid().ok_or("no process")?), Some(4000));
    Ok(())
}

#[tokio::test]
async fn every_error_of_the_api_is_json() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let agent = Agent::on(host).start().await?;
    let json =
        |request: longshore_testkit::RequestBuilder| request.header("content-type", "application/json");
    let test = || agent.request("POST", "/v1/handlers/none/test");
    let requests = [
        (404, agent.request("GET", "/v1/nothing")),
        (404, agent.request("GET", "/docs/nothing")),
        (400, agent.request("GET", "/v1/explain/route?frontend=nonsense")),
        (405, agent.request("DELETE", "/v1/containers")),
        (405, agent.request("POST", "/openapi.json")),
        (415, test().body("{}")),
        (422, json(test()).body("{}")),
        (400, json(test()).body("{")),
        (404, json(test()).body("{\"event\":\"start\"}")),
        (421, agent.request("GET", "/v1/containers").host("evil.example")),
        (
            403,
            agent.request("POST", "/v1/handlers/failed/all/forget").header("origin", "http://evil.example"),
        ),
    ];
    for (wanted, request) in requests {
        let answer = request.send().await?;
        let told = format!("{} {}", answer.status, answer.text());
        assert_eq!(answer.status, wanted, "{told}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{told}");
        assert!(answer.json()?["error"].as_str().is_some_and(|error| !error.is_empty()), "{told}");
        if wanted == 405 {
            assert!(answer.header("allow").is_some_and(|allow| allow.contains("GET")), "{told}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_client_without_the_token_is_told_how_to_authenticate() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let folder = tempfile::tempdir()?;
    let token = folder.path().join("token");
    std::fs::write(&token, "0123456789abcdef-secret\n")?;
    std::fs::set_permissions(&token, PermissionsExt::from_mode(0o600))?;
    let agent = Agent::on(host).flags(&["--token-file".into(), token.into_os_string()]).start().await?;
    let answer = agent.get("/v1/containers").await?;
    assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer realm=\"longshore\"")));
    let wrong =
        agent.request("GET", "/v1/containers").header("authorization", "Bearer another").send().await?;
    let challenge = wrong.header("www-authenticate").unwrap_or_default();
    assert!(wrong.status == 401 && challenge.contains("error=\"invalid_token\""), "{challenge}");
    assert_eq!(agent.get("/docs/").await?.status, 200, "the page that asks for the token needs none");
    assert_eq!(agent.get("/openapi.json").await?.status, 200);
    assert_eq!(agent.get("/metrics").await?.status, 401);
    Ok(())
}

/// One event of the stream.
#[derive(Debug)]
struct Heard {
    id: String,
    name: String,
    data: Value,
}

/// Reads `/v1/events`, after the event of this id.
fn events(host: &Host, last: Option<&str>) -> mpsc::UnboundedReceiver<Heard> {
    let (heard, events) = mpsc::unbounded_channel();
    let resume = last.map(|id| format!("last-event-id: {id}\r\n")).unwrap_or_default();
    host.runtime().spawn(async move {
        let mut stream = TcpStream::connect("127.0.0.1:7051").await?;
        let request = format!("GET /v1/events HTTP/1.1\r\nhost: localhost\r\n{resume}\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut lines = BufReader::new(stream).lines();
        let (mut id, mut name) = (String::new(), String::new());
        while let Some(line) = lines.next_line().await? {
            match line.split_once(": ") {
                Some(("id", value)) => id = value.to_owned(),
                Some(("event", value)) => name = value.to_owned(),
                Some(("data", value)) => {
                    let data = serde_json::from_str(value).unwrap_or_default();
                    let event = Heard { id: id.clone(), name: name.clone(), data };
                    if heard.send(event).is_err() {
                        break;
                    }
                }
                _ => {}
            }
        }
        Ok::<_, std::io::Error>(())
    });
    events
}

/// Waits for the first event that matches.
async fn first(
    events: &mut mpsc::UnboundedReceiver<Heard>,
    wanted: impl Fn(&Heard) -> bool,
) -> Result<Heard, TestError> {
    let find = async {
        loop {
            let event = events.recv().await.ok_or("the stream ended")?;
            if wanted(&event) {
                return Ok::<_, &str>(event);
            }
        }
    };
    Ok(tokio::time::timeout(Duration::from_secs(20), find).await.map_err(|_| "no such event")??)
}

fn action<'a>(wanted: &'a str, container: &'a str) -> impl Fn(&Heard) -> bool + 'a {
    move |event| event.data["action"] == wanted && event.data["container"] == container
}

#[tokio::test]
async fn an_event_has_a_time_a_name_and_an_id_to_go_on_from() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let agent = Agent::on(host).start().await?;
    let network = host.network("longshore-events").await?;
    let web = host.run(server("s.test")).await?;
    let mut stream = events(host, None);
    // Events before the stream opens are not shown; it is open once an event arrives.
    let begin = async {
        loop {
            web.pause().await?;
            web.unpause().await?;
            if tokio::time::timeout(Duration::from_millis(300), stream.recv()).await.is_ok() {
                return Ok::<_, longshore_testkit::LabError>(());
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), begin).await??;
    network.connect(&web.id).await?;
    let connected = first(&mut stream, action("connect", &web.id)).await?;
    assert_eq!(
        (connected.name.as_str(), connected.data["name"].as_str()),
        ("container", Some(web.name.as_str()))
    );
    let at = connected.data["at"].as_str().unwrap_or_default();
    assert!(at.starts_with("20") && at.contains('T') && at.ends_with('Z'), "{at}");
    drop(stream);
    network.disconnect(&web.id).await?;
    eventually("the change is through", async || {
        let known = agent.api("/v1/containers").await.unwrap_or_default();
        known[0]["networks"].as_object().is_some_and(|networks| networks.len() == 1)
    })
    .await;
    let mut again = events(host, Some(&connected.id));
    let disconnected = first(&mut again, |event| event.name == "container").await?;
    assert_eq!(disconnected.data["action"], "disconnect", "nothing is lost in between: {disconnected:?}");
    assert_eq!(disconnected.data["name"], web.name.as_str());
    let mut another = events(host, Some("5-1"));
    let told = first(&mut another, |_| true).await?;
    assert_eq!((told.name.as_str(), &told.data["missed"]), ("lagged", &Value::Null), "{told:?}");
    Ok(())
}

#[tokio::test]
async fn a_frontend_whose_port_is_taken_is_down_wherever_it_is_shown() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let agent = Agent::on(host).start().await?;
    let port = host.free_port().await?;
    let other = host.inside(async move { tokio::net::TcpListener::bind(("0.0.0.0", port)).await }).await??;
    let spec = ContainerSpec::server().label("longshore.tcp.80.listen", port.to_string());
    let web = host.run(spec).await?;
    let frontend = format!("tcp:{port}");
    let explained = format!("/v1/explain/route?frontend={frontend}");
    eventually("the route is there, and its frontend is not open", async || {
        let routes = agent.api("/v1/routes").await.unwrap_or_default();
        let error = routes[0]["frontend_error"].as_str().unwrap_or_default().to_owned();
        routes[0]["upstreams"][0]["name"] == web.name.as_str() && error.contains("in use")
    })
    .await;
    let answer = agent.api(&explained).await?;
    assert_eq!(
        (&answer["verdict"], &answer["candidates"][0]["serves"]),
        (&"frontend_closed".into(), &false.into())
    );
    assert!(answer["frontend_error"].as_str().is_some_and(|error| error.contains("in use")), "{answer}");
    let status = agent.api("/v1/status").await?;
    assert_eq!(status["balancer"]["closed"][0]["frontend"], frontend.as_str(), "{status}");
    drop(other);
    eventually("it opens once the port is free", async || {
        let routes = agent.api("/v1/routes").await.unwrap_or_default();
        routes[0]["frontend_error"].is_null() && routes[0]["upstreams"][0].is_object()
    })
    .await;
    assert_eq!(agent.api(&explained).await?["verdict"], "routed");
    let log = agent.log();
    assert!(log.contains(&format!("frontend opened frontend={frontend}")), "{log}");
    assert!(log.contains(&format!("route added route={frontend}")), "{log}");
    Ok(())
}

#[tokio::test]
async fn the_status_says_what_runs_and_how_much_there_is() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let agent = Agent::on(host).start().await?;
    let web = host.run(server("s.test")).await?;
    let _idle = host.create(ContainerSpec::server()).await?;
    answered_by(host, "s.test", "/", &web.name).await;
    eventually("all of it is known", async || {
        let status = agent.api("/v1/status").await.unwrap_or_default();
        status["docker"]["version"].is_string() && status["counts"]["containers"] == 2
    })
    .await;
    let status = agent.api("/v1/status").await?;
    assert_eq!(
        (&status["version"], &status["node"]),
        (&env!("CARGO_PKG_VERSION").into(), &host.name.as_str().into())
    );
    assert_eq!((&status["ready"], &status["docker"]["connected"]), (&true.into(), &true.into()));
    assert_eq!(
        (&status["balancer"]["engine"], &status["balancer"]["frontends"]),
        (&"built-in".into(), &vec!["http:80"].into())
    );
    assert_eq!((&status["counts"]["running"], &status["counts"]["routes"]), (&1.into(), &1.into()));
    assert!(status["started_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{status}");
    host.stop_dockerd().await?;
    eventually("Docker's absence is told, and what was known stays", async || {
        let status = agent.api("/v1/status").await.unwrap_or_default();
        status["docker"]["connected"] == false
            && status["docker"]["error"].is_string()
            && status["counts"]["containers"] == 2
    })
    .await;
    host.start_dockerd().await?;
    Ok(())
}

#[tokio::test]
async fn each_follower_tells_of_its_last_pass() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let agent = Agent::on(host).flags(&["--dns", "127.0.0.1:5353"]).start().await?;
    let of = async |name: &str| {
        let followers = agent.api("/v1/followers").await.unwrap_or_default();
        followers.as_array().into_iter().flatten().find(|f| f["name"] == name).cloned().unwrap_or_default()
    };
    // Docker may tell of something else at once, so the first pass need not be the last one for long.
    eventually("the first passes are made", async || {
        of("sidecars").await["last"]["reached"] == "all" && of("dns").await["last"]["reached"] == "all"
    })
    .await;
    let before = of("dns").await["passes"].as_u64().unwrap_or_default();
    let _web = host.run(server("f.test")).await?;
    eventually("a container that comes is the cause of the next one", async || {
        let dns = of("dns").await;
        dns["last"]["cause"] == "changes" && dns["passes"].as_u64().is_some_and(|passes| passes > before)
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn each_metric_has_a_help_text_and_durations_have_buckets() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let agent = Agent::on(host).start().await?;
    let port = host.free_port().await?;
    let spec = server("m.test").label("longshore.tcp.80.listen", port.to_string());
    let web = host.run(spec).await?;
    answered_by(host, "m.test", "/", &web.name).await;
    let text = agent.get("/metrics").await?.text();
    let families: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let family_of = |line: &str| {
        let name = line.split(['{', ' ']).next().unwrap_or_default().to_owned();
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        base.filter(|base| families.contains(base)).map_or(name.clone(), str::to_owned)
    };
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let family = family_of(line);
        assert!(families.contains(&family.as_str()), "{line} has no type");
        assert!(text.contains(&format!("# HELP {family} ")), "{line} has no help text");
    }
    let sample = |start: &str| text.lines().any(|line| line.starts_with(start));
    for start in [
        "longshore_build_info{version=",
        "longshore_request_duration_seconds_bucket{frontend=\"http:80\",le=\"0.005\"} ",
        "longshore_route_apply_seconds_bucket{le=",
        "longshore_resync_repairs_total 0",
        "process_resident_memory_bytes ",
        "process_start_time_seconds ",
    ] {
        assert!(sample(start), "{start:?} is not in\n{text}");
    }
    assert!(!text.contains("quantile="), "{text}");
    assert!(sample(&format!("longshore_connections_total{{frontend=\"tcp:{port}\"")), "{text}");
    assert!(!sample(&format!("longshore_responses_total{{frontend=\"tcp:{port}\"")), "{text}");
    Ok(())
}
