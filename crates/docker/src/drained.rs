//! Whether a container still serves somebody: the connections to its listening ports, as the kernel lists them.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use bollard::query_parameters::InspectContainerOptions;
use longshore_model::ContainerId;
use tokio::time::{Instant, sleep};

use crate::DockerClient;

/// How long balancers may take to close what they do not use.
const SETTLE: Duration = Duration::from_millis(200);
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);
/// States of a TCP socket, as the kernel writes them.
const ESTABLISHED: &str = "01";
const LISTENING: &str = "0A";

impl DockerClient {
    /// Waits until nobody is connected to a container any more, `limit` at most. One whose connections cannot be told
    /// from others is not waited for: if its processes are on another machine, or it shares the host's network.
    pub async fn drained(&self, id: &ContainerId, limit: Duration) {
        let end = Instant::now() + limit;
        let Some(pid) = self.process_of(id).await else { return };
        sleep(SETTLE.min(limit)).await;
        while Instant::now() < end && connections_of(id, pid) > 0 {
            sleep(PAUSE).await;
        }
    }

    async fn process_of(&self, id: &ContainerId) -> Option<i64> {
        let docker = self.ready().await.ok()?;
        let shown = docker.inspect_container(id.as_str(), None::<InspectContainerOptions>).await.ok()?;
        let mode = shown.host_config.and_then(|config| config.network_mode);
        let pid = shown.state.and_then(|state| state.pid).filter(|pid| *pid > 0);
        pid.filter(|_| mode.as_deref() != Some("host"))
    }
}

/// Returns the number of connections to a container with this process.
fn connections_of(id: &ContainerId, pid: i64) -> usize {
    let folder = Path::new("/proc").join(pid.to_string());
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    // On this host, the number may belong to another process than it does for Docker.
    if !read("cgroup").contains(id.as_str()) {
        return 0;
    }
    connections(&[read("net/tcp"), read("net/tcp6")].concat())
}

/// Counts the connections to ports that are listened on, in the kernel's table of sockets.
fn connections(table: &str) -> usize {
    let sockets = table.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let (_, port) = fields.nth(1)?.rsplit_once(':')?;
        Some((port, fields.nth(1)?))
    });
    let listening: BTreeSet<&str> =
        sockets.clone().filter(|(_, state)| *state == LISTENING).map(|(port, _)| port).collect();
    sockets.filter(|(port, state)| *state == ESTABLISHED && listening.contains(port)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_connections_to_a_listening_port_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n   \
             0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n   \
             1: 020011AC:0050 010011AC:D2F4 01 00000000:00000000 00:00000000 00000000     0\n   \
             2: 020011AC:0050 010011AC:D2F6 06 00000000:00000000 00:00000000 00000000     0\n   \
             3: 020011AC:A0B2 030011AC:1538 01 00000000:00000000 00:00000000 00000000     0\n  sl  local_address\n   \
             0: 0000000000000000FFFF0000020011AC:0050 0000000000000000FFFF0000010011AC:D2F8 01 00000000:00000000 00\n";
        assert_eq!(connections(table), 2, "its own connection to a database is not one to it");
        assert_eq!(connections(""), 0);
    }
}
