//! How fast members notice what becomes of each other, on real hosts. The figures are printed; the limits have room for
//! a loaded machine, since the simulation holds the exact promises.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use longshore_testkit::{Agent, Host, Lab, TestError, TestResult, eventually_within, never_within};
use tokio::process::Child;

use crate::cluster::{member, secret};

/// What an agent shows of the hosts: the state of each, by its name.
type Seen = BTreeMap<String, String>;

/// What is promised, and what a loaded machine is granted.
const SUSPECT: (f64, Duration) = (0.6, Duration::from_millis(1_500));
const DEAD: (f64, Duration) = (2.6, Duration::from_secs(4));
const WHOLE: (f64, Duration) = (1.0, Duration::from_secs(4));

/// Hosts with an agent on each, which have found together.
struct Members<'a> {
    lab: &'a Lab,
    agents: Vec<Agent>,
    secret: PathBuf,
    dir: tempfile::TempDir,
}

impl<'a> Members<'a> {
    async fn whole(lab: &'a Lab) -> Result<Self, TestError> {
        let dir = tempfile::tempdir()?;
        let secret = secret(lab.host(0), dir.path(), "secret").await?;
        let mut members = Self { lab, agents: Vec::new(), secret, dir };
        for host in lab.hosts() {
            // What a test that failed left.
            host.exec_in_namespace(&["ip", "route", "flush", "type", "blackhole"]).await?;
        }
        for index in 0..lab.hosts().len() {
            let agent = members.start(index).await?;
            members.agents.push(agent);
        }
        members.within("whole at first", (10.0, Duration::from_secs(20)), Members::is_whole).await;
        Ok(members)
    }

    async fn start(&self, index: usize) -> Result<Agent, TestError> {
        let host = self.lab.host(index);
        let seed = (index > 0).then(|| self.lab.host(0));
        let data = self.dir.path().join(&host.name);
        Ok(member(host, &self.secret, seed).data_dir(data).start().await?)
    }

    fn name(&self, index: usize) -> &str {
        &self.lab.host(index).name
    }

    /// What each of these agents sees; an agent that does not answer sees nothing.
    async fn views(&self, of: &[usize]) -> Vec<Seen> {
        join_all(of.iter().map(async |index| seen(&self.agents[*index]).await)).await
    }

    async fn is_whole(&self) -> bool {
        let all: Vec<usize> = (0..self.agents.len()).collect();
        self.views(&all)
            .await
            .iter()
            .all(|view| view.len() == all.len() && view.values().all(|state| state == "alive"))
    }

    /// All of these see all of those in one of the states.
    async fn see(&self, these: &[usize], those: &[usize], states: &[&str]) -> bool {
        let views = self.views(these).await;
        views.iter().all(|view| {
            those
                .iter()
                .all(|those| view.get(self.name(*those)).is_some_and(|s| states.contains(&s.as_str())))
        })
    }

    /// Waits for something, and prints how long it took and what is promised.
    #[expect(clippy::print_stdout, reason = "the figures are what one runs the test for")]
    async fn within<'b, F: Future<Output = bool>>(
        &'b self,
        what: &str,
        (promised, granted): (f64, Duration),
        holds: impl Fn(&'b Self) -> F,
    ) -> Duration {
        let begin = Instant::now();
        eventually_within(granted, what, || holds(self)).await;
        let took = begin.elapsed();
        println!("{what}: {:.2} s (promised: {promised} s)", took.as_secs_f64());
        took
    }

    async fn lost(&self, what: &str, others: &[usize], host: usize) {
        let host = [host];
        self.within(&format!("{what}: suspect"), SUSPECT, |m| m.see(others, &host, &["suspect", "dead"]))
            .await;
        self.within(&format!("{what}: dead, further"), DEAD, |m| m.see(others, &host, &["dead"])).await;
    }
}

async fn seen(agent: &Agent) -> Seen {
    let hosts = agent.api("/v1/hosts").await.unwrap_or_default();
    let text = |host: &serde_json::Value, key: &str| host[key].as_str().unwrap_or_default().to_owned();
    hosts.as_array().into_iter().flatten().map(|host| (text(host, "name"), text(host, "state"))).collect()
}

/// Cuts the way between two hosts, or mends it.
async fn set_way(one: &Host, other: &Host, is_open: bool) -> Result<(), TestError> {
    let verb = if is_open { "del" } else { "add" };
    for (from, to) in [(one, other), (other, one)] {
        let to = format!("{}/32", to.address);
        from.exec_in_namespace(&["ip", "route", verb, "blackhole", &to]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_killed_a_frozen_and_a_cut_host_are_noticed_by_all_and_come_back() -> TestResult {
    let lab = Lab::up(6).await?;
    let mut members = Members::whole(&lab).await?;
    let others = [0, 1, 2, 3, 4];

    members.agents[5].kill9();
    members.lost("killed", &others, 5).await;
    members.agents[5].ended_within(Duration::from_secs(5)).await?;
    members.agents[5] = members.start(5).await?;
    members.within("killed: whole after its start", WHOLE, Members::is_whole).await;

    members.agents[5].freeze();
    let frozen = Instant::now();
    members.lost("frozen", &others, 5).await;
    tokio::time::sleep(Duration::from_secs(5).saturating_sub(frozen.elapsed())).await;
    members.agents[5].thaw();
    members.within("frozen: whole after 5 s", WHOLE, Members::is_whole).await;

    lab.host(5).cut().await?;
    members.lost("cut", &others, 5).await;
    assert!(members.see(&[5], &others, &["suspect", "dead"]).await, "it holds the others for gone");
    lab.host(5).heal().await?;
    members.within("cut: whole after the link", WHOLE, Members::is_whole).await;

    // The seed, through which all have joined.
    members.agents[0].kill9();
    members.lost("seed killed", &[1, 2, 3, 4, 5], 0).await;
    lab.host(3).cut().await?;
    members.lost("cut without a seed", &[1, 2, 4, 5], 3).await;
    lab.host(3).heal().await?;
    members
        .within("cut without a seed: whole but for it", WHOLE, |m| {
            m.see(&[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5], &["alive"])
        })
        .await;
    Ok(())
}

#[tokio::test]
async fn halves_each_live_on_and_a_cut_pair_is_no_death() -> TestResult {
    let lab = Lab::up(6).await?;
    let members = Members::whole(&lab).await?;
    let (left, right) = ([0, 1, 2], [3, 4, 5]);

    set_way(lab.host(1), lab.host(4), false).await?;
    let cut = async |m: &Members<'_>, of: usize, from: usize| {
        let hosts = m.agents[of].api("/v1/hosts").await.unwrap_or_default();
        let mut found = hosts.as_array().into_iter().flatten();
        found.any(|host| host["name"] == m.name(from) && host["unreachable_from_here"] == true)
    };
    members
        .within("pair: unreachable from each other", (1.0, Duration::from_secs(4)), |m| async move {
            cut(m, 1, 4).await && cut(m, 4, 1).await
        })
        .await;
    never_within(Duration::from_secs(4), "somebody is suspected over a pair", async || {
        !members.is_whole().await
    })
    .await;
    assert!(!cut(&members, 1, 2).await && !cut(&members, 0, 4).await, "nobody else is concerned");
    let problems = members.agents[1].api("/v1/problems").await?;
    assert!(problems.to_string().contains("does not answer this host"), "{problems}");
    let status = members.agents[0].cli(&["cluster", "status"]).await?;
    let row = status.lines().find(|line| line.starts_with(members.name(1))).unwrap_or_default();
    assert!(row.trim_end().ends_with(members.name(4)), "{status}");
    set_way(lab.host(1), lab.host(4), true).await?;
    members
        .within("pair: reachable again", WHOLE, |m| async move { !cut(m, 1, 4).await && !cut(m, 4, 1).await })
        .await;

    let set_ways = async |is_open: bool| {
        for (one, other) in left.iter().flat_map(|one| right.iter().map(move |other| (*one, *other))) {
            set_way(lab.host(one), lab.host(other), is_open).await?;
        }
        Ok::<_, TestError>(())
    };
    set_ways(false).await?;
    members
        .within("halves: dead for each other", DEAD, |m| async move {
            m.see(&left, &right, &["dead"]).await && m.see(&right, &left, &["dead"]).await
        })
        .await;
    assert!(members.see(&left, &left, &["alive"]).await && members.see(&right, &right, &["alive"]).await);
    set_ways(true).await?;
    members.within("halves: whole again", WHOLE, Members::is_whole).await;
    Ok(())
}

/// Processes that use all of the machine's cores, until they are dropped.
struct Busy(Vec<Child>);

impl Busy {
    fn on(host: &Host, count: usize) -> Result<Self, TestError> {
        let spin = || host.command("sh").args(["-c", "while :; do :; done"]).kill_on_drop(true).spawn();
        Ok(Self((0..count).map(|_| spin()).collect::<Result<_, _>>()?))
    }
}

#[tokio::test]
async fn with_every_core_busy_nobody_is_suspected() -> TestResult {
    let lab = Lab::up(3).await?;
    let members = Members::whole(&lab).await?;
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let busy = Busy::on(lab.host(0), cores * 2)?;
    assert_eq!(busy.0.len(), cores * 2);
    never_within(Duration::from_secs(10), "somebody is suspected on a busy machine", async || {
        let views = members.views(&[0, 1, 2]).await;
        // An answer that is late is no alarm.
        views.iter().any(|view| view.values().any(|state| state != "alive"))
    })
    .await;
    Ok(())
}
