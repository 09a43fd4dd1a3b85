//! What this host has to offer, and how much of it is in use.

use std::sync::Arc;
use std::time::Duration;

use longshore_cluster::facts::settled;
use longshore_docker::DockerClient;
use longshore_model::{Availability, Capacity, HostInfo, Load};
use longshore_runtime::state::{DockerState, Observation};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How long Docker may take to describe itself.
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the load is measured.
const INTERVAL: Duration = Duration::from_secs(1);

/// Asks Docker for its version and capacity whenever it starts to respond, as it may have been upgraded, measures the
/// load, and passes on what changes in `known`, whoever changes it: the operator's decisions included.
pub(crate) async fn observe(
    known: watch::Sender<HostInfo>,
    docker: DockerClient,
    state: DockerState,
    mut availability: watch::Receiver<Availability>,
    observations: mpsc::UnboundedSender<Observation>,
) {
    let mut changes = known.subscribe();
    let is_here = docker.settings().remote().is_none();
    let measured = async {
        if is_here {
            measure(&known).await;
        }
    };
    let decided = async {
        while availability.changed().await.is_ok() {
            let availability = *availability.borrow_and_update();
            known.send_modify(|host| host.availability = availability);
        }
    };
    let told = async {
        while changes.changed().await.is_ok() {
            let own = changes.borrow_and_update().clone();
            // The receiver ends with the agent.
            let _ = observations.send(Observation::Own(Arc::new(own)));
        }
    };
    tokio::join!(describe(&docker, state, &known), measured, told, decided);
}

async fn describe(docker: &DockerClient, mut state: DockerState, known: &watch::Sender<HostInfo>) {
    while state.changed().await.is_ok() {
        if state.borrow_and_update().is_some() {
            continue;
        }
        if let Ok(Some(engine)) = timeout(DESCRIBE_TIMEOUT, docker.describe()).await {
            known.send_modify(|host| {
                host.docker_version = engine.version;
                host.capacity = Capacity { cpus: engine.cpus, memory: engine.memory };
            });
        }
    }
}

async fn measure(known: &watch::Sender<HostInfo>) {
    let mut last = None;
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // Files of the kernel's own: reading them waits for nothing.
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let now = cpu_times(&read("/proc/stat"));
        let used = last.zip(now).and_then(|(last, now)| millicpus(last, now));
        let load = used.zip(used_memory(&read("/proc/meminfo")));
        let load = load.map(|(millicpus, memory)| Load { millicpus, memory }).unwrap_or_default();
        known.send_if_modified(|host| {
            let load = settled(host.load, load, host.capacity);
            std::mem::replace(&mut host.load, load) != load
        });
        last = now;
    }
}

/// Time of all CPUs since the start, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CpuTimes {
    idle: u64,
    all: u64,
    cpus: u32,
}

fn cpu_times(stat: &str) -> Option<CpuTimes> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    // Guests' time, in the last two fields, is part of the first two.
    let ticks: Vec<u64> = fields.take(8).map(|ticks| ticks.parse().ok()).collect::<Option<_>>()?;
    let [_, _, _, idle, waiting, ..] = ticks.as_slice() else { return None };
    let is_cpu =
        |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(char::is_numeric));
    let cpus = u32::try_from(stat.lines().filter(is_cpu).count()).ok()?;
    Some(CpuTimes { idle: idle.saturating_add(*waiting), all: ticks.iter().sum(), cpus })
}

/// Returns how much of the CPUs was used between two times; `None` if no time has passed.
fn millicpus(last: CpuTimes, now: CpuTimes) -> Option<u32> {
    let all = now.all.checked_sub(last.all).filter(|all| *all > 0)?;
    // The kernel's count of idle time may go back a little.
    let idle = now.idle.saturating_sub(last.idle).min(all);
    u32::try_from((all - idle).saturating_mul(u64::from(now.cpus) * 1000) / all).ok()
}

fn used_memory(meminfo: &str) -> Option<u64> {
    let field = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    field("MemTotal:")?.checked_sub(field("MemAvailable:")?)?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 50 0 25 400 25 0 0 0 0 0\ncpu1 50 0 25 400 25 0 0 0 0 0\nintr 1\n";

    #[test]
    fn the_load_is_what_was_not_idle_between_two_looks() {
        let last = cpu_times(STAT).unwrap();
        assert_eq!(last, CpuTimes { idle: 850, all: 1000, cpus: 2 });
        let later =
            |idle: u64, all: u64| millicpus(last, CpuTimes { idle: 850 + idle, all: 1000 + all, cpus: 2 });
        assert_eq!((later(150, 200), later(0, 200), later(200, 200)), (Some(500), Some(2000), Some(0)));
        assert_eq!(later(0, 0), None);
        assert_eq!(millicpus(last, CpuTimes { idle: 840, all: 1010, cpus: 2 }), Some(2000), "idle went back");
        assert!(cpu_times("").is_none() && cpu_times("cpu  1 2\n").is_none());
    }

    #[test]
    fn used_memory_is_what_is_not_available() {
        let meminfo = "MemTotal:        2048 kB\nMemFree:          128 kB\nMemAvailable:     1024 kB\n";
        assert_eq!(used_memory(meminfo), Some(1024 * 1024));
        assert_eq!(used_memory("MemTotal: 1 kB\n"), None);
    }
}
