use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use longshore_model::EventSubject;
use rustix::process::Pid;

use super::*;
use crate::sample::Sample;

/// A folder with a script in it.
struct Bench {
    dir: tempfile::TempDir,
    script: Script,
}

impl Bench {
    fn of(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("handler.sh");
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let ini = dir.path().join("told.ini");
        let docker_host = "unix:///run/other.sock".to_owned();
        Self { dir, script: Script { program, ini, ignore_status: false, docker_host } }
    }

    async fn run(&self, sample: &Sample) -> Result<(), Failure> {
        self.script.deliver(&sample.attempt()).await
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).unwrap_or_default()
    }

    /// Waits until a script has written this file.
    async fn written(&self, name: &str) -> String {
        for _ in 0..500 {
            if self.read(name).ends_with('\n') {
                return self.read(name);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{name} was not written")
    }
}

fn sample() -> Sample {
    Sample::with_labels(&[])
}

/// Returns whether a process runs or is not yet reaped.
fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

async fn ends(pid: &str, within: Duration) -> bool {
    let deadline = Instant::now() + within;
    while runs(pid) && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    !runs(pid)
}

#[tokio::test]
async fn a_script_gets_ini_event_and_id_and_the_inspection_and_runs_in_its_own_folder() {
    let bench = Bench::of("#!/bin/sh\nprintf '[%s] ' \"$@\" \"$#\" > args\ncat > inspection\npwd > folder\n");
    bench.run(&sample()).await.unwrap();
    let ini = bench.dir.path().join("told.ini");
    assert_eq!(bench.read("args"), format!("[{}] [start] [{}] [3] ", ini.display(), "c0".repeat(32)));
    assert_eq!(bench.read("inspection"), r#"{"Id":"c0c0"}"#);
    assert_eq!(bench.read("folder").trim(), bench.dir.path().canonicalize().unwrap().to_str().unwrap());
}

#[tokio::test]
async fn the_dummy_event_has_an_empty_third_argument_and_an_empty_input() {
    let bench = Bench::of("#!/bin/sh\nprintf '[%s] ' \"$2\" \"$3\" \"$#\" > args\ncat > inspection\n");
    let mut sample = sample();
    sample.event.event = "none".to_owned();
    sample.event.subject = EventSubject::Nothing;
    sample.inspection = None;
    bench.run(&sample).await.unwrap();
    assert_eq!(bench.read("args"), "[none] [] [3] ");
    assert_eq!(bench.read("inspection"), "");
}

#[tokio::test]
async fn a_script_that_reads_half_of_a_long_inspection_or_none_of_it_is_done() {
    let mut sample = sample();
    sample.inspection = serde_json::value::to_raw_value(&"x".repeat(4 * 1024 * 1024)).ok();
    for text in ["#!/bin/sh\nhead -c 100000 >/dev/null\n", "#!/bin/sh\nexec <&-\n", "#!/bin/sh\n"] {
        Bench::of(text).run(&sample).await.unwrap();
    }
}

#[tokio::test]
async fn the_main_facts_are_in_the_environment_and_the_agents_secrets_are_not() {
    let labels = [("com.example/a-b", "one"), ("com.example/a.b", "two"), ("é", "e"), ("longshore.x", "2 3")];
    let mut sample = Sample::with_labels(&labels);
    sample.event.attributes.insert("exitCode".to_owned(), "137".to_owned());
    sample.event.synthetic = true;
    let bench = Bench::of("#!/bin/sh\nenv | LC_ALL=C sort > env\n");
    let mut attempt = sample.attempt();
    (attempt.number, attempt.redelivered) = (3, true);
    bench.script.deliver(&attempt).await.unwrap();
    let env = bench.read("env");
    let ours: Vec<&str> = env.lines().filter(|line| line.starts_with("LONGSHORE_")).collect();
    assert_eq!(
        ours,
        [
            "LONGSHORE_ATTEMPT=3",
            "LONGSHORE_ATTRIBUTE_EXITCODE=137",
            &format!("LONGSHORE_CONTAINER_ID={}", "c0".repeat(32)),
            "LONGSHORE_CONTAINER_IMAGE=nginx:1",
            "LONGSHORE_CONTAINER_LABEL_COM_EXAMPLE_A_B=one",
            "LONGSHORE_CONTAINER_LABEL_LONGSHORE_X=2 3",
            "LONGSHORE_CONTAINER_LABEL__=e",
            "LONGSHORE_CONTAINER_NAME=web",
            "LONGSHORE_EVENT=start",
            "LONGSHORE_EVENT_AT=2023-11-14T22:13:20Z",
            "LONGSHORE_EVENT_ID=17-c0c0-start",
            "LONGSHORE_HANDLER=told",
            "LONGSHORE_MADE_UP=1",
            "LONGSHORE_NODE=h1",
            "LONGSHORE_REDELIVERED=1",
            "LONGSHORE_SYNTHETIC=1",
        ]
    );
    assert!(env.contains("DOCKER_HOST=unix:///run/other.sock\n"), "{env}");
    // What cargo set for the test, an administrator may have set for the agent.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some() && !env.contains("CARGO"), "{env}");
    assert!(env.contains("PATH="), "{env}");
}

#[tokio::test]
async fn no_label_keeps_a_script_from_running() {
    let (nul, long, key) = ("a\0b", "x".repeat(1024 * 1024), "k".repeat(1024 * 1024));
    let middling = "y".repeat(30_000);
    let mut labels = vec![("a.nul", nul), ("b.long", &long), (&key, "k"), ("z", "seen"), ("nul\0key", "key")];
    labels.extend([("m1", &*middling), ("m2", &middling), ("m3", &middling), ("m4", &middling)]);
    let bench = Bench::of("#!/bin/sh\nenv > env\n");
    bench.run(&Sample::with_labels(&labels)).await.unwrap();
    let env = bench.read("env");
    assert!(env.contains("LONGSHORE_CONTAINER_LABEL_Z=seen\n"), "the rest is told");
    assert!(env.contains("LABEL_M2=") && !env.contains("LABEL_M4="), "as much as fits");
    assert!(!env.contains("A_NUL") && !env.contains("B_LONG"));
    assert!(env.contains("LONGSHORE_CONTAINER_LABEL_NUL_KEY=key\n"));
}

#[tokio::test]
async fn the_exit_status_says_whether_another_time_is_of_use() {
    for code in 0..=255 {
        let judged = Bench::of(&format!("#!/bin/sh\necho why >&2\nexit {code}\n")).run(&sample()).await;
        let Err(failure) = judged else {
            assert_eq!(code, 0);
            continue;
        };
        assert_eq!(failure.is_permanent(), (64..=74).contains(&code) || (76..=78).contains(&code), "{code}");
        assert_eq!(failure.why, format!("it exited with status {code}: why"));
    }
    let killed = Bench::of("#!/bin/sh\nkill -9 $$\n").run(&sample()).await;
    assert_eq!(killed, Err(Failure::passing("it was killed by signal 9")));
}

#[tokio::test]
async fn how_a_script_of_docker_glues_class_ends_means_nothing() {
    let mut bench = Bench::of("#!/bin/sh\necho Port already attached >&2\nexit 1\n");
    let sample = Sample::with_labels(&[]);
    assert!(bench.run(&sample).await.is_err());
    bench.script.ignore_status = true;
    assert_eq!(bench.run(&sample).await, Ok(()));
    // A script that does not start is not delivered.
    bench.script.program = "/nowhere".into();
    assert!(bench.run(&sample).await.is_err());
}

#[tokio::test]
async fn a_script_that_cannot_be_run_says_why_and_may_be_fixed() {
    let bench = Bench::of("#!/no/such/interpreter\n");
    let program = bench.dir.path().join("handler.sh");
    let why = async || {
        let failure = bench.run(&sample()).await.unwrap_err();
        assert!(!failure.is_permanent(), "{failure:?}");
        failure.why
    };
    assert!(why().await.contains("the interpreter in its first line does not exist"));
    std::fs::write(&program, "\u{1}\u{2}").unwrap();
    assert!(why().await.contains("start the script with a line such as #!/bin/sh"));
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(why().await.contains("chmod +x"));
    std::fs::remove_file(&program).unwrap();
    assert!(why().await.contains("put it there"));
    std::fs::copy("/bin/true", &program).unwrap();
    let writer = std::fs::OpenOptions::new().append(true).open(&program).unwrap();
    assert!(why().await.contains("it is still being written"));
    drop(writer);
    bench.run(&sample()).await.unwrap();
}

#[tokio::test]
async fn a_script_that_never_ends_is_ended_with_all_that_it_started() {
    let bench = Bench::of("#!/bin/sh\nsleep 1000 &\necho $! > child\necho $$ > leader\nwait\n");
    let mut sample = sample();
    sample.handler.delivery.timeout = Duration::from_millis(500);
    let began = Instant::now();
    let failure = bench.run(&sample).await.unwrap_err();
    assert_eq!(failure, Failure::passing("it did not exit within 500ms and was terminated"));
    assert!(began.elapsed() < Duration::from_secs(3), "what obeys is not waited for");
    assert!(!runs(&bench.read("leader")) && !runs(&bench.read("child")));
}

#[tokio::test]
async fn a_script_that_ignores_the_first_signal_is_killed_by_the_second() {
    let bench = Bench::of(
        "#!/bin/sh\ntrap '' TERM\n(while :; do sleep 1; done) &\necho $! > child\necho $$ > leader\nwhile :; do sleep 1; done\n",
    );
    let mut sample = sample();
    sample.handler.delivery.timeout = Duration::from_millis(500);
    let began = Instant::now();
    bench.run(&sample).await.unwrap_err();
    assert!(began.elapsed() >= Duration::from_secs(5), "it has its five seconds");
    assert!(!runs(&bench.read("leader")) && ends(&bench.read("child"), Duration::from_secs(1)).await);
}

#[tokio::test]
async fn a_delivery_that_is_given_up_leaves_nothing_running() {
    let bench = Bench::of("#!/bin/sh\nsleep 1000 &\necho $! > child\necho $$ > leader\nwait\n");
    let sample = sample();
    {
        let attempt = sample.attempt();
        tokio::select! {
            _ = bench.script.deliver(&attempt) => panic!("it ended"),
            _ = bench.written("leader") => {}
        }
    }
    assert!(ends(&bench.read("leader"), Duration::from_secs(3)).await);
    assert!(ends(&bench.read("child"), Duration::from_secs(3)).await);
}

#[tokio::test]
async fn what_outlives_its_script_with_the_pipes_open_holds_nothing_up() {
    let bench = Bench::of("#!/bin/sh\nsleep 1000 &\necho $! > child\n");
    let began = Instant::now();
    bench.run(&sample()).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(3));
    let child = bench.read("child");
    assert!(runs(&child), "what a script leaves running is its own business");
    let pid = Pid::from_raw(child.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// A log that can be read.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn begin() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
        (log, tracing::subscriber::set_default(subscriber.finish()))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

#[tokio::test]
async fn what_a_script_writes_is_in_the_log_under_the_handlers_name() {
    let (log, _guard) = Log::begin();
    let bench = Bench::of("#!/bin/sh\necho 'to the log'\nprintf 'and \\033[31mthis' >&2\n");
    bench.run(&sample()).await.unwrap();
    let text = log.text();
    let line = |part: &str| text.lines().find(|line| line.contains(part)).unwrap_or_default().to_owned();
    assert!(line("to the log").contains(r#"handler="told" stream="stdout""#), "{text}");
    assert!(line("and \\").contains(r#"handler="told" stream="stderr""#), "{text}");
}

#[tokio::test]
async fn a_flood_of_output_neither_fills_the_log_nor_stops_anybody_else() {
    let (log, _guard) = Log::begin();
    let bench = Bench::of("#!/bin/sh\nexec yes\n");
    let mut sample = sample();
    sample.handler.delivery.timeout = Duration::from_secs(2);
    let mut ticks = 0;
    let attempt = sample.attempt();
    tokio::select! {
        done = bench.script.deliver(&attempt) => assert!(done.is_err()),
        () = async { loop { tokio::time::sleep(Duration::from_millis(10)).await; ticks += 1; } } => {}
    }
    assert!(ticks > 60, "{ticks}");
    let text = log.text();
    assert!(text.contains("more bytes are left out"));
    assert!(text.lines().count() < 11_000);
}

/// As printed in Docker Glue's documentation.
const DOCUMENTED: &str = include_str!("test-handler.sh");

#[tokio::test]
async fn the_documents_script_works_as_printed() {
    let bench = Bench::of(DOCUMENTED);
    let own = format!("some value of {}", std::process::id());
    let ini = format!("[handler]\nevents=all\n\n[params]\nscript=test-handler.sh\ndemo-option={own}\n");
    std::fs::write(bench.dir.path().join("told.ini"), ini).unwrap();
    bench.run(&sample()).await.unwrap();
    let mut none = sample();
    none.event.event = "none".to_owned();
    none.event.subject = EventSubject::Nothing;
    bench.run(&none).await.unwrap();
    let log = std::fs::read_to_string("/tmp/docker-glue-test.log").unwrap();
    let id = "c0".repeat(32);
    for (id, event) in [(id.as_str(), "start"), ("", "none")] {
        let line = format!(" container_id=[{id}] status=[{event}] ini_demo_option=[{own}]\n");
        assert!(log.contains(&line), "{log}");
    }
}
