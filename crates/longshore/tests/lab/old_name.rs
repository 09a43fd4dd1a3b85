//! docker-balancer's flags, under its own name.

use std::process::{Child, Stdio};

use longshore_testkit::{ContainerSpec, Host, Lab, TestResult};

use crate::engines::answered_by;

/// A HAProxy run by someone else, and docker-balancer by its old name beside it.
pub(crate) struct Old {
    pub(crate) dir: tempfile::TempDir,
    haproxy: Child,
}

impl Old {
    pub(crate) fn start(host: &Host) -> std::io::Result<Self> {
        let dir = tempfile::tempdir()?;
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_longshore"), dir.path().join("docker-balancer"))?;
        let path = |name: &str| dir.path().join(name).display().to_string();
        let first = format!(
            "global\n    stats socket {} mode 600 level admin\ndefaults\n    mode http\n    timeout connect 1s\n    timeout client 1s\n    timeout server 1s\nfrontend none\n    bind 127.0.0.1:9999\n",
            path("admin.sock")
        );
        std::fs::write(path("haproxy.cfg"), first)?;
        let haproxy = std::process::Command::new("nsenter")
            .arg(format!("--net=/run/netns/{}", host.namespace))
            .args(["haproxy", "-W", "-S", &path("master.sock"), "-f", &path("haproxy.cfg")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { dir, haproxy })
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn balancer(&self, host: &Host, mode: &str) -> tokio::process::Command {
        self.of_config(host, mode, &self.path("haproxy.cfg"), &self.path("master.sock"))
    }

    fn of_config(&self, host: &Host, mode: &str, config: &str, reload: &str) -> tokio::process::Command {
        let mut command = host.command(self.path("docker-balancer"));
        command.args([mode, "--docker-url", &host.docker_host()]);
        command.args(["--config-file", config, "--watch-set", "die,start", "--reload", reload]);
        command.args(["--data-dir", &self.path("data"), "--rc", &self.path("no-rc")]);
        command
    }
}

impl Drop for Old {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.haproxy);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.haproxy.wait();
    }
}

#[tokio::test]
async fn once_configures_a_running_haproxy_and_ends() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let old = Old::start(host)?;
    let web = host.run(ContainerSpec::server().label("glue_http_80_host", "o.test")).await?;
    let by_env = ContainerSpec::server().env("glue_http_80_host", "env.test");
    let by_env = host.run(by_env).await?;
    let output = old.balancer(host, "-1").arg("--include-env").output().await?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    answered_by(host, "o.test", "/", &web.name).await;
    answered_by(host, "env.test", "/", &by_env.name).await;
    Ok(())
}

#[tokio::test]
async fn once_adds_a_server_that_does_not_listen_yet() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let old = Old::start(host)?;
    let never = std::time::Duration::from_secs(3600);
    let late = ContainerSpec::server().listens_after(never).label("glue_http_80_host", "late.test");
    let late = host.run(late).await?;
    let output = old.balancer(host, "-1").output().await?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let written = std::fs::read_to_string(old.path("haproxy.cfg"))?;
    let networks = late.inspect().await?.network_settings.and_then(|settings| settings.networks);
    let ip =
        networks.into_iter().flatten().find_map(|(_, endpoint)| endpoint.ip_address).ok_or("no address")?;
    assert!(written.contains(&format!(" {ip}:80 weight 100 check")), "{ip} is not in {written}");
    Ok(())
}

#[tokio::test]
async fn once_writes_the_file_and_fails_where_haproxy_is_down() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let old = Old::start(host)?;
    let _web = host.run(ContainerSpec::server().label("glue_http_80_host", "down.test")).await?;
    let path = old.path("another.cfg");
    let mut command = old.of_config(host, "-1", &path, "sh -c 'echo no such unit >&2; exit 5'");
    let output = tokio::time::timeout(std::time::Duration::from_secs(60), command.output()).await??;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{told}");
    assert!(told.contains(&path) && told.contains("no such unit"), "{told}");
    let written = std::fs::read_to_string(&path)?;
    assert!(written.contains("frontend http_80"), "it is there for the next start: {told}");
    assert!(std::fs::read_to_string(old.path("another.maps/http_80.map"))?.contains(">down.test/ "));
    Ok(())
}

#[tokio::test]
async fn watch_follows_the_containers_until_it_is_told_to_end() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let old = Old::start(host)?;
    let mut balancer = old.balancer(host, "-w").stderr(Stdio::null()).spawn()?;
    let web = host.run(ContainerSpec::server().label("glue_http_80_host", "w.test")).await?;
    answered_by(host, "w.test", "/", &web.name).await;
    let second = host.run(ContainerSpec::server().label("glue_http_80_host", "second.test")).await?;
    answered_by(host, "second.test", "/", &second.name).await;
    let pid = balancer.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()));
    rustix::process::kill_process(pid.ok_or("it ended")?, rustix::process::Signal::TERM)?;
    assert!(balancer.wait().await?.success());
    answered_by(host, "w.test", "/", &web.name).await;
    Ok(())
}

#[tokio::test]
async fn without_once_or_watch_it_says_what_it_wants() -> TestResult {
    let lab = Lab::up(1).await?;
    let old = Old::start(lab.host(0))?;
    let output = tokio::process::Command::new(old.path("docker-balancer")).output().await?;
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("--once") && told.contains("--watch"), "{told}");
    Ok(())
}
