//! Debian packages: installed if possible, else listed with the command that installs them.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use xtask::steps::{self, step, works};

use crate::tools;

/// The set of packages that a task needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Needs {
    /// Docker hosts in network namespaces.
    Lab,
    /// The lab, and the programs that Longshore is measured against.
    Bench,
    /// The lab, and all programs that Longshore works with.
    Test,
}

/// A Debian package, the program that proves its presence, and the first task that needs it; each task needs the
/// packages of those before it too.
const PACKAGES: [(&str, &str, Needs); 20] = [
    ("docker.io", "dockerd", Needs::Lab),
    ("docker-registry", "docker-registry", Needs::Lab),
    ("busybox-static", "busybox", Needs::Lab),
    ("iproute2", "ip", Needs::Lab),
    ("iptables", "iptables", Needs::Lab),
    ("util-linux", "nsenter", Needs::Lab),
    ("ca-certificates", "/etc/ssl/certs/ca-certificates.crt", Needs::Lab),
    ("haproxy", "haproxy", Needs::Bench),
    ("nginx-light", "nginx", Needs::Bench),
    ("wrk", "wrk", Needs::Bench),
    ("curl", "curl", Needs::Test),
    ("openssl", "openssl", Needs::Test),
    ("etcd-server", "etcd", Needs::Test),
    ("etcd-client", "etcdctl", Needs::Test),
    ("openvswitch-switch", "ovs-docker", Needs::Test),
    ("crudini", "crudini", Needs::Test),
    ("python3", "python3", Needs::Test),
    ("python3-pip", "pip3", Needs::Test),
    ("python-is-python3", "python", Needs::Test),
    ("tinyproxy-bin", "tinyproxy", Needs::Test),
];

/// Daemons that these packages would start at every boot, though no task needs them.
const DAEMONS: [&str; 3] = ["nginx", "haproxy", "docker-registry"];

/// Runs `cargo xtask setup`.
pub(crate) fn everything() -> anyhow::Result<()> {
    step("packages", || packages(Needs::Test))?;
    for tool in [&tools::CARGO_DENY, &tools::CARGO_DEB, &tools::CARGO_SBOM] {
        step(tool.name, || tools::provide(tool).map(drop))?;
    }
    Ok(())
}

/// Installs the missing Debian packages that a task needs.
///
/// # Errors
/// Fails with their names, and how to get them, if they cannot be installed.
pub(crate) fn packages(needs: Needs) -> anyhow::Result<()> {
    let missing: Vec<(&str, &str)> = PACKAGES
        .into_iter()
        .filter(|(_, program, first)| *first <= needs && !is_there(program))
        .map(|(package, program, _)| (package, program))
        .collect();
    let is_debian = Path::new("/usr/bin/apt-get").exists();
    if let Some(why) = obstacle(&missing, is_root(), is_debian) {
        bail!(why);
    }
    if missing.is_empty() {
        println!("All packages are installed.");
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|(package, _)| *package).collect();
    println!("Installing {}.", names.join(", "));
    apt_get(&["update", "--quiet"])?;
    let quiet = QuietServices::begin()?;
    let mut install = vec!["install", "--yes", "--quiet", "--no-install-recommends"];
    install.extend(&names);
    let installed = apt_get(&install);
    quiet.end()?;
    installed?;
    if works("systemctl", &["--version"]) {
        for daemon in DAEMONS.into_iter().filter(|daemon| names.iter().any(|name| name.starts_with(daemon))) {
            // Without a running systemd nothing would start them.
            let _ = Command::new("systemctl").args(["disable", daemon]).status();
        }
    }
    let still: Vec<&str> =
        missing.iter().filter(|(_, program)| !is_there(program)).map(|(_, p)| *p).collect();
    ensure!(
        still.is_empty(),
        "apt-get succeeded, but these programs are still missing: {}",
        still.join(", ")
    );
    Ok(())
}

/// Returns why a task cannot start, and what to do about it.
fn obstacle(missing: &[(&str, &str)], is_root: bool, is_debian: bool) -> Option<String> {
    let names = || missing.iter().map(|(package, _)| *package).collect::<Vec<_>>().join(" ");
    let programs = || missing.iter().map(|(_, program)| *program).collect::<Vec<_>>().join(", ");
    match (missing.is_empty(), is_debian, is_root) {
        (false, false, _) => Some(format!(
            "missing programs: {}. This is not a Debian system, so install them with its own package manager (Debian calls \
             the packages {}), then run this again as root",
            programs(),
            names()
        )),
        (false, true, false) => Some(format!(
            "missing programs: {}. Run this again as root, which installs them, or install them yourself:\n  \
             sudo apt-get install --no-install-recommends {}\nand then run this as root: the lab makes network namespaces",
            programs(),
            names()
        )),
        (true, _, false) => Some("the lab makes network namespaces: run this as root".to_owned()),
        (_, _, true) => None,
    }
}

/// Returns true if the Docker that a user of this machine would use answers.
pub(crate) fn docker_answers() -> bool {
    let named = std::env::var("DOCKER_HOST").ok();
    let socket = named.as_deref().and_then(|address| address.strip_prefix("unix://"));
    let ping = || -> std::io::Result<bool> {
        let mut stream = UnixStream::connect(socket.unwrap_or("/var/run/docker.sock"))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        Ok(head.ends_with(b"200"))
    };
    ping().unwrap_or(false)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn is_there(program: &str) -> bool {
    let usual = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(usual).any(|dir| dir.join(program).is_file())
}

fn apt_get(arguments: &[&str]) -> anyhow::Result<()> {
    steps::run(Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
}

/// Keeps packages from starting their daemons during installation, with Debian's own switch for that.
struct QuietServices(Option<PathBuf>);

impl QuietServices {
    fn begin() -> anyhow::Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        let policy = PathBuf::from("/usr/sbin/policy-rc.d");
        if policy.exists() {
            return Ok(Self(None));
        }
        fs::write(&policy, "#!/bin/sh\nexit 101\n").context("cannot write /usr/sbin/policy-rc.d")?;
        fs::set_permissions(&policy, fs::Permissions::from_mode(0o755))?;
        Ok(Self(Some(policy)))
    }

    fn end(self) -> anyhow::Result<()> {
        match self.0 {
            Some(policy) => fs::remove_file(policy).context("cannot remove /usr/sbin/policy-rc.d"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_package_is_named_twice_and_none_is_needed_to_build() {
        let names: BTreeSet<&str> = PACKAGES.iter().map(|(package, _, _)| *package).collect();
        assert_eq!(names.len(), PACKAGES.len());
        for package in ["protobuf-compiler", "libprotobuf-dev", "cmake", "pkg-config", "libssl-dev"] {
            assert!(!names.contains(package), "{package}");
        }
    }

    #[test]
    fn a_program_that_does_not_exist_is_missing() {
        assert!(is_there("sh"));
        assert!(!is_there("no-such-program-as-this"));
    }

    #[test]
    fn who_may_not_install_is_told_what_is_missing_and_how_to_get_it() {
        let missing = [("docker.io", "dockerd"), ("iproute2", "ip")];
        let user = obstacle(&missing, false, true).unwrap();
        assert!(user.contains("missing programs: dockerd, ip"), "{user}");
        assert!(user.contains("sudo apt-get install --no-install-recommends docker.io iproute2"), "{user}");
        let elsewhere = obstacle(&missing, true, false).unwrap();
        assert!(
            elsewhere.contains("missing programs: dockerd, ip. This is not a Debian system"),
            "{elsewhere}"
        );
        assert!(obstacle(&[], false, true).unwrap().contains("run this as root"));
        assert_eq!(obstacle(&missing, true, true), None);
        assert_eq!(obstacle(&[], true, false), None);
    }
}
