//! Registry credentials from `docker login`, found as Docker's own CLI finds them.
//!
//! They are looked up for each pull, so a login applies at once, and stored nowhere. The crate `docker_credential`
//! does the same, but waits indefinitely for a helper that hangs, on a thread that cannot be stopped.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bollard::auth::DockerCredentials;
use longshore_runtime::ProcessGroup as Group;
use longshore_runtime::files::{Guard, ReadError, read_soon};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// Maximum size of `config.json` and of a helper's answer, in bytes.
const MAX_FILE: u64 = 1024 * 1024;
/// How long a helper may take.
const HELPER_TIMEOUT: Duration = Duration::from_secs(10);
/// The key under which Docker's CLI stores the login of Docker Hub.
const HUB: &str = "https://index.docker.io/v1/";
/// A helper's message that it has no credentials for the registry, as Docker's CLI recognizes it.
const NONE: &str = "credentials not found in native keychain";
/// The user name that marks the secret as a token.
const TOKEN: &str = "<token>";

/// Why the credentials are unknown. No message contains what the files and helpers return: it is secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: ReadError },
    #[error("{} is not as docker login writes it (line {line})", path.display())]
    Config { path: PathBuf, line: usize },
    #[error("the entry of {server} in {} is not as docker login writes it", path.display())]
    Entry { path: PathBuf, server: String },
    #[error("cannot run the credential helper {program}")]
    Run { program: String, source: io::Error },
    #[error("the credential helper {program} {why}")]
    Helper { program: String, why: String },
}

/// The credential settings of Docker's `config.json`.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Config {
    auths: BTreeMap<String, Entry>,
    creds_store: String,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

/// A helper's answer.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Returns the credentials of the agent's user for a registry, as an image reference names it; `None` if there are
/// none.
pub(crate) async fn of_registry(registry: &str) -> Result<Option<DockerCredentials>, CredentialError> {
    let folder = std::env::var_os("DOCKER_CONFIG").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    // A system service has no HOME: the user database does.
    match folder.or_else(|| Some(std::env::home_dir()?.join(".docker"))) {
        Some(folder) => of_file(&folder.join("config.json"), registry).await,
        None => Ok(None),
    }
}

async fn of_file(path: &Path, registry: &str) -> Result<Option<DockerCredentials>, CredentialError> {
    let text = match read_soon(path, MAX_FILE, Guard::Writers).await {
        Ok(text) => text,
        Err(error) if error.is_absence() => return Ok(None),
        Err(source) => return Err(CredentialError::Read { path: path.to_owned(), source }),
    };
    let config: Config = serde_json::from_str(&text)
        .map_err(|error| CredentialError::Config { path: path.to_owned(), line: error.line() })?;
    let server = if is_hub(registry) { HUB } else { registry };
    let helper = config.cred_helpers.get(server).unwrap_or(&config.creds_store);
    if !helper.is_empty()
        && let Some(found) = ask(&format!("docker-credential-{helper}"), server).await?
    {
        return Ok(Some(found));
    }
    let named = config.auths.get(server);
    let entry =
        named.or_else(|| config.auths.iter().find(|(key, _)| host(key) == registry).map(|(_, entry)| entry));
    let Some(entry) = entry else { return Ok(None) };
    let unread = || CredentialError::Entry { path: path.to_owned(), server: server.to_owned() };
    entry.credentials(server).ok_or_else(unread)
}

/// Returns credentials as Docker's API expects them. bollard encodes them in a Base64 alphabet that Docker does not
/// accept: a password that contains `?`, `>` or `~` would not arrive.
pub(crate) fn encode(credentials: &DockerCredentials) -> String {
    serde_json::to_vec(credentials).map(|json| URL_SAFE.encode(json)).unwrap_or_default()
}

fn is_hub(registry: &str) -> bool {
    matches!(registry, "docker.io" | "index.docker.io" | "registry-1.docker.io")
}

/// Returns the registry of a key that an old version wrote as a URL.
fn host(key: &str) -> &str {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    bare.split('/').next().unwrap_or(bare)
}

impl Entry {
    /// Returns the entry's credentials, which may be absent: then a helper has them. `None` if the entry is
    /// malformed.
    fn credentials(&self, server: &str) -> Option<Option<DockerCredentials>> {
        if !self.identitytoken.is_empty() {
            return Some(Some(credentials(server, TOKEN, &self.identitytoken)));
        }
        if self.auth.is_empty() {
            let known = !self.username.is_empty();
            return Some(known.then(|| credentials(server, &self.username, &self.password)));
        }
        let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let bytes = GeneralPurpose::new(&STANDARD, config).decode(self.auth.trim()).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let (user, password) = text.split_once(':')?;
        Some(Some(credentials(server, user, password.trim_end_matches('\0'))))
    }
}

fn credentials(server: &str, user: &str, secret: &str) -> DockerCredentials {
    let (user, secret) = (Some(user.to_owned()), Some(secret.to_owned()));
    let serveraddress = Some(server.to_owned());
    match user.as_deref() {
        Some(TOKEN) => DockerCredentials { identitytoken: secret, serveraddress, ..Default::default() },
        _ => DockerCredentials { username: user, password: secret, serveraddress, ..Default::default() },
    }
}

/// Asks a helper, as Docker's CLI does: the server on its standard input, JSON on its standard output.
async fn ask(program: &str, server: &str) -> Result<Option<DockerCredentials>, CredentialError> {
    let failed = |source| CredentialError::Run { program: program.to_owned(), source };
    let wrong = |why: String| CredentialError::Helper { program: program.to_owned(), why };
    let mut command = Command::new(program);
    command.arg("get").process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(failed)?;
    let (input, output) = (child.stdin.take(), child.stdout.take());
    let mut group = Group::led_by(child);
    let answering = async {
        if let Some(mut input) = input {
            // A helper may answer without reading.
            let _ = input.write_all(server.as_bytes()).await;
        }
        let mut said = Vec::new();
        if let Some(output) = output {
            output.take(MAX_FILE).read_to_end(&mut said).await?;
        }
        Ok((group.ended().await?, said))
    };
    let (status, said) = tokio::time::timeout(HELPER_TIMEOUT, answering)
        .await
        .map_err(|_| wrong(format!("did not answer within {} s", HELPER_TIMEOUT.as_secs())))?
        .map_err(failed)?;
    if !status.success() {
        let has_none = String::from_utf8_lossy(&said).contains(NONE);
        return if has_none { Ok(None) } else { Err(wrong(format!("failed ({status})"))) };
    }
    let answer: Answer =
        serde_json::from_slice(&said).map_err(|_| wrong("did not answer with credentials".to_owned()))?;
    Ok(Some(credentials(server, &answer.username, &answer.secret)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as expected")]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Returns `user:password` or the token that this `config.json` yields.
    async fn found(config: &str, registry: &str) -> Result<Option<String>, CredentialError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, config).unwrap();
        let found = of_file(&path, registry).await?;
        Ok(found.map(|found| match found.identitytoken {
            Some(token) => token,
            None => format!("{}:{}", found.username.unwrap(), found.password.unwrap()),
        }))
    }

    #[tokio::test]
    async fn a_login_counts_for_its_own_registry_only() {
        let config = r#"{"auths": {
            "reg.test:5000": {"auth": "dTpwOndvcmQ="}, "https://old.test/v1/": {"auth": "bzpw"},
            "https://index.docker.io/v1/": {"identitytoken": "t0k"}, "plain.test": {"username": "u", "password": "p"},
            "store.test": {}
        }, "other": 1}"#;
        for (registry, expected) in [
            ("reg.test:5000", Some("u:p:word")),
            ("reg.test", None),
            ("reg.test:5001", None),
            ("old.test", Some("o:p")),
            ("docker.io", Some("t0k")),
            ("plain.test", Some("u:p")),
            ("store.test", None),
            ("else.test", None),
        ] {
            assert_eq!(found(config, registry).await.unwrap().as_deref(), expected, "{registry}");
        }
        let absent = of_file(Path::new("/no/such/config.json"), "docker.io").await.unwrap();
        assert!(absent.is_none());
    }

    #[tokio::test]
    async fn what_is_not_as_docker_writes_it_is_told_without_its_secrets() {
        for config in [
            r#"{"auths": {"r": {"auth": "c2VjcmV0"}}}"#,
            r#"{"auths": {"r": {"auth": "secret!"}}}"#,
            r#"{"auths": {"r": {"auth": ["secret"]}}}"#,
            r#"{"auths": {"r": "secret"}}"#,
            "secret",
        ] {
            let error = found(config, "r").await.unwrap_err();
            let told = format!("{error} {error:?}");
            assert!(told.contains("config.json") && !told.contains("secret"), "{told}");
        }
    }

    #[tokio::test]
    async fn a_helper_is_asked_before_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let helper = |name: &str, script: &str| {
            let path = folder.path().join(format!("docker-credential-{name}"));
            std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            path.display().to_string()
        };
        let good =
            helper("good", r#"read server; echo "{\"Username\": \"$1\", \"Secret\": \"for $server\"}""#);
        let token = helper("token", r#"echo '{"Username": "<token>", "Secret": "t0k"}'"#);
        let none = helper("none", &format!("cat > /dev/null; echo '{NONE}'; exit 1"));
        let broken = helper("broken", "echo secret; echo secret >&2; exit 3");
        let loud = helper("loud", "echo secret");
        let found = ask(&good, "reg.test:5000").await.unwrap().unwrap();
        assert_eq!(
            (found.username.as_deref(), found.password.as_deref()),
            (Some("get"), Some("for reg.test:5000"))
        );
        let found = ask(&token, HUB).await.unwrap().unwrap();
        assert_eq!((found.identitytoken.as_deref(), found.username), (Some("t0k"), None));
        assert!(ask(&none, HUB).await.unwrap().is_none());
        for (program, why) in
            [(broken, "exit status: 3"), (loud, "did not answer"), ("/no/such".into(), "cannot run")]
        {
            let error = ask(&program, HUB).await.unwrap_err();
            let told = format!("{error} {error:?}");
            assert!(told.contains(why) && !told.contains("secret"), "{told}");
        }
    }
}
