//! Requests that fail while containers come, go and are replaced, and while the agent itself is.

use std::time::Duration;

use anyhow::{Context, bail};
use longshore_testkit::{Agent, AgentBuilder, Container, ContainerSpec, Host, Lab, LoadReport, WebSocket};

use super::Bed;
use super::report::Report;
use super::summary::milliseconds;

const SITE: &str = "bench.test";
const PORT: u16 = 8080;
const CLIENTS: u32 = 16;
const SOCKETS: usize = 10;
/// A successor takes over the routes within a tenth of this.
const REPLACED: Duration = Duration::from_secs(2);

/// What happens to the service during the load.
#[derive(Clone, Copy, Debug)]
enum Change {
    ScaleUp,
    ScaleDown,
    RollingUpdate,
    OtherRoutes,
    AgentRestart,
    AgentReplaced,
}

const CHANGES: [(Change, &str); 6] = [
    (Change::ScaleUp, "scale 2 → 6"),
    (Change::ScaleDown, "scale 6 → 2"),
    (Change::RollingUpdate, "rolling update of 2"),
    (Change::OtherRoutes, "another host name and another port added and removed"),
    (Change::AgentRestart, "agent stopped, then started again"),
    (Change::AgentReplaced, "agent replaced (SIGUSR2)"),
];

pub(super) async fn run(bed: &Bed) -> anyhow::Result<Report> {
    let requests = bed.scale(10_000, 1_000);
    let mut rows = Vec::new();
    for engine in ["built-in", "haproxy"] {
        let lab = Lab::up(1).await?;
        let host = lab.host(0);
        let data = tempfile::tempdir()?;
        let agent = || bed.agent(host).balancer(engine).data_dir(data.path()).flags(&["--grace", "5s"]);
        let mut service = Service::start(host, &agent).await?;
        for (change, name) in CHANGES {
            let (report, closed) = service.through(change, requests, &agent).await.with_context(|| name)?;
            println!("{engine}: {name}: {report}, {closed} of {SOCKETS} websockets closed");
            rows.push(vec![
                engine.to_owned(),
                name.to_owned(),
                (report.succeeded + report.failed()).to_string(),
                report.failed().to_string(),
                report
                    .failures
                    .iter()
                    .map(|(kind, count)| format!("{count} {kind}"))
                    .collect::<Vec<_>>()
                    .join(", "),
                closed.to_string(),
                format!("{:.1}", milliseconds(report.quantile(0.99))),
                format!("{:.0}", milliseconds(report.longest_gap())),
            ]);
        }
    }
    Ok(Report {
        name: "p2",
        title: "P2: requests that fail while things change".into(),
        method: format!(
            "At least {requests} requests by {CLIENTS} clients with persistent connections, while the change is made with \
             `docker start` and `docker stop` alone. {SOCKETS} websockets to a container that keeps running stay open \
             throughout, and must echo afterwards. A request without a response, or with a status other than 2xx, counts as \
             failed; none is sent twice."
        ),
        columns: vec!["engine", "change", "requests", "failed", "how", "websockets closed", "p99 ms", "longest gap ms"],
        rows,
        notes: vec![
            "The two engines are compared with each other here. The longest gap is the longest time without a successful \
             response to any client. An agent that stops closes its listeners, and keeps open websockets for its `--grace` \
             (5 s here, 30 s by default) before it exits; refused requests are counted until it is started again, and each \
             client retries every 10 ms."
                .into(),
        ],
    })
}

struct Service<'h> {
    host: &'h Host,
    agent: Agent,
    containers: Vec<Container>,
    /// Holds the websockets, and is not touched by any change.
    _anchor: Container,
}

impl<'h> Service<'h> {
    async fn start(host: &'h Host, agent: &impl Fn() -> AgentBuilder) -> anyhow::Result<Self> {
        let anchor = ContainerSpec::server()
            .label("longshore.http.80.host", format!("socket.{SITE}"))
            .label("longshore.http.80.listen", PORT.to_string());
        let anchor = host.run(anchor).await?;
        let mut service =
            Self { host, agent: agent().start().await?, containers: Vec::new(), _anchor: anchor };
        for _ in 0..2 {
            service.add().await?;
        }
        Ok(service)
    }

    /// Starts one more container of the service and waits until requests reach it.
    async fn add(&mut self) -> anyhow::Result<()> {
        let spec = ContainerSpec::server()
            .label("longshore.http.80.host", SITE)
            .label("longshore.http.80.listen", PORT.to_string());
        let container = self.host.run(spec).await?;
        for _ in 0..2_000 {
            let answer = self.host.get(format!("127.0.0.1:{PORT}/")).host(SITE).send().await;
            if answer.is_ok_and(|answer| answer.name() == Some(&container.name)) {
                self.containers.push(container);
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        bail!("no request reached {}: {}", container.name, self.agent.log())
    }

    /// Stops the oldest container.
    async fn retire(&mut self) -> anyhow::Result<()> {
        let container = self.containers.remove(0);
        container.stop(10).await?;
        Ok(container.remove().await?)
    }

    async fn change(&mut self, change: Change, agent: &impl Fn() -> AgentBuilder) -> anyhow::Result<()> {
        match change {
            Change::ScaleUp => {
                while self.containers.len() < 6 {
                    self.add().await?;
                }
            }
            Change::ScaleDown => {
                while self.containers.len() > 2 {
                    self.retire().await?;
                }
            }
            Change::RollingUpdate => {
                for _ in 0..self.containers.len() {
                    self.add().await?;
                    self.retire().await?;
                }
            }
            Change::OtherRoutes => {
                for label in ["80.host", "80.listen"] {
                    let value = if label == "80.host" { format!("other.{SITE}") } else { "8081".into() };
                    let spec = ContainerSpec::server().label(format!("longshore.http.{label}"), value);
                    let container = self.host.run(spec).await?;
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    container.stop(10).await?;
                }
            }
            Change::AgentRestart => {
                self.agent.sigterm();
                self.agent.ended_within(Duration::from_secs(60)).await?;
                self.agent = agent().start().await?;
            }
            Change::AgentReplaced => {
                self.agent.sigusr2();
                tokio::time::sleep(REPLACED).await;
                anyhow::ensure!(self.agent.get("/readyz").await?.status == 200, "no successor answers");
            }
        }
        Ok(())
    }

    /// Sends requests before, during and after the change; returns the results of these and of the websockets.
    async fn through(
        &mut self,
        change: Change,
        requests: u64,
        agent: &impl Fn() -> AgentBuilder,
    ) -> anyhow::Result<(LoadReport, usize)> {
        let mut sockets = Vec::new();
        for _ in 0..SOCKETS {
            sockets.push(self.socket().await?);
        }
        let load =
            self.host.load(format!("127.0.0.1:{PORT}/")).host(SITE).requests(u64::MAX).clients(CLIENTS);
        let running = load.start()?;
        running.until_sent(requests / 10).await;
        self.change(change, agent).await?;
        running.until_sent(requests.max(running.sent() + requests / 10)).await;
        running.stop();
        let report = running.report().await?;
        let mut closed = 0;
        for mut socket in sockets {
            if socket.echo("still there?").await.is_err() {
                closed += 1;
            }
        }
        Ok((report, closed))
    }

    async fn socket(&self) -> anyhow::Result<WebSocket> {
        let mut failed = None;
        for _ in 0..1_000 {
            match self.host.websocket(&format!("127.0.0.1:{PORT}/ws"), &format!("socket.{SITE}")).await {
                Ok(socket) => return Ok(socket),
                Err(e) => failed = Some(e),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(failed.context("no websocket opens")?.into())
    }
}
