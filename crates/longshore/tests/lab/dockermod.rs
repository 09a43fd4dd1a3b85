//! DockerMod's API and its settings, with its users' own commands.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use longshore_testkit::bollard::query_parameters::TagImageOptions;
use longshore_testkit::{Agent, AgentBuilder, ContainerSpec, Host, Lab, TestResult, eventually};
use serde_json::{Value, json};

use crate::engines::answered_by;

/// The host of the document's examples.
const INSTANCE: &str = "app0126.proxmox.swe1.unibet.com";

/// The file of DockerMod's document.
const CONF: &str = r#"{
  "main": "com.deblox.docker.DockerMod",
  "services": ["com.deblox.docker.services.ContainerTrackingService", "com.deblox.docker.services.HttpService"],
  "clusterAddress": "deblox",
  "announceInterval": 1250,
  "trackingServiceInterval": 10000,
  "taskTimeout": 2500
}"#;

/// Gives a host an image that is called ubuntu.
async fn provide_ubuntu(host: &Host) -> TestResult {
    let options = TagImageOptions { repo: Some("ubuntu".into()), tag: Some("latest".into()) };
    host.docker().tag_image("busybox:latest", Some(options)).await?;
    Ok(())
}

/// Returns an agent that is called as DockerMod was, with `conf.json` in this folder.
fn dockermod(host: &Host, folder: &Path) -> std::io::Result<AgentBuilder> {
    std::fs::write(folder.join("conf.json"), CONF)?;
    let program = folder.join("dockermod.sh");
    // The first argument is `run`.
    let script = format!(
        "#!/bin/sh\nshift\nexec {} dockermod -conf {}/conf.json -cluster-host {INSTANCE} \"$@\"\n",
        env!("CARGO_BIN_EXE_longshore"),
        folder.display()
    );
    std::fs::write(&program, script)?;
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755))?;
    Ok(Agent::on(host).binary(program).flags(&["--node", INSTANCE]))
}

/// Runs a line of the document in a shell, whose curl finds the document's host. Returns what it prints.
async fn shell(
    host: &Host,
    folder: &Path,
    line: &str,
) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
    std::fs::write(folder.join(".curlrc"), format!("resolve = \"{INSTANCE}:8080:127.0.0.1\"\nsilent\n"))?;
    let mut command = host.command("sh");
    command.args(["-c", line]).env("HOME", folder).stdin(Stdio::null());
    let output = command.output().await?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    serde_json::from_str(&printed).map_err(|error| format!("{line}: {error}: {printed}{complaint}").into())
}

/// Sends a request to the agent. Returns the HTTP status and the body.
async fn ask(
    agent: &Agent,
    request: &Value,
) -> Result<(u16, Value), Box<dyn std::error::Error + Send + Sync>> {
    let answer = agent.request("POST", "/").body(request.to_string()).send().await?;
    let body: Value = serde_json::from_slice(&answer.body)?;
    if let Some(code) = body.get("statusCode") {
        let code = code.as_u64().unwrap_or_default();
        let http = if matches!(code, 204 | 304) { 200 } else { code };
        assert_eq!(u64::from(answer.status), http, "{body}");
    }
    Ok((answer.status, body))
}

fn id_of(reply: &Value) -> String {
    reply["Response"]["Body"]["Id"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn every_curl_example_of_the_document_works_as_printed() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    provide_ubuntu(host).await?;
    let folder = tempfile::tempdir()?;
    let _agent = dockermod(host, folder.path())?.start().await?;
    let run = async |line: &str| shell(host, folder.path(), line).await;

    let four = run(
        r#"curl -X POST --data '{"action": "create-container", "template": "test", "instances": 4}' app0126.proxmox.swe1.unibet.com:8080 | python -m json.tool"#,
    )
    .await?;
    let four = four["containers"].as_array().cloned().unwrap_or_default();
    assert_eq!(four.len(), 4);
    for reply in &four {
        assert_eq!((&reply["statusCode"], &reply["dockerInstance"]), (&json!(201), &json!(INSTANCE)));
        assert_eq!(id_of(reply).len(), 64, "{reply}");
    }
    let two = run(
        r#"curl -X   POST --data '{"action": "create-container", "template": "test", "instances": 2}' app0126.proxmox.swe1.unibet.com:8080  | python -m json.tool"#,
    )
    .await?;
    assert_eq!(two["containers"].as_array().map(Vec::len), Some(2));
    for line in [
        r#"curl -X POST --data '{"action": "create-container", "image": "ubuntu"}' app0126.proxmox.swe1.unibet.com:8080 | python -m json.tool"#,
        r#"curl -X   POST --data '{"action": "create-container", "image": "ubuntu"}' app0126.proxmox.swe1.unibet.com:8080  | python -m json.tool"#,
    ] {
        let created = run(line).await?;
        assert_eq!((&created["statusCode"], id_of(&created).len()), (&json!(201), 64), "{created}");
        for header in ["Content-Length", "Content-Type", "Date"] {
            assert!(created[header].is_string(), "{header} is not in {created}");
        }
    }

    // The document's ids are its author's containers: ours take their places.
    let id = id_of(&four[0]);
    let whole = |line: &str| {
        line.replace("b276fbefc5c5d852a3c34a2999d8b26cb473e1a96ff611fe67f65f9cf635c70f", &id)
            .replace("0d0ff6977ed1767a01526d76e414349ef87840abfe81400c6e4d9ec8116111d4", &id)
            .replace("b276fbe", &id[..12])
    };
    let start = whole(
        r#"curl -X POST --data '{"action": "start-container", "id": "b276fbe"}' app0126.proxmox.swe1.unibet.com:8080 | python -m json.tool"#,
    );
    let started = run(&start).await?;
    assert_eq!(started["Response"], "");
    assert_eq!((&started["statusCode"], &started["dockerInstance"]), (&json!(204), &json!(INSTANCE)));
    let listed = run(
        r#"curl -X POST --data '{"action": "list-containers", "all": true}' app0126.proxmox.swe1.unibet.com:8080 | python -mjson.tool "#,
    )
    .await?;
    let all = listed["Response"]["Body"].as_array().cloned().unwrap_or_default();
    assert_eq!((&listed["statusCode"], all.len()), (&json!(200), 8), "{listed}");
    assert!(all.iter().all(|container| container["dockerInstance"] == INSTANCE), "{listed}");
    let test = all.iter().find(|container| container["Id"] == json!(id)).cloned().unwrap_or_default();
    assert_eq!(test["Command"], "/bin/ping 8.8.8.8");
    let inspected = run(&whole(
        r#"curl -X  POST --data '{"action": "inspect-container", "id": "b276fbefc5c5d852a3c34a2999d8b26cb473e1a96ff611fe67f65f9cf635c70f"}' app0126.proxmox.swe1.unibet.com:8080  | python -m json.tool"#,
    ))
    .await?;
    let body = &inspected["Response"]["Body"];
    assert_eq!((&body["Args"], &body["Path"]), (&json!(["8.8.8.8"]), &json!("/bin/ping")), "{inspected}");
    assert_eq!((&body["Config"]["Hostname"], &body["Config"]["Tty"]), (&json!("TESTNODE"), &json!(true)));
    assert_eq!(body["HostConfig"]["PublishAllPorts"], true);
    let stopped = run(&whole(
        r#" curl -X  POST --data '{"action": "stop-container", "id": "b276fbefc5c5d852a3c34a2999d8b26cb473e1a96ff611fe67f65f9cf635c70f"}' app0126.proxmox.swe1.unibet.com:8080  | python -m json.tool"#,
    ))
    .await?;
    // Without a way to 8.8.8.8, ping may have ended by itself.
    assert!(stopped["statusCode"] == 204 || stopped["statusCode"] == 304, "{stopped}");
    let deleted = run(&whole(
        r#"curl -X   POST --data '{"action": "delete-container", "id": "0d0ff6977ed1767a01526d76e414349ef87840abfe81400c6e4d9ec8116111d4"}' localhost:8080   | python -mjson.tool"#,
    ))
    .await?;
    assert_eq!((&deleted["statusCode"], &deleted["Response"]), (&json!(204), &json!("")), "{deleted}");
    Ok(())
}

#[tokio::test]
async fn a_containers_life_is_one_action_after_the_other_and_every_status_is_real() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let agent = Agent::on(host).start().await?;
    let create = json!({ "action": "create-container", "image": "busybox", "Cmd": ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"] });
    let (status, created) = ask(&agent, &create).await?;
    assert_eq!(status, 201, "{created}");
    let id = id_of(&created);
    let act = async |action: &str, more: Value| {
        let mut request = json!({ "action": action, "id": &id });
        let fields = more.as_object().cloned().unwrap_or_default();
        request.as_object_mut().into_iter().for_each(|request| request.extend(fields.clone()));
        ask(&agent, &request).await
    };
    let code = |reply: (u16, Value)| reply.1["statusCode"].as_u64().unwrap_or_default();
    assert_eq!(code(act("start-container", json!({})).await?), 204);
    assert_eq!(code(act("start-container", json!({})).await?), 304, "it runs already");
    let (_, inspected) = act("inspect-container", json!({})).await?;
    assert_eq!(inspected["Response"]["Body"]["State"]["Running"], true, "{inspected}");
    let (status, refused) = act("delete-container", json!({})).await?;
    assert_eq!(status, 409, "Docker does not delete what runs");
    assert!(refused["error"].as_str().unwrap_or_default().contains("running"), "{refused}");
    assert_eq!(code(act("restart-container", json!({ "timeout": 5 })).await?), 204);
    assert_eq!(code(act("stop-container", json!({})).await?), 204);
    let (_, inspected) = act("inspect-container", json!({})).await?;
    assert_eq!(inspected["Response"]["Body"]["State"]["ExitCode"], 0, "its own handler of SIGTERM ran");
    assert_eq!(code(act("stop-container", json!({})).await?), 304);
    assert_eq!(code(act("start-container", json!({})).await?), 204);
    assert_eq!(code(act("delete-container", json!({ "force": true })).await?), 204);
    eventually("the container is gone", || async {
        act("inspect-container", json!({})).await.is_ok_and(|(status, _)| status == 404)
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn a_shutdown_takes_no_new_requests_and_lets_open_ones_finish() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let agent = Agent::on(host).start().await?;
    let web = host.run(ContainerSpec::server().label("longshore.http.80.host", "down.test")).await?;
    answered_by(host, "down.test", "/", &web.name).await;
    let open = host.get("127.0.0.1:80/slow?ms=2000").host("down.test").send();
    let request = json!({ "action": "shutdown-container", "id": web.name, "timeout": 10 });
    let shutdown = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let begun = Instant::now();
        let late = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            host.get("127.0.0.1:80/").host("down.test").send().await
        };
        let (reply, late) = tokio::join!(ask(&agent, &request), late);
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>((reply?, late?, begun.elapsed()))
    };
    let (open, shutdown) = tokio::join!(open, shutdown);
    let ((_, reply), late, took) = shutdown?;
    assert_eq!(open?.status, 200, "the open request finished");
    assert_eq!(reply["statusCode"], 204, "{reply}");
    assert_ne!(late.status, 200, "it takes no new requests while it drains");
    assert!(took > Duration::from_secs(1), "the stop came before the end of the open request: {took:?}");
    assert!(!web.runs().await?);
    Ok(())
}

#[tokio::test]
async fn what_a_request_gets_wrong_is_answered_with_its_status_and_reason() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("web.json"), "{\"Image\": \"busybox\"} // ours")?;
    let templates = folder.path().display().to_string();
    let agent = Agent::on(host).flags(&["--container-templates", &templates]).start().await?;
    let (one, other) =
        (host.create(ContainerSpec::server()).await?, host.create(ContainerSpec::server()).await?);
    let missing = format!("{}/lab/none:1", lab.registry());
    for (status, request, reason) in [
        (400, json!({}), "missing field: action"),
        (400, json!({ "action": "reboot" }), "unknown action"),
        (400, json!({ "action": "create-container" }), "template or image"),
        (400, json!({ "action": "create-container", "template": "../web" }), "template"),
        (404, json!({ "action": "create-container", "template": "wob" }), "test, web"),
        (404, json!({ "action": "create-container", "image": &missing, "pull": false }), "No such image"),
        (404, json!({ "action": "start-container", "id": "nobody" }), "no such container"),
        (404, json!({ "action": "list-images", "hostname": "nobody" }), &host.name),
    ] {
        let (found, reply) = ask(&agent, &request).await?;
        let error = reply["error"].as_str().unwrap_or_default();
        assert!(found == status && error.contains(reason), "{request}: {found} {reply}");
        assert_eq!(reply["statusCode"], status);
    }
    let (status, reply) = ask(&agent, &json!({ "action": "create-container", "image": &missing })).await?;
    assert!(status >= 400 && reply["dockerInstance"] == json!(host.name), "{reply}");
    let (status, created) = ask(&agent, &json!({ "action": "create-container", "template": "web" })).await?;
    assert_eq!(status, 201, "{created}");
    eventually("the shared beginning of two ids is ambiguous", || async {
        let (a, b) = (one.id.as_bytes(), other.id.as_bytes());
        let shared = a.iter().zip(b).take_while(|(a, b)| a == b).count();
        // Ids that differ at once share only the empty beginning, which is no id.
        let expected = if shared == 0 { 400 } else { 409 };
        let request = json!({ "action": "inspect-container", "id": &one.id[..shared] });
        ask(&agent, &request).await.is_ok_and(|(status, _)| status == expected)
    })
    .await;
    let not_json = agent.request("POST", "/").body("{\"action\": list}").send().await?;
    assert_eq!(not_json.status, 400);
    let put = agent.request("PUT", "/").send().await?;
    assert!(put.status == 405 && String::from_utf8_lossy(&put.body).contains("\"statusCode\":405"));
    let foreign =
        agent.request("POST", "/").header("origin", "http://evil.example").body("{}").send().await?;
    assert!(foreign.status == 403 && String::from_utf8_lossy(&foreign.body).contains("\"statusCode\":403"));
    let greeting = agent.get("/").await?;
    assert!(greeting.status == 200 && String::from_utf8_lossy(&greeting.body).contains("Longshore"));
    Ok(())
}

#[tokio::test]
async fn a_missing_image_is_pulled_and_a_raw_body_goes_to_docker_whole() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let image = format!("{}/lab/dockermod", lab.registry());
    let docker = async |words: &[&str]| {
        host.exec_in_namespace(&[&["docker", "-H", &host.docker_host()], words].concat()).await
    };
    docker(&["tag", "busybox:latest", &image]).await?;
    docker(&["push", "-q", &image]).await?;
    docker(&["rmi", &image]).await?;
    let agent = Agent::on(host).start().await?;
    let body = json!({ "Image": &image, "Cmd": ["sleep", "60"], "Labels": { "a": "b" }, "HostConfig": { "CpuShares": 7 } });
    let request = json!({ "action": "create-raw-container", "body": body, "instances": 3 });
    let (status, created) = ask(&agent, &request).await?;
    assert_eq!((status, created["containers"].as_array().map(Vec::len)), (201, Some(3)), "{created}");
    let id = id_of(&created["containers"][0]);
    let (_, shown) = ask(&agent, &json!({ "action": "inspect-container", "id": id })).await?;
    let shown = &shown["Response"]["Body"];
    assert_eq!(
        (&shown["Config"]["Labels"]["a"], &shown["HostConfig"]["CpuShares"]),
        (&json!("b"), &json!(7))
    );
    let (_, images) = ask(&agent, &json!({ "action": "list-images" })).await?;
    assert_eq!(images["Response-Code"], 200);
    let has = |tags: &Value| {
        tags.as_array().is_some_and(|tags| tags.iter().any(|tag| tag == &json!(format!("{image}:latest"))))
    };
    let listed = images["Response"]["Body"].as_array().cloned().unwrap_or_default();
    assert!(listed.iter().any(|image| has(&image["RepoTags"])), "{images}");
    Ok(())
}

#[tokio::test]
async fn an_unregistered_host_takes_no_new_containers_also_after_a_restart() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let data = tempfile::tempdir()?;
    let agent = Agent::on(host).data_dir(data.path()).start().await?;
    let web = host.run(ContainerSpec::server()).await?;
    let host_name = json!(host.name);
    let create = json!({ "action": "create-container", "image": "busybox" });
    for _ in 0..2 {
        let (_, reply) = ask(&agent, &json!({ "action": "unregister", "hostname": host_name })).await?;
        assert_eq!(reply, json!({ "statusCode": 200, "Response": "", "dockerInstance": host_name }));
    }
    assert_eq!(ask(&agent, &create).await?.0, 503);
    drop(agent);
    let agent = Agent::on(host).data_dir(data.path()).start().await?;
    assert_eq!(ask(&agent, &create).await?.0, 503);
    let (status, _) = ask(&agent, &json!({ "action": "inspect-container", "id": web.name })).await?;
    assert_eq!(status, 200, "what it has is still managed");
    assert_eq!(ask(&agent, &json!({ "action": "register", "hostname": host_name })).await?.0, 200);
    assert_eq!(ask(&agent, &create).await?.0, 201);
    Ok(())
}

#[tokio::test]
async fn without_docker_a_request_ends_within_its_time_and_names_the_host() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let agent = Agent::on(host).flags(&["--task-timeout", "1s"]).start().await?;
    let web = host.run(ContainerSpec::server()).await?;
    eventually("it knows the container", || async {
        let request = json!({ "action": "inspect-container", "id": web.name });
        ask(&agent, &request).await.is_ok_and(|(status, _)| status == 200)
    })
    .await;
    host.freeze_dockerd();
    let (status, reply) = ask(&agent, &json!({ "action": "start-container", "id": web.name })).await?;
    let all = ask(&agent, &json!({ "action": "list-containers", "all": true })).await;
    host.thaw_dockerd();
    assert_eq!(status, 504, "{reply}");
    assert!(reply["error"].as_str().unwrap_or_default().contains(&host.name), "{reply}");
    let (status, all) = all?;
    assert_eq!((status, &all["errors"][0]["dockerInstance"]), (504, &json!(host.name)), "{all}");
    Ok(())
}

#[tokio::test]
async fn another_host_is_answered_with_insecure_only_and_by_any_name() -> TestResult {
    let lab = Lab::up(2).await?;
    let (host, other) = (lab.host(0), lab.host(1));
    let listen = format!("{}:7051", host.address);
    let refused = Agent::on(host).listen(&listen).start().await;
    assert!(refused.is_err_and(|error| error.to_string().contains("token-file")));
    let flags = ["--insecure", "--rest-service-port", "8080"];
    let agent = Agent::on(host).listen(&listen).flags(&flags).start().await?;
    let request = other.post(format!("http://{}:8080/", host.address)).host("any.example");
    let answer = request.body("{\"action\": \"list-images\"}").send().await?;
    assert_eq!(answer.status, 200);
    let problems = agent.api("/v1/problems").await?;
    assert!(problems.to_string().contains("answers everyone who can reach it"), "{problems}");
    Ok(())
}
