//! Plugins: handler classes of docker-glue, in processes of their own.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use longshore_testkit::{Agent, AgentBuilder, ContainerSpec, Host, Lab, TestResult, eventually};

/// As docker-glue's documentation prints it, including the `logging` that it does not import.
const DEMO: &str = include_str!("../../../../plugins/python/tests/handlers/demo.py");

/// A folder with handlers' INI files and the classes that they name.
struct Handlers(tempfile::TempDir);

impl Handlers {
    fn new() -> std::io::Result<Self> {
        tempfile::tempdir().map(Self)
    }

    /// Writes a class whose method `handle` has this body, and a handler of it. `on_start` runs when the
    /// handler is created.
    fn class(&self, class: &str, events: &str, on_start: &str, body: &str) -> TestResult {
        let name = class.to_lowercase();
        let indented = |text: &str| text.replace('\n', "\n        ");
        let text = format!(
            "import os, sys, time\nfrom . import BaseHandler\nclass {class}(BaseHandler):\n    \
             def __init__(self, agent, ini_file, ini):\n        \
             BaseHandler.__init__(self, agent, ini_file, ini)\n        {}\n    \
             def handle(self, event, container_id):\n        {}\n",
            indented(on_start),
            indented(body)
        );
        self.printed(&name, class, events, &text)
    }

    /// Writes a class with this file text, and a handler of it.
    fn printed(&self, name: &str, class: &str, events: &str, text: &str) -> TestResult {
        fs::write(self.path(&format!("{name}.py")), text)?;
        let ini = format!(
            "[handler]\nclass=DockerGlue.handlers.{name}.{class}\nevents={events}\nenabled=1\n\n[params]\n\
             custom_param=some value\n"
        );
        fs::write(self.path(&format!("{name}.ini")), ini)?;
        Ok(())
    }

    /// Adds keys to a handler's section `[handler]`.
    fn also(&self, name: &str, keys: &str) -> TestResult {
        let file = format!("{name}.ini");
        fs::write(
            self.path(&file),
            self.read(&file).replace("[handler]\n", &format!("[handler]\n{keys}\n")),
        )?;
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn agent(&self, host: &Host) -> AgentBuilder {
        let folder = self.0.path().to_str().unwrap_or_default();
        Agent::on(host).flags(&["--handler-paths", folder])
    }
}

async fn logs(agent: &Agent, text: &str) {
    eventually(text, async || agent.log().contains(text)).await;
}

/// Returns whether a process with this id runs. A zombie does not.
fn runs(pid: &str) -> bool {
    let Ok(pid) = pid.trim().parse::<u32>() else { return false };
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

#[tokio::test]
async fn the_class_that_docker_glues_documentation_prints_runs_unchanged() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let handlers = Handlers::new()?;
    handlers.printed("demo", "DemoHandler", "all", DEMO)?;
    let agent = handlers.agent(host).start().await?;
    let web = host.run(ContainerSpec::server()).await?;
    let got =
        |event: &str| format!("got event='{event}' on container='{}' and custom_param='some value'", web.id);
    logs(&agent, &got("start")).await;
    web.stop(1).await?;
    logs(&agent, &got("die")).await;
    let log = agent.log();
    assert_eq!(log.matches(&got("start")).count(), 1, "each event once");
    assert!(log.find(&got("start")) < log.find(&got("die")), "in order");
    assert!(!log.contains("event='none'"), "`all` does not include `none`");
    Ok(())
}

#[tokio::test]
async fn an_event_that_a_plugin_dies_of_is_delivered_again() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let handlers = Handlers::new()?;
    let died = handlers.path("died");
    let body = format!(
        "if not os.path.exists({died:?}):\n    open({died:?}, 'w').close()\n    os._exit(3)\n\
         logging.info('survived %s of %s', event, container_id)"
    );
    handlers.class("Fragile", "start", "pass", &body)?;
    let agent = handlers.agent(host).start().await?;
    let web = host.run(ContainerSpec::server()).await?;
    logs(&agent, "the plugin exited (exit status: 3)").await;
    logs(&agent, &format!("survived start of {}", web.id)).await;
    Ok(())
}

#[tokio::test]
async fn a_plugin_that_does_not_start_is_a_problem_before_any_event() -> TestResult {
    let lab = Lab::up(1).await?;
    let handlers = Handlers::new()?;
    handlers.class("Broken", "start", "import moonlight", "pass")?;
    let agent = handlers.agent(lab.host(0)).start().await?;
    eventually("it says what is missing", async || {
        let problems = agent.cli(&["problems"]).await.unwrap_or_default();
        problems.contains("No module named 'moonlight'")
    })
    .await;
    handlers.class("Broken", "start", "pass", "pass")?;
    eventually("it starts once that is fixed", async || {
        agent.cli(&["problems"]).await.is_ok_and(|problems| !problems.contains("moonlight"))
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn a_plugin_that_hangs_is_started_again_and_told_again() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let handlers = Handlers::new()?;
    let hung = handlers.path("hung");
    let body = format!(
        "if not os.path.exists({hung:?}):\n    open({hung:?}, 'w').close()\n    time.sleep(1000)\n\
         logging.info('awake at %s of %s', event, container_id)"
    );
    handlers.class("Sleepy", "start", "pass", &body)?;
    handlers.also("sleepy", "timeout=1s")?;
    let agent = handlers.agent(host).start().await?;
    let web = host.run(ContainerSpec::server()).await?;
    logs(&agent, "the plugin was killed: it hangs: it answered no event for 1s").await;
    logs(&agent, &format!("awake at start of {}", web.id)).await;
    Ok(())
}

#[tokio::test]
async fn the_example_of_the_documentation_runs_as_a_command() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let handlers = Handlers::new()?;
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/plugins.md"))?;
    let example = page.split("```python\n#!").nth(1).and_then(|rest| rest.split("```").next());
    let program = handlers.path("births.py");
    fs::write(&program, format!("#!{}", example.ok_or("no example")?))?;
    let ini = format!(
        "[handler]\nclass=plugin\nevents=start, die\n\n[params]\ncommand=python3 {}\n",
        program.display()
    );
    fs::write(handlers.path("births.ini"), ini)?;
    let agent = handlers.agent(host).start().await?;
    let web = host.run(ContainerSpec::server()).await?;
    logs(&agent, &format!("start of {} handler=", web.name)).await;
    Ok(())
}

#[tokio::test]
async fn a_plugin_that_hangs_or_floods_costs_nobody_else() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let handlers = Handlers::new()?;
    handlers.class("Hangs", "all", "pass", "time.sleep(1000)")?;
    let flood = "while True:\n    print('x' * 100)\n    logging.info('y' * 100)";
    handlers.class("Floods", "start", "pass", flood)?;
    handlers.printed("demo", "DemoHandler", "all", DEMO)?;
    let agent = handlers.agent(host).start().await?;
    for _ in 0..3 {
        let web = host.run(ContainerSpec::server()).await?;
        logs(&agent, &format!("got event='start' on container='{}'", web.id)).await;
    }
    logs(&agent, "lines of its output were dropped").await;
    assert_eq!(agent.get("/readyz").await?.status, 200);
    let size = agent.log().len();
    assert!(size < 2_000_000, "a flood is cut: the log has {size} bytes");
    Ok(())
}

#[tokio::test]
async fn a_plugin_ends_with_its_agent_however_that_ends() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let handlers = Handlers::new()?;
    let pid = handlers.path("pid");
    let on_start = format!("open({pid:?}, 'w').write('%d\\n' % os.getpid())");
    handlers.class("Lasting", "all", &on_start, "pass")?;
    for end in [Agent::sigterm, Agent::kill9] {
        let mut agent = handlers.agent(host).start().await?;
        eventually("the plugin runs", async || runs(&handlers.read("pid"))).await;
        let plugin = handlers.read("pid");
        end(&agent);
        agent.ended_within(Duration::from_secs(40)).await?;
        eventually("the plugin is gone", async || !runs(&plugin)).await;
        fs::remove_file(&pid)?;
    }
    Ok(())
}
