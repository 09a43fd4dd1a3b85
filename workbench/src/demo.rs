//! `cargo xtask demo`: an agent, three labelled containers, some requests, and their results.
//!
//! It uses the machine's own Docker if that answers on a Unix socket (containers of a remote Docker could not be
//! reached), else a Docker host of the lab. Everything it creates has the label `longshore.demo`, and is removed at
//! the end.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use longshore_testkit::bollard::query_parameters::{
    ListContainersOptions, RemoveContainerOptions, RemoveImageOptions,
};
use longshore_testkit::bollard::{API_DEFAULT_VERSION, Docker};
use longshore_testkit::{Agent, Container, ContainerSpec, Lab, RequestBuilder, images};
use tokio::signal::unix::{SignalKind, signal};

use xtask::{steps, workspace};

use crate::lab;

/// The host name that the demo requests.
const SITE: &str = "shop.example.com";
const LABEL: &str = "longshore.demo";

/// How to show it.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// End after the requests.
    #[arg(long)]
    once: bool,
    /// Use the lab's Docker host even where the machine has a Docker.
    #[arg(long)]
    lab: bool,
}

/// Runs `cargo xtask demo`.
pub(crate) async fn run(demo: Demo) -> anyhow::Result<()> {
    println!("Building longshore. The first time this takes some minutes.");
    steps::run(&mut workspace::cargo(&["build", "--release", "--package", "longshore"]))?;
    lab::build_test_server("dev")?;
    let binary = workspace::binary("release", "longshore")?;
    let machines = if demo.lab { None } else { machines_docker().await };
    match machines {
        Some((docker, address)) => {
            println!("Using this machine's Docker at {address}.");
            let image = images::provide_to(&docker).await?;
            let ground = Ground { docker: docker.clone(), address, lab: None };
            let shown = show(&ground, &binary, demo.once).await;
            let options = Some(RemoveImageOptions { force: true, ..Default::default() });
            docker.remove_image(&image, options, None).await.context("remove the demo's image")?;
            shown
        }
        None => {
            println!("No Docker answers here: starting one of the lab's.");
            let was_up = !Lab::status()?.is_empty();
            let lab = Lab::up(1).await?;
            let docker = lab.host(0).docker().clone();
            let ground = Ground { docker, address: lab.host(0).docker_host(), lab: Some(lab) };
            let shown = show(&ground, &binary, demo.once).await;
            drop(ground);
            if !was_up {
                lab::down().await?;
            }
            shown
        }
    }
}

/// Returns the Docker that a user of this machine would use, if it answers.
async fn machines_docker() -> Option<(Docker, String)> {
    let named = std::env::var("DOCKER_HOST").ok().filter(|address| address.starts_with("unix://"));
    let address = named.unwrap_or_else(|| "unix:///var/run/docker.sock".into());
    let docker = Docker::connect_with_unix(&address, 60, API_DEFAULT_VERSION).ok()?;
    tokio::time::timeout(Duration::from_secs(2), docker.ping()).await.ok()?.ok()?;
    Some((docker, address))
}

/// The Docker that the demo runs on.
struct Ground {
    docker: Docker,
    address: String,
    /// The lab, unless the machine's own Docker is used.
    lab: Option<Lab>,
}

impl Ground {
    fn agent(&self) -> longshore_testkit::AgentBuilder {
        match &self.lab {
            Some(lab) => Agent::on(lab.host(0)),
            None => Agent::of_docker(self.address.clone(), "demo".into()),
        }
    }

    async fn container(&self, spec: ContainerSpec) -> anyhow::Result<Container> {
        let spec = spec.label(LABEL, "1");
        Ok(match &self.lab {
            Some(lab) => lab.host(0).run(spec).await?,
            None => Container::run_on(&self.docker, spec).await?,
        })
    }

    fn get(&self, url: String) -> RequestBuilder {
        match &self.lab {
            Some(lab) => lab.host(0).get(url),
            None => RequestBuilder::from_here("GET", url),
        }
    }

    /// Returns the first of these ports that is free. A host of the lab is empty.
    fn port(&self, mut wanted: std::ops::Range<u16>) -> anyhow::Result<u16> {
        let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok();
        match &self.lab {
            Some(_) => wanted.next(),
            None => wanted.find(is_free),
        }
        .context("no port is free for the demo")
    }

    /// Returns the balancer's address for a shell on this machine.
    fn balancer(&self) -> IpAddr {
        self.lab.as_ref().map_or(Ipv4Addr::LOCALHOST.into(), |lab| lab.host(0).address)
    }

    /// Removes containers that an earlier demo left behind.
    async fn clear(&self) -> anyhow::Result<()> {
        let filters = HashMap::from([("label".to_owned(), vec![LABEL.to_owned()])]);
        let options = ListContainersOptions { all: true, filters: Some(filters), ..Default::default() };
        for container in self.docker.list_containers(Some(options)).await? {
            let options = RemoveContainerOptions { force: true, ..Default::default() };
            self.docker.remove_container(&container.id.unwrap_or_default(), Some(options)).await?;
        }
        Ok(())
    }
}

async fn show(ground: &Ground, binary: &Path, once: bool) -> anyhow::Result<()> {
    ground.clear().await?;
    let port = ground.port(8080..8100)?;
    let api = format!("127.0.0.1:{}", ground.port(7051..7070)?);
    let mut agent = ground.agent().binary(binary).listen(&api).start().await?;
    let shown = async {
        println!(
            "\nThe agent is running. Three containers start, each with labels that claim its traffic:\n"
        );
        let mut containers = start(ground, port).await?;
        until_routed(ground, port).await?;
        requests(ground, port).await?;
        println!("\n$ longshore route ls\n{}", agent.cli(&["route", "ls"]).await?);
        let target = format!("{SITE}:{port}/api/hello");
        println!("$ longshore route explain {target}\n{}", agent.cli(&["route", "explain", &target]).await?);
        if !once {
            next(ground, binary, &api, port);
            until_interrupted().await?;
            println!("\nCleaning up.");
        }
        for container in containers.drain(..) {
            container.remove().await?;
        }
        anyhow::Ok(())
    };
    let shown = shown.await;
    if shown.is_err() {
        eprintln!("The agent's log:\n{}", agent.log());
    }
    agent.sigterm();
    agent.ended_within(Duration::from_secs(40)).await?;
    ground.clear().await?;
    shown
}

async fn start(ground: &Ground, port: u16) -> anyhow::Result<Vec<Container>> {
    let labels: [(&str, &[(&str, &str)]); 3] = [
        ("demo-shop-1", &[("weight", "200")]),
        ("demo-shop-2", &[("weight", "100")]),
        ("demo-api", &[("prefix", "/api"), ("strip-prefix", "true")]),
    ];
    let mut containers = Vec::new();
    for (name, more) in labels {
        let listen = port.to_string();
        let all = [("host", SITE), ("listen", listen.as_str())].into_iter().chain(more.iter().copied());
        let mut spec = ContainerSpec::server().named(name);
        print!("  {name:<12}");
        for (key, value) in all {
            print!(" longshore.http.80.{key}={value}");
            spec = spec.label(format!("longshore.http.80.{key}"), value);
        }
        println!();
        containers.push(ground.container(spec).await?);
    }
    Ok(containers)
}

async fn until_routed(ground: &Ground, port: u16) -> anyhow::Result<()> {
    let mut waiting = vec!["demo-shop-1", "demo-shop-2", "demo-api"];
    for _ in 0..500 {
        for path in ["/", "/api/"] {
            let request = ground.get(format!("127.0.0.1:{port}{path}")).host(SITE);
            if let Ok(answer) = request.send().await {
                waiting.retain(|name| answer.name() != Some(name));
            }
        }
        if waiting.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bail!("no request reached {}", waiting.join(", "))
}

async fn requests(ground: &Ground, port: u16) -> anyhow::Result<()> {
    println!("\nRequests to http://{SITE}:{port}, and which container answered:\n");
    for path in ["/", "/", "/", "/", "/", "/", "/api/hello", "/api", "/apiary"] {
        let answer = ground.get(format!("127.0.0.1:{port}{path}")).host(SITE).send().await?;
        let echo =
            answer.echo().with_context(|| format!("GET {path} got {}: {}", answer.status, answer.text()))?;
        println!("  GET {path:<11} {:<12} saw {}", echo.name, echo.path);
    }
    Ok(())
}

fn next(ground: &Ground, binary: &Path, api: &str, port: u16) {
    let docker = match &ground.lab {
        Some(_) => format!("docker -H {}", ground.address),
        None => "docker".into(),
    };
    let longshore = match &ground.lab {
        Some(lab) => {
            format!("nsenter --net=/run/netns/{} {}", lab.host(0).namespace, relative(binary).display())
        }
        None => relative(binary).display().to_string(),
    };
    let balancer = ground.balancer();
    println!("The demo runs until Ctrl-C. In another terminal, try:\n");
    println!("  curl -H 'Host: {SITE}' http://{balancer}:{port}/");
    println!("  {docker} stop demo-shop-1      # and curl again: no request waits for it");
    println!("  {docker} start demo-shop-1     # it gets its share of requests again");
    println!("  {longshore} routes --agent {api}");
    println!("  {longshore} problems --agent {api}");
}

fn relative(path: &Path) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).to_owned()
}

async fn until_interrupted() -> anyhow::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
