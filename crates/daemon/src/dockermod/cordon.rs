//! Whether this host takes no new containers. The operator's decision, so it outlives the agent.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The file's name in the data directory: the host is cordoned while it exists.
const FILE: &str = "cordoned";

/// Whether this host is cordoned.
#[derive(Debug)]
pub(crate) struct Cordon {
    file: PathBuf,
    is_set: AtomicBool,
}

impl Cordon {
    /// Reads it from the data directory.
    pub(crate) fn read(data_dir: &Path) -> Self {
        let file = data_dir.join(FILE);
        let is_set = AtomicBool::new(file.exists());
        Self { file, is_set }
    }

    /// Returns whether the host is cordoned.
    pub(crate) fn is_set(&self) -> bool {
        self.is_set.load(Relaxed)
    }

    /// Cordons the host, or not.
    ///
    /// # Errors
    /// If the data directory cannot be written: then nothing changes.
    pub(crate) async fn set(&self, cordoned: bool) -> io::Result<()> {
        match cordoned {
            true => tokio::fs::write(&self.file, "").await?,
            false => match tokio::fs::remove_file(&self.file).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            },
        }
        self.is_set.store(cordoned, Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cordon_outlives_the_agent_and_may_be_set_twice() {
        let dir = tempfile::tempdir().unwrap();
        let cordon = Cordon::read(dir.path());
        assert!(!cordon.is_set());
        for cordoned in [true, true, false, false, true] {
            cordon.set(cordoned).await.unwrap();
            assert_eq!(cordon.is_set(), cordoned);
            assert_eq!(Cordon::read(dir.path()).is_set(), cordoned);
        }
    }

    #[tokio::test]
    async fn what_cannot_be_kept_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let cordon = Cordon::read(&dir.path().join("none"));
        cordon.set(true).await.unwrap_err();
        assert!(!cordon.is_set());
    }
}
