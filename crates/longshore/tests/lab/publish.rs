//! Containers published to etcd.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use longshore_testkit::{
    Agent, AgentBuilder, Container, ContainerSpec, Etcd, Host, Lab, TestResult, eventually, eventually_within,
};
use serde_json::{Value, json};

/// A lease short enough for tests.
const LEASE: Duration = Duration::from_secs(4);

/// Returns an agent that publishes to this etcd, with further flags.
fn publisher(host: &Host, etcd: &Etcd<'_>, flags: &[&str]) -> AgentBuilder {
    let flags = flags.iter().map(|&flag| flag.to_owned());
    let lease = ["--publish-lease".to_owned(), format!("{}s", LEASE.as_secs())];
    let all: Vec<String> = etcd.flags().into_iter().chain(lease).chain(flags).collect();
    Agent::on(host).balancer("none").flags(&all)
}

fn idle() -> ContainerSpec {
    ContainerSpec::busybox(&["sleep", "1000"])
}

/// Returns the default key of a container.
fn key(host: &Host, container: &Container) -> String {
    format!("/longshore/containers/{}/{}", host.name, container.id)
}

/// Waits until exactly these keys are below `/longshore`.
async fn published(etcd: &Etcd<'_>, wanted: &[&str]) {
    eventually(&format!("these keys are published: {wanted:?}"), async || {
        let Ok(keys) = etcd.keys("/longshore").await else { return false };
        let mut wanted = wanted.to_vec();
        wanted.sort_unstable();
        keys.keys().map(String::as_str).collect::<Vec<_>>() == wanted
    })
    .await;
}

async fn inspection(etcd: &Etcd<'_>, key: &str) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
    let keys = etcd.keys(key).await?;
    Ok(serde_json::from_str(keys.get(key).ok_or("the key is not there")?)?)
}

/// Returns how often a key was written since it was created.
async fn version(etcd: &Etcd<'_>, key: &str) -> Result<i64, Box<dyn std::error::Error + Send + Sync>> {
    let answer: Value = serde_json::from_str(&etcd.ctl(&["get", key, "-w", "json"]).await?)?;
    Ok(answer["kvs"][0]["version"].as_i64().ok_or("the key is not there")?)
}

async fn problems(agent: &Agent) -> String {
    agent.cli(&["problems"]).await.unwrap_or_default()
}

#[tokio::test]
async fn a_container_is_published_with_its_inspection_while_it_runs() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let etcd = Etcd::on(host).start().await?;
    let before = host.run(idle().env("GREETING", "hello").label("tier", "front")).await?;
    let agent = publisher(host, &etcd, &[]).start().await?;
    published(&etcd, &[&key(host, &before)]).await;
    let told = inspection(&etcd, &key(host, &before)).await?;
    assert_eq!(told["Id"], json!(before.id));
    assert_eq!(told["Name"], json!(format!("/{}", before.name)));
    assert_eq!(told["Config"]["Labels"]["tier"], "front");
    assert!(told["Config"]["Env"].as_array().is_some_and(|env| env.contains(&json!("GREETING"))), "{told}");
    assert!(!told.to_string().contains("hello"), "a variable's value is nobody's business: {told}");
    assert_eq!(
        told["NetworkSettings"]["Networks"]["bridge"]["IPAddress"],
        json!(before.ip.ok_or("no address")?)
    );

    let mut after = host.run(idle()).await?;
    published(&etcd, &[&key(host, &before), &key(host, &after)]).await;
    assert_eq!(agent.metric("longshore_publish_keys").await?, Some(2.0));
    let written = version(&etcd, &key(host, &before)).await?;
    let name = format!("{}-renamed", after.name);
    after.rename(&name).await?;
    eventually("the new name is published", async || {
        inspection(&etcd, &key(host, &after)).await.is_ok_and(|told| told["Name"] == format!("/{name}"))
    })
    .await;
    after.pause().await?;
    eventually("that it is paused is published", async || {
        inspection(&etcd, &key(host, &after)).await.is_ok_and(|told| told["State"]["Paused"] == json!(true))
    })
    .await;
    after.unpause().await?;
    assert_eq!(
        version(&etcd, &key(host, &before)).await?,
        written,
        "what did not change is not written again"
    );

    after.kill().await?;
    published(&etcd, &[&key(host, &before)]).await;
    after.start().await?;
    published(&etcd, &[&key(host, &before), &key(host, &after)]).await;
    after.remove().await?;
    published(&etcd, &[&key(host, &before)]).await;
    assert_eq!(problems(&agent).await, "no problems\n");
    Ok(())
}

#[tokio::test]
async fn values_of_variables_are_published_where_that_is_asked_for_and_go_when_it_is_not() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let etcd = Etcd::on(host).start().await?;
    let web = host.run(idle().env("GREETING", "hello=you")).await?;
    let data = tempfile::tempdir()?;
    let says = async |variable: &str| {
        eventually(variable, async || {
            let told = inspection(&etcd, &key(host, &web)).await.unwrap_or_default();
            told["Config"]["Env"].as_array().is_some_and(|env| env.contains(&json!(variable)))
        })
        .await;
    };
    let agent = publisher(host, &etcd, &["--publish-env"]).data_dir(data.path()).start().await?;
    says("GREETING=hello=you").await;
    drop(agent);
    let _agent = publisher(host, &etcd, &[]).data_dir(data.path()).start().await?;
    says("GREETING").await;
    Ok(())
}

#[tokio::test]
async fn a_prefix_of_ones_own_is_taken_and_strangers_keys_below_it_stay() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let etcd = Etcd::on(host).start().await?;
    etcd.ctl(&["put", "/longshore/mine/0123", "another host's"]).await?;
    let agent = publisher(host, &etcd, &["--publish-prefix", "/longshore/mine/"]).start().await?;
    let web = host.run(idle()).await?;
    let own = format!("/longshore/mine/{}", web.id);
    published(&etcd, &["/longshore/mine/0123", &own]).await;
    drop(agent);
    web.remove().await?;
    published(&etcd, &["/longshore/mine/0123"]).await;
    Ok(())
}

#[tokio::test]
async fn keys_go_within_the_lease_when_the_agent_is_killed() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let etcd = Etcd::on(host).start().await?;
    let web = host.run(idle()).await?;
    let agent = publisher(host, &etcd, &[]).start().await?;
    published(&etcd, &[&key(host, &web)]).await;
    tokio::time::sleep(LEASE * 2).await;
    published(&etcd, &[&key(host, &web)]).await;
    let killed = Instant::now();
    agent.kill9();
    published(&etcd, &[]).await;
    // etcd looks for expired leases twice a second, and adds a second to their length.
    assert!(killed.elapsed() < LEASE + Duration::from_secs(3), "{:?}", killed.elapsed());
    Ok(())
}

#[tokio::test]
async fn the_next_agent_takes_keys_over_without_a_gap_and_leaves_none_behind() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let etcd = Etcd::on(host).start().await?;
    let data = tempfile::tempdir()?;
    let skydns = ["--publish-skydns", "/skydns"];
    let (stays, ends) = (host.run(idle()).await?, host.run(idle()).await?);
    let first = publisher(host, &etcd, &skydns).data_dir(data.path()).start().await?;
    published(&etcd, &[&key(host, &stays), &key(host, &ends)]).await;
    let born = created(&etcd, &key(host, &stays)).await?;
    first.kill9();
    drop(first);
    let id = key(host, &ends);
    let name = ends.name.clone();
    ends.remove().await?;
    assert!(etcd.keys("/longshore").await?.contains_key(&id), "nobody is there to take it away");
    let second = publisher(host, &etcd, &skydns).data_dir(data.path()).start().await?;
    let began = Instant::now();
    published(&etcd, &[&key(host, &stays)]).await;
    assert!(began.elapsed() < LEASE / 2, "a leftover waits for no lease to end");
    assert!(!etcd.keys("/skydns").await?.keys().any(|key| key.contains(&name)), "nor does a record");
    tokio::time::sleep(LEASE * 2).await;
    assert_eq!(created(&etcd, &key(host, &stays)).await?, born, "the key was there all the time");
    drop(second);
    Ok(())
}

/// Returns the revision that created a key: a different one if it was gone in between.
async fn created(etcd: &Etcd<'_>, key: &str) -> Result<i64, Box<dyn std::error::Error + Send + Sync>> {
    let answer: Value = serde_json::from_str(&etcd.ctl(&["get", key, "-w", "json"]).await?)?;
    Ok(answer["kvs"][0]["create_revision"].as_i64().ok_or("the key is not there")?)
}

/// SIGUSR2: with the built-in balancer a successor runs alongside for a while; without one the process is
/// replaced.
async fn replaced(balancer: &str) -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let etcd = Etcd::on(host).start().await?;
    let web = host.run(idle()).await?;
    let agent = publisher(host, &etcd, &["--balancer", balancer]).start().await?;
    published(&etcd, &[&key(host, &web)]).await;
    let born = created(&etcd, &key(host, &web)).await?;
    agent.sigusr2();
    eventually("another agent runs", async || agent.log().matches("agent started").count() == 2).await;
    let another = host.run(idle()).await?;
    published(&etcd, &[&key(host, &web), &key(host, &another)]).await;
    tokio::time::sleep(LEASE * 2).await;
    assert_eq!(created(&etcd, &key(host, &web)).await?, born);
    Ok(())
}

#[tokio::test]
async fn an_agent_that_is_replaced_by_a_successor_leaves_no_gap() -> TestResult {
    replaced("built-in").await
}

#[tokio::test]
async fn an_agent_that_begins_again_leaves_no_gap() -> TestResult {
    replaced("none").await
}

#[tokio::test]
async fn a_lease_of_another_length_takes_the_keys_over_and_ends_the_old_one() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let etcd = Etcd::on(host).start().await?;
    let web = host.run(idle()).await?;
    let data = tempfile::tempdir()?;
    let first = publisher(host, &etcd, &[]).data_dir(data.path()).start().await?;
    published(&etcd, &[&key(host, &web)]).await;
    let born = created(&etcd, &key(host, &web)).await?;
    drop(first);
    let flags: Vec<String> = etcd.flags().into_iter().chain(["--publish-lease=60s".to_owned()]).collect();
    let _longer = Agent::on(host).balancer("none").data_dir(data.path()).flags(&flags).start().await?;
    eventually("the key is under a lease of a minute, and the old one is no more", async || {
        let Ok(leases) = etcd.ctl(&["lease", "list"]).await else { return false };
        let Some(lease) = leases.lines().nth(1) else { return false };
        let told = etcd.ctl(&["lease", "timetolive", "--keys", lease]).await.unwrap_or_default();
        leases.contains("found 1 leases") && told.contains("granted with TTL(60s)") && told.contains(&web.id)
    })
    .await;
    assert_eq!(created(&etcd, &key(host, &web)).await?, born);
    Ok(())
}

#[tokio::test]
async fn an_etcd_that_was_away_is_caught_up_with() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let mut etcd = Etcd::on(host).start().await?;
    let (stays, ends) = (host.run(idle()).await?, host.run(idle()).await?);
    let agent = publisher(host, &etcd, &[]).start().await?;
    published(&etcd, &[&key(host, &stays), &key(host, &ends)]).await;
    etcd.stop(0).await?;
    eventually("that it is away is a problem, once", async || {
        let told = problems(&agent).await;
        told.matches("cannot publish to etcd").count() == 1 && told.contains("http://127.0.0.1:2379")
    })
    .await;
    let comes = host.run(idle().named("came-meanwhile")).await?;
    ends.remove().await?;
    tokio::time::sleep(LEASE).await;
    assert_eq!(problems(&agent).await.matches("cannot publish to etcd").count(), 1, "it stays one");
    assert_eq!(agent.get("/readyz").await?.status, 200, "the agent goes on");
    etcd.start(0).await?;
    published(&etcd, &[&key(host, &stays), &key(host, &comes)]).await;
    eventually("the problem is gone", async || problems(&agent).await == "no problems\n").await;
    Ok(())
}

#[tokio::test]
async fn an_agent_that_starts_before_etcd_publishes_once_it_is_there() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let mut etcd = Etcd::on(host).start().await?;
    etcd.stop(0).await?;
    let web = host.run(idle()).await?;
    let agent = publisher(host, &etcd, &[]).start().await?;
    eventually("it is told", async || problems(&agent).await.contains("cannot publish to etcd")).await;
    etcd.start(0).await?;
    published(&etcd, &[&key(host, &web)]).await;
    Ok(())
}

#[tokio::test]
async fn one_of_three_members_may_die_or_hang() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let mut etcd = Etcd::on(host).members(3).start().await?;
    let first = host.run(idle()).await?;
    let agent = publisher(host, &etcd, &[]).start().await?;
    published(&etcd, &[&key(host, &first)]).await;
    let born = created(&etcd, &key(host, &first)).await?;
    // The first member is the one that the agent uses.
    etcd.kill(0).await?;
    let second = host.run(idle()).await?;
    published(&etcd, &[&key(host, &first), &key(host, &second)]).await;
    etcd.start(0).await?;
    etcd.freeze(1);
    let third = host.run(idle()).await?;
    let there = async || {
        let id = key(host, &third);
        host.exec_in_namespace(&["etcdctl", "--endpoints=http://127.0.0.1:2379", "get", &id]).await
    };
    eventually_within(Duration::from_secs(30), "a frozen member is left for another", async || {
        there().await.is_ok_and(|text| text.contains(&third.id))
    })
    .await;
    etcd.thaw(1);
    tokio::time::sleep(LEASE * 2).await;
    assert_eq!(created(&etcd, &key(host, &first)).await?, born, "nothing was lost on the way");
    eventually("there is no problem", async || problems(&agent).await == "no problems\n").await;
    Ok(())
}

#[tokio::test]
async fn what_etcd_or_somebody_lost_is_put_again() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let mut etcd = Etcd::on(host).start().await?;
    let web = host.run(idle()).await?;
    let agent = publisher(host, &etcd, &[]).start().await?;
    let own = key(host, &web);
    published(&etcd, &[&own]).await;
    etcd.wipe().await?;
    published(&etcd, &[&own]).await;
    etcd.ctl(&["del", &own]).await?;
    published(&etcd, &[&own]).await;
    let lease = etcd.ctl(&["lease", "grant", "2"]).await?;
    let lease = lease.split(' ').nth(1).ok_or("no lease")?.to_owned();
    etcd.ctl(&["put", &own, "somebody's", &format!("--lease={lease}")]).await?;
    eventually("what somebody wrote over it is written over", async || {
        inspection(&etcd, &own).await.is_ok_and(|told| told["Id"] == json!(web.id))
    })
    .await;
    agent.freeze();
    published(&etcd, &[]).await;
    agent.thaw();
    published(&etcd, &[&own]).await;
    eventually("there is no problem", async || problems(&agent).await == "no problems\n").await;
    Ok(())
}

#[tokio::test]
async fn coredns_finds_containers_and_healthy_services_in_skydns_layout() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let etcd = Etcd::on(host).start().await?;
    etcd.ctl(&["put", "/skydns/internal/longshore/h9/web", "{}"]).await?;
    let _agent = publisher(host, &etcd, &["--publish-skydns", "/skydns"]).start().await?;
    let spec = ContainerSpec::server().named("Web").label("longshore.service", "shop").publish(0, 80);
    let mut web = host.run(spec.unhealthy().health_check(Duration::from_millis(300))).await?;
    let address = web.ip.ok_or("no address")?.to_string();
    let leaf = format!("tcp-80-{}", address.replace('.', "-"));
    let node = &host.name;
    let own = format!("/skydns/internal/longshore/{node}/web/{leaf}");
    let service = format!("/skydns/internal/longshore/shop/{}/{leaf}", &web.id[..12]);
    let record = json!({ "host": address, "port": 80, "ttl": 5 }).to_string();
    let stranger = ("/skydns/internal/longshore/h9/web".to_owned(), "{}".to_owned());
    let holds = async |wanted: &[&str]| {
        let mut records: BTreeMap<String, String> = BTreeMap::from([stranger.clone()]);
        records.extend(wanted.iter().map(|&key| (key.to_owned(), record.clone())));
        eventually(&format!("these are the records: {records:#?}"), async || {
            etcd.keys("/skydns").await.is_ok_and(|keys| keys == records)
        })
        .await;
    };
    holds(&[&own]).await;
    host.post(format!("http://{address}:80/health/pass")).send().await?;
    holds(&[&own, &service]).await;
    host.post(format!("http://{address}:80/health/fail")).send().await?;
    holds(&[&own]).await;
    host.post(format!("http://{address}:80/health/pass")).send().await?;
    holds(&[&own, &service]).await;
    web.rename("shop-front").await?;
    let renamed = format!("/skydns/internal/longshore/{node}/shop-front/{leaf}");
    holds(&[&renamed, &service]).await;
    web.kill().await?;
    holds(&[]).await;
    Ok(())
}

#[tokio::test]
async fn a_container_has_records_for_all_its_networks_and_the_hosts_for_the_hosts() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let etcd = Etcd::on(host).start().await?;
    let dns = ["--dns", "127.0.0.1:7053", "--dns-domain", "lab.test", "--dns-ttl", "7s"];
    let flags = [["--publish-skydns", "/dns"].as_slice(), &dns].concat();
    let _agent = publisher(host, &etcd, &flags).start().await?;
    let network = host.network("longshore-more").await?;
    let two = host.run(idle().named("two")).await?;
    network.connect(&two.id).await?;
    let one = host.run(idle().named("one").network("host").label("longshore.tcp.9.listen", "9000")).await?;
    let none = host.run(idle().named("none").network("none")).await?;
    published(&etcd, &[&key(host, &one), &key(host, &two), &key(host, &none)]).await;
    eventually("two addresses, and the host's own", async || {
        let keys = etcd.keys("/dns").await.unwrap_or_default();
        let of = |name: &str| {
            let path = format!("/dns/test/lab/{}/{name}/", host.name);
            keys.iter()
                .filter(|(key, _)| key.starts_with(&path))
                .map(|(_, value)| value.clone())
                .collect::<Vec<_>>()
        };
        let own = json!({ "host": host.address.to_string(), "port": 9, "ttl": 7 }).to_string();
        of("two").len() == 2
            && of("two").iter().all(|v| !v.contains("port"))
            && of("one") == [own]
            && of("none").is_empty()
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn a_user_with_a_password_in_a_file_publishes_and_one_with_a_wrong_one_is_a_problem() -> TestResult {
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let mut etcd = Etcd::on(host).start().await?;
    etcd.want_users("root-secret", "harbour", "a-right-secret", &["/longshore"]).await?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("password");
    std::fs::write(&file, "a-wrong-secret\n")?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640))?;
    let path = file.display().to_string();
    let web = host.run(idle()).await?;
    let user = ["--publish-user", "harbour", "--publish-password-file", &path];
    let flags = [user.as_slice(), &["--publish-skydns", "/skydns"]].concat();
    let exposed = publisher(host, &etcd, &flags).start().await?;
    eventually("a file that others can read is a problem", async || {
        problems(&exposed).await.contains("others can read")
    })
    .await;
    drop(exposed);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))?;
    let agent = publisher(host, &etcd, &flags).start().await?;
    eventually("a wrong password is a problem", async || {
        problems(&agent).await.contains("authentication failed, invalid user ID or password")
    })
    .await;
    assert!(etcd.keys("/longshore").await?.is_empty());
    std::fs::write(&file, "a-right-secret\n")?;
    published(&etcd, &[&key(host, &web)]).await;
    eventually("what it may not write is a problem, and what it may is written", async || {
        let told = problems(&agent).await;
        told.contains("refuses to write: permission denied (/skydns/")
    })
    .await;
    assert!(!agent.log().contains("-secret"), "no password is in the log");

    let another =
        "echo another-secret | etcdctl --user=root:root-secret user passwd --interactive=false harbour";
    host.exec_in_namespace(&["sh", "-c", another]).await?;
    std::fs::write(&file, "another-secret\n")?;
    let more = host.run(idle()).await?;
    published(&etcd, &[&key(host, &web), &key(host, &more)]).await;
    etcd.stop(0).await?;
    etcd.start(0).await?;
    web.remove().await?;
    published(&etcd, &[&key(host, &more)]).await;
    assert!(!agent.log().contains("-secret"), "no password is in the log");
    Ok(())
}

#[tokio::test]
async fn etcd_is_spoken_to_over_tls_with_a_certificate_and_not_without() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let etcd = Etcd::on(host).tls().start().await?;
    let web = host.run(idle()).await?;
    let stranger = Agent::on(host).balancer("none").flags(&["--publish-etcd", "https://127.0.0.1:2379"]);
    let stranger = stranger.start().await?;
    eventually("without the authority it is a problem", async || {
        problems(&stranger).await.contains("cannot publish to etcd")
    })
    .await;
    drop(stranger);
    assert!(etcd.keys("/longshore").await?.is_empty());
    let _agent = publisher(host, &etcd, &[]).start().await?;
    published(&etcd, &[&key(host, &web)]).await;
    Ok(())
}

#[tokio::test]
async fn a_single_pass_publishes_for_the_lease_and_a_dry_one_not_at_all() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let etcd = Etcd::on(host).start().await?;
    let web = host.run(idle()).await?;
    let data = tempfile::tempdir()?;
    let run = async |flag: &str| {
        let mut command = host.command(env!("CARGO_BIN_EXE_longshore"));
        command.args([
            "run",
            flag,
            "--balancer",
            "none",
            "--docker",
            &host.docker_host(),
            "--node",
            &host.name,
        ]);
        command.arg("--data-dir").arg(data.path()).args(etcd.flags()).arg("--publish-lease=4s");
        let output = command.output().await?;
        Ok::<_, std::io::Error>((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    let (code, told) = run("--dry-run").await?;
    assert_eq!(code, Some(0), "{told}");
    assert!(etcd.keys("/longshore").await?.is_empty());
    let (code, told) = run("--once").await?;
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(etcd.keys("/longshore").await?.keys().collect::<Vec<_>>(), [&key(host, &web)]);
    published(&etcd, &[]).await;
    Ok(())
}

#[tokio::test]
async fn docker_glues_publisher_file_publishes_until_it_goes_and_once_with_1() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let etcd = Etcd::on(host).start().await?;
    let endpoints = etcd.endpoints();
    let (address, port) = endpoints
        .first()
        .and_then(|endpoint| endpoint.rsplit_once(':'))
        .map(|(scheme_and_address, port)| (scheme_and_address.trim_start_matches("http://"), port))
        .ok_or("no endpoint")?;
    let folder = crate::handlers::Folder::new()?;
    let text = |more: &str| {
        format!(
            "[handler]\nclass=DockerGlue.handlers.publishers.distconfig.Publisher\nevents=all,none\nenabled=1\n\n\
             [params]\nclass=distconfig.backends.etcd.EtcdBackend\n\
             clientParams={{\"host\": ((\"{address}\", {port}),)}}\n{more}"
        )
    };
    folder.ini("publisher", &text(""))?;
    let web = host.run(idle()).await?;
    let agent = folder.agent(host).start().await?;
    published(&etcd, &[&key(host, &web)]).await;
    let listed = agent.cli(&["handlers"]).await?;
    assert!(listed.contains("publisher"), "{listed}");
    folder.ini("publisher", &text("prefix=/longshore/else\nenv=1\n"))?;
    published(&etcd, &[&format!("/longshore/else/{}", web.id)]).await;
    std::fs::remove_file(folder.path().join("publisher.ini"))?;
    published(&etcd, &[]).await;
    drop(agent);

    folder.ini("publisher", &text("prefix=/longshore/once\n"))?;
    let paths = folder.path().display().to_string();
    let data = tempfile::tempdir()?;
    let data = data.path().display().to_string();
    let once =
        ["glue", "-1", "--docker-url", &host.docker_host(), "--handler-paths", &paths, "--data-dir", &data];
    let output = host.command(env!("CARGO_BIN_EXE_longshore")).args(once).output().await?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    published(&etcd, &[&format!("/longshore/once/{}", web.id)]).await;
    Ok(())
}
