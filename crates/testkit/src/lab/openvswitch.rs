//! An Open vSwitch on a host: database and switch in its namespace, with their own directory.
//!
//! The switch forwards in user space (datapath type `netdev`) and needs no kernel module.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};

use super::engine::last_lines;
use super::{Host, LabError, command};

/// How long the daemons may take to answer: a tenth of a second on an idle machine.
const START: Duration = Duration::from_secs(20);
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";

/// A running Open vSwitch, ended when it is dropped.
#[derive(Debug)]
pub struct OpenVswitch {
    namespace: String,
    dir: tempfile::TempDir,
    daemons: Vec<Child>,
}

impl OpenVswitch {
    /// Starts one on this host, with a bridge `br-int`.
    ///
    /// # Errors
    /// The step that failed.
    pub async fn on(host: &Host) -> Result<Self, LabError> {
        let dir = tempfile::tempdir().map_err(LabError::file("make", "a folder for Open vSwitch"))?;
        let database = dir.path().join("conf.db");
        let database = database.to_string_lossy();
        command::run("ovsdb-tool", &["create", &database, SCHEMA]).await?;
        let mut switch = Self { namespace: host.namespace.clone(), dir, daemons: Vec::new() };
        switch.start().await?;
        switch.bridge("br-int").await?;
        Ok(switch)
    }

    /// Returns the environment variable by which an agent finds it: `OVS_RUNDIR` and its value.
    pub fn env(&self) -> (&'static str, String) {
        ("OVS_RUNDIR", self.dir.path().display().to_string())
    }

    /// Creates a bridge.
    ///
    /// # Errors
    /// The error of `ovs-vsctl`.
    pub async fn bridge(&self, name: &str) -> Result<(), LabError> {
        let line = ["add-br", name, "--", "set", "bridge", name, "datapath_type=netdev"];
        self.run("ovs-vsctl", &[&["--timeout=20"], line.as_slice()].concat()).await.map(drop)
    }

    /// Runs `ovs-vsctl` and returns its output.
    ///
    /// # Errors
    /// Its error.
    pub async fn vsctl(&self, line: &[&str]) -> Result<String, LabError> {
        self.run("ovs-vsctl", &[&["--timeout=20"], line].concat()).await
    }

    /// Runs `ovs-docker` with the Docker of this host.
    ///
    /// # Errors
    /// Its error.
    pub async fn docker(&self, host: &Host, line: &[&str]) -> Result<String, LabError> {
        let docker = format!("DOCKER_HOST={}", host.docker_host());
        self.run("env", &[&[docker.as_str(), "ovs-docker"], line].concat()).await
    }

    /// Returns the ports of a bridge.
    ///
    /// # Errors
    /// The error of `ovs-vsctl`.
    pub async fn ports(&self, bridge: &str) -> Result<Vec<String>, LabError> {
        Ok(self.vsctl(&["list-ports", bridge]).await?.lines().map(str::to_owned).collect())
    }

    /// Kills database and switch; their data is kept.
    ///
    /// # Errors
    /// Fails if one does not exit.
    pub async fn kill(&mut self) -> Result<(), LabError> {
        for mut daemon in self.daemons.drain(..) {
            daemon.kill().await.map_err(LabError::file("kill", "a daemon of Open vSwitch"))?;
        }
        Ok(())
    }

    /// Starts database and switch, and waits until they answer.
    ///
    /// # Errors
    /// Fails with the end of the switch's log if they do not answer.
    pub async fn start(&mut self) -> Result<(), LabError> {
        let path = |name: &str| self.dir.path().join(name).to_string_lossy().into_owned();
        let (socket, log) = (path("db.sock"), path("switch.log"));
        let remote = format!("--remote=punix:{socket}");
        let database = self.spawn("ovsdb-server", &[&path("conf.db"), &remote, "--no-chdir"])?;
        self.daemons.push(database);
        let deadline = Instant::now() + START;
        while self.run("ovs-vsctl", &["--no-wait", "--timeout=1", "init"]).await.is_err() {
            if Instant::now() > deadline {
                return Err(not_up(&self.dir.path().join("switch.log")));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let to_log = format!("--log-file={log}");
        let switch = self.spawn("ovs-vswitchd", &[&format!("unix:{socket}"), &to_log, "--no-chdir"])?;
        self.daemons.push(switch);
        // Without `--no-wait` this returns once the switch has applied the database.
        let ready =
            self.run("ovs-vsctl", &["--timeout=20", "set", "Open_vSwitch", ".", "other_config:lab=1"]);
        ready.await.map(drop).map_err(|_| not_up(Path::new(&log)))
    }

    fn spawn(&self, program: &str, line: &[&str]) -> Result<Child, LabError> {
        let spawned = self.command(program).args(line).spawn();
        spawned.map_err(|source| LabError::Spawn { program: program.to_owned(), source })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.namespace)).arg("--").arg(program);
        for name in ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"] {
            command.env(name, self.dir.path());
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        command
    }

    async fn run(&self, program: &str, line: &[&str]) -> Result<String, LabError> {
        let enter = format!("--net=/run/netns/{}", self.namespace);
        let (name, dir) = self.env();
        let env = format!("{name}={dir}");
        let line: Vec<&str> =
            [&enter, "--", "env", &env, program].into_iter().chain(line.iter().copied()).collect();
        command::run("nsenter", &line).await
    }
}

fn not_up(log: &Path) -> LabError {
    LabError::NotUp { what: "Open vSwitch".to_owned(), limit: START, log: last_lines(log, 15) }
}
