//! Whether a container can handle the signal that asks it to stop.
//!
//! The kernel drops a signal for the first process of a container unless that process handles or awaits it. Many
//! programs do neither (`sleep`, a shell without a trap), and waiting for them to exit is futile.

use std::path::Path;

/// Docker's default stop signal.
const SIGTERM: u32 = 15;

/// Returns true if the first process of a container, `pid` on this host, certainly ignores SIGTERM. Returns false if
/// that process is not visible, as with a remote Docker.
pub(crate) fn is_deaf(container: &str, pid: i64) -> bool {
    let folder = Path::new("/proc").join(pid.to_string());
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    // On this host, the number may belong to another process than it does for Docker.
    !container.is_empty() && read("cgroup").contains(container) && drops(&read("status"), SIGTERM)
}

/// Parses `/proc/<pid>/status`.
fn drops(status: &str, signal: u32) -> bool {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let has = |name: &str| {
        let set = field(name).and_then(|set| u64::from_str_radix(set, 16).ok());
        // An unreadable set may contain it.
        set.is_none_or(|set| set & (1 << (signal - 1)) != 0)
    };
    let is_first = field("NSpid:").is_some_and(|pids| {
        let pids: Vec<&str> = pids.split_whitespace().collect();
        pids.len() > 1 && pids.last() == Some(&"1")
    });
    is_first && !has("SigCgt:") && !has("SigBlk:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_process_that_neither_handles_nor_awaits_a_signal_is_deaf_to_it() {
        let status = |nspid: &str, blocked: &str, caught: &str| {
            format!(
                "Name:\tsleep\nNSpid:\t{nspid}\nSigBlk:\t{blocked}\nSigIgn:\t0000000000004000\nSigCgt:\t{caught}\n"
            )
        };
        let (none, term) = ("0000000000000000", "0000000000004000");
        assert!(drops(&status("4711\t1", none, none), SIGTERM));
        assert!(drops(&status("4711\t12\t1", none, "0000000000000002"), SIGTERM));
        assert!(!drops(&status("4711\t1", none, term), SIGTERM), "it has a handler");
        assert!(!drops(&status("4711\t1", term, none), SIGTERM), "it waits for it, as an init does");
        assert!(!drops(&status("4711\t7", none, none), SIGTERM), "any other process ends by it");
        assert!(!drops(&status("1", none, none), SIGTERM), "it is of no container");
        assert!(!drops("NSpid:\t4711\t1\n", SIGTERM));
        assert!(!drops("", SIGTERM));
    }
}
