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
use super::wrk::{self, Asked};

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
            let result = wrk::ask(host, *port, SITE, CONNECTIONS, seconds).await?;
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

pub(super) fn start(host: &Host, program: &str, arguments: &[&str]) -> anyhow::Result<Child> {
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
