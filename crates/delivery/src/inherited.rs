//! What a script or a plugin inherits of the agent's own environment. The rest may contain secrets.

use std::ffi::OsString;

const INHERITED: [&str; 20] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TMPDIR",
    "XDG_RUNTIME_DIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "DOCKER_CERT_PATH",
    "DOCKER_TLS_VERIFY",
    "DOCKER_API_VERSION",
    "DOCKER_CONFIG",
    "PYTHONPATH",
    "PYTHONHOME",
    "VIRTUAL_ENV",
    "LONGSHORE_PLUGIN_PATH",
];

/// Longest value, in bytes: the space is reserved for the event.
const LONGEST: usize = 4 * 1024;

/// Returns those of these variables that a handler's process may see.
pub(super) fn inherited(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> impl Iterator<Item = (OsString, OsString)> {
    variables.filter(|(name, value)| {
        let may = name.to_str().is_some_and(|name| INHERITED.contains(&name) || name.starts_with("LC_"));
        may && value.len() < LONGEST
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_inherits_nothing_that_may_be_a_secret() {
        let of_agent =
            ["PATH", "LC_ALL", "AWS_SECRET_ACCESS_KEY", "LONGSHORE_TOKEN", "DOCKER_HOST", "PYTHONPATH"];
        let kept = inherited(of_agent.into_iter().map(|key| (key.into(), "x".into())));
        let kept: Vec<OsString> = kept.map(|(key, _)| key).collect();
        assert_eq!(kept, ["PATH", "LC_ALL", "PYTHONPATH"]);
    }
}
