//! Handlers: which events they receive, and what happens when something fails.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use longshore_testkit::bollard::exec::StartExecOptions;
use longshore_testkit::bollard::models::ExecConfig;
use longshore_testkit::{
    Agent, AgentBuilder, AgentError, ContainerSpec, Host, Lab, TestResult, eventually, never_within,
};

/// A folder with handlers' files, their scripts, and what these recorded.
pub(crate) struct Folder(tempfile::TempDir);

/// One event that a handler received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) event: String,
    pub(crate) container: String,
    pub(crate) id: String,
    pub(crate) attempt: u32,
    pub(crate) redelivered: bool,
    pub(crate) made_up: bool,
}

/// Records what it receives, one line per event, in the file `$HANDLER.heard` beside the script.
pub(crate) const RECORD: &str = r#"echo "$2 ${LONGSHORE_CONTAINER_NAME:--} $LONGSHORE_EVENT_ID $LONGSHORE_ATTEMPT $LONGSHORE_REDELIVERED $LONGSHORE_MADE_UP" >> "$LONGSHORE_HANDLER.heard""#;

/// A plugin that records the same.
const PLUGIN: &str = r#"
import json, sys

heard = open(sys.argv[1], "a")
for line in sys.stdin:
    told = json.loads(line)
    if told["type"] == "hello":
        answer = {"type": "hello", "protocol": 1, "name": "recorder", "parallel": 16}
    elif told["type"] == "event":
        name = told.get("container", {}).get("name", "-")
        marks = (told["attempt"], int(told["redelivered"]), int(told["made_up"]))
        heard.write("%s %s %s %d %d %d\n" % ((told["event"], name, told["id"]) + marks))
        heard.flush()
        answer = {"type": "ack", "id": told["id"]}
    else:
        break
    print(json.dumps(answer), flush=True)
"#;

impl Folder {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes an INI file of a script handler, with further lines for its first section.
    pub(crate) fn handler(
        &self,
        name: &str,
        events: &str,
        more: &str,
        script: &str,
    ) -> std::io::Result<PathBuf> {
        let program = self.script(name, script)?;
        let text = format!(
            "[handler]\nclass=script\nevents={events}\n{more}\n[params]\nscript={}\n",
            program.display()
        );
        self.ini(name, &text)
    }

    /// Writes a handler that records what it receives.
    pub(crate) fn recorder(&self, name: &str, events: &str, more: &str) -> std::io::Result<PathBuf> {
        self.handler(name, events, more, RECORD)
    }

    /// Writes a handler that records what it receives, as a plugin.
    pub(crate) fn recording_plugin(&self, name: &str, events: &str, more: &str) -> std::io::Result<PathBuf> {
        let (plugin, heard) = (self.path().join("recorder.py"), self.path().join(format!("{name}.heard")));
        std::fs::write(&plugin, PLUGIN)?;
        let command = format!("python3 {} {}", plugin.display(), heard.display());
        let text = format!("[handler]\nclass=plugin\nevents={events}\n{more}\n[params]\ncommand={command}\n");
        self.ini(name, &text)
    }

    pub(crate) fn ini(&self, name: &str, text: &str) -> std::io::Result<PathBuf> {
        let path = self.path().join(format!("{name}.ini"));
        // Complete or not at all: it may be read at any moment.
        let new = self.path().join(format!("{name}.new"));
        std::fs::write(&new, text)?;
        std::fs::rename(&new, &path)?;
        Ok(path)
    }

    pub(crate) fn script(&self, name: &str, text: &str) -> std::io::Result<PathBuf> {
        let path = self.path().join(format!("{name}.sh"));
        let new = self.path().join(format!("{name}.sh.new"));
        std::fs::write(&new, format!("#!/bin/sh\n{text}\n"))?;
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755))?;
        std::fs::rename(&new, &path)?;
        Ok(path)
    }

    /// Returns what a recorder received, in order.
    pub(crate) fn heard(&self, name: &str) -> Vec<Heard> {
        let text = std::fs::read_to_string(self.path().join(format!("{name}.heard"))).unwrap_or_default();
        let line = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            let [event, container, id, attempt, redelivered, made_up] = words[..] else {
                panic!("a recorder wrote {line:?}");
            };
            Heard {
                event: event.to_owned(),
                container: container.to_owned(),
                id: id.to_owned(),
                attempt: attempt.parse().unwrap_or(0),
                redelivered: redelivered == "1",
                made_up: made_up == "1",
            }
        };
        text.lines().map(line).collect()
    }

    /// Returns the events of one container that a recorder received, in order.
    pub(crate) fn events_of(&self, name: &str, container: &str) -> Vec<String> {
        self.heard(name).into_iter().filter(|heard| heard.container == container).map(|h| h.event).collect()
    }

    /// Waits until a recorder has received exactly these events of a container, in this order.
    pub(crate) async fn hears(&self, name: &str, container: &str, events: &[&str]) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.events_of(name, container) != events {
            let heard = self.events_of(name, container);
            assert!(
                Instant::now() < deadline,
                "{name} should hear {events:?} of {container}, and heard {heard:?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a recorder has received all of Docker's events about the only container, the last of which
    /// is `last`.
    async fn hears_docker(&self, name: &str, host: &Host, id: &str, last: &str) -> TestResult {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let told = host.events_of(id).await?;
            let heard: Vec<String> = self.heard(name).into_iter().map(|heard| heard.event).collect();
            if told.last().is_some_and(|event| event == last) && heard == told {
                return Ok(());
            }
            assert!(Instant::now() < deadline, "Docker told {told:?}, and {name} heard {heard:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Returns an agent with these handlers.
    pub(crate) fn agent(&self, host: &Host) -> AgentBuilder {
        let folder = self.path().display().to_string();
        Agent::on(host).flags(&["--balancer", "none", "--handler-paths", &folder, "--script-paths", &folder])
    }
}

#[tokio::test]
async fn a_script_is_told_of_each_event_in_order() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let folder = Folder::new()?;
    folder.recorder("all", "all", "")?;
    folder.recorder("some", "start, die", "")?;
    let _agent = folder.agent(host).start().await?;
    let web = host.run(ContainerSpec::server().named("web")).await?;
    web.pause().await?;
    web.unpause().await?;
    web.kill().await?;
    folder.hears("some", "web", &["start", "die"]).await;
    let id = web.id.clone();
    web.remove().await?;
    folder.hears_docker("all", host, &id, "destroy").await?;
    let kinds: BTreeSet<String> = folder.heard("all").into_iter().map(|heard| heard.event).collect();
    let expected = ["create", "connect", "start", "pause", "unpause", "kill", "die", "disconnect", "destroy"];
    assert_eq!(kinds, expected.map(str::to_owned).into(), "each is told, and all does not include none");
    let ids: BTreeSet<String> = folder.heard("all").into_iter().map(|heard| heard.id).collect();
    assert_eq!(ids.len(), folder.heard("all").len(), "each event has an id of its own");
    Ok(())
}

#[tokio::test]
async fn a_script_finds_the_container_on_its_input_and_in_its_environment() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let folder = Folder::new()?;
    folder.handler("show", "start,destroy", "", "cat > $2.json; env > $2.env; echo \"$@\" > $2.args")?;
    let _agent = folder.agent(host).start().await?;
    let web = host.run(ContainerSpec::server().named("web").label("tier.name", "front end")).await?;
    let id = web.id.clone();
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
    eventually("the script ran", async || read("start.args").contains(&id)).await;
    let inspection: serde_json::Value = serde_json::from_str(&read("start.json"))?;
    assert_eq!(inspection["Name"], "/web");
    assert_eq!(inspection["State"]["Running"], true);
    assert_eq!(inspection["Config"]["Labels"]["tier.name"], "front end");
    let env = read("start.env");
    for line in [
        "LONGSHORE_EVENT=start",
        &format!("LONGSHORE_CONTAINER_ID={id}"),
        "LONGSHORE_CONTAINER_NAME=web",
        "LONGSHORE_CONTAINER_LABEL_TIER_NAME=front end",
        "LONGSHORE_HANDLER=show",
    ] {
        assert!(env.lines().any(|it| it == line), "{line} is not in\n{env}");
    }
    let image = inspection["Config"]["Image"].as_str().unwrap_or_default().to_owned();
    assert!(env.contains(&format!("LONGSHORE_CONTAINER_IMAGE={image}")), "{env}");
    assert_eq!(read("start.args").trim(), format!("{}/show.ini start {id}", folder.path().display()));
    web.remove().await?;
    eventually("the script received the end", async || read("destroy.args").contains(&id)).await;
    let inspection: serde_json::Value = serde_json::from_str(&read("destroy.json"))?;
    assert_eq!(inspection["Name"], "/web", "what was last known of a container is told at its end");
    Ok(())
}

#[tokio::test]
async fn filters_choose_by_image_label_and_name() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let folder = Folder::new()?;
    folder.recorder("image", "start", "images=busybox, nosuch")?;
    folder.recorder("label", "start", "labels=tier=front,backup")?;
    folder.recorder("name", "start", "names=web-*")?;
    let _agent = folder.agent(host).start().await?;
    let a = ContainerSpec::server().named("web-a").label("tier", "front").label("backup", "yes");
    let b = ContainerSpec::server().named("web-b").label("tier", "front");
    let c =
        ContainerSpec::busybox(&["sleep", "1000"]).named("back").label("tier", "back").label("backup", "");
    let (_a, _b, c) = (host.run(a).await?, host.run(b).await?, host.run(c).await?);
    let image = c.inspect().await?.config.and_then(|config| config.image).unwrap_or_default();
    folder.hears("label", "web-a", &["start"]).await;
    folder.hears("name", "web-b", &["start"]).await;
    let of = |name: &str| -> Vec<String> { folder.heard(name).into_iter().map(|h| h.container).collect() };
    assert_eq!(of("label"), ["web-a"]);
    assert_eq!(of("name"), ["web-a", "web-b"]);
    folder.hears("image", "back", &["start"]).await;
    assert_eq!(of("image"), ["back"], "a key without a tag matches {image}");
    Ok(())
}

#[tokio::test]
async fn health_exec_and_network_events_reach_handlers() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let folder = Folder::new()?;
    folder.handler(
        "health",
        "health_status",
        "",
        "echo \"$LONGSHORE_CONTAINER_NAME $LONGSHORE_ATTRIBUTE_HEALTH_STATUS\" >> health.heard",
    )?;
    folder.handler(
        "net",
        "network_create,network_destroy",
        "",
        "echo \"$2 $LONGSHORE_NETWORK_NAME\" >> net.heard",
    )?;
    folder.recorder("execs", "exec_create, exec_die", "")?;
    folder.recorder("joins", "connect,disconnect", "")?;
    let _agent = folder.agent(host).start().await?;
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
    let web = host.run(ContainerSpec::server().named("web").health_check(Duration::from_millis(300))).await?;
    eventually("the health check's change is told", async || read("health.heard") == "web healthy\n").await;
    let network = host.network("longshore-told").await?;
    network.connect(&web.id).await?;
    network.disconnect(&web.id).await?;
    let name = network.name.clone();
    host.docker().remove_network(&network.id).await?;
    // Docker 20.10 itself reports a disconnection twice.
    let joins = async || {
        let mut told = host.events_of(&web.id).await.unwrap_or_default();
        told.retain(|event| event == "connect" || event == "disconnect");
        told.starts_with(&["connect".to_owned(), "connect".to_owned(), "disconnect".to_owned()])
            && folder.events_of("joins", "web") == told
    };
    eventually("what Docker reports of joins is delivered", joins).await;
    eventually("networks are told", async || {
        let (net, name) = (read("net.heard"), &name);
        net == format!("network_create {name}\nnetwork_destroy {name}\n")
    })
    .await;
    let told = async || !folder.heard("execs").is_empty();
    never_within(Duration::from_millis(700), "a handler is told what a health check does", told).await;
    let options =
        ExecConfig { cmd: Some(vec!["/testserver".to_owned(), "--help".to_owned()]), ..Default::default() };
    let exec = host.docker().create_exec(&web.id, options).await?;
    host.docker().start_exec(&exec.id, Some(StartExecOptions { detach: true, ..Default::default() })).await?;
    folder.hears("execs", "web", &["exec_create", "exec_die"]).await;
    Ok(())
}

#[tokio::test]
async fn none_runs_at_the_start_and_after_a_handler_that_triggers_it() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let folder = Folder::new()?;
    folder.handler("dummy", "none", "", "echo \"[$2] [$3] $#\" >> dummy.heard")?;
    folder.recorder("trigger", "start", "triggers-none=1")?;
    let _agent = folder.agent(host).start().await?;
    let read = || std::fs::read_to_string(folder.path().join("dummy.heard")).unwrap_or_default();
    eventually("none is run at the start, with an empty third argument", async || read() == "[none] [] 3\n")
        .await;
    let _web = host.run(ContainerSpec::server().named("web")).await?;
    folder.hears("trigger", "web", &["start"]).await;
    eventually("none is run once more", async || read() == "[none] [] 3\n[none] [] 3\n").await;
    Ok(())
}

#[tokio::test]
async fn a_failed_delivery_is_repeated_given_up_kept_and_replayed() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let folder = Folder::new()?;
    folder.handler("sick", "start", "retries=2", &format!("{RECORD}; test -e fixed"))?;
    folder.handler("for-good", "start", "retries=5", &format!("{RECORD}; exit 65"))?;
    let agent = folder.agent(host).start().await?;
    let _web = host.run(ContainerSpec::server().named("web")).await?;
    eventually("both fail permanently", async || {
        agent
            .api("/v1/handlers/failed")
            .await
            .is_ok_and(|failed| failed.as_array().is_some_and(|all| all.len() == 2))
    })
    .await;
    let attempts: Vec<(u32, bool)> =
        folder.heard("sick").iter().map(|h| (h.attempt, h.redelivered)).collect();
    assert_eq!(attempts, [(1, false), (2, true), (3, true)]);
    let ids: BTreeSet<String> = folder.heard("sick").into_iter().map(|h| h.id).collect();
    assert_eq!(ids.len(), 1, "a repeat has the id of the first");
    assert_eq!(folder.heard("for-good").len(), 1, "what will never work is not retried");
    let told = agent.cli(&["handlers", "failed"]).await?;
    assert!(told.contains("sick") && told.contains("exited with status 1") && told.contains("web"), "{told}");
    let problems = agent.cli(&["problems"]).await?;
    assert!(problems.contains("handler sick") && problems.contains("failed permanently"), "{problems}");
    let failed = agent.api("/v1/handlers/failed").await?;
    let of_sick = failed.as_array().into_iter().flatten().find(|one| one["handler"] == "sick");
    let id = of_sick.and_then(|one| one["id"].as_str()).ok_or("no id")?.to_owned();
    std::fs::write(folder.path().join("fixed"), "")?;
    agent.cli(&["handlers", "replay", &id]).await?;
    eventually("the replay reaches it", async || folder.heard("sick").len() == 4).await;
    eventually("nothing of it is kept", async || {
        agent
            .api("/v1/handlers/failed")
            .await
            .is_ok_and(|failed| failed.as_array().is_some_and(|all| all.len() == 1))
    })
    .await;
    assert!(agent.cli(&["handlers", "replay", &id]).await.is_err(), "it is no longer there");
    agent.cli(&["handlers", "forget", "all"]).await?;
    eventually("a forgotten delivery is no problem", async || {
        agent.cli(&["problems"]).await.is_ok_and(|problems| !problems.contains("failed permanently"))
    })
    .await;
    let listed = agent.cli(&["handlers"]).await?;
    assert!(listed.contains("for-good") && !listed.contains("failing"), "{listed}");
    Ok(())
}

#[tokio::test]
async fn a_script_that_never_ends_is_ended_and_holds_up_no_other_container() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let folder = Folder::new()?;
    let script = format!("{RECORD}; if [ $LONGSHORE_CONTAINER_NAME = stuck ]; then sleep 1000; fi");
    folder.handler("slow", "start", "timeout=2s\nretries=0", &script)?;
    let agent = folder.agent(host).start().await?;
    let _stuck = host.run(ContainerSpec::server().named("stuck")).await?;
    let _free = host.run(ContainerSpec::server().named("free")).await?;
    folder.hears("slow", "free", &["start"]).await;
    eventually("it fails permanently", async || {
        agent.cli(&["handlers", "failed"]).await.is_ok_and(|told| told.contains("did not exit within 2s"))
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn files_are_read_again_and_a_broken_one_costs_only_its_handler() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let folder = Folder::new()?;
    folder.recorder("good", "start", "")?;
    folder.ini("broken", "this is no INI file\n[handler\n")?;
    let agent = folder.agent(host).start().await?;
    let problems = agent.cli(&["problems"]).await?;
    assert!(problems.contains("broken.ini"), "{problems}");
    let _a = host.run(ContainerSpec::busybox(&["sleep", "1000"]).named("first")).await?;
    folder.hears("good", "first", &["start"]).await;
    folder.recorder("broken", "start", "")?;
    folder.recorder("late", "start", "")?;
    eventually("both are found", async || {
        let listed = agent.cli(&["handlers"]).await.unwrap_or_default();
        listed.contains("broken") && listed.contains("late")
    })
    .await;
    eventually("and no problem is left", async || {
        agent.cli(&["problems"]).await.is_ok_and(|problems| !problems.contains("broken.ini"))
    })
    .await;
    let _b = host.run(ContainerSpec::busybox(&["sleep", "1000"]).named("second")).await?;
    folder.hears("late", "second", &["start"]).await;
    folder.hears("broken", "second", &["start"]).await;
    std::fs::remove_file(folder.path().join("late.ini"))?;
    folder.recorder("good", "die", "")?;
    eventually("it is gone", async || {
        agent.cli(&["handlers"]).await.is_ok_and(|listed| !listed.contains("late"))
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn handlers_of_the_settings_file_come_and_go_with_sighup() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let folder = Folder::new()?;
    let script = folder.script("recorder", RECORD)?;
    let file = folder.path().join("longshore.toml");
    let balancer = "balancer = \"none\"\n";
    std::fs::write(&file, balancer)?;
    let config = file.display().to_string();
    let agent = Agent::on(host).flags(&["--config", &config]).start().await?;
    let params = format!("params = {{ script = {:?} }}\n", script.display().to_string());
    let defined =
        format!("{balancer}\n[[handler]]\nname = \"told\"\nclass = \"script\"\nevents = \"start\"\n{params}");
    std::fs::write(&file, defined)?;
    agent.sighup();
    let is_there = async || agent.cli(&["handlers"]).await.is_ok_and(|listed| listed.contains("told"));
    eventually("it is found", is_there).await;
    let _web = host.run(ContainerSpec::busybox(&["sleep", "1000"]).named("web")).await?;
    folder.hears("told", "web", &["start"]).await;
    std::fs::write(&file, balancer)?;
    agent.sighup();
    eventually("it is gone", async || !is_there().await).await;
    assert!(agent.cli(&["problems"]).await?.contains("no problems"));
    Ok(())
}

#[tokio::test]
async fn a_handler_that_follows_from_here_on_is_told_of_no_event_any_more() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let folder = Folder::new()?;
    folder.recorder("turns", "start", "")?;
    folder.recorder("stays", "start", "")?;
    let agent = folder.agent(host).start().await?;
    let _a = host.run(ContainerSpec::busybox(&["sleep", "1000"]).named("first")).await?;
    folder.hears("turns", "first", &["start"]).await;
    folder.ini("turns", "[handler]\nclass=publisher\n[params]\nendpoints=http://127.0.0.1:9\n")?;
    eventually("it is the other handler, once", async || {
        let handlers = agent.api("/v1/handlers").await.unwrap_or_default();
        let jobs = handlers.as_array().into_iter().flatten().map(|h| (&h["name"], &h["job"]));
        jobs.collect::<Vec<_>>()
            == [(&"stays".into(), &"script".into()), (&"turns".into(), &"publisher".into())]
    })
    .await;
    let _b = host.run(ContainerSpec::busybox(&["sleep", "1000"]).named("second")).await?;
    folder.hears("stays", "second", &["start"]).await;
    assert_eq!(folder.events_of("turns", "second"), Vec::<String>::new());
    let test = ["handlers", "test", "turns", "--event", "start", "--container", "second"];
    let refused = agent.cli(&test).await.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(refused.contains("publisher") && refused.contains("follows the containers"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn a_handler_that_goes_and_comes_again_costs_no_other_handler_its_events() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let folder = Folder::new()?;
    let slow = format!("{RECORD}; while [ ! -e go ]; do sleep 0.1; done; echo ended >> slow.ended");
    folder.handler("slow", "start", "", &slow)?;
    folder.handler("late", "start", "retries=100", &format!("test -e fixed && {RECORD}"))?;
    let agent = folder.agent(host).start().await?;
    let _web = host.run(ContainerSpec::busybox(&["sleep", "1000"]).named("web")).await?;
    folder.hears("slow", "web", &["start"]).await;
    let listed = async |name: &str| {
        agent.cli(&["handlers"]).await.is_ok_and(|listed| listed.lines().any(|line| line.starts_with(name)))
    };
    std::fs::remove_file(folder.path().join("slow.ini"))?;
    eventually("it is gone", async || !listed("slow").await).await;
    folder.handler("slow", "start", "", &slow)?;
    eventually("it is there again", async || listed("slow").await).await;
    std::fs::write(folder.path().join("go"), "")?;
    eventually("what was under way ends", async || folder.path().join("slow.ended").exists()).await;
    eventually("the agent took note of it", async || {
        let handlers = agent.api("/v1/handlers").await.unwrap_or_default();
        handlers.as_array().into_iter().flatten().all(|handler| handler["running"] == 0)
    })
    .await;
    std::fs::write(folder.path().join("fixed"), "")?;
    folder.hears("late", "web", &["start"]).await;
    assert_eq!(folder.heard("slow").len(), 1, "a handler that comes back starts afresh");
    Ok(())
}

#[tokio::test]
async fn a_handler_whose_script_is_missing_is_broken_until_it_is_there() -> TestResult {
    let lab = Lab::up(1).await?;
    let folder = Folder::new()?;
    let script = folder.path().join("greet.sh");
    let ini = format!("[handler]\nclass=script\nevents=start\n[params]\nscript={}\n", script.display());
    std::fs::write(folder.path().join("greet.ini"), ini)?;
    let agent = folder.agent(lab.host(0)).start().await?;
    let state = async |wanted: &str| {
        let listed = agent.cli(&["handler", "ls"]).await.unwrap_or_default();
        listed.lines().any(|line| line.starts_with("greet ") && line.contains(wanted))
    };
    eventually("it is listed as broken", async || state("broken: ").await && state("greet.sh").await).await;
    let json = agent.api("/v1/handlers").await?;
    assert!(json[0]["origin"].as_str().is_some_and(|origin| origin.ends_with("greet.ini:5")), "{json}");
    std::fs::write(&script, "#!/bin/sh\n")?;
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    eventually("it is a handler like any other", async || state(" ok").await).await;
    Ok(())
}

#[tokio::test]
async fn a_handler_is_tested_by_hand() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let folder = Folder::new()?;
    folder.recorder("hand", "die", "")?;
    let agent = folder.agent(host).start().await?;
    let web = host.run(ContainerSpec::server().named("web")).await?;
    eventually("the agent knows it", async || {
        agent
            .cli(&["handlers", "test", "hand", "--event", "start", "--container", "web", "--dry-run"])
            .await
            .is_ok()
    })
    .await;
    let dry = ["handlers", "test", "hand", "--event", "start", "--container", &web.id[..8], "--dry-run"];
    let dry = agent.cli(&dry).await?;
    assert!(dry.contains("hand.sh") && dry.contains("LONGSHORE_CONTAINER_NAME=web"), "{dry}");
    assert!(dry.contains("the handler's filter excludes this event"), "{dry}");
    assert_eq!(folder.heard("hand"), []);
    let real = agent.cli(&["handlers", "test", "hand", "--event", "start", "--container", "web"]).await?;
    assert!(real.contains("succeeded in"), "{real}");
    assert_eq!(folder.events_of("hand", "web"), ["start"]);
    assert!(agent.cli(&["handlers", "test", "nobody", "--event", "none"]).await.is_err());
    let typo = ["handler", "test", "hand", "--event", "strat", "--container", "web"];
    let Err(AgentError::Cli { output, .. }) = agent.cli(&typo).await else { panic!("strat is not an event") };
    assert!(output.contains("unknown event \"strat\" (did you mean \"start\"?)"), "{output}");
    for (event, container) in
        [("start", "no"), ("all", "web"), ("network_create", "web"), ("none", "web"), ("two words", "web")]
    {
        let test = ["handlers", "test", "hand", "--event", event, "--container", container];
        assert!(agent.cli(&test).await.is_err(), "{event} of {container}");
    }
    assert_eq!(folder.heard("hand").len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_thousand_events_reach_eight_handlers_in_order_for_each_container() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let folder = Folder::new()?;
    folder.recorder("h0", "rename", "parallel=2")?;
    for number in 1..8 {
        folder.recording_plugin(&format!("h{number}"), "rename", "parallel=4")?;
    }
    let agent = folder.agent(host).start().await?;
    let mut containers = Vec::new();
    for number in 0..5 {
        containers
            .push(host.create(ContainerSpec::busybox(&["true"]).named(format!("order-{number}"))).await?);
    }
    let each = 200;
    let renames = containers.iter_mut().enumerate().map(async |(number, container)| {
        for turn in 0..each {
            container.rename(&format!("order-{number}-{turn}")).await?;
        }
        TestResult::Ok(())
    });
    for done in futures_util::future::join_all(renames).await {
        done?;
    }
    let deadline = Instant::now() + Duration::from_secs(100);
    loop {
        let handlers = agent.api("/v1/handlers").await?;
        let delivered: Vec<u64> =
            handlers.as_array().into_iter().flatten().filter_map(|h| h["delivered"].as_u64()).collect();
        if delivered == [1000; 8] {
            break;
        }
        assert!(Instant::now() < deadline, "each should have 1,000 deliveries, and they are {handlers}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for handler in 0..8 {
        let heard = folder.heard(&format!("h{handler}"));
        for number in 0..5 {
            let of_it =
                heard.iter().filter_map(|heard| heard.container.strip_prefix(&format!("order-{number}-")));
            let turns: Vec<usize> = of_it.filter_map(|turn| turn.parse().ok()).collect();
            assert!(turns.iter().copied().eq(0..each), "h{handler} heard of container {number}: {turns:?}");
        }
    }
    Ok(())
}

/// Answers 503 to the first request, then 204; records each with whether its signature is valid.
const RECEIVER: &str = r#"
import base64, hashlib, hmac, http.server, json, sys

key, out, refused = base64.b64decode(sys.argv[1]), sys.argv[2], []

class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        signed = ".".join([self.headers["webhook-id"], self.headers["webhook-timestamp"], ""]).encode() + body
        right = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        told = json.loads(body)
        line = [told["event"], told["container"]["name"], told["id"], told["attempt"], int(told["redelivered"]),
                int(told["made_up"]), right == self.headers["webhook-signature"], "State" in told["inspection"]]
        with open(out, "a") as heard:
            heard.write(" ".join(map(str, line)) + "\n")
        self.send_response(204 if refused else 503)
        refused.append(1)
        self.end_headers()

    def log_message(self, *args):
        pass

http.server.HTTPServer(("127.0.0.1", 8099), Receiver).serve_forever()
"#;

#[tokio::test]
async fn a_webhook_is_posted_signed_and_again_after_a_failure() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let folder = Folder::new()?;
    let (key, heard) = ("bG9uZ3Nob3JlLWlzLW5vdC1hLXNlY3JldC1hdC1hbGw=", folder.path().join("posted"));
    let (secret, receiver) = (folder.path().join("secret"), folder.path().join("receiver.py"));
    std::fs::write(&secret, format!("whsec_{key}\n"))?;
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600))?;
    std::fs::write(&receiver, RECEIVER)?;
    let mut receiving = host.command("python3");
    receiving.arg(&receiver).arg(key).arg(&heard).kill_on_drop(true);
    let _receiving = receiving.spawn()?;
    let params = format!("url=http://127.0.0.1:8099/hook\nsecret-file={}", secret.display());
    folder.ini("hook", &format!("[handler]\nclass=webhook\nevents=start\n\n[params]\n{params}\n"))?;
    let agent = folder.agent(host).start().await?;
    let _web = host.run(ContainerSpec::server().named("web")).await?;
    let posted = || std::fs::read_to_string(&heard).unwrap_or_default();
    eventually("it is posted until it is taken", async || {
        let handlers = agent.api("/v1/handlers").await.unwrap_or_default();
        handlers[0]["delivered"] == 1
    })
    .await;
    let lines: Vec<String> = posted().lines().map(str::to_owned).collect();
    let marks: Vec<&str> =
        lines.iter().filter_map(|line| line.split_once("-start ").map(|(_, marks)| marks)).collect();
    // A connection refused while the receiver started is an attempt, too.
    let [first, second] = marks[..] else { panic!("{lines:?}") };
    assert!(first.ends_with(" 0 True True") && second.ends_with(" 1 0 True True"), "{lines:?}");
    assert!(lines.iter().all(|line| line.starts_with("start web ")), "{lines:?}");
    Ok(())
}

#[tokio::test]
async fn an_agent_is_replaced_and_no_event_is_lost_or_told_twice_without_a_mark() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let folder = Folder::new()?;
    folder.recording_plugin("plugin", "rename", "")?;
    folder.recorder("script", "rename", "")?;
    // A balancer that does not outlive the agent: the successor starts next to it.
    let agent = folder.agent(host).flags(&["--balancer", "built-in"]).start().await?;
    let mut web = host.create(ContainerSpec::busybox(&["true"]).named("turn")).await?;
    let turns = 150;
    for turn in 0..turns {
        if turn == 30 {
            agent.sigusr2();
        }
        web.rename(&format!("turn-{turn}")).await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for name in ["plugin", "script"] {
        eventually(&format!("{name} hears of the last"), async || {
            folder.heard(name).last().is_some_and(|heard| heard.container == format!("turn-{}", turns - 1))
        })
        .await;
        let mut ids = BTreeSet::new();
        let heard = folder.heard(name);
        assert!(
            heard.iter().all(|heard| ids.insert(heard.id.clone()) || heard.redelivered),
            "{name}: {heard:?}"
        );
        assert_eq!(ids.len(), turns, "{name}");
        assert!(agent.log().contains("successor started"), "{}", agent.log());
    }
    Ok(())
}

#[tokio::test]
async fn a_full_disk_holds_up_no_delivery_and_is_a_problem_until_there_is_room() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let folder = Folder::new()?;
    folder.recorder("all", "start,rename", "")?;
    let disk = Disk::mount("6m")?;
    let agent = folder.agent(host).data_dir(disk.0.path().join("data")).start().await?;
    let mut web = host.run(ContainerSpec::busybox(&["sleep", "1000"]).named("turn-0")).await?;
    folder.hears("all", "turn-0", &["start"]).await;
    let filler = disk.0.path().join("filler");
    let mut file = std::fs::File::create(&filler)?;
    while std::io::Write::write_all(&mut file, &[7; 4096]).is_ok() {}
    // While open, it would keep its space.
    drop(file);
    let mut turn = 0;
    while !agent.cli(&["problems"]).await?.contains("cannot be written to the journal") {
        assert!(turn < 200, "the journal is full, and no problem says so: {}", agent.log());
        turn += 1;
        web.rename(&format!("turn-{turn}")).await?;
    }
    // What the agent still had to write may have found the disk full before any of these.
    for _ in 0..20 {
        turn += 1;
        web.rename(&format!("turn-{turn}")).await?;
    }
    eventually("every event is told all the same", async || {
        folder.heard("all").last().is_some_and(|heard| heard.container == format!("turn-{turn}"))
    })
    .await;
    assert_eq!(folder.heard("all").len(), turn + 1);
    std::fs::remove_file(&filler)?;
    eventually("with room again there is no problem", async || {
        agent
            .cli(&["problems"])
            .await
            .is_ok_and(|problems| !problems.contains("cannot be written to the journal"))
    })
    .await;
    Ok(())
}

/// A file system of its own, with a size that can be filled.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mount(size: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let folder = tempfile::tempdir()?;
        let options = format!("size={size}");
        let mut mount = std::process::Command::new("mount");
        let mount = mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder.path());
        if !mount.status()?.success() {
            return Err("cannot mount".into());
        }
        Ok(Self(folder))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}
