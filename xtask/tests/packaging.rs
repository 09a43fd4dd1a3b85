//! The packaged units, as systemd reads them.

use std::path::{Path, PathBuf};
use std::process::Command;

use xtask::workspace::root;

fn packaging() -> PathBuf {
    root().join("packaging")
}

/// Returns all values of a key, in order. An empty value clears those before it.
fn values(unit: &str, key: &str) -> Vec<String> {
    let text = std::fs::read_to_string(packaging().join(unit)).unwrap_or_default();
    let mut values = Vec::new();
    for (name, value) in
        text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='))
    {
        if name == key && value.is_empty() {
            values.clear();
        } else if name == key {
            values.push(value.to_owned());
        }
    }
    values
}

#[test]
fn the_agent_sees_roots_docker_login_and_nothing_else_of_home_directories() {
    assert_eq!(values("longshore.service", "ProtectHome"), ["tmpfs"]);
    // The minus: `docker login` may never have been run.
    assert_eq!(values("longshore.service", "BindReadOnlyPaths"), ["-/root/.docker"]);
}

#[test]
fn each_old_tool_has_a_unit_that_does_not_run_beside_the_agent() {
    for (unit, start) in [
        ("docker-balancer.service", "longshore balancer $BALANCER_OPTIONS"),
        ("docker-glue.service", "longshore glue $GLUE_OPTIONS"),
    ] {
        assert_eq!(values(unit, "ExecStart"), [start]);
        assert_eq!(values(unit, "Conflicts"), ["longshore.service"]);
    }
}

#[test]
fn systemd_accepts_every_unit() {
    let folder = tempfile::tempdir().unwrap();
    let mut units = Vec::new();
    for entry in std::fs::read_dir(packaging()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "service") {
            continue;
        }
        // Verifying a unit looks for its program, which need not be installed here.
        let text =
            std::fs::read_to_string(&path).unwrap().replace("ExecStart=longshore ", "ExecStart=/bin/true ");
        let unit = folder.path().join(path.file_name().unwrap());
        std::fs::write(&unit, text).unwrap();
        units.push(unit);
    }
    assert_eq!(units.len(), 3);
    if !Path::new("/usr/bin/systemd-analyze").exists() {
        // A container without systemd: the tests above still cover what matters.
        return;
    }
    let mut verify = Command::new("systemd-analyze");
    let output = verify.args(["verify", "--man=no"]).args(&units).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let own: Vec<&str> =
        said.lines().filter(|line| line.contains("longshore") || line.contains("docker-")).collect();
    assert!(output.status.success() && own.is_empty(), "{said}");
}
