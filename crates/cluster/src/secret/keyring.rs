use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use longshore_runtime::files::{Guard, ReadError, read};
use zeroize::Zeroizing;

use super::{Secret, SecretError};

/// How many secrets a keyring may have: each one costs an attempt to open a datagram.
const MAX_SECRETS: usize = 8;
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// The secrets of a cluster: one, or several while one is being replaced. The first one seals, all of them open.
#[derive(Clone)]
pub struct Keyring {
    first: Secret,
    others: Vec<Secret>,
}

/// Why there is no keyring. No message contains any part of a secret.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The file cannot be read, or others can read it.
    #[error("cannot use the cluster secret in {}", .0.display())]
    File(PathBuf, #[source] ReadError),
    /// A line is not a secret.
    #[error("line {line} is not a cluster secret")]
    Line {
        /// The number of the line, from 1.
        line: usize,
        /// Why.
        source: SecretError,
    },
    /// No line has a secret.
    #[error("no cluster secret found: create one with `longshore cluster secret`")]
    Empty,
    /// More secrets than a keyring may have.
    #[error("more than {MAX_SECRETS} cluster secrets: remove those that are no longer in use")]
    TooMany,
}

impl Keyring {
    /// Creates a keyring with one secret.
    pub const fn new(secret: Secret) -> Self {
        Self { first: secret, others: Vec::new() }
    }

    /// Reads a file with a secret per line, the one that seals first. Blank lines and lines that begin with `#` are
    /// ignored. The file must be inaccessible to other users than its owner, and belong to the agent's user or root.
    ///
    /// # Errors
    /// Every variant of [`KeyringError`].
    pub fn read(path: &Path) -> Result<Self, KeyringError> {
        let text = read(path, MAX_FILE_BYTES, Guard::Strangers)
            .map_err(|source| KeyringError::File(path.to_owned(), source))?;
        Zeroizing::new(text).parse()
    }

    /// Returns the text that [`FromStr`] reads: a line for each secret.
    pub fn text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity((1 + self.others.len()) * 80));
        for secret in self.secrets() {
            text.push_str(&secret.text());
            text.push('\n');
        }
        text
    }

    /// Returns the fingerprints of all secrets, the one that seals first.
    pub fn fingerprints(&self) -> Vec<String> {
        self.secrets().map(Secret::fingerprint).collect()
    }

    /// Returns the ring with one more secret, which opens and does not seal.
    ///
    /// # Errors
    /// [`KeyringError::TooMany`].
    pub(super) fn accepting(&self, secret: Secret) -> Result<Self, KeyringError> {
        let mut ring = self.clone();
        if !ring.fingerprints().contains(&secret.fingerprint()) {
            ring.others.push(secret);
        }
        if ring.others.len() >= MAX_SECRETS {
            return Err(KeyringError::TooMany);
        }
        Ok(ring)
    }

    /// Returns the ring with this secret first; `None` if it does not have it.
    pub(super) fn preferring(&self, fingerprint: &str) -> Option<Self> {
        let (chosen, others): (Vec<&Secret>, Vec<&Secret>) =
            self.secrets().partition(|secret| secret.fingerprint() == fingerprint);
        let first = (*chosen.first()?).clone();
        Some(Self { first, others: others.into_iter().cloned().collect() })
    }

    /// Returns the secret that seals and issues.
    pub const fn first(&self) -> &Secret {
        &self.first
    }

    /// Returns all secrets, the one that seals first.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

impl FromStr for Keyring {
    type Err = KeyringError;

    fn from_str(text: &str) -> Result<Self, KeyringError> {
        let mut secrets = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line_text = line.trim();
            if line_text.is_empty() || line_text.starts_with('#') {
                continue;
            }
            let secret =
                line_text.parse().map_err(|source| KeyringError::Line { line: index + 1, source })?;
            secrets.push(secret);
        }
        if secrets.len() > MAX_SECRETS {
            return Err(KeyringError::TooMany);
        }
        let mut secrets = secrets.into_iter();
        let first = secrets.next().ok_or(KeyringError::Empty)?;
        Ok(Self { first, others: secrets.collect() })
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring of {}", 1 + self.others.len())
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn secret(byte: u8) -> Secret {
        Secret::new([byte; 32])
    }

    fn texts(ring: &Keyring) -> Vec<String> {
        ring.secrets().map(|secret| secret.text().to_string()).collect()
    }

    #[test]
    fn a_file_has_a_secret_per_line_and_the_first_one_seals() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (new, old) = (secret(1).text(), secret(2).text());
        std::fs::write(file.path(), format!("# since May\r\n  {}\r\n\n#old:\n{}", *new, *old)).unwrap();
        let ring = Keyring::read(file.path()).unwrap();
        assert_eq!(texts(&ring), [new.as_str(), old.as_str()]);
        assert_eq!(*ring.first().text(), *new);
        assert_eq!(format!("{ring:?}"), "Keyring of 2");
    }

    #[test]
    fn a_wrong_line_is_named_by_its_number_alone() {
        let mistyped = secret(1).text().replace("aeaq", "aeba");
        let error = format!("# comment\n{mistyped}").parse::<Keyring>().unwrap_err();
        let told = format!("{error}: {}", error.source().unwrap());
        assert_eq!(
            told,
            "line 2 is not a cluster secret: a mistyped cluster secret: its checksum does not match; copy it again"
        );
        assert!(matches!("# nothing".parse::<Keyring>(), Err(KeyringError::Empty)));
        let many: String = (0..9).map(|byte| format!("{}\n", *secret(byte).text())).collect();
        assert!(matches!(many.parse::<Keyring>(), Err(KeyringError::TooMany)));
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_what_to_do() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &*secret(1).text()).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o601] {
            std::fs::set_permissions(file.path(), Permissions::from_mode(mode)).unwrap();
            let error = Keyring::read(file.path()).unwrap_err();
            assert!(error.to_string().contains(&file.path().display().to_string()), "{error}");
            assert!(error.source().unwrap().to_string().ends_with("chmod 600"));
        }
        std::fs::set_permissions(file.path(), Permissions::from_mode(0o400)).unwrap();
        Keyring::read(file.path()).unwrap();
    }
}
