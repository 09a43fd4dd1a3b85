//! 10,000 container events with handlers: whether each handler ran once per event and in order per container, and how
//! long after the last event the last handler received it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use longshore_testkit::{Container, Host, Lab, quantile};

use super::Bed;
use super::p10::{AT_ONCE, CONTAINERS, containers, rename_all, until};
use super::report::Report;

/// Records when each event arrived, and acknowledges it.
const PLUGIN: &str = r#"
import json, sys, time

heard = open(sys.argv[1], "a")
for line in sys.stdin:
    told = json.loads(line)
    if told["type"] == "hello":
        print(json.dumps({"type": "hello", "protocol": 1, "name": "bench", "parallel": 64}), flush=True)
    elif told["type"] == "event":
        at = time.time_ns() - int(told["id"].split("-")[0])
        heard.write("%s %s %d\n" % (told["id"], told["container"]["name"], at))
        heard.flush()
        print(json.dumps({"type": "ack", "id": told["id"]}), flush=True)
    else:
        break
"#;

const SCRIPT: &str = "#!/bin/sh\necho \"$LONGSHORE_EVENT_ID $LONGSHORE_CONTAINER_NAME $(($(date +%s%N) - ${LONGSHORE_EVENT_ID%%-*}))\" >> \"$LONGSHORE_HANDLER.heard\"\n";

pub(super) async fn run(bed: &Bed) -> anyhow::Result<Report> {
    let events = bed.scale(10_000, 500);
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let containers = containers(host).await?;
    let mut rows = Vec::new();
    for (label, plugins, scripts) in [("1 plugin", 1, 0), ("8 plugins", 8, 0), ("1 script", 0, 1)] {
        let folder = tempfile::tempdir()?;
        let names = define(folder.path(), plugins, scripts)?;
        let path = folder.path().display().to_string();
        let mut agent = bed
            .agent(host)
            .flags(&["--balancer", "none", "--handler-paths", &path, "--script-paths", &path])
            .start()
            .await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let storm =
            storm(host, &containers, events, folder.path(), &names).await.with_context(|| agent.log())?;
        println!("{label}: {} events, {:.1} s", storm.made, storm.took.as_secs_f64());
        agent.sigterm();
        agent.ended_within(Duration::from_secs(60)).await?;
        let told = names.iter().map(|name| Told::read(&folder.path().join(format!("{name}.heard"))));
        let told = told.collect::<anyhow::Result<Vec<Told>>>()?;
        let latencies: Vec<f64> = told.iter().flat_map(|told| told.latencies.iter().copied()).collect();
        let sum = |of: fn(&Told) -> usize| told.iter().map(of).sum::<usize>().to_string();
        rows.push(vec![
            label.to_owned(),
            storm.made.to_string(),
            format!("{:.0}", count(storm.made) / storm.took.as_secs_f64()),
            (storm.made * names.len()).to_string(),
            sum(|told| told.distinct),
            sum(|told| told.repeats),
            sum(|told| told.out_of_order),
            format!("{:.0} / {:.0}", quantile(&latencies, 0.5), quantile(&latencies, 0.99)),
            format!("{:.0}", storm.all_after.as_secs_f64() * 1_000.0),
        ]);
    }
    Ok(Report {
        name: "p10-handlers",
        title: "P10: the same events, delivered to handlers".into(),
        method: format!(
            "{CONTAINERS} containers are renamed {events} times, {AT_ONCE} at a time, while handlers of the event `rename` run. A \
             plugin is one Python process; a script is a shell started for each event. Each records the event's id, and \
             the time since the event by Docker's clock."
        ),
        columns: vec![
            "handlers",
            "events sent",
            "events/s",
            "deliveries due",
            "delivered",
            "repeats",
            "out of order per container",
            "event to handler p50 / p99 ms",
            "last delivery after the last event ms",
        ],
        rows,
        notes: vec![
            "Every event is on the disk before a handler gets it. Docker, the containers' renames, the agent and the \
             handlers share the machine's two cores."
                .into(),
        ],
    })
}

struct Storm {
    made: usize,
    took: Duration,
    all_after: Duration,
}

/// Writes handlers for renames, some plugins and some scripts; returns their names.
fn define(folder: &Path, plugins: usize, scripts: usize) -> anyhow::Result<Vec<String>> {
    let (plugin, script) = (folder.join("plugin.py"), folder.join("script.sh"));
    std::fs::write(&plugin, PLUGIN)?;
    std::fs::write(&script, SCRIPT)?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
    let mut names = Vec::new();
    for number in 0..plugins {
        let name = format!("plugin-{number}");
        let heard = folder.join(format!("{name}.heard"));
        let command = format!("python3 {} {}", plugin.display(), heard.display());
        std::fs::write(
            folder.join(format!("{name}.ini")),
            format!("[handler]\nclass=plugin\nevents=rename\nparallel=64\n[params]\ncommand={command}\n"),
        )?;
        names.push(name);
    }
    for number in 0..scripts {
        let name = format!("script-{number}");
        std::fs::write(
            folder.join(format!("{name}.ini")),
            format!(
                "[handler]\nclass=script\nevents=rename\nparallel=4\n[params]\nscript={}\n",
                script.display()
            ),
        )?;
        names.push(name);
    }
    Ok(names)
}

async fn storm(
    host: &Host,
    containers: &[Container],
    events: usize,
    folder: &Path,
    names: &[String],
) -> anyhow::Result<Storm> {
    let began = Instant::now();
    let made = rename_all(host, containers, events).await?;
    let (took, last) = (began.elapsed(), Instant::now());
    let lines = |name: &String| {
        let text = std::fs::read(folder.join(format!("{name}.heard"))).unwrap_or_default();
        text.iter().filter(|byte| **byte == b'\n').count()
    };
    until(Duration::from_secs(300), || async { Ok(names.iter().all(|name| lines(name) >= made)) })
        .await
        .context("not every handler got every event")?;
    Ok(Storm { made, took, all_after: last.elapsed() })
}

/// The events that one handler received.
struct Told {
    distinct: usize,
    repeats: usize,
    out_of_order: usize,
    /// In milliseconds.
    latencies: Vec<f64>,
}

impl Told {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)?;
        let mut ids = BTreeSet::new();
        let mut turns: BTreeMap<String, usize> = BTreeMap::new();
        let mut told = Self { distinct: 0, repeats: 0, out_of_order: 0, latencies: Vec::new() };
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [id, name, nanoseconds] = words[..] else { anyhow::bail!("a handler wrote {line:?}") };
            if !ids.insert(id.to_owned()) {
                told.repeats += 1;
                continue;
            }
            let (container, turn) = name.rsplit_once('-').context("a name without a turn")?;
            let turn: usize = turn.parse()?;
            let due = turns.entry(container.to_owned()).or_default();
            told.out_of_order += usize::from(*due != turn);
            *due = turn + 1;
            told.latencies.push(nanoseconds.parse::<f64>()? / 1e6);
        }
        told.distinct = ids.len();
        Ok(told)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of events")]
fn count(made: usize) -> f64 {
    made as f64
}
