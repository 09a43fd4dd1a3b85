//! The socket through which root on a host reaches its agent without a token, and who may listen to others.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use longshore_testkit::{Agent, Host, Lab, TestError, TestResult, eventually};

/// Runs the program's command line on a host, with the agent's socket and nothing else that names an agent.
async fn at_socket(host: &Host, socket: &Path, arguments: &[&str]) -> Result<(bool, String), TestError> {
    let mut command = host.command(env!("CARGO_BIN_EXE_longshore"));
    command.args(arguments).env("LONGSHORE_SOCKET", socket).env_remove("LONGSHORE_AGENT");
    let output = command.output().await?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

/// Connects as another user, whatever the file's mode says, and prints what the agent answers.
const STRANGER: &str = r#"
import os, socket, sys
client = socket.socket(socket.AF_UNIX)
client.settimeout(5)
os.setgroups([]); os.setgid(65534); os.setuid(65534)
client.connect(sys.argv[1])
try:
    client.send(b"GET /v1/status HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
    print("answer", client.recv(100))
except OSError as error:
    print("closed", error)
"#;

#[tokio::test]
async fn root_needs_no_token_at_the_socket_and_nobody_else_gets_in() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let dir = tempfile::tempdir()?;
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))?;
    let socket = dir.path().join("agent.sock");
    let token = dir.path().join("token");
    std::fs::write(&token, "0123456789abcdef")?;
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600))?;
    let flags = ["--token-file".as_ref(), token.as_os_str(), "--socket".as_ref(), socket.as_os_str()];
    let agent = Agent::on(host).flags(&flags).start().await?;
    assert_eq!(std::fs::metadata(&socket)?.permissions().mode() & 0o777, 0o600);
    assert_eq!(agent.get("/v1/status").await?.status, 401, "the port requires the token");
    let (done, text) = at_socket(host, &socket, &["status"]).await?;
    assert!(done && text.contains(&host.name), "{text}");
    let web = host.run(longshore_testkit::ContainerSpec::busybox(&["sleep", "1000"]).stop_timeout(1)).await?;
    eventually("the container is known", async || {
        at_socket(host, &socket, &["container", "ls"]).await.is_ok_and(|(_, text)| text.contains(&web.name))
    })
    .await;
    let (done, text) = at_socket(host, &socket, &["container", "exec", &web.name, "echo", "inside"]).await?;
    assert!(done && text == "inside\n", "{text}");

    // Another user is refused by the kernel's word, even if someone opens the file to all.
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o666))?;
    let program = dir.path().join("stranger.py");
    std::fs::write(&program, STRANGER)?;
    let output = host.command("python3").arg(&program).arg(&socket).output().await?;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.starts_with("answer b''") || text.starts_with("closed"), "{text} {output:?}");

    // A second agent with this path goes without, and says so.
    let second = Agent::on(host).listen("127.0.0.1:7151").flags(&["--socket".as_ref(), socket.as_os_str()]);
    let second = second.start().await?;
    let problems = second.api("/v1/problems").await?.to_string();
    assert!(problems.contains("another agent listens on"), "{problems}");
    drop(second);
    assert!(at_socket(host, &socket, &["status"]).await?.0, "the first one has it still");
    Ok(())
}

#[tokio::test]
async fn the_socket_survives_a_handover_and_a_kill() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let dir = tempfile::tempdir()?;
    let (socket, data) = (dir.path().join("agent.sock"), dir.path().join("data"));
    let flags = ["--socket".as_ref(), socket.as_os_str()];
    let mut agent = Agent::on(host).data_dir(&data).flags(&flags).balancer("none").start().await?;
    let uptime = async || {
        let (done, text) = at_socket(host, &socket, &["status", "--json"]).await.unwrap_or_default();
        let started: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        done.then(|| started["started_at"].as_str().unwrap_or_default().to_owned())
    };
    let first = uptime().await;
    assert!(first.is_some());
    agent.sigusr2();
    eventually("the successor answers at the socket", async || {
        uptime().await.is_some_and(|started| Some(started) != first)
    })
    .await;
    agent.kill9();
    agent.ended_within(std::time::Duration::from_secs(5)).await?;
    assert!(socket.exists(), "a killed agent removes nothing");
    let mut agent = Agent::on(host).data_dir(&data).flags(&flags).start().await?;
    assert!(uptime().await.is_some(), "what it left is replaced");
    agent.sigterm();
    agent.ended_within(std::time::Duration::from_secs(10)).await?;
    assert!(!socket.exists(), "one that ends removes it");
    Ok(())
}

#[tokio::test]
async fn the_built_in_balancers_agent_hands_its_socket_over_as_well() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("agent.sock");
    let flags = ["--socket".as_ref(), socket.as_os_str()];
    let mut agent = Agent::on(host).flags(&flags).start().await?;
    agent.sigusr2();
    agent.ended_within(std::time::Duration::from_secs(30)).await?;
    let mut pid = String::new();
    eventually("the successor answers at the socket", async || {
        at_socket(host, &socket, &["status"]).await.is_ok_and(|(done, _)| done)
    })
    .await;
    let problems = at_socket(host, &socket, &["problem", "ls", "--json"]).await?.1;
    assert!(!problems.contains("another agent listens"), "{problems}");
    // It is nobody's child any more.
    for process in std::fs::read_dir("/proc")?.flatten() {
        let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&command).contains(&socket.display().to_string()) {
            pid = process.file_name().to_string_lossy().into_owned();
        }
    }
    host.exec_in_namespace(&["kill", &pid]).await?;
    eventually("it removes the socket at its end", async || !socket.exists()).await;
    Ok(())
}

#[tokio::test]
async fn an_agent_that_is_open_to_others_without_a_token_says_so_loudly() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let mut refused = Agent::on(host).listen("0.0.0.0:7051").spawn()?;
    assert!(!refused.ended_within(std::time::Duration::from_secs(10)).await?.success());
    assert!(refused.log().contains("reachable by others"), "{}", refused.log());
    let open = Agent::on(host).listen("0.0.0.0:7051").flags(&["--insecure"]).start().await?;
    let log = open.log();
    assert!(log.contains("WARN") && log.contains("answers everyone who can reach it"), "{log}");
    let problems = open.api("/v1/problems").await?.to_string();
    assert!(problems.contains("answers everyone who can reach it, without a token"), "{problems}");
    Ok(())
}
