//! Finds the stats socket of an HAProxy that somebody else runs.

use std::path::{Path, PathBuf};

/// Where distributions put it, in order of preference.
const USUAL: [&str; 2] = ["/run/haproxy/admin.sock", "/var/lib/haproxy/stats"];

/// Returns the socket that this configuration file declares, else a usual one whose directory exists, else one in
/// `fallback`, a directory that survives a restart of the host.
pub(crate) fn choose(config: &Path, fallback: &Path) -> PathBuf {
    let declared = std::fs::read_to_string(config).ok().and_then(|text| declared(&text));
    let usual = || USUAL.map(PathBuf::from).into_iter().find(|path| path.parent().is_some_and(Path::is_dir));
    declared.or_else(usual).unwrap_or_else(|| fallback.join("admin.sock"))
}

/// Returns the first `stats socket` with level `admin`, else the first of all, if it is a path.
fn declared(config: &str) -> Option<PathBuf> {
    let sockets: Vec<(PathBuf, bool)> = config.lines().filter_map(socket).collect();
    let admin = sockets.iter().find(|(_, is_admin)| *is_admin);
    admin.or(sockets.first()).map(|(path, _)| path.clone())
}

fn socket(line: &str) -> Option<(PathBuf, bool)> {
    let words = shlex::split(line)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let ["stats", "socket", address, parameters @ ..] = words.as_slice() else {
        return None;
    };
    let path = address.strip_prefix("unix@").unwrap_or(address);
    let is_admin = parameters.windows(2).any(|pair| pair == ["level", "admin"]);
    path.starts_with('/').then(|| (path.into(), is_admin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_of_a_configuration_is_its_admins() {
        for (config, socket) in [
            ("global\n    stats socket /var/lib/haproxy/stats\n", Some("/var/lib/haproxy/stats")),
            (
                "global\n stats socket /a mode 660 level operator # old\n stats socket unix@/b mode 600 level admin\n",
                Some("/b"),
            ),
            ("global\n stats socket \"/c d\" level admin", Some("/c d")),
            ("global\n stats socket ipv4@127.0.0.1:9999 level admin\n stats timeout 1m\n", None),
            ("global\n # stats socket /x\n", None),
            ("", None),
        ] {
            assert_eq!(declared(config), socket.map(PathBuf::from), "{config}");
        }
    }

    #[test]
    fn without_a_usual_folder_the_socket_is_in_one_that_stays() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("haproxy.cfg");
        std::fs::write(&config, "global\n    stats socket /s level admin\n").unwrap();
        assert_eq!(choose(&config, dir.path()), Path::new("/s"));
        let chosen = choose(Path::new("/nonexistent"), dir.path());
        assert!(
            USUAL.iter().any(|usual| chosen == Path::new(usual)) || chosen == dir.path().join("admin.sock")
        );
    }
}
