//! 10,000 container events as fast as Docker sends them: how many the agent saw, and how soon its state was correct.
//!
//! Renaming is the cheapest call that causes exactly one event. A bare reader of the same stream runs beside the
//! agent as the raw limit.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures_util::{StreamExt, stream};
use longshore_testkit::bollard::query_parameters::{EventsOptions, RenameContainerOptions};
use longshore_testkit::{Agent, Container, ContainerSpec, Host, Lab};

use super::Bed;
use super::report::Report;

pub(super) const CONTAINERS: usize = 50;
pub(super) const AT_ONCE: usize = 8;
const METRIC: &str = "longshore_docker_events_total";

pub(super) async fn run(bed: &Bed) -> anyhow::Result<Report> {
    let events = bed.scale(10_000, 500);
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let containers = containers(host).await?;
    let mut rows = Vec::new();
    for (engine, frozen) in [("built-in", false), ("built-in", true), ("haproxy", false)] {
        let mut agent = bed.agent(host).balancer(engine).start().await?;
        let label = if frozen { "frozen for 3 s" } else { "running" };
        let seen = storm(host, &agent, &containers, events, frozen).await.with_context(|| agent.log())?;
        println!("{engine}, {label}: {seen:?}");
        agent.sigterm();
        agent.ended_within(Duration::from_secs(60)).await?;
        #[expect(clippy::cast_precision_loss, reason = "counts of events")]
        rows.push(vec![
            engine.to_owned(),
            label.to_owned(),
            seen.made.to_string(),
            format!("{:.0}", seen.made as f64 / seen.took.as_secs_f64()),
            seen.by_reader.to_string(),
            seen.by_agent.to_string(),
            format!("{:.4}", seen.by_agent as f64 / seen.made as f64),
            format!("{:.0}", seen.right_after.as_secs_f64() * 1_000.0),
        ]);
    }
    Ok(Report {
        name: "p10",
        title: "P10: 10,000 container events as fast as Docker sends them".into(),
        method: format!(
            "{CONTAINERS} containers are renamed {events} times, {AT_ONCE} at a time; each rename is one event. Beside the \
             agent, a bare reader of Docker's event stream counts the events: the upper limit. The agent is up to date \
             when `/v1/containers` shows the last name of every container; milliseconds from the return of the last rename."
        ),
        columns: vec![
            "engine",
            "agent",
            "events sent",
            "events/s",
            "seen by a bare reader",
            "seen by the agent",
            "ratio",
            "up to date after ms",
        ],
        rows,
        notes: vec![
            "No handler is configured: the events that the agent read are counted. Docker drops events that a listener does \
             not read within 100 ms, so a frozen agent loses some; it is up to date nevertheless, as it relies on Docker's \
             state and not on the events."
                .into(),
        ],
    })
}

#[derive(Debug)]
struct Seen {
    made: u64,
    took: Duration,
    by_reader: u64,
    by_agent: u64,
    right_after: Duration,
}

async fn storm(
    host: &Host,
    agent: &Agent,
    containers: &[Container],
    events: usize,
    freeze: bool,
) -> anyhow::Result<Seen> {
    let count = Arc::new(AtomicU64::new(0));
    let reader = read_events(host, Arc::clone(&count));
    // The stream does not signal its subscription: the first event does.
    rename(host, containers.first().context("no container")?, "bench-first").await?;
    until(Duration::from_secs(10), || async { Ok(count.load(Ordering::Relaxed) > 0) })
        .await
        .context("no event")?;
    tokio::time::sleep(Duration::from_millis(200)).await;
    count.store(0, Ordering::Relaxed);
    let before = agent.metric(METRIC).await?.unwrap_or_default();

    let began = Instant::now();
    let thaw = async {
        if freeze {
            agent.freeze();
            tokio::time::sleep(Duration::from_secs(3)).await;
            agent.thaw();
        }
    };
    let (made, ()) = tokio::join!(rename_all(host, containers, events), thaw);
    let (made, took) = (u64::try_from(made?)?, began.elapsed());
    let last = Instant::now();
    let names: BTreeSet<String> =
        (0..CONTAINERS).map(|number| format!("bench-{number}-{}", events.div_ceil(CONTAINERS) - 1)).collect();
    until(Duration::from_secs(60), || async { Ok(names.is_subset(&listed(agent).await?)) })
        .await
        .context("the agent is not up to date")?;
    let right_after = last.elapsed();
    // Late events still count: only after this is an event missed.
    tokio::time::sleep(Duration::from_secs(2)).await;
    reader.abort();
    let after = agent.metric(METRIC).await?.unwrap_or_default();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count in a floating number"
    )]
    let by_agent = (after - before).round() as u64;
    Ok(Seen { made, took, by_reader: count.load(Ordering::Relaxed), by_agent, right_after })
}

fn read_events(host: &Host, count: Arc<AtomicU64>) -> tokio::task::JoinHandle<()> {
    let docker = host.docker().clone();
    tokio::spawn(async move {
        let filters = [("type".to_owned(), vec!["container".to_owned()])].into();
        let options = EventsOptions { filters: Some(filters), ..Default::default() };
        let mut events = docker.events(Some(options));
        while let Some(Ok(_)) = events.next().await {
            count.fetch_add(1, Ordering::Relaxed);
        }
    })
}

/// Returns the containers to rename.
pub(super) async fn containers(host: &Host) -> anyhow::Result<Vec<Container>> {
    let mut containers = Vec::new();
    for number in 0..CONTAINERS {
        let spec = ContainerSpec::busybox(&["sleep", "3600"]).named(format!("bench-{number}"));
        containers.push(host.create(spec).await?);
    }
    Ok(containers)
}

/// Causes at least this many events, and returns the count. A container's renames are in order; those of different
/// ones run concurrently.
pub(super) async fn rename_all(
    host: &Host,
    containers: &[Container],
    events: usize,
) -> anyhow::Result<usize> {
    let each = events.div_ceil(CONTAINERS);
    stream::iter(containers.iter().enumerate())
        .map(|(number, container)| async move {
            for turn in 0..each {
                rename(host, container, &format!("bench-{number}-{turn}")).await?;
            }
            anyhow::Ok(each)
        })
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<_>>()
        .await
        .into_iter()
        .sum()
}

async fn rename(host: &Host, container: &Container, name: &str) -> anyhow::Result<()> {
    let options = RenameContainerOptions { name: name.to_owned() };
    Ok(host.docker().rename_container(&container.id, options).await?)
}

/// Returns the names of the containers that the agent lists.
async fn listed(agent: &Agent) -> anyhow::Result<BTreeSet<String>> {
    let listed = agent.api("/v1/containers").await?;
    let containers = listed.as_array().or_else(|| listed.get("containers")?.as_array());
    let names = containers.into_iter().flatten().filter_map(|container| container.get("name")?.as_str());
    Ok(names.map(str::to_owned).collect())
}

pub(super) async fn until<F: Future<Output = anyhow::Result<bool>>>(
    limit: Duration,
    mut is_so: impl FnMut() -> F,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + limit;
    while !is_so().await? {
        if Instant::now() > deadline {
            bail!("not within {limit:?}");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
