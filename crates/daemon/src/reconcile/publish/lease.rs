//! The lease that keys are under: kept alive, and saved for the next agent.

use std::path::{Path, PathBuf};
use std::time::Duration;

use longshore_runtime::files;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::act::etcd::{Etcd, EtcdError, LeaseId};

/// A lease that is kept alive until this is dropped, and then lasts for its remaining time.
pub(super) struct LeaseKeeper {
    pub(super) id: LeaseId,
    lost: watch::Receiver<bool>,
    _renewal: AbortOnDropHandle<()>,
}

impl LeaseKeeper {
    /// Keeps a lease alive, every third of its length; retries sooner if etcd did not respond.
    pub(super) fn keep(etcd: Etcd, id: LeaseId, length: Duration) -> Self {
        let (expired, lost) = watch::channel(false);
        let renewal = tokio::spawn(async move {
            let mut wait = length / 3;
            loop {
                tokio::time::sleep(wait).await;
                wait = match etcd.keep_alive(id).await {
                    Ok(()) => length / 3,
                    Err(EtcdError::LeaseNotFound) => break,
                    Err(_) => (length / 6).min(Duration::from_secs(1)),
                };
            }
            expired.send_replace(true);
        });
        Self { id, lost, _renewal: AbortOnDropHandle::new(renewal) }
    }

    /// Returns whether etcd reported that it does not know the lease.
    pub(super) fn is_lost(&self) -> bool {
        *self.lost.borrow()
    }

    /// Resolves once etcd reports that.
    pub(super) async fn lost(&mut self) {
        if self.lost.wait_for(|lost| *lost).await.is_err() {
            // The renewal ends in no other way.
            std::future::pending::<()>().await;
        }
    }
}

/// The file that stores a publisher's lease.
pub(super) struct Remembered {
    file: PathBuf,
    node: String,
}

/// The file's content. It includes the host's name in case someone copies a host with all its files: the copy
/// has another name, and must not treat the original's keys as its own.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    node: String,
    lease: LeaseId,
}

impl Remembered {
    /// Creates the store of the publisher with this name.
    pub(super) fn new(data_dir: &Path, name: Option<&str>, node: &str) -> Self {
        let file = match name {
            None => "own.json".to_owned(),
            // A handler's name may not be a valid file name.
            Some(name) => {
                let digest = Sha256::digest(name.as_bytes());
                let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
                format!("handler-{hex}.json")
            }
        };
        Self { file: data_dir.join("publish").join(file), node: node.to_owned() }
    }

    /// Returns the stored lease, if it belongs to this host.
    pub(super) fn lease(&self) -> Option<LeaseId> {
        let note: Note = serde_json::from_slice(&std::fs::read(&self.file).ok()?).ok()?;
        (note.node == self.node).then_some(note.lease)
    }

    /// Stores a lease. Without it, the next agent starts with its own, and this one's remaining keys expire
    /// with the lease.
    pub(super) fn remember(&self, lease: LeaseId) {
        let write = || {
            let folder = self.file.parent().unwrap_or(Path::new("."));
            std::fs::create_dir_all(folder)?;
            let note = Note { node: self.node.clone(), lease };
            files::replace(&self.file, &serde_json::to_vec(&note)?)
        };
        if let Err(error) = write() {
            let path = self.file.display();
            tracing::warn!("cannot write {path}: the next agent cannot take over the lease: {error}");
        }
    }

    pub(super) fn forget(&self) {
        // A file that remains names a lease that etcd does not know, which is harmless.
        let _ = std::fs::remove_file(&self.file);
    }
}
