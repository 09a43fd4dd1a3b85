//! What the way through another host's agent costs, compared with that host's published port.
//!
//! One container on the second host answers; on the first, Longshore's balancer leads to it through the agent of the second,
//! then at a published port, and HAProxy at the published port. wrk loads each for a few seconds, round after round: over one
//! connection for the latency, over many for the throughput.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use longshore_testkit::{Agent, ContainerSpec, Host, Lab};
use tokio::process::Child;

use super::Bed;
use super::p9::start;
use super::report::Report;
use super::summary::median;
use super::wrk::{self, Asked};

const CONNECTIONS: usize = 64;
const BALANCER: u16 = 80;
const HAPROXY: u16 = 8001;

/// A way to the second host's container.
struct Way {
    name: &'static str,
    /// Where it is asked for, on the first host.
    port: u16,
    site: &'static str,
    latency: Vec<Asked>,
    throughput: Vec<Asked>,
}

pub(super) async fn run(bed: &Bed) -> anyhow::Result<Report> {
    let (rounds, seconds) = (bed.scale(7, 2), bed.scale(5, 2));
    let lab = Lab::up(2).await?;
    let (near, far) = (lab.host(0), lab.host(1));
    let files = tempfile::tempdir()?;
    let secret = secret(bed, near, files.path()).await?;
    let _agents = [member(bed, near, &secret, None).await?, member(bed, far, &secret, Some(near)).await?];
    let published = far.free_port().await?;
    let server = |site: &str| ContainerSpec::server().http_on(&[80]).label("longshore.http.80.host", site);
    let _containers = [
        far.run(server("published.test").publish(published, 80)).await?,
        far.run(server("agent.test")).await?,
    ];
    let _haproxy = haproxy(near, files.path(), &format!("{}:{published}", far.address))?;
    let way = |name, port, site| Way { name, port, site, latency: Vec::new(), throughput: Vec::new() };
    let mut ways = [
        way("longshore, published port", BALANCER, "published.test"),
        way("longshore, through the agent", BALANCER, "agent.test"),
        way("HAProxy, published port", HAPROXY, "published.test"),
    ];
    for way in &ways {
        until_answers(near, way).await.with_context(|| format!("{} does not answer", way.name))?;
    }
    for round in 0..rounds {
        for way in &mut ways {
            let latency = wrk::ask(near, way.port, way.site, 1, seconds).await?;
            let throughput = wrk::ask(near, way.port, way.site, CONNECTIONS, seconds).await?;
            println!("round {}: {:<30} {:.2} ms, {:.0}/s", round + 1, way.name, latency.p50, throughput.rate);
            way.latency.push(latency);
            way.throughput.push(throughput);
        }
    }
    Ok(report(&ways, rounds, seconds))
}

async fn secret(bed: &Bed, host: &Host, dir: &Path) -> anyhow::Result<PathBuf> {
    let printed = host.command(&bed.binary).args(["cluster", "secret"]).output().await?;
    let path = dir.join("secret");
    fs::write(&path, printed.stdout)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(path)
}

async fn member(bed: &Bed, host: &Host, secret: &Path, seed: Option<&Host>) -> anyhow::Result<Agent> {
    let (secret, address) = (secret.display().to_string(), host.address.to_string());
    let mut flags = vec!["--cluster-secret-file", &secret, "--advertise", &address];
    let seed = seed.map(|seed| seed.address.to_string());
    if let Some(seed) = &seed {
        flags.extend(["--join", seed]);
    }
    Ok(bed.agent(host).flags(&flags).start().await?)
}

/// Starts HAProxy inside the host's namespace; it is stopped when this is dropped.
fn haproxy(host: &Host, folder: &Path, server: &str) -> anyhow::Result<Child> {
    let file = folder.join("haproxy.cfg");
    fs::write(
        &file,
        format!(
            "global\n  maxconn 4000\n\
             defaults\n  mode http\n  timeout connect 5s\n  timeout client 1m\n  timeout server 25s\n  \
             option forwardfor\n  http-reuse always\n\
             frontend bench\n  bind 127.0.0.1:{HAPROXY}\n  default_backend far\n\
             backend far\n  server s {server} pool-purge-delay 5s pool-max-conn -1\n"
        ),
    )?;
    start(host, "haproxy", &["-db", "-f", &file.to_string_lossy()])
}

async fn until_answers(host: &Host, way: &Way) -> anyhow::Result<()> {
    let mut last = String::new();
    for _ in 0..500 {
        match host.get(format!("http://127.0.0.1:{}/", way.port)).host(way.site).send().await {
            Ok(answer) if answer.status == 200 => return Ok(()),
            Ok(answer) => last = format!("status {}", answer.status),
            Err(error) => last = error.to_string(),
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    anyhow::bail!("{last}")
}

/// Returns the medians of each way, and of its ratios to the first in each round.
fn report(ways: &[Way], rounds: usize, seconds: usize) -> Report {
    let middle = |values: &[Asked], of: fn(&Asked) -> f64| median(&values.iter().map(of).collect::<Vec<_>>());
    let ratio = |own: &[Asked], first: &[Asked], of: fn(&Asked) -> f64| {
        median(&own.iter().zip(first).map(|(own, first)| of(own) / of(first)).collect::<Vec<_>>())
    };
    let p50: fn(&Asked) -> f64 = |asked| asked.p50;
    let p99: fn(&Asked) -> f64 = |asked| asked.p99;
    let rate: fn(&Asked) -> f64 = |asked| asked.rate;
    let rows = ways.first().into_iter().flat_map(|first| {
        ways.iter().map(move |way| {
            let failed: u64 = way.latency.iter().chain(&way.throughput).map(|asked| asked.failed).sum();
            vec![
                way.name.to_owned(),
                format!("{:.3}", middle(&way.latency, p50)),
                format!("{:.2}", ratio(&way.latency, &first.latency, p50)),
                format!("{:.3}", middle(&way.latency, p99)),
                format!("{:.0}", middle(&way.throughput, rate)),
                format!("{:.2}", ratio(&way.throughput, &first.throughput, rate)),
                failed.to_string(),
            ]
        })
    });
    Report {
        name: "p11",
        title: "P11: a request to a container on another host".into(),
        method: format!(
            "Two hosts on one machine. The container runs on the second; `wrk -t1 -d{seconds}s` asks a balancer on the first, \
             over one connection (latency) and over {CONNECTIONS} (throughput), {rounds} rounds, medians over the rounds, also \
             of the ratio to the first row in each round. Through the agent, everything is encrypted."
        ),
        columns: vec!["way", "p50 ms", "× published", "p99 ms", "requests/s", "× published", "failed"],
        rows: rows.collect(),
        notes: vec![
            "All of it shares this machine's cores: both agents, the container and the load generator. Between two machines, \
             the encryption is shared between them, and the network's latency is added to every row."
                .to_owned(),
        ],
    }
}
