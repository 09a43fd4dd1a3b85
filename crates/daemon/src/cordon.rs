//! Whether this host takes new containers. The operator's decision, so it outlives the agent.

use std::io;
use std::path::{Path, PathBuf};

use longshore_model::Availability;
use tokio::sync::watch;

/// The file's name in the data directory: the host is cordoned while it exists.
const FILE: &str = "cordoned";

/// Whether this host takes new containers.
#[derive(Debug)]
pub(crate) struct Cordon {
    file: PathBuf,
    availability: watch::Sender<Availability>,
}

impl Cordon {
    /// Reads it from the data directory.
    pub(crate) fn read(data_dir: &Path) -> Self {
        let file = data_dir.join(FILE);
        let availability = if file.exists() { Availability::Cordoned } else { Availability::Active };
        Self { file, availability: watch::Sender::new(availability) }
    }

    /// Watches whether the host takes new containers.
    pub(crate) fn watch(&self) -> watch::Receiver<Availability> {
        self.availability.subscribe()
    }

    /// Decides whether the host takes new containers.
    ///
    /// # Errors
    /// If the data directory cannot be written: then nothing changes.
    pub(crate) async fn set(&self, availability: Availability) -> io::Result<()> {
        match availability {
            Availability::Cordoned => tokio::fs::write(&self.file, "").await?,
            Availability::Active => match tokio::fs::remove_file(&self.file).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            },
        }
        self.availability.send_replace(availability);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use Availability::{Active, Cordoned};

    use super::*;

    #[tokio::test]
    async fn a_cordon_outlives_the_agent_and_may_be_set_twice() {
        let dir = tempfile::tempdir().unwrap();
        let cordon = Cordon::read(dir.path());
        assert_eq!(*cordon.watch().borrow(), Active);
        for availability in [Cordoned, Cordoned, Active, Active, Cordoned] {
            cordon.set(availability).await.unwrap();
            assert_eq!(*cordon.watch().borrow(), availability);
            assert_eq!(*Cordon::read(dir.path()).watch().borrow(), availability);
        }
    }

    #[tokio::test]
    async fn what_cannot_be_kept_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let cordon = Cordon::read(&dir.path().join("none"));
        cordon.set(Cordoned).await.unwrap_err();
        assert_eq!(*cordon.watch().borrow(), Active);
    }
}
