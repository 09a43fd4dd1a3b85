//! An etcd in a host's namespace or on this machine's loopback: one or several members, which can be stopped, killed,
//! frozen and wiped.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::engine::last_lines;
use super::process::Process;
use super::{Host, LabError, certificates, command, free_port};

/// How long a member may take to listen.
const START: Duration = Duration::from_secs(20);

/// An etcd to be started.
#[derive(Debug)]
pub struct EtcdBuilder<'a> {
    host: Option<&'a Host>,
    members: u16,
    tls: bool,
    flags: Vec<String>,
}

/// A running etcd. Its members are killed when it is dropped.
#[derive(Debug)]
pub struct Etcd<'a> {
    host: Option<&'a Host>,
    tls: bool,
    flags: Vec<String>,
    /// The user and password for `etcdctl`, once there are users.
    root: Option<String>,
    dir: tempfile::TempDir,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    name: String,
    client: SocketAddr,
    peer: SocketAddr,
    running: Option<Child>,
}

impl Member {
    fn process(&self) -> Option<Process> {
        Process::of_pid(self.running.as_ref()?.id()?.cast_signed())
    }
}

impl<'a> Etcd<'a> {
    /// Returns a builder for an etcd on this host: one member on the loopback, without TLS or users.
    pub fn on(host: &'a Host) -> EtcdBuilder<'a> {
        EtcdBuilder { host: Some(host), members: 1, tls: false, flags: Vec::new() }
    }
}

impl Etcd<'static> {
    /// Returns a builder for an etcd on this machine's loopback, at free ports: for tests that need no Docker.
    pub fn here() -> EtcdBuilder<'static> {
        EtcdBuilder { host: None, members: 1, tls: false, flags: Vec::new() }
    }
}

impl<'a> EtcdBuilder<'a> {
    /// Sets the number of members.
    pub fn members(mut self, members: u16) -> Self {
        self.members = members;
        self
    }

    /// Enables TLS, with certificates at both ends.
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Adds a flag for each member.
    pub fn flag(mut self, flag: impl Into<String>) -> Self {
        self.flags.push(flag.into());
        self
    }

    /// Starts it and waits until it serves.
    ///
    /// # Errors
    /// Fails with the end of its log if it does not start.
    pub async fn start(self) -> Result<Etcd<'a>, LabError> {
        let dir = tempfile::tempdir().map_err(LabError::file("make", "a temporary directory"))?;
        if self.tls {
            certificates(dir.path()).await?;
        }
        let members = (0..self.members).map(|number| self.member(number)).collect::<Result<_, _>>()?;
        let Self { host, tls, flags, .. } = self;
        let mut etcd = Etcd { host, tls, flags, root: None, dir, members };
        etcd.start_all().await?;
        Ok(etcd)
    }

    fn member(&self, number: u16) -> Result<Member, LabError> {
        let port = |usual: u16| match self.host {
            Some(_) => Ok(usual + 10 * number),
            None => free_port().map_err(LabError::file("find", "a free port")),
        };
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let name = format!("m{number}");
        Ok(Member { name, client: at(port(2379)?), peer: at(port(2380)?), running: None })
    }
}

impl Etcd<'_> {
    /// Returns the members' URLs.
    pub fn endpoints(&self) -> Vec<String> {
        let scheme = if self.tls { "https" } else { "http" };
        self.members.iter().map(|member| format!("{scheme}://{}", member.client)).collect()
    }

    /// Returns the flags of `longshore run` that publish to it.
    pub fn flags(&self) -> Vec<String> {
        let endpoints = self.endpoints().into_iter().flat_map(|url| ["--publish-etcd".to_owned(), url]);
        let files = [
            ("--publish-ca", "ca.pem"),
            ("--publish-cert", "client.pem"),
            ("--publish-key", "client-key.pem"),
        ];
        let files = files.into_iter().filter(|_| self.tls);
        endpoints.chain(files.flat_map(|(flag, name)| [flag.to_owned(), self.file(name)])).collect()
    }

    /// Returns the path of one of the files of an etcd with TLS: `ca.pem`, `client.pem`, `client-key.pem`.
    pub fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Starts a stopped member, and waits until it listens.
    ///
    /// # Errors
    /// Fails with the end of its log if it does not listen.
    pub async fn start(&mut self, member: usize) -> Result<(), LabError> {
        self.spawn(member)?;
        self.until_listening(member).await
    }

    /// Starts all members.
    ///
    /// # Errors
    /// Fails with the end of a log if a member does not listen or does not answer.
    pub async fn start_all(&mut self) -> Result<(), LabError> {
        for member in 0..self.members.len() {
            self.spawn(member)?;
        }
        for member in 0..self.members.len() {
            self.until_listening(member).await?;
        }
        self.ctl(&["get", "served"]).await.map(drop)
    }

    /// Stops a member as a shutdown does.
    ///
    /// # Errors
    /// Fails if it does not end.
    pub async fn stop(&mut self, member: usize) -> Result<(), LabError> {
        self.end(member, Signal::TERM).await
    }

    /// Kills a member.
    ///
    /// # Errors
    /// Fails if it does not end.
    pub async fn kill(&mut self, member: usize) -> Result<(), LabError> {
        self.end(member, Signal::KILL).await
    }

    /// Freezes a member: it still accepts connections, and answers nothing.
    pub fn freeze(&self, member: usize) {
        self.signal(member, Signal::STOP);
    }

    /// Resumes it.
    pub fn thaw(&self, member: usize) {
        self.signal(member, Signal::CONT);
    }

    /// Kills all members, deletes their data, and starts them.
    ///
    /// # Errors
    /// Fails if one does not end or start.
    pub async fn wipe(&mut self) -> Result<(), LabError> {
        for number in 0..self.members.len() {
            self.kill(number).await?;
        }
        for member in &self.members {
            let data = self.data(&member.name);
            fs::remove_dir_all(&data).map_err(LabError::file("remove", data))?;
        }
        self.root = None;
        self.start_all().await
    }

    /// Enables authentication: `root` with this password, and another user with a password that may read and write
    /// below these prefixes.
    ///
    /// # Errors
    /// Fails if `etcdctl` fails.
    pub async fn want_users(
        &mut self,
        root: &str,
        user: &str,
        password: &str,
        prefixes: &[&str],
    ) -> Result<(), LabError> {
        self.ctl(&["user", "add", &format!("root:{root}")]).await?;
        self.ctl(&["user", "grant-role", "root", "root"]).await?;
        self.ctl(&["user", "add", &format!("{user}:{password}")]).await?;
        self.ctl(&["role", "add", "publisher"]).await?;
        for prefix in prefixes {
            self.ctl(&["role", "grant-permission", "--prefix=true", "publisher", "readwrite", prefix])
                .await?;
        }
        self.ctl(&["user", "grant-role", user, "publisher"]).await?;
        self.ctl(&["auth", "enable"]).await?;
        self.root = Some(format!("root:{root}"));
        Ok(())
    }

    /// Runs `etcdctl` with these arguments and returns its standard output.
    ///
    /// # Errors
    /// Fails with all of its output if it exits with an error.
    pub async fn ctl(&self, arguments: &[&str]) -> Result<String, LabError> {
        let mut line = vec!["etcdctl".to_owned(), "--command-timeout=20s".to_owned()];
        let up = self.members.iter().zip(self.endpoints()).filter(|(member, _)| member.running.is_some());
        let up: Vec<String> = up.map(|(_, endpoint)| endpoint).collect();
        line.push(format!("--endpoints={}", up.join(",")));
        if self.tls {
            for (flag, name) in [("cacert", "ca.pem"), ("cert", "client.pem"), ("key", "client-key.pem")] {
                line.push(format!("--{flag}={}", self.file(name)));
            }
        }
        line.extend(self.root.iter().map(|root| format!("--user={root}")));
        line.extend(arguments.iter().map(|&argument| argument.to_owned()));
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        match self.host {
            Some(host) => host.exec_in_namespace(&line).await,
            None => command::run("etcdctl", line.get(1..).unwrap_or_default()).await,
        }
    }

    /// Returns all keys that begin with this, and their values as lines of text.
    ///
    /// # Errors
    /// Fails if `etcdctl` fails.
    pub async fn keys(&self, prefix: &str) -> Result<BTreeMap<String, String>, LabError> {
        let text = self.ctl(&["get", "--prefix", prefix]).await?;
        let mut lines = text.lines().map(str::to_owned);
        let mut keys = BTreeMap::new();
        while let (Some(key), Some(value)) = (lines.next(), lines.next()) {
            keys.insert(key, value);
        }
        Ok(keys)
    }

    fn data(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn spawn(&mut self, number: usize) -> Result<(), LabError> {
        let peers = self.members.iter().map(|member| format!("{}=http://{}", member.name, member.peer));
        let peers: Vec<String> = peers.collect();
        let urls = self.endpoints();
        let (Some(member), Some(url)) = (self.members.get(number), urls.get(number)) else { return Ok(()) };
        let peer = format!("http://{}", member.peer);
        let log = self.data(&format!("{}.log", member.name));
        let output = fs::File::options().create(true).append(true).open(&log);
        let output = output.map_err(LabError::file("open", &log))?;
        let errors = output.try_clone().map_err(LabError::file("open", &log))?;
        let mut etcd = match self.host {
            Some(host) => host.command("etcd"),
            None => Command::new("etcd"),
        };
        etcd.stdin(Stdio::null()).kill_on_drop(true).args(&self.flags);
        etcd.args(["--name", &member.name, "--data-dir"]).arg(self.data(&member.name));
        etcd.args(["--listen-client-urls", url, "--advertise-client-urls", url]);
        etcd.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        etcd.args(["--initial-cluster", &peers.join(","), "--initial-cluster-token", "lab"]);
        etcd.args(["--heartbeat-interval", "100", "--election-timeout", "1000", "--logger", "zap"]);
        if self.tls {
            let files =
                [("cert-file", "server.pem"), ("key-file", "server-key.pem"), ("trusted-ca-file", "ca.pem")];
            for (flag, name) in files {
                etcd.arg(format!("--{flag}")).arg(self.file(name));
            }
            etcd.arg("--client-cert-auth");
        }
        let spawned = etcd.stdout(Stdio::from(output)).stderr(Stdio::from(errors)).spawn();
        let spawned = spawned.map_err(|source| LabError::Spawn { program: "etcd".into(), source })?;
        if let Some(member) = self.members.get_mut(number) {
            member.running = Some(spawned);
        }
        Ok(())
    }

    async fn until_listening(&self, number: usize) -> Result<(), LabError> {
        let Some(member) = self.members.get(number) else { return Ok(()) };
        let (address, deadline) = (member.client, Instant::now() + START);
        let is_deaf = async || {
            let connect = async move { TcpStream::connect(address).await.is_err() };
            match self.host {
                Some(host) => host.inside(connect).await,
                None => Ok(connect.await),
            }
        };
        while is_deaf().await? {
            if Instant::now() > deadline || member.process().is_none() {
                let log = last_lines(&self.data(&format!("{}.log", member.name)), 10);
                return Err(LabError::NotUp { what: "etcd".into(), limit: START, log });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    fn signal(&self, member: usize, signal: Signal) {
        if let Some(process) = self.members.get(member).and_then(Member::process) {
            process.signal(signal);
        }
    }

    async fn end(&mut self, number: usize, signal: Signal) -> Result<(), LabError> {
        self.signal(number, signal);
        let Some(mut child) = self.members.get_mut(number).and_then(|member| member.running.take()) else {
            return Ok(());
        };
        let pid = child.id().map_or(0, u32::cast_signed);
        match tokio::time::timeout(Duration::from_secs(20), child.wait()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(LabError::Immortal(pid)),
        }
    }
}
