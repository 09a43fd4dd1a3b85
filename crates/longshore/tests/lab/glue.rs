//! docker-glue by its own name, with its folders, its INI files and its scripts.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::Duration;

use longshore_testkit::{Agent, ContainerSpec, Host, Lab, TestResult, eventually, never_within};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::engines::{answered_by, who};
use crate::old_name::Old;

/// The document's script, except for the path of its log.
const TEST_HANDLER: &str = include_str!("../../../delivery/src/script/test-handler.sh");

/// The document's file.
const TEST_INI: &str = "[handler]\nclass=DockerGlue.handlers.exec.ScriptHandler\nevents=all\nenabled=1\n\
                        triggers-none=0\n\n[params]\nscript=test-handler.sh\ndemo-option=some value\n";

/// A checkout of docker-glue, with our program in place of its own.
struct Checkout {
    dir: tempfile::TempDir,
}

impl Checkout {
    fn new() -> std::io::Result<Self> {
        let dir = tempfile::tempdir()?;
        symlink(env!("CARGO_BIN_EXE_longshore"), dir.path().join("docker-glue"))?;
        for folder in ["docker-glue.d", "handler-scripts"] {
            fs::create_dir(dir.path().join(folder))?;
        }
        let checkout = Self { dir };
        let log = checkout.path("test.log").display().to_string();
        checkout.script("test-handler.sh", &TEST_HANDLER.replace("/tmp/docker-glue-test.log", &log))?;
        Ok(checkout)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn ini(&self, name: &str, text: &str) -> std::io::Result<()> {
        fs::write(self.path("docker-glue.d").join(name), text)
    }

    fn script(&self, name: &str, text: &str) -> std::io::Result<()> {
        let path = self.path("handler-scripts").join(name);
        fs::write(&path, text)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))
    }

    /// Returns what the document's script wrote.
    fn log(&self) -> String {
        fs::read_to_string(self.path("test.log")).unwrap_or_default()
    }

    fn command(&self, host: &Host, mode: &str) -> Command {
        let mut command = host.command(self.path("docker-glue"));
        command.args([mode, "--docker-url", &host.docker_host()]);
        command.arg("--data-dir").arg(self.path("data"));
        command
    }

    fn watch(&self, host: &Host) -> std::io::Result<Watching> {
        let log = self.path("glue.log");
        let child = self.command(host, "-w").stderr(fs::File::create(&log)?).spawn()?;
        Ok(Watching { child, log })
    }
}

/// A running docker-glue.
struct Watching {
    child: Child,
    log: PathBuf,
}

impl Watching {
    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    async fn until_logged(&self, part: &str) {
        eventually(&format!("the log says {part:?}"), async || self.log().contains(part)).await;
    }

    async fn end(mut self) -> TestResult {
        let pid = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        kill_process(pid.ok_or("it ended")?, Signal::TERM)?;
        let ended = tokio::time::timeout(Duration::from_secs(20), self.child.wait()).await??;
        assert!(ended.success(), "{}", self.log());
        Ok(())
    }
}

/// Returns docker-glue's example for HAProxy, pointed at one that runs here.
fn lb(old: &Old, more: &str) -> String {
    format!(
        "[handler]\nclass=DockerGlue.handlers.lb.HAProxyHandler\nevents=die,start,none\nenabled=1\n\n[params]\n\
         config_file={}\nsocket={}\nreload={}\nrc={}\n{more}\n",
        old.path("haproxy.cfg"),
        old.path("admin.sock"),
        old.path("master.sock"),
        old.path("no-rc"),
    )
}

#[tokio::test]
async fn the_documents_test_handler_is_told_of_every_event_and_reads_its_option() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let checkout = Checkout::new()?;
    checkout.ini("test.ini", TEST_INI)?;
    let glue = checkout.watch(host)?;
    glue.until_logged("agent started").await;
    let web = host.run(ContainerSpec::server()).await?;
    let line =
        |status: &str| format!("container_id=[{}] status=[{status}] ini_demo_option=[some value]", web.id);
    eventually("it receives the start", async || checkout.log().contains(&line("start"))).await;
    web.stop(1).await?;
    eventually("it receives the end", async || checkout.log().contains(&line("die"))).await;
    assert!(checkout.log().contains(&line("create")), "{}", checkout.log());
    assert!(!checkout.log().contains("status=[none]"), "all does not include none: {}", checkout.log());
    glue.end().await
}

#[tokio::test]
async fn once_runs_the_handlers_of_none_with_an_empty_id_and_no_others() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let checkout = Checkout::new()?;
    let _web = host.run(ContainerSpec::server()).await?;
    checkout.ini("all.ini", TEST_INI)?;
    checkout.ini("none.ini", &TEST_INI.replace("events=all", "events=none,start"))?;
    checkout.ini("off.ini", &TEST_INI.replace("events=all\nenabled=1", "events=none\nenabled=0"))?;
    let output = checkout.command(host, "-1").output().await?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<String> = checkout.log().lines().map(str::to_owned).collect();
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    assert!(line.ends_with("container_id=[] status=[none] ini_demo_option=[some value]"), "{line}");
    Ok(())
}

#[tokio::test]
async fn the_current_folder_is_looked_in_too_and_the_log_says_where_was_looked() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let checkout = Checkout::new()?;
    checkout.ini("none.ini", &TEST_INI.replace("events=all", "events=none"))?;
    let mut command = host.command(env!("CARGO_BIN_EXE_longshore"));
    command.args(["glue", "-1", "--docker-url", &host.docker_host()]);
    command.arg("--data-dir").arg(checkout.path("data")).current_dir(checkout.dir.path());
    let output = command.output().await?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    assert!(checkout.log().contains("status=[none]"), "{told}");
    let looked = told.lines().filter(|line| line.contains("looked for handlers"));
    let looked: Vec<&str> = looked.collect();
    let here = checkout.path("docker-glue.d").display().to_string();
    assert!(looked.iter().any(|line| line.contains(&here) && line.contains("files=1")), "{told}");
    assert!(looked.iter().any(|line| line.contains("no such folder")), "{told}");
    Ok(())
}

#[tokio::test]
async fn once_fails_where_a_handler_fails_or_its_file_is_broken() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let checkout = Checkout::new()?;
    checkout.ini("good.ini", &TEST_INI.replace("events=all", "events=none"))?;
    checkout.script("fails.sh", "#!/bin/sh\necho no luck >&2\nexit 3\n")?;
    let fails = "[handler]\nclass=script\nevents=none\nretries=0\n[params]\nscript=fails.sh\n";
    checkout.ini("fails.ini", fails)?;
    let output = checkout.command(host, "-1").output().await?;
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(checkout.log().contains("status=[none]"), "the other one ran");
    checkout.ini("fails.ini", "[handler]\nclass=script\nevents=none\n")?;
    let output = checkout.command(host, "-1").output().await?;
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("fails.ini: script: missing in [params]"), "{told}");
    Ok(())
}

#[tokio::test]
async fn once_ends_its_scripts_when_it_is_told_to_end() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let checkout = Checkout::new()?;
    checkout.script("long.sh", "#!/bin/sh\necho $$ > ../pid.new; mv ../pid.new ../pid\nexec sleep 1000\n")?;
    checkout.ini("long.ini", "[handler]\nclass=script\nevents=none\n[params]\nscript=long.sh\n")?;
    let mut once = checkout.command(host, "-1").spawn()?;
    eventually("the script runs", async || checkout.path("pid").exists()).await;
    let pid = once.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    kill_process(pid.ok_or("it ended")?, Signal::TERM)?;
    let ended = tokio::time::timeout(Duration::from_secs(20), once.wait()).await??;
    assert_eq!(ended.code(), Some(1));
    let script = fs::read_to_string(checkout.path("pid"))?;
    let stat = format!("/proc/{}/stat", script.trim());
    let runs = || fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
    eventually("the script ends too", async || !runs()).await;
    Ok(())
}

#[tokio::test]
async fn none_runs_at_the_start_and_once_after_a_handler_that_triggers_it() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let checkout = Checkout::new()?;
    checkout.ini("none.ini", &TEST_INI.replace("events=all", "events=none"))?;
    checkout.script("nothing.sh", "#!/bin/sh\n")?;
    let trigger = "[handler]\nclass=script\nevents=start\ntriggers-none=1\n[params]\nscript=nothing.sh\n";
    checkout.ini("trigger.ini", trigger)?;
    let glue = checkout.watch(host)?;
    let nones = || checkout.log().matches("status=[none]").count();
    eventually("none ran at the start", async || nones() == 1).await;
    let _web = host.run(ContainerSpec::server()).await?;
    eventually("none ran after the handler", async || nones() == 2).await;
    never_within(Duration::from_secs(1), "a handler of none triggers itself", async || nones() != 2).await;
    glue.end().await
}

#[tokio::test]
async fn a_file_that_comes_changes_breaks_or_goes_is_followed() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let checkout = Checkout::new()?;
    let glue = checkout.watch(host)?;
    glue.until_logged("agent started").await;
    let option = |value: &str| TEST_INI.replace("some value", value);
    let told = async |value: &str| {
        let web = host.run(ContainerSpec::server()).await?;
        let line = format!("[{}] status=[start] ini_demo_option=[{value}]", web.id);
        eventually(&format!("its handler says {line:?}"), async || checkout.log().contains(&line)).await;
        TestResult::Ok(())
    };
    let logged = async |times: usize, part: &str| {
        eventually(&format!("the log says {part:?} {times} times"), async || {
            glue.log().matches(part).count() == times
        })
        .await;
    };
    checkout.ini("test.ini", &option("first"))?;
    logged(1, "handler added").await;
    told("first").await?;
    checkout.ini("test.ini", "[handler\n")?;
    logged(1, "handler \"test\" keeps its last good definition").await;
    checkout.ini("test.ini", &option("second"))?;
    logged(2, "resolved: ").await;
    told("second").await?;
    fs::remove_file(checkout.path("docker-glue.d/test.ini"))?;
    logged(1, "handler removed").await;
    let web = host.run(ContainerSpec::server()).await?;
    never_within(Duration::from_secs(1), "a removed handler runs", async || checkout.log().contains(&web.id))
        .await;
    glue.end().await
}

#[tokio::test]
async fn the_example_of_the_load_balancer_configures_a_running_haproxy_once() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let old = Old::start(host)?;
    let checkout = Checkout::new()?;
    checkout.ini("lb.ini", &lb(&old, ""))?;
    let web = host.run(ContainerSpec::server().label("glue_http_80_host", "o.test")).await?;
    let output = checkout.command(host, "-1").output().await?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    answered_by(host, "o.test", "/", &web.name).await;
    Ok(())
}

#[tokio::test]
async fn without_a_balancer_handler_no_haproxy_is_touched() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let old = Old::start(host)?;
    let checkout = Checkout::new()?;
    checkout.ini("lb.ini", &lb(&old, "").replace("enabled=1", "enabled=0"))?;
    let _web = host.run(ContainerSpec::server().label("glue_http_80_host", "n.test")).await?;
    let before = fs::read_to_string(old.path("haproxy.cfg"))?;
    let output = checkout.command(host, "-1").output().await?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read_to_string(old.path("haproxy.cfg"))?, before);
    assert_eq!(who(host, "n.test", "/").await, None);
    Ok(())
}

#[tokio::test]
async fn a_balancer_handler_that_comes_changes_and_goes_is_followed_by_the_same_process() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let old = Old::start(host)?;
    let checkout = Checkout::new()?;
    let glue = checkout.watch(host)?;
    glue.until_logged("agent started").await;
    let web = host.run(ContainerSpec::server().label("glue_http_80_host", "c.test")).await?;
    assert_eq!(who(host, "c.test", "/").await, None);
    checkout.ini("lb.ini", &lb(&old, ""))?;
    answered_by(host, "c.test", "/", &web.name).await;
    let by_env = host.run(ContainerSpec::server().env("glue_http_80_host", "env.test")).await?;
    checkout.ini("lb.ini", &lb(&old, "include_env=1"))?;
    answered_by(host, "env.test", "/", &by_env.name).await;
    fs::remove_file(checkout.path("docker-glue.d/lb.ini"))?;
    eventually("it goes on without", async || glue.log().matches("agent started").count() == 4).await;
    let late = host.run(ContainerSpec::server().label("glue_http_80_host", "late.test")).await?;
    let is_routed = async || who(host, "late.test", "/").await.as_ref() == Some(&late.name);
    never_within(Duration::from_secs(1), "a route comes without a balancer", is_routed).await;
    assert_eq!(who(host, "c.test", "/").await.as_deref(), Some(web.name.as_str()), "HAProxy goes on");
    glue.end().await
}

#[tokio::test]
async fn a_balancer_handler_that_cannot_begin_does_not_stop_the_others_and_may_be_fixed() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let old = Old::start(host)?;
    let checkout = Checkout::new()?;
    fs::write(checkout.path("haproxy.cfg.j2"), "{% if %}")?;
    checkout.ini("lb.ini", &lb(&old, &format!("template_dir={}", checkout.path("").display())))?;
    let glue = checkout.watch(host)?;
    glue.until_logged("the other handlers run without it").await;
    glue.until_logged("agent started").await;
    let web = host.run(ContainerSpec::server().label("glue_http_80_host", "m.test")).await?;
    checkout.ini("lb.ini", &lb(&old, ""))?;
    answered_by(host, "m.test", "/", &web.name).await;
    glue.end().await
}

#[tokio::test]
async fn without_once_or_watch_it_says_what_it_wants() -> TestResult {
    let checkout = Checkout::new()?;
    let output = Command::new(checkout.path("docker-glue")).output().await?;
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("--once") && told.contains("--watch"), "{told}");
    Ok(())
}

#[tokio::test]
async fn the_agent_drives_haproxy_too_where_a_handler_asks_for_it_unless_told_otherwise() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let old = Old::start(host)?;
    let checkout = Checkout::new()?;
    checkout.ini("lb.ini", &lb(&old, ""))?;
    let web = host.run(ContainerSpec::server().label("glue_http_80_host", "r.test")).await?;
    let folder = checkout.path("docker-glue.d").display().to_string();
    let before = fs::read_to_string(old.path("haproxy.cfg"))?;
    let built_in = Agent::on(host).balancer("built-in").flags(&["--handler-paths", &folder]).start().await?;
    answered_by(host, "r.test", "/", &web.name).await;
    drop(built_in);
    assert_eq!(fs::read_to_string(old.path("haproxy.cfg"))?, before);
    let _agent = Agent::on(host).flags(&["--handler-paths", &folder]).start().await?;
    answered_by(host, "r.test", "/", &web.name).await;
    assert_ne!(fs::read_to_string(old.path("haproxy.cfg"))?, before);
    Ok(())
}

#[tokio::test]
async fn a_handler_of_the_settings_file_gets_an_ini_file_that_crudini_reads() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let checkout = Checkout::new()?;
    let file = checkout.path("longshore.toml");
    let scripts = checkout.path("handler-scripts").display().to_string();
    let text = format!(
        "script-paths = {scripts:?}\n\n[[handler]]\nname = \"test\"\nclass = \"script\"\nevents = [\"start\"]\n\
         params = {{ script = \"test-handler.sh\", demo-option = \"some value\" }}\n\n\
         [[handler]]\nname = \"broken\"\nclass = \"scirpt\"\n"
    );
    fs::write(&file, text)?;
    let config = file.display().to_string();
    let agent = Agent::on(host).flags(&["--config", &config]).start().await?;
    let web = host.run(ContainerSpec::server()).await?;
    let line = format!("container_id=[{}] status=[start] ini_demo_option=[some value]", web.id);
    eventually("the script is told", async || checkout.log().contains(&line)).await;
    let problems = agent.cli(&["problems"]).await?;
    assert!(problems.contains("longshore.toml:11") && problems.contains("did you mean"), "{problems}");
    Ok(())
}
