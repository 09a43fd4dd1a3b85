//! Containers that a test runs.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bollard::Docker;
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, HealthConfig, HostConfig, PortBinding, RestartPolicy,
    RestartPolicyNameEnum,
};
use bollard::query_parameters::{
    CreateContainerOptions, KillContainerOptions, LogsOptions, RemoveContainerOptions,
    RenameContainerOptions, RestartContainerOptions, StopContainerOptions,
};
use futures_util::StreamExt;
use tokio::runtime::Handle;

use super::{LabError, Network, images};

/// A container to be created: by default the test server, which answers HTTP on port 80 with what it was asked.
#[derive(Clone, Debug, Default)]
pub struct ContainerSpec {
    image: Option<String>,
    name: Option<String>,
    command: Option<Vec<String>>,
    labels: HashMap<String, String>,
    env: Vec<String>,
    network: Option<String>,
    published: Vec<(String, u16)>,
    health_check: Option<HealthConfig>,
    stop_timeout: Option<i64>,
    stop_signal: Option<String>,
    restarts: bool,
}

impl ContainerSpec {
    /// Returns the spec of the test server, which listens for HTTP on port 80 by default.
    pub fn server() -> Self {
        Self::default()
    }

    /// Returns the spec of a busybox with a command.
    pub fn busybox(command: &[&str]) -> Self {
        Self::of_image(images::BUSYBOX).command(command)
    }

    /// Returns the spec of a container of any image that the host has.
    pub fn of_image(image: &str) -> Self {
        Self { image: Some(image.into()), ..Self::default() }
    }

    /// Sets its name; the default is unique within this test.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the arguments after the image's entry point.
    pub fn command(mut self, command: &[&str]) -> Self {
        self.command = Some(command.iter().map(|&word| word.into()).collect());
        self
    }

    /// Adds a label.
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, key: &str, value: impl std::fmt::Display) -> Self {
        self.env.push(format!("{key}={value}"));
        self
    }

    /// Sets its first network: a [`Network`]'s name, `host` or `none`. By default Docker's own bridge.
    pub fn network(mut self, name: &str) -> Self {
        self.network = Some(name.into());
        self
    }

    /// Attaches it to this network.
    pub fn on(self, network: &Network) -> Self {
        self.network(&network.name)
    }

    /// Publishes a TCP port; host port 0 lets Docker choose.
    pub fn publish(mut self, host_port: u16, port: u16) -> Self {
        self.published.push((format!("{port}/tcp"), host_port));
        self
    }

    /// Publishes a UDP port; host port 0 lets Docker choose.
    pub fn publish_udp(mut self, host_port: u16, port: u16) -> Self {
        self.published.push((format!("{port}/udp"), host_port));
        self
    }

    /// Sets how long Docker waits between the stop signal and SIGKILL, in seconds; 10 by default.
    pub fn stop_timeout(mut self, seconds: i64) -> Self {
        self.stop_timeout = Some(seconds);
        self
    }

    /// Sets the signal that stops it.
    pub fn stop_signal(mut self, signal: &str) -> Self {
        self.stop_signal = Some(signal.into());
        self
    }

    /// Has Docker restart it whenever it exits by itself.
    pub fn restarts(mut self) -> Self {
        self.restarts = true;
        self
    }

    /// Adds a Docker health check that queries the test server's `/health` at this interval; two failures make it
    /// unhealthy.
    pub fn health_check(self, interval: Duration) -> Self {
        self.health_check_command(&["/testserver", "probe"], interval)
    }

    /// Adds a custom Docker health check, without a shell; two failures make the container unhealthy.
    pub fn health_check_command(mut self, command: &[&str], interval: Duration) -> Self {
        let test = std::iter::once("CMD").chain(command.iter().copied()).map(Into::into).collect();
        self.health_check = Some(HealthConfig {
            test: Some(test),
            interval: Some(i64::try_from(interval.as_nanos()).unwrap_or(i64::MAX)),
            timeout: Some(2_000_000_000),
            retries: Some(2),
            ..Default::default()
        });
        self
    }

    /// Has the test server answer HTTP on these ports (80 by default; an empty list is allowed).
    pub fn http_on(self, ports: &[u16]) -> Self {
        self.env("HTTP", join(ports))
    }

    /// Has the test server echo bytes on these TCP ports, after a first line `NAME`.
    pub fn tcp_on(self, ports: &[u16]) -> Self {
        self.env("TCP", join(ports))
    }

    /// Has the test server echo datagrams on these UDP ports, each as `NAME: datagram`.
    pub fn udp_on(self, ports: &[u16]) -> Self {
        self.env("UDP", join(ports))
    }

    /// Has the test server open its ports this long after its start.
    pub fn listens_after(self, delay: Duration) -> Self {
        self.env("LISTEN_AFTER_MS", delay.as_millis())
    }

    /// Sets how long the test server drains open requests on SIGTERM; 10 seconds by default.
    pub fn grace(self, grace: Duration) -> Self {
        self.env("GRACE_MS", grace.as_millis())
    }

    /// Has the test server ignore SIGTERM.
    pub fn ignores_term(self) -> Self {
        self.env("IGNORE_TERM", 1)
    }

    /// Has the test server's `/health` fail from the start, until `POST /health/pass`.
    pub fn unhealthy(self) -> Self {
        self.env("UNHEALTHY", 1)
    }
}

fn join(ports: &[u16]) -> String {
    ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",")
}

/// A container of a test, removed when it is dropped.
#[derive(Debug)]
pub struct Container {
    /// Docker's full id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its address on its first network, once started; `None` on the host's own network.
    pub ip: Option<IpAddr>,
    docker: Docker,
    /// The runtime for the removal, as `drop` cannot wait for it.
    runtime: Handle,
    host: String,
    kept: bool,
}

impl Container {
    /// Creates and starts a container on the machine's own Docker, which must have the image (see
    /// [`images::provide_to`]).
    ///
    /// # Errors
    /// Docker's error.
    pub async fn run_on(docker: &Docker, spec: ContainerSpec) -> Result<Self, LabError> {
        let mut container = Self::create(docker, Handle::current(), "this machine", spec).await?;
        container.start().await?;
        Ok(container)
    }

    pub(super) async fn create(
        docker: &Docker,
        runtime: Handle,
        host: &str,
        spec: ContainerSpec,
    ) -> Result<Self, LabError> {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let name = spec
            .name
            .unwrap_or_else(|| format!("t{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        let image = spec.image.map_or_else(images::test_server, Ok)?;
        let mut env = spec.env;
        env.push(format!("NAME={name}"));
        let bindings = spec.published.iter().map(|(port, host_port)| {
            let binding = PortBinding { host_ip: None, host_port: Some(host_port.to_string()) };
            (port.clone(), Some(vec![binding]))
        });
        let restart = RestartPolicy { name: Some(RestartPolicyNameEnum::ALWAYS), maximum_retry_count: None };
        let body = ContainerCreateBody {
            image: Some(image),
            cmd: spec.command,
            env: Some(env),
            exposed_ports: Some(spec.published.iter().map(|(port, _)| port.clone()).collect()),
            labels: Some(spec.labels),
            healthcheck: spec.health_check,
            stop_signal: spec.stop_signal,
            stop_timeout: spec.stop_timeout,
            host_config: Some(HostConfig {
                network_mode: spec.network,
                port_bindings: Some(bindings.collect()),
                restart_policy: spec.restarts.then_some(restart),
                ..Default::default()
            }),
            ..Default::default()
        };
        let options = CreateContainerOptions { name: Some(name.clone()), ..Default::default() };
        let failed = |source| LabError::Docker { host: host.into(), verb: format!("create {name}"), source };
        let made = docker.create_container(Some(options), body).await.map_err(failed)?;
        let (docker, host) = (docker.clone(), host.to_owned());
        Ok(Self { id: made.id, name, ip: None, docker, runtime, host, kept: false })
    }

    /// Starts it and reads its address.
    ///
    /// # Errors
    /// Docker's error.
    pub async fn start(&mut self) -> Result<(), LabError> {
        self.docker.start_container(&self.id, None).await.map_err(self.failed("start"))?;
        let networks = self.inspect().await?.network_settings.and_then(|s| s.networks).unwrap_or_default();
        self.ip = networks.into_values().find_map(|n| n.ip_address?.parse().ok());
        Ok(())
    }

    /// Sends the stop signal, waits `seconds` for it to exit, then kills it.
    ///
    /// # Errors
    /// Docker's error.
    pub async fn stop(&self, seconds: i32) -> Result<(), LabError> {
        let options = StopContainerOptions { t: Some(seconds), ..Default::default() };
        self.docker.stop_container(&self.id, Some(options)).await.map_err(self.failed("stop"))
    }

    /// Stops it, within `seconds` at most, and starts it.
    ///
    /// # Errors
    /// Docker's error.
    pub async fn restart(&self, seconds: i32) -> Result<(), LabError> {
        let options = RestartContainerOptions { t: Some(seconds), ..Default::default() };
        self.docker.restart_container(&self.id, Some(options)).await.map_err(self.failed("restart"))
    }

    /// Kills it.
    ///
    /// # Errors
    /// Docker's error.
    pub async fn kill(&self) -> Result<(), LabError> {
        self.signal("SIGKILL").await
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// Docker's error.
    pub async fn signal(&self, signal: &str) -> Result<(), LabError> {
        let options = KillContainerOptions { signal: signal.into() };
        self.docker.kill_container(&self.id, Some(options)).await.map_err(self.failed("signal"))
    }

    /// Freezes it.
    ///
    /// # Errors
    /// Docker's error.
    pub async fn pause(&self) -> Result<(), LabError> {
        self.docker.pause_container(&self.id).await.map_err(self.failed("pause"))
    }

    /// Thaws it.
    ///
    /// # Errors
    /// Docker's error.
    pub async fn unpause(&self) -> Result<(), LabError> {
        self.docker.unpause_container(&self.id).await.map_err(self.failed("unpause"))
    }

    /// Renames it.
    ///
    /// # Errors
    /// Docker's error.
    pub async fn rename(&mut self, name: &str) -> Result<(), LabError> {
        let options = RenameContainerOptions { name: name.into() };
        self.docker.rename_container(&self.id, options).await.map_err(self.failed("rename"))?;
        self.name = name.into();
        Ok(())
    }

    /// Kills and removes it.
    ///
    /// # Errors
    /// Docker's error.
    pub async fn remove(mut self) -> Result<(), LabError> {
        self.kept = true;
        let options = RemoveContainerOptions { force: true, v: true, ..Default::default() };
        self.docker.remove_container(&self.id, Some(options)).await.map_err(self.failed("remove"))
    }

    /// Returns Docker's inspection of it.
    ///
    /// # Errors
    /// Docker's error.
    pub async fn inspect(&self) -> Result<ContainerInspectResponse, LabError> {
        self.docker.inspect_container(&self.id, None).await.map_err(self.failed("inspect"))
    }

    /// Returns its health status: `starting`, `healthy` or `unhealthy`; `none` without a health check.
    ///
    /// # Errors
    /// Docker's error.
    pub async fn health(&self) -> Result<String, LabError> {
        let status = self.inspect().await?.state.and_then(|s| s.health).and_then(|h| h.status);
        Ok(status.map_or_else(|| "none".into(), |s| s.to_string()))
    }

    /// Returns whether its process is running.
    ///
    /// # Errors
    /// Docker's error.
    pub async fn runs(&self) -> Result<bool, LabError> {
        Ok(self.inspect().await?.state.and_then(|s| s.running).unwrap_or_default())
    }

    /// Returns the host port of a published port (`80/tcp`); `None` while it is not running.
    ///
    /// # Errors
    /// Docker's error.
    pub async fn host_port(&self, port: &str) -> Result<Option<u16>, LabError> {
        let ports = self.inspect().await?.network_settings.and_then(|s| s.ports).unwrap_or_default();
        let binding = ports.get(port).cloned().flatten().and_then(|bindings| bindings.into_iter().next());
        Ok(binding.and_then(|b| b.host_port).and_then(|p| p.parse().ok()))
    }

    /// Returns its output.
    ///
    /// # Errors
    /// Docker's error.
    pub async fn logs(&self) -> Result<String, LabError> {
        let options = LogsOptions { stdout: true, stderr: true, ..Default::default() };
        let mut lines = self.docker.logs(&self.id, Some(options));
        let mut text = String::new();
        while let Some(line) = lines.next().await {
            text.push_str(&line.map_err(self.failed("read the log of"))?.to_string());
        }
        Ok(text)
    }

    /// Keeps the container when this value is dropped; it is still removed when the host is given back.
    pub fn keep(&mut self) {
        self.kept = true;
    }

    fn failed(&self, verb: &str) -> impl FnOnce(bollard::errors::Error) -> LabError + use<> {
        let (host, verb) = (self.host.clone(), format!("{verb} {}", self.name));
        move |source| LabError::Docker { host, verb, source }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let (docker, id) = (self.docker.clone(), self.id.clone());
        self.runtime.spawn(async move {
            let options = RemoveContainerOptions { force: true, v: true, ..Default::default() };
            // It may be gone already, and the host is cleared when it is given back.
            let _ = docker.remove_container(&id, Some(options)).await;
        });
    }
}
