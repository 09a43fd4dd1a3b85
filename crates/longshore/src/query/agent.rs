//! Which agent is asked: the one from a flag or the environment; else this host's, at its socket if this user may use
//! that, and else at the address from the settings.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use longshore_api::{Client, ClientError, DEFAULT_LISTEN, DEFAULT_SOCKET};

use crate::cli::Connection;
use crate::environment::variable;
use crate::file;

/// Returns a client of the agent.
pub(super) fn client(connection: &Connection) -> anyhow::Result<Client> {
    let variable_of = |name: &str| std::env::var(name).ok();
    // It is root's alone, and the agent may have none.
    if let Some(path) = socket(connection, variable_of).filter(|path| UnixStream::connect(path).is_ok()) {
        return Ok(Client::at_socket(path));
    }
    let (address, token_file) = find(connection, variable_of);
    Ok(Client::new(&address, token_file.as_deref())?)
}

/// Returns the path of this host's agent's socket; `None` if another agent is named, or one that listens elsewhere than
/// an agent does by default and names no socket: at the default path, there may be another.
fn socket(connection: &Connection, variable_of: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    if connection.agent.is_some() {
        return None;
    }
    let path = connection.config.as_deref().unwrap_or(Path::new(file::DEFAULT));
    let set = |key: &str| variable_of(&variable(key)).filter(|value| !value.is_empty());
    let setting = |key: &str| set(key).or_else(|| file::text(path, key));
    let is_elsewhere = || setting("listen").is_some_and(|listen| listen != DEFAULT_LISTEN);
    setting("socket").or_else(|| (!is_elsewhere()).then(|| DEFAULT_SOCKET.to_owned())).map(PathBuf::from)
}

/// Returns the agent's address, and the file with its token.
fn find(connection: &Connection, variable_of: impl Fn(&str) -> Option<String>) -> (String, Option<PathBuf>) {
    if let Some(agent) = &connection.agent {
        // The token in the settings is for this host's agent only.
        return (agent.clone(), connection.token_file.clone());
    }
    let path = connection.config.as_deref().unwrap_or(Path::new(file::DEFAULT));
    let set = |key: &str| variable_of(&variable(key)).filter(|value| !value.is_empty());
    let listen = set("listen").or_else(|| file::text(path, "listen"));
    let address = listen.map_or_else(|| DEFAULT_LISTEN.to_owned(), |listen| reachable(&listen));
    // A user who may not read the token may still ask an agent that requires none.
    let of_file = || file::text(path, "token-file").map(PathBuf::from);
    let readable = |path: &PathBuf| std::fs::File::open(path).is_ok();
    (address, connection.token_file.clone().or_else(|| of_file().filter(readable)))
}

/// Returns the address for reaching an agent that listens there: loopback for one that listens on all
/// addresses.
fn reachable(listen: &str) -> String {
    match listen.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_unspecified() => {
            let loopback = match address.ip() {
                IpAddr::V4(_) => IpAddr::from(Ipv4Addr::LOCALHOST),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            };
            SocketAddr::new(loopback, address.port()).to_string()
        }
        _ => listen.to_owned(),
    }
}

/// Returns advice for an agent without a usable answer.
pub(crate) fn advice(error: &ClientError) -> Option<&'static str> {
    match error {
        ClientError::Unreachable { .. } => {
            Some("start it with `longshore run`, or name another one with --agent")
        }
        ClientError::Unauthorized { .. } => {
            Some("name the file with its token: --token-file FILE, or LONGSHORE_TOKEN_FILE")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(config: Option<PathBuf>) -> Connection {
        let config = config.or(Some("/nowhere/longshore.toml".into()));
        Connection { agent: None, token_file: None, config }
    }

    #[test]
    fn the_socket_is_where_the_settings_have_it_unless_another_agent_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("longshore.toml");
        std::fs::write(&path, "socket = \"/run/a.sock\"\n").unwrap();
        let of_file = connection(Some(path));
        let none = |_: &str| None;
        assert_eq!(socket(&of_file, none), Some("/run/a.sock".into()));
        let set = |name: &str| (name == "LONGSHORE_SOCKET").then(|| "/run/b.sock".to_owned());
        assert_eq!(socket(&of_file, set), Some("/run/b.sock".into()));
        assert_eq!(socket(&connection(None), none), Some(DEFAULT_SOCKET.into()));
        let listens = |name: &str| (name == "LONGSHORE_LISTEN").then(|| "127.0.0.1:7061".to_owned());
        assert_eq!(socket(&connection(None), listens), None, "another agent may have the default path");
        assert_eq!(socket(&of_file, listens), Some("/run/a.sock".into()));
        assert_eq!(socket(&Connection { agent: Some("192.0.2.1:1".to_owned()), ..of_file }, set), None);
    }

    #[test]
    fn the_agent_is_where_the_settings_have_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("longshore.toml");
        let token = dir.path().join("token");
        std::fs::write(&token, "x").unwrap();
        let settings = format!("listen = \"0.0.0.0:8051\"\ntoken-file = {token:?}\n");
        std::fs::write(&path, settings).unwrap();
        let of_file = connection(Some(path));
        let none = |_: &str| None;
        assert_eq!(find(&of_file, none), ("127.0.0.1:8051".to_owned(), Some(token.clone())));
        let listen = |name: &str| (name == "LONGSHORE_LISTEN").then(|| "[::]:9051".to_owned());
        assert_eq!(find(&of_file, listen).0, "[::1]:9051");
        let named = Connection { agent: Some("192.0.2.1:1".to_owned()), ..of_file.clone() };
        assert_eq!(find(&named, listen), ("192.0.2.1:1".to_owned(), None), "no token for another host");
        std::fs::remove_file(token).unwrap();
        assert_eq!(find(&of_file, none).1, None);
        assert_eq!(find(&connection(None), none), (DEFAULT_LISTEN.to_owned(), None));
    }
}
