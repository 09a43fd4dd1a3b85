//! The protocol, with real processes.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use longshore_model::{
    ContainerFacts, ContainerId, DeliveryRules, EventId, EventSubject, Filter, Handler, HandlerEvent, Job,
    Origin,
};
use longshore_runtime::Problems;
use tokio::time::{sleep, timeout};

use super::Plugin;
use crate::attempt::{Attempt, Failure};

/// A plugin in Python that answers the hello and calls `said(event)` for each event.
const GREETS: &str = r#"
import json, os, sys, time
def tell(**message):
    print(json.dumps(message), flush=True)
def ack(event, **more):
    tell(type='ack', id=event['id'], **more)
hello = json.loads(sys.stdin.readline())
assert hello['type'] == 'hello' and hello['protocol'] == 1, hello
"#;

/// The rest of a plugin: calls `said`.
const LOOP: &str = r#"
for line in sys.stdin:
    event = json.loads(line)
    if event['type'] == 'shutdown': break
    said(event)
"#;

fn python(program: &str) -> Vec<String> {
    ["python3", "-c", &format!("{GREETS}{program}")].map(str::to_owned).to_vec()
}

fn sh(program: &str) -> Vec<String> {
    ["sh", "-c", program].map(str::to_owned).to_vec()
}

struct Case {
    handler: Handler,
    plugin: Plugin,
    problems: Problems,
    _dir: tempfile::TempDir,
}

impl Case {
    /// Starts a plugin; `$DIR` in the command stands for the test's own folder.
    fn start(command: &[String], rules: DeliveryRules) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().to_str().unwrap();
        let command: Vec<String> = command.iter().map(|word| word.replace("$DIR", folder)).collect();
        let handler = Handler {
            name: "demo".to_owned(),
            origin: Origin { file: "/etc/longshore/handlers.d/demo.ini".into(), line: None },
            enabled: true,
            triggers_none: false,
            filter: Filter::default(),
            delivery: rules,
            job: Job::Plugin { command: command.clone() },
            params: [("custom_param".to_owned(), "some value".to_owned())].into(),
        };
        let problems = Problems::default();
        let plugin =
            Plugin::new(&handler, command, "n1", "unix:///var/run/docker.sock", dir.path(), &problems);
        Self { handler, plugin, problems, _dir: dir }
    }

    fn with(command: &[String]) -> Self {
        Self::start(command, within(20_000))
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self._dir.path().join(name)
    }

    async fn deliver(&self, id: &str, number: u32) -> Result<(), Failure> {
        let event = HandlerEvent {
            id: EventId(id.to_owned()),
            event: "start".to_owned(),
            at: 0,
            synthetic: false,
            subject: EventSubject::Container(
                ContainerFacts {
                    id: ContainerId::new("c0ffee"),
                    name: "web".to_owned(),
                    image: "nginx".to_owned(),
                    labels: BTreeMap::new(),
                }
                .into(),
            ),
            attributes: BTreeMap::new(),
        };
        let attempt = Attempt {
            node: "n1",
            handler: &self.handler,
            event: &event,
            inspection: None,
            number,
            redelivered: number > 1,
        };
        timeout(Duration::from_secs(60), self.plugin.deliver(&attempt)).await.expect("an outcome in time")
    }

    /// Returns the current problems, one per line.
    fn told(&self) -> String {
        self.problems.all().iter().map(|problem| format!("{problem}\n")).collect()
    }

    async fn why(&self, id: &str) -> String {
        let failure = self.deliver(id, 1).await.expect_err("a failure");
        assert!(!failure.is_permanent(), "{failure:?}");
        failure.why
    }
}

/// Returns the usual rules with this many milliseconds per event.
fn within(millis: u64) -> DeliveryRules {
    DeliveryRules { timeout: Duration::from_millis(millis), ..DeliveryRules::default() }
}

async fn until(sentence: &str, mut check: impl FnMut() -> bool) {
    let began = Instant::now();
    while !check() {
        assert!(began.elapsed() < Duration::from_secs(20), "{sentence}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Captures what this thread logs while the guard lives.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Logged {
    fn begin() -> (Self, tracing::subscriber::DefaultGuard) {
        let logged = Self::default();
        let writer = logged.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_max_level(tracing::Level::DEBUG);
        let subscriber = subscriber.with_writer(move || writer.clone()).finish();
        (logged, tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns whether the process with this id runs: neither gone nor a zombie.
fn runs(pid: &str) -> bool {
    let pid: u32 = pid.trim().parse().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[tokio::test]
async fn a_plugin_of_a_few_lines_of_shell_is_told_and_acknowledges() {
    let case = Case::with(&sh(r#"
        read -r hello; printf '%s\n' "$hello" > $DIR/hello
        echo '{"type":"hello","protocol":1,"name":"sh"}'
        while read -r line; do
            printf '%s\n' "$line" >> $DIR/events
            id=$(printf '%s' "$line" | sed -n 's/^{"type":"event","id":"\([^"]*\)".*/\1/p')
            [ -z "$id" ] || echo "{\"type\":\"ack\",\"id\":\"$id\"}"
        done
    "#));
    assert_eq!(case.deliver("e1", 1).await, Ok(()));
    assert_eq!(case.deliver("e2", 2).await, Ok(()));
    let hello: serde_json::Value = serde_json::from_str(&read(&case.path("hello"))).unwrap();
    assert_eq!(hello["node"], "n1");
    assert_eq!(hello["handler"], "demo");
    assert_eq!(hello["params"]["custom_param"], "some value");
    assert_eq!(hello["ini"], "/etc/longshore/handlers.d/demo.ini");
    let events = read(&case.path("events"));
    let last: serde_json::Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
    assert_eq!(
        (last["id"].as_str(), last["attempt"].as_u64(), last["redelivered"].as_bool()),
        (Some("e2"), Some(2), Some(true))
    );
    assert_eq!(last["container"]["name"], "web");
}

#[tokio::test]
async fn a_plugin_starts_before_the_first_event() {
    let case =
        Case::with(&python("open('$DIR/up', 'w').close(); tell(type='hello', protocol=1); sys.stdin.read()"));
    until("it runs", || case.path("up").exists()).await;
}

#[tokio::test]
async fn answers_come_out_of_order_and_a_nack_says_whether_to_try_again() {
    let case = Case::with(&python(
        r#"
tell(type='hello', protocol=1)
events = {}
while len(events) < 3:
    event = json.loads(sys.stdin.readline())
    events[event['id']] = event
tell(type='nack', id='c', reason='no such\nthing', retry=False)
tell(type='nack', id='b', reason='busy')
ack(events['a'])
sys.stdin.read()
"#,
    ));
    let (a, b, c) = tokio::join!(case.deliver("a", 1), case.deliver("b", 1), case.deliver("c", 1));
    assert_eq!(a, Ok(()));
    assert_eq!(b, Err(Failure::passing("it refused: busy")));
    assert_eq!(c, Err(Failure::for_good("it refused: no such thing")));
}

#[tokio::test]
async fn no_more_events_are_told_at_once_than_rules_and_plugin_allow() {
    let counts = r#"
import select
tell(type='hello', protocol=1, **json.loads('$MORE'))
while True:
    time.sleep(0.1)
    batch = []
    while not batch or select.select([0], [], [], 0)[0]:
        batch += os.read(0, 1 << 20).split(b'\n')[:-1]
        if not batch: sys.exit()
    with open('$DIR/batches', 'a') as file: file.write('%d\n' % len(batch))
    for line in batch: ack(json.loads(line))
"#;
    for (more, most) in [("{}", 3), (r#"{"parallel": 1}"#, 1), (r#"{"parallel": 50}"#, 3)] {
        let rules = DeliveryRules { parallel: 3, ..within(20_000) };
        let case = Case::start(&python(&counts.replace("$MORE", more)), rules);
        let ids = ["a", "b", "c", "d", "e", "f"];
        for outcome in futures_util::future::join_all(ids.map(|id| case.deliver(id, 1))).await {
            assert_eq!(outcome, Ok(()), "{more}");
        }
        let batches = read(&case.path("batches"));
        let largest = batches.lines().map(|line| line.parse::<usize>().unwrap()).max();
        assert_eq!(largest, Some(most), "{more}: {batches}");
    }
}

#[tokio::test]
async fn what_is_under_way_when_a_plugin_dies_fails_and_the_next_process_gets_what_comes() {
    let case = Case::with(&python(
        r#"
tell(type='hello', protocol=1)
event = json.loads(sys.stdin.readline())
if event['attempt'] == 1: sys.exit(3)
ack(event)
sys.stdin.read()
"#,
    ));
    assert_eq!(case.why("a").await, "the plugin exited (exit status: 3)");
    assert_eq!(case.deliver("a", 2).await, Ok(()));
}

#[tokio::test]
async fn an_answer_just_before_the_end_counts() {
    let case = Case::with(&python(
        "tell(type='hello', protocol=1)\nack(json.loads(sys.stdin.readline()))\nos._exit(1)",
    ));
    assert_eq!(case.deliver("a", 1).await, Ok(()));
}

#[tokio::test]
async fn a_plugin_that_cannot_be_started_or_greeted_fails_its_deliveries_and_says_why() {
    let case = Case::with(&["/no/such/program".to_owned()]);
    let why = case.why("a").await;
    assert!(why.starts_with("its program \"/no/such/program\" cannot be started: No such file"), "{why}");
    let case = Case::with(&[]);
    let why = case.why("a").await;
    assert!(why.ends_with("its command is empty"), "{why}");
    let case = Case::with(&python("tell(type='hello', protocol=2); sys.stdin.read()"));
    let why = case.why("a").await;
    assert!(why.contains("it speaks version 2 of the protocol, but this agent speaks version 1"), "{why}");
    let case = Case::start(&sh("exec sleep 1000"), within(700));
    assert_eq!(case.why("a").await, "the plugin was killed: it did not answer the hello within 10s");
}

#[tokio::test]
async fn a_plugin_that_does_not_start_is_a_problem_with_its_last_words_until_it_does() {
    let case = Case::with(&python(
        r#"
if not os.path.exists('$DIR/fixed'): sys.exit('there is no module named moon')
tell(type='hello', protocol=1)
sys.stdin.read()
"#,
    ));
    let why = "the plugin exited (exit status: 1): there is no module named moon";
    until("it is reported", || case.told().contains(why)).await;
    assert_eq!(case.why("a").await, why);
    std::fs::write(case.path("fixed"), "").unwrap();
    until("it is reported no more", || case.told().is_empty()).await;
}

#[tokio::test]
async fn a_plugin_that_ended_is_back_at_once() {
    let case =
        Case::with(&sh("echo $$ >> $DIR/pids; echo '{\"type\":\"hello\",\"protocol\":1}'; exec sleep 1000"));
    let pids = || read(&case.path("pids"));
    let mut rounds = Vec::new();
    for round in 1..=3 {
        until("it runs", || pids().lines().count() == round).await;
        let pid = pids().lines().last().unwrap().parse().unwrap();
        let began = Instant::now();
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(pid).unwrap(),
            rustix::process::Signal::KILL,
        )
        .unwrap();
        until("it runs again", || pids().lines().count() > round).await;
        rounds.push(began.elapsed());
    }
    // The first pause is 0.2 to 0.4 s; at least one of three rounds is undisturbed on a busy machine.
    assert!(rounds.iter().min().is_some_and(|best| *best < Duration::from_millis(1150)), "{rounds:?}");
}

#[tokio::test]
async fn a_plugin_that_hangs_is_killed_with_its_children_and_started_again() {
    let case = Case::start(
        &python(
            r#"
tell(type='hello', protocol=1)
event = json.loads(sys.stdin.readline())
if event['attempt'] == 1:
    import signal, subprocess
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen(['sleep', '1000'])
    open('$DIR/pids', 'w').write('%d %d' % (os.getpid(), child.pid))
    time.sleep(1000)
ack(event)
sys.stdin.read()
"#,
        ),
        within(700),
    );
    assert_eq!(case.why("a").await, "it did not answer the event within 700ms");
    let pids = read(&case.path("pids"));
    until("plugin and child are gone", || pids.split(' ').all(|pid| !runs(pid))).await;
    assert_eq!(case.deliver("a", 2).await, Ok(()));
}

#[tokio::test]
async fn a_slow_event_fails_alone_and_its_late_answer_is_none_to_the_next_attempt() {
    let (logged, _guard) = Logged::begin();
    let case = Case::start(
        &python(
            r#"
tell(type='hello', protocol=1)
slow = None
def said(event):
    global slow
    if event['id'] != 'slow': return ack(event)
    if slow is None: slow = event; return
    ack(slow, attempt=slow['attempt'])
    time.sleep(0.2)
    tell(type='nack', id='slow', attempt=event['attempt'], reason='the second attempt')
"#,
        )
        .into_iter()
        .map(|word| if word.contains("def said") { word + LOOP } else { word })
        .collect::<Vec<_>>(),
        within(700),
    );
    let others = async {
        for id in 0..10 {
            sleep(Duration::from_millis(100)).await;
            assert_eq!(case.deliver(&id.to_string(), 1).await, Ok(()));
        }
    };
    let (slow, ()) = tokio::join!(case.deliver("slow", 1), others);
    assert_eq!(slow, Err(Failure::passing("it did not answer the event within 700ms")));
    assert_eq!(case.deliver("slow", 2).await, Err(Failure::passing("it refused: the second attempt")));
    let text = logged.text();
    assert!(text.contains("ignoring an answer to slow, which is not pending"), "{text}");
    assert_eq!(text.matches("plugin ready").count(), 1, "{text}");
}

#[tokio::test]
async fn rubbish_on_standard_output_is_logged_and_ignored() {
    let (logged, _guard) = Logged::begin();
    let case = Case::with(&python(
        r#"
print('Traceback? \033[2J', flush=True)
tell(type='hello', protocol=1)
tell(type='dance', steps=3)
tell(type='ack')
tell(type='ack', id='never told')
os.write(1, b'\xff\xfe\n\n{"type":\n')
ack(json.loads(sys.stdin.readline()))
sys.stdin.read()
"#,
    ));
    assert_eq!(case.deliver("a", 1).await, Ok(()));
    let text = logged.text();
    assert!(text.contains("ignoring an invalid message on standard output"), "{text}");
    assert!(text.contains(r"Traceback? \u{1b}[2J"), "{text}");
    assert!(text.contains("missing field `id`"), "{text}");
    assert!(text.contains("ignoring an unexpected or unknown message"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[tokio::test]
async fn log_messages_and_standard_error_go_to_the_log_under_the_handlers_name() {
    let (logged, _guard) = Logged::begin();
    let case = Case::with(&python(
        r#"
tell(type='log', level='error', message='before\nhello')
sys.stderr.write('plain words\n'); sys.stderr.flush()
tell(type='hello', protocol=1)
def said(event):
    tell(type='log', level='warning', message='got it')
    ack(event)
    sys.stderr.write('last words')
    sys.stderr.flush()
    os._exit(0)
said(json.loads(sys.stdin.readline()))
"#,
    ));
    assert_eq!(case.deliver("a", 1).await, Ok(()));
    until("its last words are logged", || logged.text().contains("last words")).await;
    let text = logged.text();
    for line in [
        "ERROR longshore::plugin: before handler=\"demo\"",
        "ERROR longshore::plugin: hello handler=\"demo\"",
        " INFO longshore::plugin: plain words handler=\"demo\"",
        " WARN longshore::plugin: got it handler=\"demo\"",
        " INFO longshore::plugin: last words handler=\"demo\"",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[tokio::test]
async fn a_flood_holds_nobody_up_and_is_counted() {
    let (logged, _guard) = Logged::begin();
    let case = Case::with(&python(
        r#"
tell(type='hello', protocol=1)
event = json.loads(sys.stdin.readline())
for number in range(20000):
    print('{"type":"log","level":"info","message":"out %d"}' % number)
    print('rubbish %d' % number)
    sys.stderr.write('err %d\n' % number)
ack(event)
sys.stderr.write('x' * (8 << 20))
event = json.loads(sys.stdin.readline())
ack(event)
sys.stdin.read()
"#,
    ));
    assert_eq!(case.deliver("a", 1).await, Ok(()));
    assert_eq!(case.deliver("b", 1).await, Ok(()));
    until("the dropped lines are counted", || logged.text().contains("lines of its output were dropped"))
        .await;
    assert!(logged.text().lines().count() < 1000, "{} lines", logged.text().lines().count());
}

#[tokio::test]
async fn a_line_that_is_too_long_ends_the_process() {
    let case = Case::with(&python(
        r#"
tell(type='hello', protocol=1)
event = json.loads(sys.stdin.readline())
if event['attempt'] == 1: print('x' * (1 << 20) + 'y', flush=True)
tell(type='log', level='debug', message='x' * ((1 << 20) - 60))
ack(event)
sys.stdin.read()
"#,
    ));
    assert_eq!(case.why("a").await, "the plugin was killed: it wrote a line of more than 1048576 bytes");
    assert_eq!(case.deliver("a", 2).await, Ok(()));
}

#[tokio::test]
async fn a_plugin_that_reads_nothing_is_ended_and_one_that_closes_a_pipe_too() {
    let rules = DeliveryRules { parallel: 500, ..within(700) };
    let case = Case::start(&python("tell(type='hello', protocol=1); time.sleep(1000)"), rules);
    // More than a pipe holds.
    let ids: Vec<String> = (0..400).map(|id| format!("{id:0>1000}")).collect();
    let began = Instant::now();
    for outcome in futures_util::future::join_all(ids.iter().map(|id| case.deliver(id, 1))).await {
        assert!(outcome.is_err_and(|failure| !failure.is_permanent()));
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let case =
        Case::with(&python("tell(type='hello', protocol=1); os.close(0); os.close(1); time.sleep(1000)"));
    let why = case.why("a").await;
    assert!(why.starts_with("the plugin was killed: it closed its standard"), "{why}");
}

#[tokio::test]
async fn a_plugin_is_asked_to_end_and_finishes_what_it_has() {
    let case = Case::with(&python(
        r#"
tell(type='hello', protocol=1)
event = json.loads(sys.stdin.readline())
open('$DIR/told', 'w').close()
end = json.loads(sys.stdin.readline())
assert end == {'type': 'shutdown'}, end
assert sys.stdin.readline() == ''
ack(event)
open('$DIR/ended', 'w').close()
"#,
    ));
    let stop = async {
        until("it has the event", || case.path("told").exists()).await;
        case.plugin.stop().await;
    };
    let (outcome, ()) = tokio::join!(case.deliver("a", 1), stop);
    assert_eq!(outcome, Ok(()));
    assert!(case.path("ended").exists());
    assert_eq!(case.why("b").await, "the plugin was shut down");
    case.plugin.stop().await;
}

#[tokio::test]
async fn a_plugin_that_does_not_end_is_made_to() {
    let case = Case::with(&python(
        r#"
import signal
signal.signal(signal.SIGTERM, lambda *_: open('$DIR/term', 'w').close())
tell(type='hello', protocol=1)
open('$DIR/pid', 'w').write(str(os.getpid()))
while True: time.sleep(1)
"#,
    ));
    until("it runs", || !read(&case.path("pid")).is_empty()).await;
    let began = Instant::now();
    case.plugin.stop().await;
    let took = began.elapsed();
    assert!(took > Duration::from_secs(5) && took < Duration::from_secs(12), "{took:?}");
    assert!(case.path("term").exists());
    assert!(!runs(&read(&case.path("pid"))));
}

#[tokio::test]
async fn a_plugin_that_is_dropped_is_killed_with_its_children() {
    let case = Case::with(&sh(
        "trap '' TERM; sleep 1000 & echo $! $$ > $DIR/new; mv $DIR/new $DIR/pids; sleep 1000",
    ));
    until("it runs", || case.path("pids").exists()).await;
    let pids = read(&case.path("pids"));
    assert!(pids.split(' ').all(runs), "{pids}");
    drop(case.plugin);
    until("both are gone", || !pids.split(' ').any(runs)).await;
}

#[test]
fn a_plugin_that_is_made_without_a_runtime_starts_with_its_first_delivery() {
    let case = Case::with(&python(
        "tell(type='hello', protocol=1)\nack(json.loads(sys.stdin.readline()))\nsys.stdin.read()",
    ));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert_eq!(runtime.block_on(case.deliver("a", 1)), Ok(()));
    let idle = Case::with(&sh("exit 0"));
    runtime.block_on(idle.plugin.stop());
    assert_eq!(runtime.block_on(idle.why("a")), "the plugin was shut down");
}

#[tokio::test]
async fn a_handler_class_of_docker_glue_runs_as_its_documentation_prints_it() {
    let (logged, _guard) = Logged::begin();
    let package = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/python");
    let glue = format!(
        "printf '[handler]\\nclass=DockerGlue.handlers.demo.DemoHandler\\nevents=all\\n' > $DIR/demo.ini
         exec python3 -B -m longshore_plugin.glue --ini $DIR/demo.ini --path {package}/tests/handlers"
    );
    let case = Case::with(&sh(&glue));
    assert_eq!(case.deliver("a", 1).await, Ok(()));
    let text = logged.text();
    assert!(
        text.contains(
            "INFO longshore::plugin: got event='start' on container='c0ffee' and custom_param=None"
        ),
        "{text}"
    );
}

#[tokio::test]
async fn the_example_of_the_documentation_runs() {
    let (logged, _guard) = Logged::begin();
    let page = read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/plugins.md")));
    let example = page.split("```python\n#!").nth(1).unwrap().split("```").next().unwrap();
    let case = Case::with(&["python3", "-c", &format!("#!{example}")].map(str::to_owned));
    assert_eq!(case.deliver("a", 1).await, Ok(()));
    case.plugin.stop().await;
    assert!(
        logged.text().contains("INFO longshore::plugin: start of web handler=\"demo\""),
        "{}",
        logged.text()
    );
}
