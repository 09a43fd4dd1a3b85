//! How HAProxy is to be run, and the paths that follow from it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use crate::{HaproxyError, socket};

/// The built-in template's name.
pub(crate) const BUILT_IN: &str = "haproxy.cfg.j2";

/// Whose HAProxy it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Longshore runs it in master-worker mode, and starts it again when it dies.
    Own {
        /// Where its configuration, maps, sockets and output go. Made with mode 0700. HAProxy outlives an agent
        /// that is killed, and is found again here.
        dir: PathBuf,
    },
    /// Somebody else runs it. Longshore writes its whole configuration file and reloads it.
    Attach {
        /// The configuration file, absolute. The maps go into a directory beside it, named like it with `.maps` at
        /// the end.
        config: PathBuf,
        /// Its stats socket, whose folder is made if it is not there. If none is given: the one that the configuration file
        /// declares, else the distribution's, else one beside the maps. The built-in template declares it with level
        /// `admin`; if the configuration before Longshore's first does not, the first update is a reload.
        socket: Option<PathBuf>,
        /// How it is told to reload.
        reload: Reload,
    },
}

/// How an HAProxy that somebody else runs is told to read its configuration again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reload {
    /// The socket of its master process (`haproxy -W -S PATH`).
    Master(PathBuf),
    /// A program and its arguments, such as `systemctl reload haproxy`. It is run without a shell.
    Command(Vec<String>),
}

impl Reload {
    /// Reads a flag: a command, with quotes as in a shell, or the absolute path of a master socket. A path alone is a
    /// command where it is a file, and a socket where it is one or where nothing is there yet.
    ///
    /// # Errors
    ///
    /// A quote is not closed, or there is no word.
    pub fn parse(text: &str) -> Result<Self, HaproxyError> {
        let words = shlex::split(text).filter(|words| !words.is_empty());
        let words = words.ok_or_else(|| HaproxyError::ReloadCommand { text: text.to_owned() })?;
        match words.as_slice() {
            [path] if path.starts_with('/') && !Path::new(path).is_file() => Ok(Self::Master(path.into())),
            _ => Ok(Self::Command(words)),
        }
    }
}

/// Everything that [`crate::Haproxy`] is told once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whose HAProxy it is.
    pub mode: Mode,
    /// The program; looked for in `PATH` unless it has a slash. Attach mode needs it too, for `-c`. Default `haproxy`.
    pub binary: PathBuf,
    /// The addresses that frontends listen on. Default: all, IPv4 and (where the host has it) IPv6.
    pub bind: Vec<IpAddr>,
    /// Proxies before this one, whose word on where a request came from is believed. Default: none.
    pub trusted: Vec<IpNet>,
    /// Directories that templates are searched in, in this order, before the built-in one.
    pub template_dirs: Vec<PathBuf>,
    /// The template. Default `haproxy.cfg.j2`, which is built in.
    pub template_file: Option<String>,
    /// Where HAProxy sends its access log, in the words of its `log` directive. Default: `/dev/log local0` for an HAProxy
    /// that runs already, where the host has `/dev/log`, else none.
    pub log: Option<String>,
    /// Where the statistics page is. Default 127.0.0.1:5000.
    pub stats: Option<SocketAddr>,
    /// Least time between two reloads: whatever asks for one meanwhile shares the next. Default 100 ms.
    pub reload_debounce: Duration,
    /// Whether the caller tries again what failed. If not, a configuration that passed `haproxy -c` stays in its file where
    /// the reload fails, for HAProxy's next start. Default true.
    pub retries: bool,
    /// How long a frontend without routes is left listening (it answers 404) before a reload takes it away, as a
    /// container that restarts brings it back. Default 5 s.
    pub linger: Duration,
    /// How long after a change at run time the files on disk follow, for an HAProxy that somebody else starts again.
    /// Default 1 s.
    pub write_delay: Duration,
    /// A shell-style file whose `OPTIONS="…"` are extra arguments for HAProxy (the old `--rc`). Read as data, never
    /// run. Where it does not exist, there are none.
    pub rc_file: Option<PathBuf>,
    /// How many empty backends stand ready for routes to come. Doubled when they run out. Default 128.
    pub pool: u32,
    /// HAProxy's threads. Default: HAProxy's, one a core.
    pub threads: Option<u16>,
    /// The user and group that the workers run as. Default: `haproxy` where Longshore is root and such a user and
    /// group exist.
    pub run_as: Option<(String, String)>,
}

impl Settings {
    /// The defaults for this mode.
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

    /// The template's name.
    pub fn template(&self) -> &str {
        self.template_file.as_deref().unwrap_or(BUILT_IN)
    }
}

/// Splits a `--template-dir` of the old tool: directories with colons between them. An empty part (a colon at an
/// end) stands for `defaults`.
pub fn template_dirs(list: &str, defaults: &[PathBuf]) -> Vec<PathBuf> {
    list.split(':')
        .flat_map(|part| if part.is_empty() { defaults.to_vec() } else { vec![PathBuf::from(part)] })
        .collect()
}

/// `haproxy:haproxy`, where this process may give up root for it.
fn default_user() -> Option<(String, String)> {
    let listed = |file: &str| {
        std::fs::read_to_string(file).is_ok_and(|text| text.lines().any(|line| line.starts_with("haproxy:")))
    };
    let able = rustix::process::geteuid().is_root() && listed("/etc/passwd") && listed("/etc/group");
    able.then(|| ("haproxy".to_owned(), "haproxy".to_owned()))
}

/// Where everything is.
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
    /// The master's socket, where it is ours.
    pub(crate) master: Option<PathBuf>,
}

/// The kernel takes 107 bytes, and HAProxy binds a name with its pid and `.tmp` at the end first.
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

    /// The map of the HTTP frontend on this port.
    pub(crate) fn map(&self, port: u16) -> PathBuf {
        self.maps.join(format!("http_{port}.map"))
    }
}

/// The configuration and the socket's commands name these paths bare, so nothing in them may need a quote.
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
        // HAProxy may come up after Longshore.
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
