//! The engine's settings, and the paths derived from them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use crate::{HaproxyError, socket};

/// The built-in template's name.
pub(crate) const BUILT_IN: &str = "haproxy.cfg.j2";

/// Who runs HAProxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Longshore runs it in master-worker mode, and restarts it when it exits.
    Own {
        /// The directory of its configuration, maps, sockets and output. Created with mode 0700. HAProxy outlives an
        /// agent that is killed, and the next one finds it here.
        dir: PathBuf,
    },
    /// Somebody else runs it. Longshore writes its whole configuration file and reloads it.
    Attach {
        /// The absolute path of the configuration file. The maps are in a directory beside it, whose name ends in
        /// `.maps`.
        config: PathBuf,
        /// Its stats socket, whose directory is created if missing. If `None`: the one that the configuration file
        /// declares, else the distribution's, else one beside the maps. The built-in template declares it with level
        /// `admin`; if the configuration before Longshore's first does not, the first update is a reload.
        socket: Option<PathBuf>,
        /// How it is reloaded.
        reload: Reload,
    },
}

/// How an HAProxy that somebody else runs is reloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reload {
    /// By the socket of its master process (`haproxy -W -S PATH`).
    Master(PathBuf),
    /// By a program and its arguments, such as `systemctl reload haproxy`. Run without a shell.
    Command(Vec<String>),
}

impl Reload {
    /// Parses a flag: a command, with quotes as in a shell, or the absolute path of a master socket. A path alone is
    /// a command if it is a regular file; otherwise it is a socket, which may not exist yet.
    ///
    /// # Errors
    ///
    /// A quote is not closed, or the text is empty.
    pub fn parse(text: &str) -> Result<Self, HaproxyError> {
        let words = shlex::split(text).filter(|words| !words.is_empty());
        let words = words.ok_or_else(|| HaproxyError::ReloadCommand { text: text.to_owned() })?;
        match words.as_slice() {
            [path] if path.starts_with('/') && !Path::new(path).is_file() => Ok(Self::Master(path.into())),
            _ => Ok(Self::Command(words)),
        }
    }
}

/// The settings of [`crate::Haproxy`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Who runs HAProxy.
    pub mode: Mode,
    /// The program, looked up in `PATH` unless it has a slash. Attach mode needs it too, for `-c`. Default: `haproxy`.
    pub binary: PathBuf,
    /// The addresses that frontends listen on. Default: all, IPv4 and, if the host has it, IPv6.
    pub bind: Vec<IpAddr>,
    /// Proxies in front of this one, whose forwarding headers are trusted. Default: none.
    pub trusted: Vec<IpNet>,
    /// Directories with templates, searched in this order before the built-in one.
    pub template_dirs: Vec<PathBuf>,
    /// The name of the template. Default: `haproxy.cfg.j2`, which is built in.
    pub template_file: Option<String>,
    /// Where HAProxy sends its access log, in the syntax of its `log` directive. Default: `/dev/log local0` for an
    /// HAProxy that is already running, if the host has `/dev/log`, else none.
    pub log: Option<String>,
    /// The address of the statistics page. Default: 127.0.0.1:5000.
    pub stats: Option<SocketAddr>,
    /// The least time between two reloads: changes in between share the next. Default: 100 ms.
    pub reload_debounce: Duration,
    /// Whether the caller retries. If not, a configuration that passed `haproxy -c` stays in its file when the reload
    /// fails, for HAProxy's next start. Default: true.
    pub retries: bool,
    /// How long a frontend without routes keeps listening (it answers 404) before a reload removes it, in case a
    /// restarting container brings it back. Default: 5 s.
    pub linger: Duration,
    /// How long after a change at run time the files are written, for an HAProxy that somebody else restarts.
    /// Default: 1 s.
    pub write_delay: Duration,
    /// A file of shell assignments, whose `OPTIONS="…"` are extra arguments for HAProxy (the old `--rc`). Read as
    /// data, never run. It may be missing.
    pub rc_file: Option<PathBuf>,
    /// How many backends there are for routes. Doubled when they run out. Default: 128.
    pub pool: u32,
    /// HAProxy's threads. Default: HAProxy's, one per core.
    pub threads: Option<u16>,
    /// The user and group that the workers run as. Default: `haproxy` if Longshore is root and they exist.
    pub run_as: Option<(String, String)>,
}

impl Settings {
    /// Returns the defaults for this mode.
    pub fn new(mode: Mode) -> Self {
        let log = match mode {
            Mode::Attach { .. } => Path::new("/dev/log").exists().then(|| "/dev/log local0".to_owned()),
            Mode::Own { .. } => None,
        };
        Self {
            mode,
            log,
            binary: PathBuf::from("haproxy"),
            bind: vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
            trusted: Vec::new(),
            template_dirs: Vec::new(),
            template_file: None,
            stats: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 5000))),
            reload_debounce: Duration::from_millis(100),
            retries: true,
            linger: Duration::from_secs(5),
            write_delay: Duration::from_secs(1),
            rc_file: None,
            pool: 128,
            threads: None,
            run_as: default_user(),
        }
    }

    /// Returns the template's name.
    pub fn template(&self) -> &str {
        self.template_file.as_deref().unwrap_or(BUILT_IN)
    }
}

/// Splits a `--template-dir`: directories separated by colons. An empty part (a colon at an end) stands for `defaults`.
pub fn template_dirs(list: &str, defaults: &[PathBuf]) -> Vec<PathBuf> {
    list.split(':')
        .flat_map(|part| if part.is_empty() { defaults.to_vec() } else { vec![PathBuf::from(part)] })
        .collect()
}

/// Returns `haproxy:haproxy`, if this process may switch to it.
fn default_user() -> Option<(String, String)> {
    let listed = |file: &str| {
        std::fs::read_to_string(file).is_ok_and(|text| text.lines().any(|line| line.starts_with("haproxy:")))
    };
    let able = rustix::process::geteuid().is_root() && listed("/etc/passwd") && listed("/etc/group");
    able.then(|| ("haproxy".to_owned(), "haproxy".to_owned()))
}

/// The paths of files and sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Paths {
    /// The configuration.
    pub(crate) config: PathBuf,
    /// The directory of the maps.
    pub(crate) maps: PathBuf,
    /// The file of the layout's Lua actions.
    pub(crate) lua: PathBuf,
    /// The stats socket.
    pub(crate) socket: PathBuf,
    /// The master's socket, if known.
    pub(crate) master: Option<PathBuf>,
}

/// The kernel allows 107 bytes, and HAProxy first binds a name that ends with its pid and `.tmp`.
const SOCKET_PATH_LIMIT: usize = 90;

impl Paths {
    pub(crate) fn of(mode: &Mode) -> Result<Self, HaproxyError> {
        let paths = match mode {
            Mode::Own { dir } => Self {
                config: dir.join("haproxy.cfg"),
                maps: dir.join("maps"),
                lua: dir.join("maps/longshore.lua"),
                socket: dir.join("stats.sock"),
                master: Some(dir.join("master.sock")),
            },
            Mode::Attach { config, socket, reload } => Self {
                config: config.clone(),
                maps: config.with_extension("maps"),
                lua: config.with_extension("maps").join("longshore.lua"),
                socket: match socket {
                    Some(path) => path.clone(),
                    None => socket::choose(config, &config.with_extension("maps")),
                },
                master: match reload {
                    Reload::Master(path) => Some(path.clone()),
                    Reload::Command(_) => None,
                },
            },
        };
        for path in [&paths.config, &paths.maps, &paths.socket] {
            check_characters(path)?;
        }
        for path in [Some(&paths.socket), paths.master.as_ref()].into_iter().flatten() {
            if path.as_os_str().len() > SOCKET_PATH_LIMIT {
                return Err(HaproxyError::PathLength { path: path.clone(), limit: SOCKET_PATH_LIMIT });
            }
        }
        Ok(paths)
    }

    /// Returns the path of the map of the HTTP frontend on this port.
    pub(crate) fn map(&self, port: u16) -> PathBuf {
        self.maps.join(format!("http_{port}.map"))
    }
}

/// Refuses a path that would have to be quoted in the configuration or in the socket's commands.
fn check_characters(path: &Path) -> Result<(), HaproxyError> {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@=".contains(c);
    let found = text.chars().find(|&c| !plain(c));
    let found = found.or_else(|| (!path.is_absolute()).then(|| text.chars().next().unwrap_or(' ')));
    found.map_or(Ok(()), |found| Err(HaproxyError::PathCharacter { path: path.to_owned(), found }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(dir: &str) -> Result<Paths, HaproxyError> {
        Paths::of(&Mode::Own { dir: PathBuf::from(dir) })
    }

    #[test]
    fn a_path_that_would_need_quotes_is_refused() {
        assert!(own("/var/lib/longshore/haproxy").is_ok());
        for bad in ["/var/lib/long shore", "/a\"b", "/a\nb", "/a;b", "/a#b", "relative", ""] {
            assert!(own(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_socket_path_beyond_the_kernels_limit_is_refused() {
        let error = own(&format!("/{}", "d".repeat(100))).unwrap_err();
        assert!(matches!(error, HaproxyError::PathLength { limit: 90, .. }), "{error}");
    }

    #[test]
    fn a_reload_is_a_command_or_the_path_of_a_socket() {
        let dir = tempfile::tempdir().unwrap();
        let (script, socket) = (dir.path().join("reload"), dir.path().join("master.sock"));
        std::fs::write(&script, "").unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let command = |words: &[&str]| Reload::Command(words.iter().map(|word| (*word).to_owned()).collect());
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        assert_eq!(Reload::parse(&path(&script)).unwrap(), command(&[&path(&script)]));
        assert_eq!(Reload::parse(&path(&socket)).unwrap(), Reload::Master(socket));
        // HAProxy may start after Longshore.
        assert_eq!(Reload::parse("/nonexistent/s").unwrap(), Reload::Master("/nonexistent/s".into()));
        let quoted = Reload::parse("sh -c 'kill -USR2 \"$(cat /run/haproxy.pid)\"'").unwrap();
        assert_eq!(quoted, command(&["sh", "-c", "kill -USR2 \"$(cat /run/haproxy.pid)\""]));
        for bad in ["", "  ", "sh -c 'x"] {
            assert!(matches!(Reload::parse(bad), Err(HaproxyError::ReloadCommand { .. })), "{bad:?}");
        }
    }

    #[test]
    fn an_empty_part_of_a_template_dir_list_stands_for_the_defaults() {
        let defaults = [PathBuf::from("/etc/x")];
        assert_eq!(template_dirs("a:b", &defaults), ["a", "b"].map(PathBuf::from));
        assert_eq!(template_dirs(":b", &defaults), ["/etc/x", "b"].map(PathBuf::from));
        assert_eq!(template_dirs("b:", &defaults), ["b", "/etc/x"].map(PathBuf::from));
    }
}
