//! Requests per second through a balancer with one thread, and their 99th percentile.
//!
//! One nginx answers from memory; in front of it stand, in turn, Longshore's built-in balancer, HAProxy with the map
//! routing that Longshore's own HAProxy engine writes, and nginx. wrk loads each for a few seconds, round after
//! round. Another binary of Longshore is loaded in the same rounds, on a host of its own with the same backend.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use anyhow::Context;
use longshore_testkit::{Agent, AgentBuilder, Container, ContainerSpec, Host, Lab};
use tokio::process::Child;

use super::Bed;
use super::report::Report;
use super::summary::median;

const SITE: &str = "bench.test";
const BACKEND: u16 = 9000;
const BALANCER: u16 = 8000;
const CONNECTIONS: usize = 64;

/// Something that answers the same requests.
struct Candidate<'a> {
    name: String,
    host: &'a Host,
    port: u16,
}

pub(super) async fn run(bed: &Bed) -> anyhow::Result<Report> {
    let (rounds, seconds) = (bed.scale(7, 2), bed.scale(6, 2));
    let lab = Lab::up(1 + usize::from(bed.beside.is_some())).await?;
    let host = lab.host(0);
    let files = tempfile::tempdir()?;
    let mut processes = vec![backend(host, files.path(), "backend")?];
    processes.extend(peers(host, files.path())?);
    let candidate = |name: &str, host, port| Candidate { name: name.to_owned(), host, port };
    let mut candidates = vec![
        candidate("HAProxy", host, 8001),
        candidate("nginx", host, 8002),
        candidate("longshore, built-in", host, BALANCER),
    ];
    let mut serving = vec![serve(bed.agent(host), host).await?];
    if let Some(other) = &bed.beside {
        let host = lab.host(1);
        processes.push(backend(host, files.path(), "other-backend")?);
        serving.push(serve(bed.agent(host).binary(other), host).await?);
        candidates.push(candidate(&other.display().to_string(), host, BALANCER));
    }
    candidates.push(candidate("the backend itself", host, BACKEND));
    for Candidate { name, host, port } in &candidates {
        until_answers(host, *port).await.with_context(|| format!("{name} does not answer"))?;
    }
    let mut measured = vec![Vec::new(); candidates.len()];
    for round in 0..rounds {
        for (Candidate { name, host, port }, results) in candidates.iter().zip(&mut measured) {
            let result = ask(host, *port, seconds).await?;
            println!("round {}: {name:<20} {:>8.0}/s  p99 {:.2} ms", round + 1, result.rate, result.p99);
            results.push(result);
        }
    }
    Ok(report(&candidates, &measured, rounds, seconds))
}

/// Starts an agent with one worker and a container that claims the requests.
async fn serve(agent: AgentBuilder, host: &Host) -> anyhow::Result<(Agent, Container)> {
    let agent = agent.flags(&["--workers", "1"]).start().await?;
    let route = ContainerSpec::busybox(&["sleep", "3600"])
        .network("host")
        .label(format!("longshore.http.{BACKEND}.host"), SITE)
        .label(format!("longshore.http.{BACKEND}.listen"), BALANCER.to_string());
    Ok((agent, host.run(route).await?))
}

fn report(candidates: &[Candidate<'_>], measured: &[Vec<Asked>], rounds: usize, seconds: usize) -> Report {
    let empty = Vec::new();
    let of_haproxy = measured.first().unwrap_or(&empty);
    let rows = candidates.iter().zip(measured).map(|(Candidate { name, .. }, results)| {
        let ratios: Vec<f64> =
            results.iter().zip(of_haproxy).map(|(own, peer)| own.rate / peer.rate).collect();
        let slower: Vec<f64> = results.iter().zip(of_haproxy).map(|(own, peer)| own.p99 / peer.p99).collect();
        let failed: u64 = results.iter().map(|result| result.failed).sum();
        vec![
            name.clone(),
            format!("{:.0}", median(&results.iter().map(|r| r.rate).collect::<Vec<_>>())),
            format!("{:.2}", median(&ratios)),
            format!("{:.2}", median(&results.iter().map(|r| r.p99).collect::<Vec<_>>())),
            format!("{:.2}", median(&slower)),
            failed.to_string(),
        ]
    });
    Report {
        name: "p9",
        title: "P9: requests per second through the balancer, one thread".into(),
        method: format!(
            "One nginx worker that answers 200 from memory, behind each balancer in turn; `wrk -t1 -c{CONNECTIONS} \
             -d{seconds}s --latency`, {rounds} rounds, medians over the rounds, also of the ratio to HAProxy in each round. One \
             worker thread each: `--workers 1`, `nbthread 1`, `worker_processes 1`. The route leads to a container on the \
             host's network."
        ),
        columns: vec!["balancer", "requests/s", "× HAProxy", "p99 ms", "p99 × HAProxy", "failed"],
        rows: rows.collect(),
        notes: Vec::new(),
    }
}

/// Starts the backend inside the host's namespace; it is stopped when this is dropped.
fn backend(host: &Host, folder: &Path, name: &str) -> anyhow::Result<Child> {
    let server = format!("server {{ listen 127.0.0.1:{BACKEND}; return 200 'hello from the backend\\n'; }}");
    let file = folder.join(format!("{name}.conf"));
    fs::write(&file, nginx_config(folder, name, &server))?;
    start(host, "nginx", &["-c", &file.to_string_lossy()])
}

/// Starts HAProxy and nginx inside the host's namespace; they are stopped when this is dropped.
fn peers(host: &Host, folder: &Path) -> anyhow::Result<Vec<Child>> {
    let path = |name: &str| folder.join(name);
    fs::write(
        path("nginx.conf"),
        nginx_config(
            folder,
            "nginx",
            &format!(
                "upstream up {{ server 127.0.0.1:{BACKEND}; keepalive 256; keepalive_requests 1000000000; }}\n\
         server {{ listen 127.0.0.1:8002; server_name {SITE}; location / {{ proxy_pass http://up; \
         proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header Host $host; \
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }}"
            ),
        ),
    )?;
    fs::write(path("routes.map"), format!("{SITE}/ be_0\n"))?;
    fs::write(
        path("haproxy.cfg"),
        format!(
            "global\n  nbthread 1\n  maxconn 4000\n\
         defaults\n  mode http\n  timeout connect 5s\n  timeout client 1m\n  timeout server 25s\n  \
         option forwardfor\n  http-reuse always\n\
         frontend bench\n  bind 127.0.0.1:8001\n  http-request set-var(txn.path) path\n  \
         http-request set-var(txn.key) hdr(host),field(1,:),lower,concat(,txn.path,/)\n  \
         http-request set-var(txn.be) var(txn.key),map_beg({map})\n  \
         use_backend %[var(txn.be)] if {{ var(txn.be) -m found }}\n\
         backend be_0\n  balance roundrobin\n  server s 127.0.0.1:{BACKEND} pool-purge-delay 5s pool-max-conn -1\n",
            map = path("routes.map").display(),
        ),
    )?;
    let file = |name: &str| path(name).to_string_lossy().into_owned();
    Ok(vec![
        start(host, "nginx", &["-c", &file("nginx.conf")])?,
        start(host, "haproxy", &["-db", "-f", &file("haproxy.cfg")])?,
    ])
}

fn start(host: &Host, program: &str, arguments: &[&str]) -> anyhow::Result<Child> {
    let mut command = host.command(program);
    command.args(arguments).stdout(Stdio::null());
    command.spawn().with_context(|| format!("start {program}"))
}

fn nginx_config(folder: &Path, name: &str, servers: &str) -> String {
    let folder = folder.display();
    // One process: a separate worker would outlive its killed parent.
    format!(
        "daemon off; master_process off; worker_processes 1; pid {folder}/{name}.pid; error_log stderr crit;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off; keepalive_requests 1000000000;\n\
         client_body_temp_path {folder}/{name}-body; proxy_temp_path {folder}/{name}-proxy;\n\
         fastcgi_temp_path {folder}/{name}-f; uwsgi_temp_path {folder}/{name}-u; scgi_temp_path {folder}/{name}-s;\n\
         {servers}\n}}\n"
    )
}

async fn until_answers(host: &Host, port: u16) -> anyhow::Result<()> {
    let mut last = String::new();
    for _ in 0..500 {
        match host.get(format!("127.0.0.1:{port}/")).host(SITE).send().await {
            Ok(answer) if answer.status == 200 => return Ok(()),
            Ok(answer) => last = format!("status {}", answer.status),
            Err(e) => last = e.to_string(),
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    anyhow::bail!("port {port}: {last}")
}

/// The result of wrk.
#[derive(Clone, Debug, PartialEq)]
struct Asked {
    /// Requests per second.
    rate: f64,
    /// The 99th percentile in milliseconds.
    p99: f64,
    /// Failed requests.
    failed: u64,
}

async fn ask(host: &Host, port: u16, seconds: usize) -> anyhow::Result<Asked> {
    let (connections, duration) = (format!("-c{CONNECTIONS}"), format!("-d{seconds}s"));
    let (header, url) = (format!("Host: {SITE}"), format!("http://127.0.0.1:{port}/"));
    let line = ["wrk", "-t1", &connections, &duration, "--latency", "-H", &header, &url];
    let said = host.exec_in_namespace(&line).await?;
    read(&said).with_context(|| format!("wrk said:\n{said}"))
}

fn read(said: &str) -> Option<Asked> {
    let after = |key: &str| {
        said.lines().find_map(|line| line.trim().strip_prefix(key)).map(|rest| rest.trim().to_owned())
    };
    let errors = after("Socket errors:").unwrap_or_default();
    let numbers = errors.split([' ', ',']).filter_map(|word| word.parse::<u64>().ok());
    let bad = after("Non-2xx or 3xx responses:").and_then(|count| count.parse().ok()).unwrap_or(0);
    Some(Asked {
        rate: after("Requests/sec:")?.parse().ok()?,
        p99: in_milliseconds(&after("99%")?)?,
        failed: numbers.sum::<u64>() + bad,
    })
}

/// Parses wrk's `870.00us`, `1.23ms`, `1.02s`.
fn in_milliseconds(text: &str) -> Option<f64> {
    let (number, factor) = if let Some(number) = text.strip_suffix("us") {
        (number, 0.001)
    } else if let Some(number) = text.strip_suffix("ms") {
        (number, 1.0)
    } else {
        (text.strip_suffix('s')?, 1_000.0)
    };
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_says_is_read() {
        let said = "Running 2s test\n  Latency Distribution\n     50%  1.00ms\n     99%  870.00us\n  20 requests in 2s\n  \
                    Socket errors: connect 0, read 2, write 0, timeout 1\n  Non-2xx or 3xx responses: 4\n\
                    Requests/sec:  12345.67\nTransfer/sec: 1MB\n";
        assert_eq!(read(said), Some(Asked { rate: 12345.67, p99: 0.87, failed: 7 }));
    }

    #[test]
    fn wrks_units_are_read() {
        assert_eq!(in_milliseconds("1.50s"), Some(1500.0));
        assert_eq!(in_milliseconds("2ms"), Some(2.0));
        assert_eq!(in_milliseconds("x"), None);
    }
}
