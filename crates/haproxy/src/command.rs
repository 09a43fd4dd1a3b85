//! The commands that change an HAProxy while it runs: how each is written, what answer means success, and what it
//! does to the [`State`].
//!
//! A command is written from parsed values only. The one text that a container chooses is a path prefix. Of a URL
//! path's characters, the semicolon and the backslash are special on HAProxy's command line.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use crate::layout::{Backend, Map, Server, State, Target, WILDCARDS, bare};
use crate::settings::Paths;

/// One change to a running HAProxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Adds a server, which takes traffic at once.
    Add(Backend, String, SocketAddr, u16),
    /// Takes a server out of maintenance.
    Serve(Backend, String),
    /// Sets a server's weight.
    Weigh(Backend, String, u16),
    /// Puts a server into maintenance: open requests finish, and no others come.
    Withdraw(Backend, String),
    /// Deletes a server in maintenance. HAProxy refuses while it has open connections.
    Delete(Backend, String),
    /// Adds a key to the map of this port.
    AddKey(u16, String, Target),
    /// Sets the target of a key that the map has.
    SetKey(u16, String, Target),
    /// Deletes a key from the map.
    DeleteKey(u16, String),
    /// Marks the map as having wildcards, or not.
    MarkWildcards(u16, bool),
    /// Replaces the whole map at once, with its mark.
    Replace(u16, Map, bool),
}

/// A line to send to the socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// As it is written, with its payload and the end of line.
    pub(crate) text: String,
    /// The answer that means success.
    pub(crate) success: &'static str,
}

/// Most bytes of keys in one line: HAProxy reads up to its `tune.bufsize` of 16 KiB at once.
const MAX_PAYLOAD: usize = 8 * 1024;

impl Command {
    /// Returns the lines that execute the command, in order. For [`Command::Replace`], `version` is the version of
    /// the map that was prepared ([`Command::prepare`]).
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
            Self::AddKey(port, key, target) => {
                let map = paths.map(*port);
                vec![line(format_args!("add map {} {} {target}", map.display(), escape(key)), "")]
            }
            Self::SetKey(port, key, target) => {
                let map = paths.map(*port);
                vec![line(format_args!("set map {} {} {target}", map.display(), escape(key)), "")]
            }
            Self::DeleteKey(port, key) => {
                vec![line(format_args!("del map {} {}", paths.map(*port).display(), escape(key)), "")]
            }
            Self::MarkWildcards(port, true) => {
                vec![line(format_args!("add map {} {WILDCARDS} yes", paths.map(*port).display()), "")]
            }
            Self::MarkWildcards(port, false) => {
                vec![line(format_args!("del map {} {WILDCARDS}", paths.map(*port).display()), "")]
            }
            Self::Replace(port, map, marked) => replace(&paths.map(*port), map, *marked, version),
        }
    }

    /// Returns the line to send first, whose answer has the version.
    pub(crate) fn prepare(&self, paths: &Paths) -> Option<String> {
        match self {
            Self::Replace(port, _, _) => Some(format!("prepare map {}\n", paths.map(*port).display())),
            _ => None,
        }
    }

    /// Makes the change to a state, as HAProxy does on success.
    pub(crate) fn apply_to(self, state: &mut State) {
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
            Self::AddKey(port, key, target) | Self::SetKey(port, key, target) => {
                state.maps.entry(port).or_default().insert(key, target);
            }
            Self::DeleteKey(port, key) => {
                state.maps.entry(port).or_default().remove(&key);
            }
            Self::MarkWildcards(port, true) => {
                state.marked.insert(port);
            }
            Self::MarkWildcards(port, false) => {
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

/// Returns the version in the answer to `prepare map`.
pub(crate) fn prepared_version(answer: &str) -> Option<u32> {
    answer.trim().strip_prefix("New version created: ")?.parse().ok()
}

/// Returns a map as a file: one line per key, in order.
pub(crate) fn map_file(map: &Map, marked: bool) -> String {
    let mut text = if marked { format!("{WILDCARDS} yes\n") } else { String::new() };
    for (key, target) in map {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{key} {target}");
    }
    text
}

/// Marks a new server healthy. Otherwise the first failed check, instead of the third, would take it down.
fn healthy(backend: Backend, name: &str) -> Line {
    line(format_args!("set server {backend}/{name} health up"), "")
}

fn line(text: std::fmt::Arguments<'_>, success: &'static str) -> Line {
    Line { text: format!("{text}\n"), success }
}

/// Returns the lines that fill a map's new version, each short enough for HAProxy's buffer, and commit it.
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
        if payload.len() + entry.len() > MAX_PAYLOAD {
            flush(&mut payload);
        }
        payload.push_str(entry);
        payload.push('\n');
    }
    flush(&mut payload);
    lines.push(line(format_args!("commit map @{version} {path}"), ""));
    lines
}

/// Escapes a map's key for the command line, which splits at spaces and semicolons.
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
        let lines = texts(&Command::AddKey(80, ">a.com/x;del/".to_owned(), target));
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
