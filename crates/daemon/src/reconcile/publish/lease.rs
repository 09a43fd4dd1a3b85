//! The lease that keys are under: kept alive, and remembered for the next agent.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::act::etcd::{Etcd, EtcdError, LeaseId};

/// A lease that is kept alive until this is dropped. Then it goes on for its length.
pub(super) struct Held {
    pub(super) id: LeaseId,
    lost: watch::Receiver<bool>,
    _keeper: AbortOnDropHandle<()>,
}

impl Held {
    /// Keeps a lease alive, at a third of its length; sooner where etcd did not answer.
    pub(super) fn keep(etcd: Etcd, id: LeaseId, length: Duration) -> Self {
        let (told, lost) = watch::channel(false);
        let keeper = tokio::spawn(async move {
            let mut wait = length / 3;
            loop {
                tokio::time::sleep(wait).await;
                wait = match etcd.keep_alive(id).await {
                    Ok(()) => length / 3,
                    Err(EtcdError::LeaseNotFound) => break,
                    Err(_) => (length / 6).min(Duration::from_secs(1)),
                };
            }
            told.send_replace(true);
        });
        Self { id, lost, _keeper: AbortOnDropHandle::new(keeper) }
    }

    /// Returns whether etcd said that it does not know the lease.
    pub(super) fn is_lost(&self) -> bool {
        *self.lost.borrow()
    }

    /// Resolves once it did.
    pub(super) async fn lost(&mut self) {
        if self.lost.wait_for(|lost| *lost).await.is_err() {
            // The keeper ends in no other way.
            std::future::pending::<()>().await;
        }
    }
}

/// Where a publisher's lease is written down.
pub(super) struct Remembered {
    file: PathBuf,
    node: String,
}

/// What is written down. The host's name is there for who copies a host with all its files: the copy has another name, and
/// must not take the original's keys for its own.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    node: String,
    lease: LeaseId,
}

impl Remembered {
    /// Creates the publisher's of this name.
    pub(super) fn new(data_dir: &Path, name: Option<&str>, node: &str) -> Self {
        let file = match name {
            None => "own.json".to_owned(),
            // A handler may be called anything, and a file may not.
            Some(name) => {
                let digest = Sha256::digest(name.as_bytes());
                let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
                format!("handler-{hex}.json")
            }
        };
        Self { file: data_dir.join("publish").join(file), node: node.to_owned() }
    }

    /// Returns the lease, if there is one of this host's.
    pub(super) fn lease(&self) -> Option<LeaseId> {
        let note: Note = serde_json::from_slice(&std::fs::read(&self.file).ok()?).ok()?;
        (note.node == self.node).then_some(note.lease)
    }

    /// Writes a lease down. Without, the next agent begins with one of its own, and what this one leaves goes when its
    /// lease ends.
    pub(super) fn remember(&self, lease: LeaseId) {
        let write = || {
            let folder = self.file.parent().unwrap_or(Path::new("."));
            std::fs::create_dir_all(folder)?;
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            let note = Note { node: self.node.clone(), lease };
            file.write_all(&serde_json::to_vec(&note)?)?;
            file.persist(&self.file)?;
            Ok::<_, std::io::Error>(())
        };
        if let Err(error) = write() {
            let path = self.file.display();
            tracing::warn!("cannot write {path}: the next agent cannot go on with this one's lease: {error}");
        }
    }

    pub(super) fn forget(&self) {
        // One that stays names a lease that etcd does not know, which is as good as none.
        let _ = std::fs::remove_file(&self.file);
    }
}
