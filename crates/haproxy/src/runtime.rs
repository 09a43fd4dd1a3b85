//! The stats socket: commands in, answers out.
//!
//! Each batch has its own connection. All lines are written at once in interactive mode, where each answer ends with
//! a prompt, which separates them. Answers are read while lines are still being written: HAProxy stops reading while
//! its answers are not read.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use longshore_model::{Frontend, Protocol};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::HaproxyError;
use crate::command::{Command, prepared_version};
use crate::layout::{Backend, Map, Server, Servers, Shape, State, Target, WILDCARDS};
use crate::settings::Paths;

/// How long a batch may take. HAProxy answers a line in microseconds, and thousands in tens of milliseconds.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(5);

const PROMPT: &str = "\n> ";

/// HAProxy's stats socket.
#[derive(Clone, Debug)]
pub(crate) struct Runtime {
    path: PathBuf,
}

/// The identity that a running process reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The worker's process.
    pub(crate) pid: u32,
    /// The `description` of its configuration, which the built-in layout sets to its fingerprint.
    pub(crate) description: String,
}

impl Runtime {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Sends these lines, each with its payload and line end, and returns the answers in order.
    pub(crate) async fn ask(&self, lines: &[String]) -> Result<Vec<String>, HaproxyError> {
        let fail = |source| HaproxyError::Socket { path: self.path.clone(), source };
        match timeout(EXCHANGE_TIMEOUT, self.exchange(lines)).await {
            Ok(answers) => answers.map_err(fail),
            Err(_) => Err(fail(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"))),
        }
    }

    async fn exchange(&self, lines: &[String]) -> io::Result<Vec<String>> {
        let (mut reader, mut writer) = UnixStream::connect(&self.path).await?.into_split();
        let text = format!("prompt\n{}", lines.concat());
        let write = async { writer.write_all(text.as_bytes()).await };
        let read = async {
            let mut received = Vec::new();
            // The first prompt answers `prompt` itself.
            let mut missing = lines.len() + 1;
            while missing > 0 {
                let start = received.len();
                if reader.read_buf(&mut received).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let seen = start.saturating_sub(PROMPT.len() - 1);
                let fresh = received.get(seen..).unwrap_or_default();
                missing = missing.saturating_sub(count(fresh, PROMPT.as_bytes()));
            }
            Ok(received)
        };
        let ((), received) = tokio::try_join!(write, read)?;
        let text = String::from_utf8_lossy(&received);
        // A line of a payload is answered by a prompt of its own, a plus.
        let clean = |answer: &str| answer.trim_start_matches("+ ").trim().to_owned();
        Ok(text.split(PROMPT).skip(1).take(lines.len()).map(clean).collect())
    }

    async fn ask_one(&self, line: &str) -> Result<String, HaproxyError> {
        let answers = self.ask(&[format!("{line}\n")]).await?;
        Ok(answers.into_iter().next().unwrap_or_default())
    }

    /// Executes the commands in order, and applies each that succeeded to `state`.
    ///
    /// # Errors
    ///
    /// A command was rejected: the others were still sent, and `state` has those that succeeded. If the socket
    /// failed, HAProxy's state is unknown.
    pub(crate) async fn carry_out(
        &self,
        paths: &Paths,
        commands: Vec<Command>,
        state: &mut State,
    ) -> Result<(), HaproxyError> {
        let prepares: Vec<String> = commands.iter().filter_map(|command| command.prepare(paths)).collect();
        let mut versions =
            if prepares.is_empty() { Vec::new() } else { self.ask(&prepares).await? }.into_iter();
        let mut batch = Vec::new();
        for command in &commands {
            let version = match command.prepare(paths) {
                None => 0,
                Some(line) => {
                    let answer = versions.next().unwrap_or_default();
                    prepared_version(&answer).ok_or_else(|| refused(&line, &answer))?
                }
            };
            batch.push(command.lines(paths, version));
        }
        let texts: Vec<String> = batch.iter().flatten().map(|line| line.text.clone()).collect();
        if texts.is_empty() {
            return Ok(());
        }
        let mut answers = self.ask(&texts).await?.into_iter();
        let mut first_failure = None;
        for (command, lines) in commands.into_iter().zip(batch) {
            let mut failed = false;
            for line in lines {
                let answer = answers.next().unwrap_or_default();
                if answer != line.success {
                    failed = true;
                    first_failure.get_or_insert_with(|| refused(&line.text, &answer));
                }
            }
            if !failed {
                command.apply_to(state);
            }
        }
        first_failure.map_or(Ok(()), Err)
    }

    /// Deletes servers in maintenance; those with open connections stay.
    pub(crate) async fn delete(
        &self,
        paths: &Paths,
        commands: Vec<Command>,
        state: &mut State,
    ) -> Result<(), HaproxyError> {
        match self.carry_out(paths, commands, state).await {
            Err(HaproxyError::Refused { .. }) => Ok(()),
            other => other,
        }
    }

    /// Returns which process answers.
    pub(crate) async fn identity(&self) -> Result<Identity, HaproxyError> {
        let info = self.ask_one("show info").await?;
        let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        let pid = field("Pid: ").parse().unwrap_or_default();
        Ok(Identity { pid, description: field("description: ").to_owned() })
    }

    /// Returns HAProxy's state. Of the shape, `stats` and `wildcard_labels` cannot be read.
    pub(crate) async fn state(&self, paths: &Paths) -> Result<State, HaproxyError> {
        let lines = ["show backend\n", "show servers state\n", "show map\n"].map(str::to_owned);
        let answers = self.ask(&lines).await?;
        let [backends, servers, maps] = answers.as_slice() else { return Ok(State::default()) };
        let backends: BTreeSet<Backend> = backends.lines().filter_map(Backend::parse).collect();
        let ports: Vec<u16> = maps.lines().filter_map(|line| map_port(line, paths)).collect();
        let shows: Vec<String> =
            ports.iter().map(|&port| format!("show map {}\n", paths.map(port).display())).collect();
        let mut state = State { servers: read_servers(servers), ..State::default() };
        for (port, text) in ports.iter().zip(if shows.is_empty() { vec![] } else { self.ask(&shows).await? })
        {
            let (map, marked) = read_map(&text);
            state.maps.insert(*port, map);
            if marked {
                state.marked.insert(*port);
            }
        }
        let tcp = backends.iter().filter_map(|backend| match backend {
            Backend::Tcp(port) => Some(Frontend { port: *port, protocol: Protocol::Tcp }),
            Backend::Slot(_) => None,
        });
        let http = ports.iter().map(|&port| Frontend { port, protocol: Protocol::Http });
        let pool = backends.iter().filter(|backend| matches!(backend, Backend::Slot(_))).count();
        state.shape = Shape {
            frontends: tcp.chain(http).collect(),
            pool: u32::try_from(pool).unwrap_or(u32::MAX),
            stats: false,
            wildcard_labels: 0,
        };
        Ok(state)
    }
}

fn refused(command: &str, answer: &str) -> HaproxyError {
    let command = command.lines().next().unwrap_or_default().to_owned();
    HaproxyError::Refused { command, answer: answer.to_owned() }
}

fn count(haystack: &[u8], needle: &[u8]) -> usize {
    haystack.windows(needle.len()).filter(|window| *window == needle).count()
}

/// Returns the port of one of our maps from a line of `show map`: `2 (/dir/http_80.map) pattern loaded …`.
fn map_port(line: &str, paths: &Paths) -> Option<u16> {
    let (_, rest) = line.split_once('(')?;
    let (path, _) = rest.split_once(')')?;
    let name = Path::new(path).strip_prefix(&paths.maps).ok()?.to_str()?;
    name.strip_prefix("http_")?.strip_suffix(".map")?.parse().ok()
}

/// Parses a map and its mark from the answer to `show map PATH`, with `0x… key value` in each line. Other lines are
/// skipped: the layout overwrites them.
fn read_map(text: &str) -> (Map, bool) {
    let mut map = Map::new();
    let mut marked = false;
    for line in text.lines() {
        let mut words = line.split(' ').skip(1);
        let (Some(key), Some(value)) = (words.next(), words.next()) else { continue };
        if key == WILDCARDS {
            marked = true;
        } else if let Some(target) = Target::parse(value) {
            map.insert(key.to_owned(), target);
        }
    }
    (map, marked)
}

/// Parses the servers of our backends from the answer to `show servers state`.
fn read_servers(text: &str) -> std::collections::BTreeMap<Backend, Servers> {
    let mut backends = std::collections::BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let (Some(backend), Some(name)) = (words.get(1).and_then(|word| Backend::parse(word)), words.get(3))
        else {
            continue;
        };
        if let Some(server) = read_server(&words) {
            let servers: &mut Servers = backends.entry(backend).or_default();
            servers.insert((*name).to_owned(), server);
        }
    }
    backends
}

fn read_server(words: &[&str]) -> Option<Server> {
    let ip = words.get(4)?.parse().ok()?;
    let port = words.get(18)?.parse().ok()?;
    // Bits of forced, inherited and resolver maintenance, and of drain, which we never set.
    let admin: u32 = words.get(6)?.parse().ok()?;
    let weight = words.get(7)?.parse().ok()?;
    Some(Server { address: std::net::SocketAddr::new(ip, port), weight, serving: admin == 0 })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::io::{AsyncBufReadExt, BufReader};
    use tokio::net::UnixListener;

    use super::*;
    use crate::settings::Mode;

    fn paths() -> Paths {
        Paths::of(&Mode::Own { dir: PathBuf::from("/d") }).unwrap()
    }

    #[test]
    fn servers_are_read_and_strangers_backends_passed_over() {
        let text = "1\n# be_id be_name …\n\
            3 slot_0001 1 a-127.0.0.1-80 127.0.0.1 2 0 256 0 0 1 0 2 6 0 0 0 - 18999 - 0 0 - - 0\n\
            3 slot_0001 2 b-fd00::2-80 fd00::2 0 1 5 0 0 1 0 2 6 0 0 0 - 80 - 0 0 - - 0\n\
            4 web 1 x 127.0.0.1 2 0 1 0 0 1 0 2 6 0 0 0 - 80 - 0 0 - - 0\n";
        let servers = read_servers(text);
        assert_eq!(servers.len(), 1);
        let slot = &servers[&Backend::Slot(1)];
        let address = "127.0.0.1:18999".parse().unwrap();
        assert_eq!(slot["a-127.0.0.1-80"], Server { address, weight: 256, serving: true });
        assert!(!slot["b-fd00::2-80"].serving);
    }

    #[test]
    fn a_map_is_read_with_its_mark_and_without_what_is_not_ours() {
        let (map, marked) = read_map("0x1 ? yes\n0x2 >a.com/ slot_0003:2\n0x3 >b.com/ web\n\n");
        assert!(marked);
        assert_eq!(map, Map::from([(">a.com/".to_owned(), Target { slot: 3, strip: 2 })]));
    }

    #[test]
    fn only_our_maps_are_ours() {
        assert_eq!(map_port("2 (/d/maps/http_80.map) pattern loaded from", &paths()), Some(80));
        assert_eq!(map_port("2 (/etc/http_80.map) pattern loaded from", &paths()), None);
        assert_eq!(map_port("-1 (/d/maps/x.map) pattern", &paths()), None);
    }

    /// Returns a socket that answers each line with what `answer` makes of it, in pieces of `piece` bytes.
    async fn fake(
        answer: fn(&str) -> &'static str,
        piece: usize,
    ) -> (tempfile::TempDir, Runtime, Arc<Mutex<Vec<String>>>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let log = heard.clone();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let (reader, mut writer) = stream.into_split();
            let mut lines = BufReader::new(reader).lines();
            while let Some(line) = lines.next_line().await.unwrap() {
                let reply =
                    if line == "prompt" { PROMPT.to_owned() } else { format!("{}{PROMPT}", answer(&line)) };
                log.lock().unwrap().push(line);
                for bytes in reply.as_bytes().chunks(piece) {
                    writer.write_all(bytes).await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
        });
        (dir, Runtime::new(&path), heard)
    }

    #[tokio::test]
    async fn answers_are_told_apart_however_they_are_cut() {
        for piece in [1, 2, 3, 1000] {
            let (_dir, runtime, _) =
                fake(|line| if line == "a" { "yes > no\nmore\n" } else { "" }, piece).await;
            let lines = ["a\n", "b\n", "a\n"].map(str::to_owned);
            assert_eq!(runtime.ask(&lines).await.unwrap(), ["yes > no\nmore", "", "yes > no\nmore"]);
        }
    }

    #[tokio::test]
    async fn a_refused_command_does_not_happen_and_the_others_do() {
        let answer = |line: &str| if line.contains("tcp_2") { "No such server.\n" } else { "" };
        let (_dir, runtime, heard) = fake(answer, 1000).await;
        let server = Server { address: "127.0.0.1:1".parse().unwrap(), weight: 1, serving: true };
        let mut state = State::default();
        for port in [1, 2, 3] {
            state.servers.insert(Backend::Tcp(port), Servers::from([("s".to_owned(), server)]));
        }
        let commands = [1, 2, 3].map(|port| Command::Withdraw(Backend::Tcp(port), "s".to_owned())).to_vec();
        let error = runtime.carry_out(&paths(), commands, &mut state).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "HAProxy answered \"No such server.\" to \"set server tcp_2/s state maint\""
        );
        let serving: Vec<bool> = state.servers.values().map(|servers| servers["s"].serving).collect();
        assert_eq!(serving, [false, true, false]);
        assert_eq!(heard.lock().unwrap().len(), 4);
    }

    #[tokio::test]
    async fn an_absent_socket_is_an_error_with_its_path() {
        let error = Runtime::new(Path::new("/nonexistent/s")).identity().await.unwrap_err();
        assert!(error.to_string().contains("/nonexistent/s"), "{error}");
    }
}
