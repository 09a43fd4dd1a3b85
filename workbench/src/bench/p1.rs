//! From Docker's `start` to the first 200 through the balancer.
//!
//! The container's own address is polled at the same time, so that the server's own start is not counted. Each start
//! is measured in two ways: with a server that listens at once, from the return of `start`; and with one that opens
//! its port later, from the first 200 at its own address.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures_util::{StreamExt, TryStreamExt, stream};
use longshore_testkit::{Agent, Container, ContainerSpec, Host, Lab, RequestBuilder};

use super::Bed;
use super::report::Report;
use super::summary::{median, milliseconds, quantile};

const PORT: u16 = 8080;
/// Far later than `start` returns: such a server's readiness is detected by polling it.
const LATE: Duration = Duration::from_millis(400);
/// How many containers share the thousand routes: see the note in the report.
const CARRIERS: usize = 20;

pub(super) async fn run(bed: &Bed) -> anyhow::Result<Report> {
    let starts = bed.scale(100, 5);
    let mut rows = Vec::new();
    for engine in ["built-in", "haproxy"] {
        for routes in [0, bed.scale(1_000, 100)] {
            let lab = Lab::up(1).await?;
            let host = lab.host(0);
            let mut agent = bed.agent(host).balancer(engine).start().await?;
            let _carriers = carry(host, &agent, routes).await?;
            // First one start after another, then as many at once as the machine can take.
            for at_once in [1, 8] {
                let prompt = measure(host, starts, at_once, Duration::ZERO).await?;
                let late = measure(host, starts, at_once, LATE).await?;
                rows.push(row(engine, routes, at_once, &prompt, &late));
            }
            agent.sigterm();
            agent.ended_within(Duration::from_secs(60)).await?;
        }
    }
    Ok(Report {
        name: "p1",
        title: "P1: from Docker's `start` to the first 200 through the balancer".into(),
        method: format!(
            "{starts} containers per row, each with its own host name, are requested through the balancer and at their own \
             address about once per millisecond, with a new connection each time. *After `start`*: the server listens \
             immediately; milliseconds from the return of Docker's `start` to the first 200 through the balancer, and the \
             same at the container's own address. *Beyond readiness*: the server opens its port {LATE:?} after it starts; \
             milliseconds from the first 200 at its own address to the first through the balancer."
        ),
        columns: vec![
            "engine",
            "other routes",
            "concurrent starts",
            "starts/s",
            "after `start`, p50",
            "p99",
            "container itself, p50",
            "ratio",
            "beyond readiness, p50",
            "p99",
        ],
        rows,
        notes: vec![format!(
            "The other routes belong to {CARRIERS} containers with labels for many ports: with 1,000 containers, this \
             machine's memory and Docker's bridge (1,023 ports) would be the limit. `starts/s` is what Docker achieved \
             here; on two cores, it does not start 100 containers per second."
        )],
    })
}

fn row(engine: &str, routes: usize, at_once: usize, prompt: &Starts, late: &Starts) -> Vec<String> {
    let after: Vec<f64> = prompt.times.iter().map(|(through, _)| milliseconds(*through)).collect();
    let own: Vec<f64> = prompt.times.iter().map(|(_, own)| milliseconds(*own)).collect();
    let beyond = late.times.iter().map(|(through, own)| milliseconds(*through) - milliseconds(*own));
    let beyond: Vec<f64> = beyond.collect();
    vec![
        engine.to_owned(),
        routes.to_string(),
        at_once.to_string(),
        format!("{:.1}", prompt.rate),
        format!("{:.2}", median(&after)),
        format!("{:.2}", quantile(&after, 0.99)),
        format!("{:.2}", median(&own)),
        format!("{:.2}", median(&after) / median(&own)),
        format!("{:.2}", median(&beyond)),
        format!("{:.2}", quantile(&beyond, 0.99)),
    ]
}

/// One container's start.
struct Start {
    container: Container,
    /// From the return of `start` to the first 200 through the balancer.
    through: Duration,
    /// From the return of `start` to the first 200 at the container's own address.
    own: Duration,
}

struct Starts {
    /// For each start, the time through the balancer, and at the container's own address.
    times: Vec<(Duration, Duration)>,
    /// Container starts per second that Docker reached.
    rate: f64,
}

/// Starts containers whose labels define this many routes; all of them are up when this returns.
async fn carry(host: &Host, agent: &Agent, routes: usize) -> anyhow::Result<Vec<Container>> {
    let mut carriers = Vec::new();
    if routes == 0 {
        return Ok(carriers);
    }
    let each = u16::try_from(routes.div_ceil(CARRIERS))?;
    for carrier in 0..CARRIERS {
        let ports: Vec<u16> = (1_000..1_000 + each).collect();
        let mut spec = ContainerSpec::server().http_on(&ports);
        for port in &ports {
            spec = spec
                .label(format!("longshore.http.{port}.host"), format!("r{port}.c{carrier}.test"))
                .label(format!("longshore.http.{port}.listen"), PORT.to_string());
        }
        carriers.push(host.run(spec).await?);
    }
    let wanted = usize::from(each) * CARRIERS;
    for _ in 0..600 {
        let listed = agent.api("/v1/routes").await?;
        if up(&listed) >= wanted {
            return Ok(carriers);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("{wanted} routes were not up within a minute: {}", agent.log())
}

/// Counts the routes with a container that takes traffic.
fn up(listed: &serde_json::Value) -> usize {
    let routes = listed.as_array().or_else(|| listed.get("routes")?.as_array());
    let has_upstream = |route: &&serde_json::Value| {
        route.get("upstreams").and_then(|upstreams| upstreams.as_array()).is_some_and(|some| !some.is_empty())
    };
    routes.map_or(0, |routes| routes.iter().filter(has_upstream).count())
}

async fn measure(host: &Host, count: usize, at_once: usize, late: Duration) -> anyhow::Result<Starts> {
    let mut containers = Vec::new();
    for number in 0..count {
        let site = format!("s{number}.test");
        let spec = ContainerSpec::server()
            .listens_after(late)
            .stop_timeout(1)
            .label("longshore.http.80.host", &site)
            .label("longshore.http.80.listen", PORT.to_string());
        containers.push((site, host.create(spec).await?));
    }
    let began = Instant::now();
    let all: Vec<Start> = stream::iter(containers)
        .map(|(site, container)| start(host, site, container))
        .buffer_unordered(at_once)
        .try_collect()
        .await?;
    #[expect(clippy::cast_precision_loss, reason = "a count of starts")]
    let rate = count as f64 / began.elapsed().as_secs_f64();
    let mut times = Vec::new();
    for start in all {
        start.container.remove().await?;
        times.push((start.through, start.own));
    }
    Ok(Starts { times, rate })
}

async fn start(host: &Host, site: String, container: Container) -> anyhow::Result<Start> {
    host.docker().start_container(&container.id, None).await?;
    let began = Instant::now();
    let networks = container.inspect().await?.network_settings.and_then(|settings| settings.networks);
    let address =
        networks.unwrap_or_default().into_values().find_map(|network| network.ip_address?.parse().ok());
    let address: IpAddr = address.context("the container has no address")?;
    let through = host.get(format!("127.0.0.1:{PORT}/")).host(&site);
    let own = host.get(format!("{address}:80/"));
    let (through, own) = tokio::try_join!(first_good(through, began), first_good(own, began))?;
    Ok(Start { container, through, own })
}

async fn first_good(request: RequestBuilder, began: Instant) -> anyhow::Result<Duration> {
    let request = request.timeout(Duration::from_secs(1));
    while began.elapsed() < Duration::from_secs(20) {
        if request.clone().send().await.is_ok_and(|answer| answer.status == 200) {
            return Ok(began.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    bail!("no 200 within 20 seconds: {request:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_counts_when_a_container_takes_its_traffic() {
        let listed = serde_json::json!([{ "upstreams": [{}] }, { "upstreams": [] }, {}]);
        assert_eq!(up(&listed), 1);
        assert_eq!(up(&serde_json::json!({ "routes": listed })), 1);
    }
}
