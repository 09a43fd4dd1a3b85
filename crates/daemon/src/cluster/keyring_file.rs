//! Where this host keeps the cluster's secrets.
//!
//! The agent writes the file in its data directory. One that the settings name is its operator's, and is only read: it
//! may be under someone's configuration management, or on a volume that is read-only. When the secret is rotated, such
//! a host keeps the new one in its data directory, beside a note of what it replaces. It is in force for as long as the
//! operator's file holds just that; as soon as that file changes, it counts again.

use std::io;
use std::path::{Path, PathBuf};

use longshore_cluster::secret::{Keyring, Secret};
use longshore_model::{Problem, Subject};
use longshore_runtime::files;
use zeroize::Zeroizing;

use super::parts::ClusterError;

/// The file of the cluster's secret in the data directory, unless the settings name another.
const SECRET_FILE: &str = "cluster-secret";
/// The file of a rotated secret in the data directory, if the settings name another.
const ROTATED_FILE: &str = "cluster-secret-rotated";
/// What the first line of that file begins with. The fingerprints of the replaced secrets follow.
const REPLACES: &str = "# replaces ";

/// The file, or files, of the secrets.
#[derive(Clone, Debug)]
pub(crate) struct KeyringFile {
    own: PathBuf,
    rotated: PathBuf,
    operators: Option<PathBuf>,
}

impl KeyringFile {
    /// Names the files; `operators` is the one from the settings.
    pub(crate) fn new(data_dir: &Path, operators: Option<PathBuf>) -> Self {
        Self { own: data_dir.join(SECRET_FILE), rotated: data_dir.join(ROTATED_FILE), operators }
    }

    /// Returns the file that the agent does not write.
    pub(crate) fn operators(&self) -> Option<&Path> {
        self.operators.as_deref()
    }

    /// Reads the secrets. A host that is given none makes one at its first start.
    ///
    /// # Errors
    /// [`ClusterError::Keyring`] and [`ClusterError::CreateSecret`].
    pub(super) fn read(&self) -> Result<Keyring, ClusterError> {
        if let Some(file) = &self.operators {
            let ring = Keyring::read(file)?;
            return Ok(self.rotated_from(&ring).unwrap_or(ring));
        }
        if !self.own.exists() {
            match create_secret(&self.own) {
                Ok(()) => tracing::info!(
                    file = %self.own.display(),
                    "created a cluster secret: the other hosts need a copy of this file"
                ),
                // Another start was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(ClusterError::CreateSecret(self.own.clone(), error)),
            }
        }
        Ok(Keyring::read(&self.own)?)
    }

    /// Saves the secrets, for the next start.
    ///
    /// # Errors
    /// The data directory cannot be written, or the operator's file cannot be read.
    pub(super) fn write(&self, ring: &Keyring) -> io::Result<()> {
        let Some(file) = &self.operators else { return files::replace(&self.own, ring.text().as_bytes()) };
        let replaced = Keyring::read(file).map_err(io::Error::other)?.fingerprints();
        if replaced == ring.fingerprints() {
            return self.forget_rotated();
        }
        let mut text = Zeroizing::new(String::with_capacity(1024));
        text.push_str(REPLACES);
        text.push_str(&replaced.join(" "));
        text.push('\n');
        text.push_str(&ring.text());
        files::replace(&self.rotated, text.as_bytes())
    }

    /// Returns what the operator has to do so that the agent's data directory is not needed to start it.
    pub(super) fn problem(&self) -> Option<Problem> {
        let file = self.operators.as_ref()?;
        self.rotated_from(&Keyring::read(file).ok()?)?;
        let (file, rotated) = (file.display(), self.rotated.display());
        Some(Problem {
            subject: Subject::File { path: file.to_string(), line: None },
            key: None,
            message: "the cluster's secret was rotated, and this file still has the old one".to_owned(),
            hint: Some(format!("copy {rotated} over it, then reload the agent (SIGHUP)")),
        })
    }

    /// Returns the secrets that were rotated in while the operator's file held just this ring.
    fn rotated_from(&self, ring: &Keyring) -> Option<Keyring> {
        let text = Zeroizing::new(std::fs::read_to_string(&self.rotated).ok()?);
        let replaces = text.lines().next()?.strip_prefix(REPLACES)?;
        if !replaces.split(' ').eq(ring.fingerprints()) {
            return None;
        }
        match Keyring::read(&self.rotated) {
            Ok(rotated) => Some(rotated),
            Err(error) => {
                tracing::error!(%error, "the rotated secret cannot be used");
                None
            }
        }
    }

    /// Removes a rotated secret that the operator's file has overtaken.
    pub(super) fn forget_overtaken(&self) -> io::Result<()> {
        let is_readable = self.operators.as_ref().is_some_and(|file| Keyring::read(file).is_ok());
        if is_readable && self.problem().is_none() { self.forget_rotated() } else { Ok(()) }
    }

    fn forget_rotated(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.rotated) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Writes a new secret to a file that does not exist yet.
fn create_secret(path: &Path) -> io::Result<()> {
    let mut text = Secret::generate().map_err(io::Error::other)?.text();
    text.push('\n');
    files::create_new(path, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn ring(bytes: &[u8]) -> Keyring {
        let lines: Vec<String> =
            bytes.iter().map(|byte| Secret::new([*byte; 32]).text().to_string()).collect();
        lines.join("\n").parse().unwrap()
    }

    fn is(found: &Keyring, bytes: &[u8]) -> bool {
        found.fingerprints() == ring(bytes).fingerprints()
    }

    #[test]
    fn a_secret_is_made_once_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = KeyringFile::new(dir.path(), None);
        let made = file.read().unwrap();
        assert_eq!(file.read().unwrap().fingerprints(), made.fingerprints());
        let path = dir.path().join(SECRET_FILE);
        assert_eq!(create_secret(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        file.write(&ring(&[1, 2])).unwrap();
        assert!(is(&file.read().unwrap(), &[1, 2]) && file.problem().is_none());
    }

    #[test]
    fn an_operators_file_is_never_written_and_counts_again_once_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let operators = dir.path().join("operators");
        let set = |bytes: &[u8]| files::replace(&operators, ring(bytes).text().as_bytes()).unwrap();
        set(&[1]);
        let file = KeyringFile::new(dir.path(), Some(operators.clone()));
        assert!(is(&file.read().unwrap(), &[1]) && file.problem().is_none());
        // A rotation, step by step.
        for step in [&[1, 2][..], &[2, 1], &[2]] {
            file.write(&ring(step)).unwrap();
            assert!(is(&file.read().unwrap(), step), "{step:?}");
            assert!(is(&Keyring::read(&operators).unwrap(), &[1]));
        }
        let hint = file.problem().unwrap().hint.unwrap();
        assert!(hint.contains(ROTATED_FILE), "{hint}");
        // The operator follows the hint: the file is read as it is, comment and all.
        std::fs::copy(dir.path().join(ROTATED_FILE), &operators).unwrap();
        assert!(is(&file.read().unwrap(), &[2]) && file.problem().is_none());
        set(&[3]);
        assert!(is(&file.read().unwrap(), &[3]), "what the operator writes counts");
        file.write(&ring(&[3, 4])).unwrap();
        file.write(&ring(&[3])).unwrap();
        assert!(!dir.path().join(ROTATED_FILE).exists(), "nothing is kept that the file has");
    }

    #[test]
    fn a_damaged_file_of_a_rotated_secret_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let operators = dir.path().join("operators");
        files::replace(&operators, ring(&[1]).text().as_bytes()).unwrap();
        let file = KeyringFile::new(dir.path(), Some(operators));
        let fingerprint = ring(&[1]).fingerprints().join(" ");
        for text in [String::new(), "x".to_owned(), format!("{REPLACES}{fingerprint}\nrubbish\n")] {
            files::replace(&dir.path().join(ROTATED_FILE), text.as_bytes()).unwrap();
            assert!(is(&file.read().unwrap(), &[1]), "{text}");
        }
    }
}
