//! Sidecars: the requirements' table for Podder, row by row, on a real Docker.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use longshore_testkit::bollard::models::ContainerConfig;
use longshore_testkit::bollard::query_parameters::CommitContainerOptions;
use longshore_testkit::{
    Agent, AgentBuilder, ContainerSpec, Host, Lab, PrivateRegistry, TestResult, eventually,
};
use serde_json::Value;

use crate::engines::problems_of;

/// A folder with a sidecars file.
struct File(tempfile::TempDir);

impl File {
    fn new(text: &str) -> std::io::Result<Self> {
        let file = Self(tempfile::tempdir()?);
        file.write(text)?;
        Ok(file)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("sidecars.yml")
    }

    /// Replaces the file, as editors do.
    fn write(&self, text: &str) -> std::io::Result<()> {
        let next = self.0.path().join("next");
        std::fs::write(&next, text)?;
        std::fs::rename(next, self.path())
    }
}

/// Returns an agent that only keeps sidecars.
fn agent(host: &Host, file: Option<&File>) -> AgentBuilder {
    let agent = Agent::on(host).balancer("none");
    match file {
        Some(file) => agent.flags(&["--sidecars".into(), file.path().into_os_string()]),
        None => agent,
    }
}

/// Returns a sidecar of every busybox, with more lines in its definition.
fn of_busybox(more: &str) -> String {
    format!(
        "services:\n  busybox: {{sidecars: [side]}}\nsidecars:\n  side:\n    image: busybox\n    command: sleep 1000\n    stop_grace_period: 1s\n    {more}\n"
    )
}

fn busy() -> ContainerSpec {
    ContainerSpec::busybox(&["sleep", "1000"]).stop_timeout(1)
}

/// Returns Docker's inspection of a container, or nothing if there is none.
async fn inspect(host: &Host, name: &str) -> Option<Value> {
    let found = host.docker().inspect_container(name, None).await.ok()?;
    serde_json::to_value(found).ok()
}

async fn runs(host: &Host, name: &str) -> bool {
    inspect(host, name).await.is_some_and(|found| found["State"]["Running"] == true)
}

async fn until_runs(host: &Host, name: &str) -> Value {
    eventually(&format!("{name} runs"), async || runs(host, name).await).await;
    inspect(host, name).await.unwrap_or_default()
}

async fn until_gone(host: &Host, name: &str) {
    eventually(&format!("{name} is gone"), async || inspect(host, name).await.is_none()).await;
}

/// Returns the network namespace of a container's process, as a file.
async fn namespace(host: &Host, name: &str) -> String {
    let pid = until_runs(host, name).await["State"]["Pid"].as_u64().unwrap_or_default();
    format!("/proc/{pid}/ns/net")
}

/// Returns what identifies that namespace.
async fn namespace_id(host: &Host, name: &str) -> std::io::Result<PathBuf> {
    std::fs::read_link(namespace(host, name).await)
}

/// Returns the name of the sidecar `side` of a main without a number.
fn side(id: &str) -> String {
    format!("podder_side_{}", &id[..12])
}

/// Runs Docker's own program.
async fn docker(host: &Host, arguments: &[&str]) -> TestResult {
    let mut line = vec!["docker", "-H"];
    let address = host.docker_host();
    line.push(&address);
    line.extend(arguments);
    host.exec_in_namespace(&line).await?;
    Ok(())
}

#[tokio::test]
async fn an_image_without_a_tag_matches_any_and_the_sidecar_bears_its_main() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let file = File::new(&of_busybox("labels: {a: b}"))?;
    let main = host.run(busy()).await?;
    let _agent = agent(host, Some(&file)).start().await?;
    let found = until_runs(host, &side(&main.id)).await;
    let env = found["Config"]["Env"].to_string();
    assert!(env.contains(&format!("PODDER_MASTER={}", main.name)), "{env}");
    let labels = &found["Config"]["Labels"];
    assert_eq!(labels["longshore.owner"], "sidecar");
    assert_eq!(labels["longshore.sidecar"], "side");
    assert_eq!(labels["longshore.sidecar.main"], main.id.as_str());
    assert_eq!(labels["a"], "b");
    assert_eq!(labels["longshore.spec"].as_str().map(str::len), Some(64));
    let number = busy().label("com.docker.compose.container-number", "7");
    let _numbered = host.run(number).await?;
    until_runs(host, "podder_side_7").await;
    Ok(())
}

#[tokio::test]
async fn sidecars_run_exactly_while_their_main_runs_also_across_a_crash_of_the_agent() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let file = File::new(&of_busybox(""))?;
    let mut main = host.run(busy()).await?;
    let other = host.run(busy()).await?;
    let agent_1 = agent(host, Some(&file)).start().await?;
    let (of_main, of_other) = (side(&main.id), side(&other.id));
    until_runs(host, &of_main).await;
    main.stop(1).await?;
    until_gone(host, &of_main).await;
    main.start().await?;
    until_runs(host, &of_main).await;
    let stays = until_runs(host, &of_other).await;
    agent_1.kill9();
    drop(agent_1);
    main.remove().await?;
    assert!(runs(host, &of_main).await, "nobody is there to remove it");
    let _agent_2 = agent(host, Some(&file)).start().await?;
    until_gone(host, &of_main).await;
    let after = until_runs(host, &of_other).await;
    assert_eq!(after["Id"], stays["Id"], "who was well is not touched");
    Ok(())
}

#[tokio::test]
async fn sidecars_follow_after_docker_was_away() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let file = File::new(&of_busybox(""))?;
    let relay = host.docker_relay().await?;
    let mut main = host.run(busy()).await?;
    let builder = agent(host, Some(&file)).docker(relay.unix()).flags(&["--resync", "1s"]);
    let _agent = builder.start().await?;
    let name = side(&main.id);
    until_runs(host, &name).await;
    relay.cut();
    main.stop(1).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(runs(host, &name).await);
    relay.heal();
    until_gone(host, &name).await;
    main.start().await?;
    until_runs(host, &name).await;
    Ok(())
}

#[tokio::test]
async fn a_sidecar_that_dies_is_started_again_and_one_that_keeps_dying_is_told_of() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let file = File::new(&of_busybox(""))?;
    let restless = busy()
        .label("longshore.sidecar.restless.image", "busybox")
        .label("longshore.sidecar.restless.command", "false");
    let main = host.run(restless).await?;
    let agent = agent(host, Some(&file)).start().await?;
    let name = side(&main.id);
    let first = until_runs(host, &name).await;
    docker(host, &["kill", &name]).await?;
    eventually("it was started again", async || {
        let now = inspect(host, &name).await.unwrap_or_default();
        now["State"]["Running"] == true && now["State"]["StartedAt"] != first["State"]["StartedAt"]
    })
    .await;
    eventually("the one that keeps ending is a problem", async || {
        let told = problems_of(&agent, &main.id).await;
        told.iter().any(|line| line.contains("sidecar restless: it keeps exiting"))
    })
    .await;
    eventually("it waits for long until it is started again", async || {
        agent.log().matches("sidecar started sidecar=\"podder_restless").count() >= 6
    })
    .await;
    main.stop(1).await?;
    until_gone(host, &name).await;
    let stopped = std::time::Instant::now();
    until_gone(host, &format!("podder_restless_{}", &main.id[..12])).await;
    assert!(
        stopped.elapsed() < Duration::from_secs(4),
        "to remove it is not put off: {:?}",
        stopped.elapsed()
    );
    eventually("it is no problem any more", async || problems_of(&agent, &main.id).await.is_empty()).await;
    Ok(())
}

#[tokio::test]
async fn a_sidecar_is_on_all_its_mains_networks_and_reaches_others_by_alias() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let (front, back) = (host.network("front").await?, host.network("back").await?);
    let file = File::new(
        "services: {busybox: {sidecars: [asks, told]}}\nsidecars:\n  asks: {image: busybox, command: sleep 1000, links: [\"told:base\"], stop_grace_period: 1s}\n  told: {image: busybox, command: sleep 1000, networks: {back: {aliases: [archive]}}, stop_grace_period: 1s}\n",
    )?;
    let main = host.create(busy().on(&front)).await?;
    back.connect(&main.id).await?;
    let mut main = main;
    main.start().await?;
    let _agent = agent(host, Some(&file)).start().await?;
    let (asks, told) = (format!("podder_asks_{}", &main.id[..12]), format!("podder_told_{}", &main.id[..12]));
    let told = until_runs(host, &told).await["NetworkSettings"]["Networks"].clone();
    assert!(told["front"].is_null(), "the file names its networks: {told}");
    assert!(told["back"]["Aliases"].to_string().contains("archive"), "{told}");
    let networks = until_runs(host, &asks).await["NetworkSettings"]["Networks"].clone();
    assert!(networks["front"].is_object() && networks["back"].is_object(), "{networks}");
    let space = namespace(host, &asks).await;
    let asked = ["nsenter", &format!("--net={space}"), "busybox", "nslookup", "base", "127.0.0.11"]
        .map(str::to_owned);
    let address = told["back"]["IPAddress"].as_str().unwrap_or("no address").to_owned();
    eventually("the link leads to the other sidecar", async || {
        let words: Vec<&str> = asked.iter().map(String::as_str).collect();
        host.exec_in_namespace(&words).await.is_ok_and(|said| said.contains(&address))
    })
    .await;
    let extra = host.network("extra").await?;
    extra.connect(&main.id).await?;
    eventually("it joins a network that its main joins", async || {
        let found = inspect(host, &asks).await.unwrap_or_default();
        found["NetworkSettings"]["Networks"]["extra"].is_object() && found["State"]["Running"] == true
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn ports_volumes_and_environment_are_read_as_compose_reads_them() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let file = File::new(
        "services: {busybox: {sidecars: [side]}}\nsidecars:\n  side:\n    image: busybox\n    command: [sh, -c, 'echo $WORD > /index.html; httpd -h / -p 80; sleep 1000']\n    ports: ['18080:80', {target: 81, published: 18081, host_ip: 127.0.0.1}]\n    environment: ['WORD=two words', BARE]\n    volumes: ['./data:/data:ro', 'cache:/cache', {type: tmpfs, target: /tmp, tmpfs: {size: 64k}}]\n    stop_grace_period: 1s\n",
    )?;
    let main = host.run(busy()).await?;
    let _agent = agent(host, Some(&file)).env("BARE", "from the agent").start().await?;
    let found = until_runs(host, &side(&main.id)).await;
    eventually("port 18080 of the host is port 80 of the sidecar", async || {
        let answer = host.get("http://127.0.0.1:18080/index.html").send().await;
        answer.is_ok_and(|answer| answer.text().trim() == "two words")
    })
    .await;
    assert!(found["Config"]["Env"].to_string().contains("BARE=from the agent"));
    let mounts = found["Mounts"].as_array().cloned().unwrap_or_default();
    let mount =
        |to: &str| mounts.iter().find(|mount| mount["Destination"] == to).cloned().unwrap_or_default();
    let folder = file.0.path().join("data").display().to_string();
    assert_eq!((&mount("/data")["Source"], &mount("/data")["RW"]), (&folder.into(), &false.into()));
    assert_eq!(mount("/cache")["Name"], "cache");
    assert_eq!(found["HostConfig"]["Tmpfs"]["/tmp"], "size=64k");
    let binding = &found["HostConfig"]["PortBindings"]["81/tcp"][0];
    assert_eq!((&binding["HostIp"], &binding["HostPort"]), (&"127.0.0.1".into(), &"18081".into()));
    Ok(())
}

#[tokio::test]
async fn a_missing_image_is_pulled_and_what_is_depended_on_runs_first() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let image = format!("{}/lab/sidecar", lab.registry());
    for line in [["tag", "busybox:latest", &image].as_slice(), &["push", "-q", &image], &["rmi", &image]] {
        docker(host, line).await?;
    }
    let file = File::new(&format!(
        "services: {{busybox: {{sidecars: [last]}}}}\nsidecars:\n  last: {{image: busybox, command: sleep 1000, depends_on: [first], stop_grace_period: 1s}}\n  first: {{image: '{image}', command: sleep 1000, stop_grace_period: 1s}}\n"
    ))?;
    let main = host.run(busy()).await?;
    let _agent = agent(host, Some(&file)).start().await?;
    let last = until_runs(host, &format!("podder_last_{}", &main.id[..12])).await;
    let first = until_runs(host, &format!("podder_first_{}", &main.id[..12])).await;
    let started = |found: &Value| found["State"]["StartedAt"].as_str().unwrap_or_default().to_owned();
    assert!(started(&first) < started(&last), "{} {}", started(&first), started(&last));
    Ok(())
}

#[tokio::test]
async fn one_that_cannot_be_made_holds_up_no_other_and_is_tried_until_it_can() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("later");
    let bad = format!(
        "services: {{busybox: {{sidecars: [bad, side, absent]}}}}\nsidecars:\n  bad: {{image: busybox, command: sleep 1000, volumes: [{{type: bind, source: {}, target: /x, bind: {{create_host_path: false}}}}], stop_grace_period: 1s}}\n  side: {{image: busybox, command: sleep 1000, stop_grace_period: 1s}}\n  absent: {{image: '{}/no/such', command: []}}\n",
        path.display(),
        lab.registry()
    );
    let file = File::new(&bad)?;
    let (main, other) = (host.run(busy()).await?, host.run(busy()).await?);
    let agent = agent(host, Some(&file)).start().await?;
    until_runs(host, &side(&main.id)).await;
    until_runs(host, &side(&other.id)).await;
    eventually("both failures are told, with their cause", async || {
        let told = problems_of(&agent, &main.id).await;
        told.iter().any(|line| line.contains("sidecar bad: podder_bad_") && line.contains("later"))
            && told.iter().any(|line| line.contains("sidecar absent: ") && line.contains("cannot pull"))
    })
    .await;
    std::fs::create_dir(&path)?;
    until_runs(host, &format!("podder_bad_{}", &main.id[..12])).await;
    eventually("it is no problem any more", async || {
        problems_of(&agent, &main.id).await.iter().all(|line| !line.contains("sidecar bad"))
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn labels_ask_for_a_sidecar_in_the_mains_own_network() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let main = ContainerSpec::server()
        .label("longshore.sidecar.probe.image", "busybox")
        .label("longshore.sidecar.probe.network_mode", "service")
        .label("longshore.sidecar.probe.stop_grace_period", "1s")
        .label("longshore.sidecar.probe.command", "sleep 1000")
        .label("longshore.sidecar.wrong.image", "busybox")
        .label("longshore.sidecar.wrong.ports", "eighty");
    let main = host.run(main).await?;
    let agent = agent(host, None).start().await?;
    let name = format!("podder_probe_{}", &main.id[..12]);
    let first = until_runs(host, &name).await;
    assert_eq!(first["HostConfig"]["NetworkMode"], format!("container:{}", main.id));
    assert_eq!(namespace_id(host, &name).await?, namespace_id(host, &main.name).await?);
    let told = problems_of(&agent, &main.id).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("longshore.sidecar.wrong.ports: invalid port \"eighty\""), "{told:?}");
    assert!(inspect(host, &format!("podder_wrong_{}", &main.id[..12])).await.is_none());
    main.restart(1).await?;
    eventually("after a restart of its main it is another one, in the new namespace", async || {
        let now = inspect(host, &name).await.unwrap_or_default();
        now["Id"] != first["Id"] && now["State"]["Running"] == true
    })
    .await;
    assert_eq!(namespace_id(host, &name).await?, namespace_id(host, &main.name).await?);
    Ok(())
}

#[tokio::test]
async fn a_strangers_container_of_that_name_is_left_alone() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let file = File::new(&of_busybox(""))?;
    let stranger = host.run(ContainerSpec::server().named("podder_side_3")).await?;
    let main = host.run(busy().label("com.docker.compose.container-number", "3")).await?;
    let agent = agent(host, Some(&file)).start().await?;
    eventually("it is told", async || {
        let told = problems_of(&agent, &main.id).await;
        told.iter().any(|line| line.contains("podder_side_3 is another container's"))
    })
    .await;
    assert!(stranger.runs().await?);
    stranger.remove().await?;
    until_runs(host, "podder_side_3").await;
    Ok(())
}

#[tokio::test]
async fn an_edited_file_is_followed_and_a_broken_one_changes_nothing() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let file = File::new(&of_busybox("environment: {N: 1}"))?;
    let main = host.run(busy()).await?;
    let agent = agent(host, Some(&file)).start().await?;
    let name = side(&main.id);
    let first = until_runs(host, &name).await;
    file.write("services: [\n")?;
    eventually("the mistake is told with its line", async || {
        let told = agent.cli(&["problems"]).await.unwrap_or_default();
        told.contains("sidecars.yml:") && told.contains("invalid YAML")
    })
    .await;
    assert_eq!(until_runs(host, &name).await["Id"], first["Id"]);
    file.write(&of_busybox("environment: {N: 2}"))?;
    eventually("it is recreated", async || {
        let found = inspect(host, &name).await.unwrap_or_default();
        found["State"]["Running"] == true && found["Config"]["Env"].to_string().contains("N=2")
    })
    .await;
    file.write("services: {}\n")?;
    until_gone(host, &name).await;
    Ok(())
}

#[tokio::test]
async fn a_template_is_rendered_with_the_mains_inspection() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let network = host.network("meshed").await?;
    let file = File::new(&of_busybox(
        "environment:\n      IP: '{{ data.NetworkSettings.Networks[network].IPAddress }}'\n      NET: '{{ network }}'\n      NAME: '{{ data.Name.lstrip(\"/\") }}'",
    ))?;
    let main = host.run(busy().on(&network)).await?;
    let _agent = agent(host, Some(&file)).start().await?;
    let env = until_runs(host, &side(&main.id)).await["Config"]["Env"].to_string();
    let ip = main.ip.map(|ip| ip.to_string()).unwrap_or_default();
    for part in [format!("\"IP={ip}\""), "\"NET=meshed\"".to_owned(), format!("\"NAME={}\"", main.name)] {
        assert!(env.contains(&part), "{part} not in {env}");
    }
    Ok(())
}

#[tokio::test]
async fn once_makes_them_and_a_dry_run_does_not() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let file = File::new(&of_busybox(""))?;
    let main = host.run(busy()).await?;
    for (mode, made) in [("--dry-run", false), ("--once", true)] {
        let mut run = host.command(env!("CARGO_BIN_EXE_longshore"));
        run.args(["run", mode, "--balancer", "none", "--docker", &host.docker_host(), "--data-dir"]);
        run.arg(file.0.path().join("data")).arg("--sidecars").arg(file.path());
        let output = run.output().await?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(runs(host, &side(&main.id)).await, made, "{mode}");
    }
    Ok(())
}

#[tokio::test]
async fn podder_does_its_job_by_its_old_name_with_its_old_file() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let dir = tempfile::tempdir()?;
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_longshore"), dir.path().join("podder"))?;
    let old = "services:\n  cord/voltha:\n    slaves: [\"chameleon\"]\n\nslaves:\n  chameleon:\n    image: busybox\n    command: [\n      \"sleep\",\n      \"1000\"\n    ]\n    ports:\n    - 8881\n    depends_on:\n    - consul\n    - voltha\n    links:\n    - consul\n    environment:\n      SERVICE_8881_NAME: \"chameleon-rest\"\n    volumes:\n    - \"/var/run/docker.sock:/tmp/docker.sock\"\n";
    std::fs::write(dir.path().join("slaves.yml"), old)?;
    docker(host, &["tag", "busybox:latest", "cord/voltha"]).await?;
    let network = host.network("compose_default").await?;
    let service = |spec: ContainerSpec, name: &str| {
        let labels = [("project", "compose"), ("service", name), ("container-number", "1")];
        let labelled =
            |spec: ContainerSpec, (key, value)| spec.label(format!("com.docker.compose.{key}"), value);
        labels.into_iter().fold(spec.on(&network), labelled)
    };
    let main = ContainerSpec::of_image("cord/voltha").command(&["sleep", "1000"]).stop_timeout(1);
    let main = host.run(service(main, "voltha").named("compose_voltha_1")).await?;
    let mut podder = host.command(dir.path().join("podder"));
    podder
        .current_dir(dir.path())
        .args(["-v", "-e", "2", "-c", "podder.yml", "--data-dir"])
        .arg(dir.path().join("data"));
    podder.env("DOCKER_SOCK", format!("unix:/{}", host.docker_socket.display()));
    let mut podder = podder.spawn()?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(inspect(host, "podder_chameleon_1").await.is_none(), "it waits for consul");
    let _consul = host.run(service(ContainerSpec::server(), "consul").named("compose_consul_1")).await?;
    let found = until_runs(host, "podder_chameleon_1").await;
    assert!(found["Config"]["Env"].to_string().contains("PODDER_MASTER=compose_voltha_1"));
    let endpoint = &found["NetworkSettings"]["Networks"]["compose_default"];
    assert_eq!(endpoint["Links"][0], "compose_consul_1:consul", "{endpoint}");
    assert!(found["NetworkSettings"]["Ports"]["8881/tcp"][0]["HostPort"].is_string());
    main.stop(1).await?;
    until_gone(host, "podder_chameleon_1").await;
    let pid = podder.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()));
    rustix::process::kill_process(pid.ok_or("it ended")?, rustix::process::Signal::TERM)?;
    assert!(podder.wait().await?.success());
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty)?;
    let without = tokio::process::Command::new(dir.path().join("podder")).current_dir(empty).output().await?;
    assert_eq!(without.status.code(), Some(2), "{}", String::from_utf8_lossy(&without.stderr));
    assert!(String::from_utf8_lossy(&without.stderr).contains("./slaves.yml"));
    Ok(())
}

#[tokio::test]
async fn labels_that_an_image_brings_along_ask_for_nothing() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let model = host.create(busy()).await?;
    let options = CommitContainerOptions {
        container: Some(model.id.clone()),
        repo: Some("a-strangers".to_owned()),
        changes: Some(
            "LABEL longshore.sidecar.evil.image=busybox longshore.sidecar.evil.privileged=true".to_owned(),
        ),
        ..Default::default()
    };
    host.docker().commit_container(options, ContainerConfig::default()).await?;
    let agent = agent(host, None).start().await?;
    let asked = ContainerSpec::of_image("a-strangers")
        .command(&["sleep", "1000"])
        .stop_timeout(1)
        .label("longshore.sidecar.own.image", "busybox")
        .label("longshore.sidecar.own.command", "sleep 1000")
        .label("longshore.sidecar.own.stop_grace_period", "1s");
    let main = host.run(asked).await?;
    let short = main.id[..12].to_owned();
    let name = |sidecar: &str| format!("podder_{sidecar}_{short}");
    eventually("what the person asked for runs", async || runs(host, &name("own")).await).await;
    assert!(inspect(host, &name("evil")).await.is_none());
    let problems = problems_of(&agent, &main.id).await;
    assert!(problems.iter().any(|problem| problem.contains("it comes from the image")), "{problems:?}");
    main.remove().await?;
    eventually("it goes with its main", async || inspect(host, &name("own")).await.is_none()).await;
    Ok(())
}

#[tokio::test]
async fn an_image_that_wants_a_login_comes_once_the_agents_user_has_one() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let registry = PrivateRegistry::on(host).await?;
    let image = format!("{}/lab/private:1", registry.address);
    let (user, password) = (PrivateRegistry::USER, PrivateRegistry::PASSWORD);
    let mine = tempfile::tempdir()?;
    let own = format!("--config={}", mine.path().display());
    docker(host, &[&own, "login", "-u", user, "-p", password, &registry.address]).await?;
    docker(host, &["tag", "busybox:latest", &image]).await?;
    docker(host, &[&own, "push", "-q", &image]).await?;
    docker(host, &["rmi", &image]).await?;
    let main = busy()
        .label("longshore.sidecar.side.image", &image)
        .label("longshore.sidecar.side.command", "sleep 1000")
        .label("longshore.sidecar.side.stop_grace_period", "1s");
    let main = host.run(main).await?;
    let theirs = tempfile::tempdir()?;
    let agent = agent(host, None).env("DOCKER_CONFIG", &theirs.path().display().to_string()).start().await?;
    eventually("it is told what is missing", async || {
        let told = problems_of(&agent, &main.id).await;
        told.iter().any(|line| {
            line.contains(&image) && line.contains("cannot pull") && line.contains("without a login")
        })
    })
    .await;
    std::fs::copy(mine.path().join("config.json"), theirs.path().join("config.json"))?;
    until_runs(host, &side(&main.id)).await;
    assert!(agent.log().contains("with the agent's login"), "{}", agent.log());
    assert!(!agent.log().contains(password) && !agent.log().contains(&password[..8]), "{}", agent.log());
    Ok(())
}

#[tokio::test]
async fn a_login_that_a_helper_keeps_counts_and_a_helper_that_fails_is_told_of() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let registry = PrivateRegistry::on(host).await?;
    let image = format!("{}/lab/kept:1", registry.address);
    let (user, password) = (PrivateRegistry::USER, PrivateRegistry::PASSWORD);
    let folder = tempfile::tempdir()?;
    let own = format!("--config={}", folder.path().join("own").display());
    docker(host, &[&own, "login", "-u", user, "-p", password, &registry.address]).await?;
    docker(host, &["tag", "busybox:latest", &image]).await?;
    docker(host, &[&own, "push", "-q", &image]).await?;
    docker(host, &["rmi", &image]).await?;
    let keeper = folder.path().join("docker-credential-lab");
    let script = |text: &str| {
        let next = folder.path().join("next");
        std::fs::write(&next, format!("#!/bin/sh\n{text}\n"))?;
        std::fs::set_permissions(&next, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        std::fs::rename(&next, &keeper)
    };
    script(&format!("echo '{password}'; exit 1"))?;
    let settings = serde_json::json!({"auths": {&registry.address: {}}, "credsStore": "lab"});
    std::fs::write(folder.path().join("config.json"), settings.to_string())?;
    let main = busy()
        .label("longshore.sidecar.side.image", &image)
        .label("longshore.sidecar.side.command", "sleep 1000")
        .label("longshore.sidecar.side.stop_grace_period", "1s");
    let main = host.run(main).await?;
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH")?);
    let builder = agent(host, None).env("DOCKER_CONFIG", &folder.path().display().to_string());
    let agent = builder.env("PATH", &path).start().await?;
    eventually("it is told that the helper fails", async || {
        let told = problems_of(&agent, &main.id).await;
        told.iter().any(|line| line.contains("the credential helper docker-credential-lab failed"))
    })
    .await;
    let answer = serde_json::json!({"Username": user, "Secret": password});
    script(&format!("test \"$1 $(cat)\" = 'get {}' && echo '{answer}'", registry.address))?;
    until_runs(host, &side(&main.id)).await;
    assert!(!agent.log().contains(password), "{}", agent.log());
    Ok(())
}

#[tokio::test]
async fn one_waits_until_another_is_healthy_and_a_third_has_ended_well() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let folder = tempfile::tempdir()?;
    let (ready, done) = (folder.path().join("ready"), folder.path().join("done"));
    let shared = folder.path().display();
    let file = File::new(&format!(
        "services: {{busybox: {{sidecars: [app]}}}}\nx-all: &all {{image: busybox, stop_grace_period: 1s, volumes: ['{shared}:/s']}}\nsidecars:\n  app: {{<<: *all, command: sleep 1000, depends_on: {{db: {{condition: service_healthy}}, setup: {{condition: service_completed_successfully}}}}}}\n  db: {{<<: *all, command: sleep 1000, healthcheck: {{test: test -e /s/ready, interval: 200ms, retries: 1000, timeout: 5s}}}}\n  setup: {{<<: *all, command: [sh, -c, 'until test -e /s/done; do sleep 0.1; done']}}\n"
    ))?;
    let main = host.run(busy()).await?;
    let _agent = agent(host, Some(&file)).start().await?;
    let name = |sidecar: &str| format!("podder_{sidecar}_{}", &main.id[..12]);
    until_runs(host, &name("db")).await;
    until_runs(host, &name("setup")).await;
    std::fs::write(&ready, "")?;
    eventually("the check passes", async || {
        inspect(host, &name("db")).await.is_some_and(|found| found["State"]["Health"]["Status"] == "healthy")
    })
    .await;
    assert!(inspect(host, &name("app")).await.is_none(), "the third has not ended");
    std::fs::write(&done, "")?;
    let app = until_runs(host, &name("app")).await;
    let setup = inspect(host, &name("setup")).await.ok_or("it is gone")?;
    assert_eq!((&setup["State"]["Status"], &setup["State"]["ExitCode"]), (&"exited".into(), &0.into()));
    assert!(app["State"]["StartedAt"].as_str() > setup["State"]["FinishedAt"].as_str());
    Ok(())
}

#[tokio::test]
async fn a_sidecar_lives_in_the_network_of_another_also_after_that_one_died() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let file = File::new(
        "services: {busybox: {sidecars: [probe]}}\nsidecars:\n  probe: {image: busybox, command: sleep 1000, network_mode: 'service:vpn', stop_grace_period: 1s}\n  vpn: {image: busybox, command: sleep 1000, stop_grace_period: 1s}\n",
    )?;
    let main = host.run(busy()).await?;
    let _agent = agent(host, Some(&file)).start().await?;
    let name = |sidecar: &str| format!("podder_{sidecar}_{}", &main.id[..12]);
    let first = until_runs(host, &name("probe")).await;
    assert_eq!(namespace_id(host, &name("probe")).await?, namespace_id(host, &name("vpn")).await?);
    assert_ne!(namespace_id(host, &name("probe")).await?, namespace_id(host, &main.name).await?);
    docker(host, &["kill", &name("vpn")]).await?;
    eventually("it is another one", async || {
        let now = inspect(host, &name("probe")).await.unwrap_or_default();
        now["Id"] != first["Id"] && now["State"]["Running"] == true
    })
    .await;
    assert_eq!(namespace_id(host, &name("probe")).await?, namespace_id(host, &name("vpn")).await?);
    Ok(())
}

#[tokio::test]
async fn variables_come_from_files_which_are_followed_and_stay_when_those_vanish() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let file = File::new(&of_busybox("env_file: [./side.env]"))?;
    let variables = file.0.path().join("side.env");
    let main = host.run(busy()).await?;
    let agent = agent(host, Some(&file)).start().await?;
    let told = async |what: &str| problems_of(&agent, &main.id).await.iter().any(|line| line.contains(what));
    eventually("it is told that there is no such file", async || told("side.env\": no such file").await)
        .await;
    std::fs::write(&variables, "WORD='two words' # a comment\n")?;
    let first = until_runs(host, &side(&main.id)).await;
    assert!(first["Config"]["Env"].to_string().contains("WORD=two words\""), "{}", first["Config"]["Env"]);
    std::fs::remove_file(&variables)?;
    eventually("it is told again", async || told("no such file").await).await;
    assert_eq!(until_runs(host, &side(&main.id)).await["Id"], first["Id"]);
    std::fs::write(&variables, "WORD=another\n")?;
    eventually("it is recreated with what the file says", async || {
        let now = inspect(host, &side(&main.id)).await.unwrap_or_default();
        now["State"]["Running"] == true && now["Config"]["Env"].to_string().contains("WORD=another")
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn a_file_that_everybody_can_write_to_is_not_read() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let file = File::new(&of_busybox(""))?;
    let open =
        |mode| std::fs::set_permissions(file.path(), std::os::unix::fs::PermissionsExt::from_mode(mode));
    open(0o666)?;
    let main = host.run(busy()).await?;
    let agent = agent(host, Some(&file)).start().await?;
    eventually("it is told why", async || {
        agent.cli(&["problems"]).await.is_ok_and(|told| told.contains("anyone can write to it"))
    })
    .await;
    assert!(inspect(host, &side(&main.id)).await.is_none());
    open(0o644)?;
    until_runs(host, &side(&main.id)).await;
    Ok(())
}

#[tokio::test]
async fn a_sidecar_that_cannot_notice_sigterm_goes_with_its_main_and_one_that_can_ends_by_itself()
-> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let folder = tempfile::tempdir()?;
    let (hears, bye) = (folder.path().join("hears"), folder.path().join("bye"));
    let shared = folder.path().display();
    let file = File::new(&format!(
        "services: {{busybox: {{sidecars: [deaf, ends]}}}}\nsidecars:\n  deaf: {{image: busybox, command: sleep 1000}}\n  ends: {{image: busybox, volumes: ['{shared}:/s'], command: [sh, -c, 'trap \"sleep 1; echo > /s/bye; exit\" TERM; echo > /s/hears; while :; do sleep 0.1; done']}}\n"
    ))?;
    let mut main = host.run(busy()).await?;
    let _agent = agent(host, Some(&file)).start().await?;
    let number = main.id[..12].to_owned();
    let name = |sidecar: &str| format!("podder_{sidecar}_{number}");
    until_runs(host, &name("deaf")).await;
    eventually("the other one is ready for the signal", async || hears.exists()).await;
    main.kill().await?;
    let ended = Instant::now();
    until_gone(host, &name("deaf")).await;
    assert!(ended.elapsed() < Duration::from_secs(10), "Docker's SIGKILL was waited for");
    until_gone(host, &name("ends")).await;
    assert!(bye.exists(), "it had its time");

    main.start().await?;
    let before = until_runs(host, &name("deaf")).await;
    let restarted = Instant::now();
    main.restart(0).await?;
    eventually("the sidecar is of this run", async || {
        let now = inspect(host, &name("deaf")).await.unwrap_or_default();
        now["Id"] != before["Id"] && now["State"]["Running"] == true
    })
    .await;
    assert!(restarted.elapsed() < Duration::from_secs(10), "its place was not free");
    Ok(())
}
