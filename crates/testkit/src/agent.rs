//! A `longshore` agent on a host: starting, observing, querying, signalling and stopping it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;

use crate::lab::images::beside_this_program;
use crate::traffic::{Answer, HttpError, RequestBuilder};
use crate::{Host, LabError};

/// The agent's default API address.
const LISTEN: &str = "127.0.0.1:7051";
/// How long an agent may take to become ready.
const READY: Duration = Duration::from_secs(20);

/// Why an operation on an agent failed.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The program does not exist.
    #[error("there is no {}: build it, or set LONGSHORE_BIN", .0.display())]
    NoBinary(PathBuf),
    /// The process or its log could not be handled.
    #[error("cannot {0} the agent")]
    Process(&'static str, #[source] io::Error),
    /// The lab failed.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// Its API did not answer.
    #[error("the agent's API did not answer {path}")]
    Api {
        /// The requested path.
        path: String,
        /// Why there is no answer.
        source: HttpError,
    },
    /// The API answered with invalid JSON, or an error.
    #[error("the agent's API answered {path} with {status}: {body}")]
    Refused {
        /// The requested path.
        path: String,
        /// The status code.
        status: u16,
        /// The body.
        body: String,
    },
    /// The agent exited, or was not ready in time.
    #[error("the agent is not ready: {0}; its log:\n{1}")]
    NotReady(String, String),
    /// The agent outlived its signal.
    #[error("the agent did not end within {0:?}")]
    StillRuns(Duration),
    /// A command of the program failed.
    #[error("longshore {line} failed: {output}")]
    Cli {
        /// Its arguments.
        line: String,
        /// All of its output.
        output: String,
    },
}

/// An agent to be started.
#[derive(Debug)]
pub struct AgentBuilder {
    /// The namespace to run in, unless it is the machine's own.
    namespace: Option<String>,
    node: String,
    runtime: Handle,
    binary: Option<PathBuf>,
    docker: String,
    listen: String,
    data_dir: Option<PathBuf>,
    flags: Vec<OsString>,
    env: Vec<(String, String)>,
}

/// A running agent, killed when it is dropped; its log is shown if the test panics.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    pid: Option<Pid>,
    binary: PathBuf,
    namespace: Option<String>,
    listen: String,
    runtime: Handle,
    data_dir: PathBuf,
    log: PathBuf,
    ended: Option<ExitStatus>,
    /// Its log, and its data unless another directory was specified.
    _dir: tempfile::TempDir,
}

impl Agent {
    /// Returns a builder for an agent on this host, with its Docker and name, the built-in balancer, an API at
    /// 127.0.0.1:7051 and its own data directory.
    pub fn on(host: &Host) -> AgentBuilder {
        let node = host.name.clone();
        AgentBuilder {
            namespace: Some(host.namespace.clone()),
            runtime: host.runtime(),
            ..Self::of_docker(host.docker_host(), node)
        }
    }

    /// Returns a builder for an agent in the machine's own namespace, with the Docker at this address.
    ///
    /// # Panics
    /// Panics outside a tokio runtime.
    pub fn of_docker(docker: String, node: String) -> AgentBuilder {
        AgentBuilder {
            namespace: None,
            node,
            runtime: Handle::current(),
            binary: None,
            docker,
            listen: LISTEN.into(),
            data_dir: None,
            flags: Vec::new(),
            env: Vec::new(),
        }
    }
}

impl AgentBuilder {
    /// Sets the program; by default `LONGSHORE_BIN`, else `longshore` beside the running test.
    pub fn binary(mut self, path: impl Into<PathBuf>) -> Self {
        self.binary = Some(path.into());
        self
    }

    /// Sets Docker's address, instead of the host's own socket: a [`crate::Relay`]'s address.
    pub fn docker(mut self, address: impl Into<String>) -> Self {
        self.docker = address.into();
        self
    }

    /// Sets the balancer: `built-in`, `haproxy`.
    pub fn balancer(self, engine: &str) -> Self {
        self.flags(&["--balancer", engine])
    }

    /// Sets the API's address.
    pub fn listen(mut self, address: &str) -> Self {
        self.listen = address.into();
        self
    }

    /// Sets the data directory, for an agent that continues from another's.
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(path.into());
        self
    }

    /// Adds flags of `longshore run`.
    pub fn flags<S: Into<OsString> + Clone>(mut self, flags: &[S]) -> Self {
        self.flags.extend(flags.iter().cloned().map(Into::into));
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    /// Starts it and waits until `/readyz` reports that it is ready.
    ///
    /// # Errors
    /// Fails with the end of its log if it is not ready within 20 seconds.
    pub async fn start(self) -> Result<Agent, AgentError> {
        let mut agent = self.spawn()?;
        agent.until_ready().await?;
        Ok(agent)
    }

    /// Starts it without waiting.
    ///
    /// # Errors
    /// Fails if the program does not exist.
    pub fn spawn(self) -> Result<Agent, AgentError> {
        let binary = match self.binary.or_else(|| std::env::var_os("LONGSHORE_BIN").map(PathBuf::from)) {
            Some(path) => path,
            None => beside_this_program("longshore"),
        };
        if !binary.is_file() {
            return Err(AgentError::NoBinary(binary));
        }
        let dir = tempfile::tempdir().map_err(|e| AgentError::Process("make a directory for", e))?;
        let data_dir = self.data_dir.unwrap_or_else(|| dir.path().join("data"));
        let log = dir.path().join("agent.log");
        let output = fs::File::create(&log).map_err(|e| AgentError::Process("make a log for", e))?;
        let errors = output.try_clone().map_err(|e| AgentError::Process("make a log for", e))?;
        let mut command = inside(self.namespace.as_deref(), &binary);
        command.arg("run").arg("--docker").arg(&self.docker).arg("--data-dir").arg(&data_dir);
        command.arg("--node").arg(&self.node).arg("--listen").arg(&self.listen).args(&self.flags);
        // All namespaces of the lab share the file system.
        command.env("LONGSHORE_SOCKET", dir.path().join("agent.sock"));
        command.envs(self.env).stdout(output).stderr(errors);
        let child = command.spawn().map_err(|e| AgentError::Process("start", e))?;
        // nsenter becomes the agent, so its number is the agent's.
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(Agent {
            child,
            pid,
            binary,
            namespace: self.namespace,
            listen: self.listen,
            runtime: self.runtime,
            data_dir,
            log,
            ended: None,
            _dir: dir,
        })
    }
}

/// Returns the program, to be run in this namespace. The process is the program's own in either case.
fn inside(namespace: Option<&str>, program: &Path) -> Command {
    let mut command = match namespace {
        Some(namespace) => {
            let mut command = Command::new("nsenter");
            command.arg(format!("--net=/run/netns/{namespace}")).arg("--").arg(program);
            command
        }
        None => Command::new(program),
    };
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

impl Agent {
    /// Waits until `/readyz` reports that it is ready.
    ///
    /// # Errors
    /// Fails with the end of its log if it is not ready within 20 seconds.
    pub async fn until_ready(&mut self) -> Result<(), AgentError> {
        let deadline = Instant::now() + READY;
        loop {
            let last = match self.get("/readyz").await {
                Ok(answer) if answer.status == 200 => return Ok(()),
                Ok(answer) => format!("/readyz says {}", answer.status),
                Err(e) => e.to_string(),
            };
            if let Some(status) = self.child.try_wait().map_err(|e| AgentError::Process("look at", e))? {
                self.ended = Some(status);
                return Err(AgentError::NotReady(format!("it ended with {status}"), self.log()));
            }
            if Instant::now() > deadline {
                return Err(AgentError::NotReady(last, self.log()));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sends a GET to its API and returns the answer, whatever its status.
    ///
    /// # Errors
    /// Fails if there is no answer.
    pub async fn get(&self, path: &str) -> Result<Answer, AgentError> {
        let failed = |source| AgentError::Api { path: path.into(), source };
        self.request("GET", path).send().await.map_err(failed)
    }

    /// Returns a request to its API.
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        RequestBuilder::from(self.runtime.clone(), method, format!("http://{}{path}", self.listen))
    }

    /// Sends a GET to its API and returns the JSON of a successful answer.
    ///
    /// # Errors
    /// Fails if the answer is not JSON, or not a success.
    pub async fn api(&self, path: &str) -> Result<serde_json::Value, AgentError> {
        let answer = self.get(path).await?;
        match answer.json() {
            Ok(value) if (200..300).contains(&answer.status) => Ok(value),
            _ => Err(AgentError::Refused { path: path.into(), status: answer.status, body: answer.text() }),
        }
    }

    /// Returns a metric from `/metrics`, summed over all its label sets; `None` if there is no such metric.
    ///
    /// # Errors
    /// Fails if the API does not answer.
    pub async fn metric(&self, name: &str) -> Result<Option<f64>, AgentError> {
        let text = self.get("/metrics").await?.text();
        let values: Vec<f64> = text
            .lines()
            .filter(|line| {
                line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' '))
            })
            .filter_map(|line| line.rsplit_once(' ')?.1.parse().ok())
            .collect();
        Ok(if values.is_empty() { None } else { Some(values.iter().sum()) })
    }

    /// Runs the same program inside the same namespace with these arguments, and returns its standard output.
    ///
    /// # Errors
    /// Fails with all of its output if it exits with an error status.
    pub async fn cli(&self, arguments: &[&str]) -> Result<String, AgentError> {
        let mut command = inside(self.namespace.as_deref(), &self.binary);
        command.args(arguments).env("LONGSHORE_AGENT", &self.listen);
        let ended = tokio::time::timeout(Duration::from_secs(20), command.output()).await;
        let ended = ended.map_err(|e| AgentError::Process("wait for a command of", e.into()))?;
        let output = ended.map_err(|e| AgentError::Process("run a command of", e))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = [output.stdout, output.stderr].concat();
        Err(AgentError::Cli {
            line: arguments.join(" "),
            output: String::from_utf8_lossy(&said).into_owned(),
        })
    }

    /// Sends SIGTERM.
    pub fn sigterm(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends SIGHUP.
    pub fn sighup(&self) {
        self.signal(Signal::HUP);
    }

    /// Sends SIGUSR2, which has the agent replaced by a new run of its program.
    pub fn sigusr2(&self) {
        self.signal(Signal::USR2);
    }

    /// Sends SIGKILL.
    pub fn kill9(&self) {
        self.signal(Signal::KILL);
    }

    /// Freezes its process, as an overloaded machine does.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Resumes its process.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid.filter(|_| self.ended.is_none()) {
            // The process is our child and has not been reaped, so its pid is not reused.
            let _ = kill_process(pid, signal);
        }
    }

    /// Waits until it exits.
    ///
    /// # Errors
    /// [`AgentError::StillRuns`].
    pub async fn ended_within(&mut self, limit: Duration) -> Result<ExitStatus, AgentError> {
        let ended = tokio::time::timeout(limit, self.child.wait()).await;
        let status = ended.map_err(|_| AgentError::StillRuns(limit))?;
        let status = status.map_err(|e| AgentError::Process("wait for", e))?;
        self.ended = Some(status);
        Ok(status)
    }

    /// Returns its process id.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Returns its data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Returns all of its output so far, standard output and error.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Agent {
    #[expect(clippy::print_stderr, reason = "the test's own output, kept by its runner")]
    #[expect(clippy::disallowed_methods, reason = "a drop cannot await")]
    fn drop(&mut self) {
        self.kill9();
        // A process that waits for the disk dies a little later, and keeps its ports and its data directory until
        // then.
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        if std::thread::panicking() {
            eprintln!("--- log of the agent with the API at {}\n{}---", self.listen, self.log());
        }
    }
}
