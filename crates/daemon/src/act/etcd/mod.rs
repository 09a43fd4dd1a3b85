//! etcd: keys under a lease, written, deleted and looked at.
//!
//! One member is talked to at a time, for as long as it answers; one that does not is left for the next in the list
//! within the same call. A call has a limit for each member that it tries, so none hangs.

mod connect;
mod error;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, Compare, CompareOp, LeaseTimeToLiveOptions, PutOptions, Txn, TxnOp};
use longshore_model::PublishJob;
use longshore_plan::{KeyChange, in_batches};
use tokio::sync::Mutex;
use tokio::time::timeout;

pub(crate) use error::EtcdError;

/// etcd refuses transactions of more than 128 changes, and requests of more than 1.5 MiB, unless it is told otherwise.
const MOST_CHANGES: usize = 100;
const MOST_BYTES: usize = 512 * 1024;

/// The largest value that is written: below etcd's own limit for a request.
pub(crate) const LARGEST_VALUE: usize = 1024 * 1024;

/// Where etcd is, and as whom it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EtcdSettings {
    /// Its members, in the order in which they are tried.
    pub(crate) endpoints: Vec<String>,
    pub(crate) user: Option<String>,
    /// Read at each new connection, so that a changed password is taken.
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
    /// How long one member has for one answer.
    pub(crate) limit: Duration,
}

impl EtcdSettings {
    /// Those of a publisher: members get so little time that another one is asked well before the lease ends.
    pub(crate) fn of(job: &PublishJob) -> Self {
        Self {
            endpoints: job.endpoints.clone(),
            user: job.user.clone(),
            password_file: job.password_file.clone(),
            ca: job.ca.clone(),
            identity: job.identity.clone(),
            limit: (job.lease / 4).clamp(Duration::from_millis(500), Duration::from_secs(3)),
        }
    }
}

/// The member that is talked to.
#[derive(Default)]
struct Current {
    /// Its place in the list.
    member: usize,
    client: Option<Client>,
}

/// A lease's number.
pub(crate) type LeaseId = i64;

/// A way to etcd. Cheap to clone; clones share the connection.
#[derive(Clone)]
pub(crate) struct Etcd {
    settings: Arc<EtcdSettings>,
    current: Arc<Mutex<Current>>,
}

impl Etcd {
    /// Connects when it is first needed.
    pub(crate) fn new(settings: EtcdSettings) -> Self {
        Self { settings: Arc::new(settings), current: Arc::default() }
    }

    /// A lease of this length, rounded up to seconds.
    pub(crate) async fn grant(&self, length: Duration) -> Result<LeaseId, EtcdError> {
        let seconds = seconds(length);
        let granted = |mut client: Client| async move { client.lease_grant(seconds, None).await };
        Ok(self.call("grant a lease", granted).await?.id())
    }

    /// Begins the lease's length anew.
    ///
    /// # Errors
    /// [`EtcdError::LeaseLost`] where etcd does not know it any more.
    pub(crate) async fn keep_alive(&self, lease: LeaseId) -> Result<(), EtcdError> {
        let kept = |mut client: Client| async move { client.lease_keep_alive(lease).await.map(drop) };
        self.call("keep a lease", kept).await
    }

    /// The keys under a lease, and its length; nothing where etcd does not know it.
    pub(crate) async fn attached(
        &self,
        lease: LeaseId,
    ) -> Result<Option<(Duration, BTreeSet<String>)>, EtcdError> {
        let looked = |mut client: Client| async move {
            client.lease_time_to_live(lease, Some(LeaseTimeToLiveOptions::new().with_keys())).await
        };
        let answer = match self.call("look at a lease", looked).await {
            Err(EtcdError::LeaseLost) => return Ok(None),
            answer => answer?,
        };
        // etcd says -1 of a lease that it does not know.
        let Ok(granted) = u64::try_from(answer.granted_ttl()) else { return Ok(None) };
        if answer.ttl() < 0 || granted == 0 {
            return Ok(None);
        }
        let keys = answer.keys().iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect();
        Ok(Some((Duration::from_secs(granted), keys)))
    }

    /// Makes these changes under a lease, in transactions that etcd takes, and tells `done` of each that was made. A key
    /// is deleted only if it is under this lease: what somebody else wrote there since stays.
    pub(crate) async fn apply(
        &self,
        lease: LeaseId,
        changes: Vec<KeyChange>,
        mut done: impl FnMut(&KeyChange) + Send,
    ) -> Result<(), EtcdError> {
        for batch in in_batches(changes, MOST_CHANGES, MOST_BYTES) {
            let operations: Vec<TxnOp> = batch.iter().map(|change| operation(lease, change)).collect();
            let written = |mut client: Client| {
                let transaction = Txn::new().and_then(operations.clone());
                async move { client.txn(transaction).await.map(drop) }
            };
            self.call("write", written).await.map_err(|error| error.about(batch.first()))?;
            batch.iter().for_each(&mut done);
        }
        Ok(())
    }

    /// Ends a lease, and with it all keys under it. One that is not known has ended already.
    pub(crate) async fn revoke(&self, lease: LeaseId) -> Result<(), EtcdError> {
        let revoked = |mut client: Client| async move { client.lease_revoke(lease).await.map(drop) };
        match self.call("end a lease", revoked).await {
            Err(EtcdError::LeaseLost) => Ok(()),
            ended => ended,
        }
    }

    /// Asks the current member, and each other one after it that the answer can be had from.
    async fn call<T, F>(&self, what: &'static str, ask: impl Fn(Client) -> F) -> Result<T, EtcdError>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let mut first = None;
        for _ in 0..self.settings.endpoints.len() {
            let (member, answer) = self.ask(what, &ask).await;
            match answer {
                Ok(answer) => return Ok(answer),
                Err(error) if error.is_the_members() => {
                    self.leave(member).await;
                    first.get_or_insert(error);
                }
                Err(error) => {
                    // Another password or other rights count from the next connection on.
                    if matches!(error, EtcdError::Refused { .. }) {
                        self.disconnect(member).await;
                    }
                    return Err(error);
                }
            }
        }
        Err(first.unwrap_or(EtcdError::NoMembers))
    }

    /// Asks the current member, and tells its place in the list.
    async fn ask<T, F>(&self, what: &'static str, ask: impl Fn(Client) -> F) -> (usize, Result<T, EtcdError>)
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let (member, client) = {
            let mut current = self.current.lock().await;
            let member = current.member;
            let Some(endpoint) = self.settings.endpoints.get(member) else {
                return (member, Err(EtcdError::NoMembers));
            };
            if current.client.is_none() {
                match connect::connect(&self.settings, endpoint).await {
                    Ok(client) => current.client = Some(client),
                    Err(error) => return (member, Err(error)),
                }
            }
            (member, current.client.clone())
        };
        let (Some(endpoint), Some(client)) = (self.settings.endpoints.get(member), client) else {
            return (member, Err(EtcdError::NoMembers));
        };
        let limit = self.settings.limit;
        let answer = match timeout(limit, ask(client)).await {
            Ok(answer) => answer.map_err(|source| EtcdError::of_call(what, endpoint, &source)),
            Err(_) => Err(EtcdError::Late { what, endpoint: endpoint.clone(), limit }),
        };
        (member, answer)
    }

    /// Connects anew before the next call, unless another member is talked to by then.
    async fn disconnect(&self, member: usize) {
        let mut current = self.current.lock().await;
        if current.member == member {
            current.client = None;
        }
    }

    /// Goes on to the next member, unless somebody did meanwhile.
    async fn leave(&self, member: usize) {
        let mut current = self.current.lock().await;
        if current.member == member {
            let member = (member + 1) % self.settings.endpoints.len().max(1);
            *current = Current { member, client: None };
        }
    }
}

/// A lease's length as etcd counts it.
pub(crate) fn seconds(length: Duration) -> i64 {
    i64::try_from(length.as_millis().div_ceil(1000)).unwrap_or(i64::MAX)
}

fn operation(lease: LeaseId, change: &KeyChange) -> TxnOp {
    match change {
        KeyChange::Put { key, value, .. } => {
            TxnOp::put(key.as_str(), value.as_str(), Some(PutOptions::new().with_lease(lease)))
        }
        KeyChange::Delete { key } => {
            let ours = Compare::lease(key.as_str(), CompareOp::Equal, lease);
            let delete = TxnOp::delete(key.as_str(), None);
            TxnOp::txn(Txn::new().when(vec![ours]).and_then(vec![delete]))
        }
    }
}
