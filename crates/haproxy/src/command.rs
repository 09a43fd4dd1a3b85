//! The commands that change an HAProxy while it runs: how each is written, what answer means success, and what it
//! does to the [`State`].
//!
//! A command is written from parsed values only. The one kind of text that a stranger chooses is a path prefix: its
//! characters are those of a URL's path, of which HAProxy's command line minds the semicolon and the backslash.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use crate::layout::{Backend, Map, Server, State, Target, WILDCARDS, bare};
use crate::settings::Paths;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// A server that is not there yet. It takes traffic at once.
    Add(Backend, String, SocketAddr, u16),
    /// A server that is in maintenance takes traffic again, at once.
    Serve(Backend, String),
    /// A server's share.
    Weigh(Backend, String, u16),
    /// A server gets no more traffic; what is under way goes on.
    Withdraw(Backend, String),
    /// A withdrawn server goes away. Refused while connections of it are open.
    Delete(Backend, String),
    /// A key that the map on this port does not have.
    Lead(u16, String, Target),
    /// A key that it has leads elsewhere.
    Relead(u16, String, Target),
    /// A key leads nowhere any more.
    Unlead(u16, String),
    /// Says that the map has wildcards, or no longer.
    Mark(u16, bool),
    /// The whole map at once, with its mark.
    Replace(u16, Map, bool),
}

/// A line for the socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// As it is written, with its payload and the end of line.
    pub(crate) text: String,
    /// The answer that means success.
    pub(crate) success: &'static str,
}

/// Most bytes of keys in one line: what HAProxy reads at once is its `tune.bufsize` of 16 KiB.
const PAYLOAD: usize = 8 * 1024;

impl Command {
    /// The lines that carry it out, in order. For [`Command::Replace`], `version` is the version of the map that was
    /// prepared ([`Command::prepare`]).
    pub(crate) fn lines(&self, paths: &Paths, version: u32) -> Vec<Line> {
        match self {
            Self::Add(backend, name, address, weight) => vec![
                line(
                    // A server that is added takes nothing from `default-server`, and without the pool options it
                    // keeps no connection open.
                    format_args!(
                        "add server {backend}/{name} {} weight {weight} check inter 500ms rise 2 fall 3 \
                         pool-purge-delay 5s pool-max-conn -1",
                        bare(*address)
                    ),
                    "New server registered.",
                ),
                line(format_args!("enable health {backend}/{name}"), ""),
                line(format_args!("set server {backend}/{name} state ready"), ""),
                healthy(*backend, name),
            ],
            Self::Serve(backend, name) => vec![
                line(format_args!("set server {backend}/{name} state ready"), ""),
                healthy(*backend, name),
            ],
            Self::Weigh(backend, name, weight) => {
                vec![line(format_args!("set server {backend}/{name} weight {weight}"), "")]
            }
            Self::Withdraw(backend, name) => {
                vec![line(format_args!("set server {backend}/{name} state maint"), "")]
            }
            Self::Delete(backend, name) => {
                vec![line(format_args!("del server {backend}/{name}"), "Server deleted.")]
            }
            Self::Lead(port, key, target) => {
                let map = paths.map(*port);
                vec![line(format_args!("add map {} {} {target}", map.display(), escape(key)), "")]
            }
            Self::Relead(port, key, target) => {
                let map = paths.map(*port);
                vec![line(format_args!("set map {} {} {target}", map.display(), escape(key)), "")]
            }
            Self::Unlead(port, key) => {
                vec![line(format_args!("del map {} {}", paths.map(*port).display(), escape(key)), "")]
            }
            Self::Mark(port, true) => {
                vec![line(format_args!("add map {} {WILDCARDS} yes", paths.map(*port).display()), "")]
            }
            Self::Mark(port, false) => {
                vec![line(format_args!("del map {} {WILDCARDS}", paths.map(*port).display()), "")]
            }
            Self::Replace(port, map, marked) => replace(&paths.map(*port), map, *marked, version),
        }
    }

    /// The line that has to be asked first, and whose answer has the version.
    pub(crate) fn prepare(&self, paths: &Paths) -> Option<String> {
        match self {
            Self::Replace(port, _, _) => Some(format!("prepare map {}\n", paths.map(*port).display())),
            _ => None,
        }
    }

    /// What it does where it succeeds.
    pub(crate) fn happen(self, state: &mut State) {
        match self {
            Self::Add(backend, name, address, weight) => {
                let server = Server { address, weight, serving: true };
                state.servers.entry(backend).or_default().insert(name, server);
            }
            Self::Serve(backend, name) => with(state, backend, &name, |server| server.serving = true),
            Self::Weigh(backend, name, weight) => {
                with(state, backend, &name, |server| server.weight = weight);
            }
            Self::Withdraw(backend, name) => with(state, backend, &name, |server| server.serving = false),
            Self::Delete(backend, name) => {
                if let Some(servers) = state.servers.get_mut(&backend) {
                    servers.remove(&name);
                    if servers.is_empty() {
                        state.servers.remove(&backend);
                    }
                }
            }
            Self::Lead(port, key, target) | Self::Relead(port, key, target) => {
                state.maps.entry(port).or_default().insert(key, target);
            }
            Self::Unlead(port, key) => {
                state.maps.entry(port).or_default().remove(&key);
            }
            Self::Mark(port, true) => {
                state.marked.insert(port);
            }
            Self::Mark(port, false) => {
                state.marked.remove(&port);
            }
            Self::Replace(port, map, marked) => {
                state.maps.insert(port, map);
                if marked {
                    state.marked.insert(port);
                } else {
                    state.marked.remove(&port);
                }
            }
        }
    }
}

fn with(state: &mut State, backend: Backend, name: &str, change: impl FnOnce(&mut Server)) {
    if let Some(server) = state.servers.get_mut(&backend).and_then(|servers| servers.get_mut(name)) {
        change(server);
    }
}

/// The version in the answer to `prepare map`.
pub(crate) fn prepared_version(answer: &str) -> Option<u32> {
    answer.trim().strip_prefix("New version created: ")?.parse().ok()
}

/// A map as a file: a line a key, in order.
pub(crate) fn map_file(map: &Map, marked: bool) -> String {
    let mut text = if marked { format!("{WILDCARDS} yes\n") } else { String::new() };
    for (key, target) in map {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{key} {target}");
    }
    text
}

/// Otherwise the first check that fails takes a server down that has just begun to serve, instead of the third.
fn healthy(backend: Backend, name: &str) -> Line {
    line(format_args!("set server {backend}/{name} health up"), "")
}

fn line(text: std::fmt::Arguments<'_>, success: &'static str) -> Line {
    Line { text: format!("{text}\n"), success }
}

/// A map's new contents, in lines that HAProxy reads at once, and the commit that puts them in force together.
fn replace(path: &Path, map: &Map, marked: bool, version: u32) -> Vec<Line> {
    let path = path.display();
    let contents = map_file(map, marked);
    let mut lines = Vec::new();
    let mut payload = String::new();
    let mut flush = |payload: &mut String| {
        if !payload.is_empty() {
            lines.push(line(format_args!("add map @{version} {path} <<\n{payload}"), ""));
            payload.clear();
        }
    };
    for entry in contents.lines() {
        if payload.len() + entry.len() > PAYLOAD {
            flush(&mut payload);
        }
        payload.push_str(entry);
        payload.push('\n');
    }
    flush(&mut payload);
    lines.push(line(format_args!("commit map @{version} {path}"), ""));
    lines
}

/// A map's key for the command line, which splits at spaces and semicolons unless a backslash is before them.
fn escape(key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || ">*./-_".contains(c);
    let mut escaped = String::with_capacity(key.len());
    for c in key.chars() {
        if !plain(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::settings::Mode;

    fn paths() -> Paths {
        Paths::of(&Mode::Own { dir: PathBuf::from("/d") }).unwrap()
    }

    fn texts(command: &Command) -> Vec<String> {
        command.lines(&paths(), 3).into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn a_prefix_cannot_end_a_command() {
        let target = Target { slot: 7, strip: 1 };
        let lines = texts(&Command::Lead(80, ">a.com/x;del/".to_owned(), target));
        assert_eq!(lines, ["add map /d/maps/http_80.map >a.com/x\\;del/ slot_0007:1\n"]);
    }

    #[test]
    fn an_added_server_is_checked_and_serves_at_once() {
        let address = "[fe80::1%3]:80".parse().unwrap_or_else(|_| "[fe80::1]:80".parse().unwrap());
        let lines = texts(&Command::Add(Backend::Tcp(5432), "a-b-80".to_owned(), address, 100));
        assert!(
            lines[0].starts_with("add server tcp_5432/a-b-80 [fe80::1]:80 weight 100 check "),
            "{lines:?}"
        );
        assert_eq!(lines[1], "enable health tcp_5432/a-b-80\n");
        assert_eq!(lines[2], "set server tcp_5432/a-b-80 state ready\n");
    }

    #[test]
    fn a_large_map_is_replaced_in_lines_that_fit_the_buffer_and_one_commit() {
        let target = Target { slot: 1, strip: 0 };
        let long = "x".repeat(1000);
        let map: Map = (0..100).map(|n| (format!(">h{n}.com/{long}/"), target)).collect();
        let lines = texts(&Command::Replace(80, map, true));
        assert!(lines.len() > 10);
        assert!(lines.iter().all(|line| line.len() < 16_000));
        assert_eq!(lines.last().unwrap(), "commit map @3 /d/maps/http_80.map\n");
        // An empty line ends a payload, so none may be inside one.
        let inside = |line: &String| line.trim_end_matches('\n').contains("\n\n");
        assert!(!lines.iter().any(inside));
        let keys: usize = lines.iter().map(|line| line.matches(" slot_0001:0\n").count()).sum();
        assert_eq!(keys, 100);
        assert!(lines[0].contains("<<\n? yes\n"));
        assert!(lines[0].ends_with("\n\n"));
    }

    #[test]
    fn a_map_is_emptied_by_a_commit_alone() {
        assert_eq!(texts(&Command::Replace(80, Map::new(), false)), ["commit map @3 /d/maps/http_80.map\n"]);
    }

    #[test]
    fn the_version_of_a_map_is_read_from_the_answer() {
        assert_eq!(prepared_version("New version created: 12\n"), Some(12));
        assert_eq!(prepared_version("Unknown map identifier."), None);
    }
}
