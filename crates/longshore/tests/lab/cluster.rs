//! Hosts that find each other: membership, and what every host knows of the others.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use longshore_testkit::{
    Agent, AgentBuilder, ContainerSpec, Host, Lab, TestError, TestResult, eventually, eventually_within,
    never_within,
};

/// Writes a new secret, as the documentation says.
pub(crate) async fn secret(host: &Host, dir: &Path, name: &str) -> Result<PathBuf, TestError> {
    let printed = host.command(env!("CARGO_BIN_EXE_longshore")).args(["cluster", "secret"]).output().await?;
    let path = dir.join(name);
    std::fs::write(&path, printed.stdout)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(path)
}

/// Returns a builder for a member that joins through `seed`, or begins the cluster.
pub(crate) fn member(host: &Host, secret: &Path, seed: Option<&Host>) -> AgentBuilder {
    let mut flags = vec![
        "--cluster".to_owned(),
        "lab".to_owned(),
        "--advertise".to_owned(),
        host.address.to_string(),
        "--cluster-secret-file".to_owned(),
        secret.display().to_string(),
    ];
    if let Some(seed) = seed {
        flags.extend(["--join".to_owned(), seed.address.to_string()]);
    }
    Agent::on(host).flags(&flags)
}

/// Returns `name=state` of each host that the agent knows, in order of the names.
async fn hosts(agent: &Agent) -> Result<String, TestError> {
    let hosts = agent.api("/v1/hosts").await?;
    let text = |host: &serde_json::Value, key: &str| host[key].as_str().unwrap_or_default().to_owned();
    let mut shown: Vec<String> = hosts
        .as_array()
        .into_iter()
        .flatten()
        .map(|host| format!("{}={}", text(host, "name"), text(host, "state")))
        .collect();
    shown.sort();
    Ok(shown.join(" "))
}

pub(crate) async fn sees(agent: &Agent, expected: &str) {
    eventually(&format!("it sees {expected}"), async || {
        hosts(agent).await.is_ok_and(|seen| seen == expected)
    })
    .await;
}

/// Returns the names of all containers that the agent knows.
async fn containers(agent: &Agent) -> Result<Vec<String>, TestError> {
    let all = agent.api("/v1/containers").await?;
    let names = all.as_array().into_iter().flatten().filter_map(|known| known["name"].as_str());
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort();
    Ok(names)
}

#[tokio::test]
async fn hosts_find_each_other_know_all_containers_and_lose_a_host_that_is_cut_off() -> TestResult {
    let lab = Lab::up(3).await?;
    let dir = tempfile::tempdir()?;
    let [one, two, three] = [lab.host(0), lab.host(1), lab.host(2)];
    let secret = secret(one, dir.path(), "secret").await?;
    let first = member(one, &secret, None).start().await?;
    let second = member(two, &secret, Some(one)).start().await?;
    let third = member(three, &secret, Some(one)).start().await?;
    let all_alive = format!("{}=alive {}=alive {}=alive", one.name, two.name, three.name);
    for agent in [&first, &second, &third] {
        sees(agent, &all_alive).await;
    }

    // A container of any host is known to all, and served by every host's balancer at its published port.
    let port = two.free_port().await?;
    let server = ContainerSpec::server()
        .http_on(&[80])
        .publish(port, 80)
        .label("longshore.http.80.host", "web.test")
        .label("longshore.http.80.listen", "8000");
    let web = two.run(server).await?;
    let quiet = three.run(ContainerSpec::busybox(&["sleep", "1000"]).stop_timeout(1)).await?;
    let mut names = [web.name.clone(), quiet.name.clone()];
    names.sort();
    for (agent, host) in [(&first, one), (&second, two), (&third, three)] {
        eventually("it knows both containers", async || {
            containers(agent).await.is_ok_and(|known| known == names)
        })
        .await;
        eventually("its balancer reaches the container", async || {
            let asked = host.get("http://127.0.0.1:8000/").host("web.test").send().await;
            asked.is_ok_and(|answer| answer.status == 200)
        })
        .await;
    }

    // A host that is cut off is suspect at once and dead two seconds later, with all that it had.
    two.cut().await?;
    let cut = Instant::now();
    let becomes = async |state: &str| {
        let seen = format!("{}=alive {}={state} {}=alive", one.name, two.name, three.name);
        eventually_within(Duration::from_secs(5), state, async || {
            hosts(&first).await.is_ok_and(|hosts| hosts == seen)
        })
        .await;
        cut.elapsed()
    };
    let suspect = becomes("suspect").await;
    assert!(suspect < Duration::from_millis(1500), "suspect after {suspect:?}");
    let dead = becomes("dead").await;
    assert!(dead > Duration::from_millis(1900) && dead < Duration::from_secs(4), "dead after {dead:?}");
    eventually("its containers are gone", async || {
        containers(&first).await.is_ok_and(|known| known == [quiet.name.clone()])
    })
    .await;
    let elsewhere = first.api("/v1/routes").await?;
    assert_eq!(elsewhere.as_array().map(Vec::len), Some(0), "{elsewhere}");

    two.heal().await?;
    for agent in [&first, &second, &third] {
        sees(agent, &all_alive).await;
        eventually("it knows both containers again", async || {
            containers(agent).await.is_ok_and(|known| known == names)
        })
        .await;
    }
    Ok(())
}

#[tokio::test]
async fn a_host_with_another_secret_stays_outside_and_learns_nothing() -> TestResult {
    let lab = Lab::up(2).await?;
    let dir = tempfile::tempdir()?;
    let [one, two] = [lab.host(0), lab.host(1)];
    let inside = secret(one, dir.path(), "inside").await?;
    let outside = secret(one, dir.path(), "outside").await?;
    let first = member(one, &inside, None).start().await?;
    let stranger = member(two, &outside, Some(one)).start().await?;
    never_within(Duration::from_secs(3), "they meet", async || {
        let of = async |agent: &Agent| hosts(agent).await.unwrap_or_default();
        of(&first).await.contains(&two.name) || of(&stranger).await.contains(&one.name)
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn a_secret_that_others_can_read_is_refused_with_what_to_do() -> TestResult {
    let lab = Lab::up(1).await?;
    let dir = tempfile::tempdir()?;
    let host = lab.host(0);
    let secret = secret(host, dir.path(), "secret").await?;
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o644))?;
    let mut agent = member(host, &secret, None).spawn()?;
    let status = agent.ended_within(Duration::from_secs(10)).await?;
    assert!(!status.success());
    let log = agent.log();
    assert!(log.contains("cannot use the cluster secret") && !log.contains("longshore-secret-1-"), "{log}");
    Ok(())
}

#[tokio::test]
async fn a_member_that_restarts_is_not_dead_and_comes_back_without_being_told_where() -> TestResult {
    let lab = Lab::up(2).await?;
    let dir = tempfile::tempdir()?;
    let [one, two] = [lab.host(0), lab.host(1)];
    let secret = secret(one, dir.path(), "secret").await?;
    let data = dir.path().join("data");
    let first = member(one, &secret, None).start().await?;
    let mut second = member(two, &secret, Some(one)).data_dir(&data).start().await?;
    let both = format!("{}=alive {}=alive", one.name, two.name);
    sees(&first, &both).await;
    sees(&second, &both).await;
    second.sigterm();
    second.ended_within(Duration::from_secs(10)).await?;
    sees(&first, &format!("{}=alive {}=restarting", one.name, two.name)).await;
    // It remembers whom it met.
    let second = member(two, &secret, None).data_dir(&data).start().await?;
    sees(&first, &both).await;
    sees(&second, &both).await;
    Ok(())
}
