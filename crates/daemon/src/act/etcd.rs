//! The publisher's connection to etcd: credential files, keys under a lease, and transactions that etcd
//! accepts.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use longshore_etcd::{
    Access, AccessError, Client, Compare, Credentials, Identity, KeyRange, Op, Order, Settings, Txn, User,
};
use longshore_model::PublishJob;
use longshore_plan::{KeyChange, in_batches};
use longshore_runtime::files::{Guard, ReadError, read_soon};

pub(crate) use longshore_etcd::{Error as EtcdError, LeaseId};

/// etcd rejects transactions of more than 128 changes, and requests of more than 1.5 MiB, unless configured
/// otherwise.
const MAX_CHANGES: usize = 100;
const MAX_BYTES: usize = 512 * 1024;

/// The largest value that is written, in bytes: below etcd's own limit for a request.
pub(crate) const MAX_VALUE: usize = 1024 * 1024;

/// The longest credentials file, in bytes.
const MAX_FILE: u64 = 64 * 1024;

/// A publisher's connection to etcd. Clones share it.
#[derive(Clone)]
pub(crate) struct Etcd {
    client: Client,
}

impl Etcd {
    /// Creates a client, which connects on first use. The timeout of an endpoint is short enough to try another
    /// one well before the lease ends.
    pub(crate) fn new(job: &PublishJob) -> Self {
        let files = AccessFiles {
            user: job.user.clone(),
            password_file: job.password_file.clone(),
            ca: job.ca.clone(),
            identity: job.identity.clone(),
        };
        let timeout = (job.lease / 4).clamp(Duration::from_millis(500), Duration::from_secs(3));
        let settings = Settings { endpoints: job.endpoints.clone(), access: Arc::new(files), timeout };
        Self { client: Client::new(settings) }
    }

    /// Grants a lease of this length, rounded up to seconds.
    pub(crate) async fn grant(&self, length: Duration) -> Result<LeaseId, EtcdError> {
        self.client.grant_lease(length).await
    }

    /// Renews the lease.
    ///
    /// # Errors
    /// [`EtcdError::LeaseNotFound`] where it has expired or was revoked.
    pub(crate) async fn keep_alive(&self, lease: LeaseId) -> Result<(), EtcdError> {
        self.client.keep_lease_alive(lease).await.map(drop)
    }

    /// Looks up the length of a lease and the keys under it; nothing where it has expired or was revoked.
    pub(crate) async fn attached(
        &self,
        lease: LeaseId,
    ) -> Result<Option<(Duration, BTreeSet<String>)>, EtcdError> {
        let status = self.client.lease_status(lease).await?;
        let text = |key: Vec<u8>| String::from_utf8_lossy(&key).into_owned();
        Ok(status.map(|status| (status.granted, status.keys.into_iter().map(text).collect())))
    }

    /// Makes these changes under a lease, and calls `done` with each that succeeded. Deletes a key only if it
    /// is under this lease: a value that someone else has written since stays.
    pub(crate) async fn apply(
        &self,
        lease: LeaseId,
        changes: Vec<KeyChange>,
        mut done: impl FnMut(&KeyChange) + Send,
    ) -> Result<(), EtcdError> {
        for batch in in_batches(changes, MAX_CHANGES, MAX_BYTES) {
            let txn = batch.iter().map(|change| op(lease, change)).fold(Txn::new(), Txn::then);
            self.client.txn(txn.idempotent()).await.map_err(|error| about(error, batch.first()))?;
            batch.iter().for_each(&mut done);
        }
        Ok(())
    }

    /// Revokes a lease, and with it all keys under it.
    pub(crate) async fn revoke(&self, lease: LeaseId) -> Result<(), EtcdError> {
        self.client.revoke_lease(lease).await
    }
}

fn op(lease: LeaseId, change: &KeyChange) -> Op {
    match change {
        KeyChange::Put { key, value, .. } => Op::put(key.as_str(), value.as_str()).under(lease),
        KeyChange::Delete { key } => {
            let delete = Op::delete(KeyRange::key(key.as_str()));
            Op::txn(Txn::new().when(Compare::lease(key.as_str(), Order::Equal, lease)).then(delete))
        }
    }
}

/// Names the first of the changes that were rejected together.
fn about(error: EtcdError, first: Option<&KeyChange>) -> EtcdError {
    match (error, first) {
        (EtcdError::Refused { action, endpoint, why }, Some(change)) => EtcdError::Refused {
            action,
            endpoint,
            why: format!("{why} ({} and the keys written with it)", change.key()),
        },
        (error, _) => error,
    }
}

/// Paths of a publisher's credential files.
struct AccessFiles {
    user: Option<String>,
    password_file: Option<PathBuf>,
    ca: Option<PathBuf>,
    identity: Option<(PathBuf, PathBuf)>,
}

/// A credentials file that cannot be used.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error("cannot read {}", path.display())]
    Unreadable { path: PathBuf, source: ReadError },
    #[error("publish-user needs publish-password-file")]
    NoPassword,
}

impl Access for AccessFiles {
    fn load(&self) -> BoxFuture<'_, Result<Credentials, AccessError>> {
        Box::pin(async move { Ok(self.read().await?) })
    }
}

impl AccessFiles {
    async fn read(&self) -> Result<Credentials, FileError> {
        let mut credentials = Credentials::default();
        if let Some(path) = &self.ca {
            credentials.ca = Some(text(path, Guard::Writers).await?.into_bytes());
        }
        if let Some((certificate, key)) = &self.identity {
            let certificate = text(certificate, Guard::Writers).await?.into_bytes();
            let key = text(key, Guard::Writers).await?.into_bytes();
            credentials.identity = Some(Identity { certificate, key });
        }
        if let Some(name) = &self.user {
            let file = self.password_file.as_deref().ok_or(FileError::NoPassword)?;
            let password = text(file, Guard::Readers).await?;
            let password = password.trim_end_matches(['\r', '\n']).to_owned();
            credentials.user = Some(User { name: name.clone(), password });
        }
        Ok(credentials)
    }
}

async fn text(path: &Path, guard: Guard) -> Result<String, FileError> {
    let read = read_soon(path, MAX_FILE, guard).await;
    read.map_err(|source| FileError::Unreadable { path: path.to_owned(), source })
}
