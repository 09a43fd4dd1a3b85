//! Leases: when one expires, its keys are deleted.

use std::time::Duration;

use crate::client::{Answers, Call, Client, Repeat};
use crate::error::Error;
use crate::message::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseRevokeRequest,
    LeaseRevokeResponse, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
};

/// A duplicate lease that is never renewed expires by itself, so even a grant may be repeated.
const GRANT: Call =
    Call { path: "/etcdserverpb.Lease/LeaseGrant", action: "grant a lease", repeat: Repeat::Always };
const KEEP_ALIVE: Call =
    Call { path: "/etcdserverpb.Lease/LeaseKeepAlive", action: "renew a lease", repeat: Repeat::Always };
const REVOKE: Call =
    Call { path: "/etcdserverpb.Lease/LeaseRevoke", action: "revoke a lease", repeat: Repeat::Always };
const TIME_TO_LIVE: Call =
    Call { path: "/etcdserverpb.Lease/LeaseTimeToLive", action: "look up a lease", repeat: Repeat::Always };

/// A lease's id.
pub type LeaseId = i64;

/// The status of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseStatus {
    /// Its granted duration.
    pub granted: Duration,
    /// Its remaining duration.
    pub remaining: Duration,
    /// Its keys.
    pub keys: Vec<Vec<u8>>,
}

impl Client {
    /// Grants a lease of this duration, rounded up to seconds. etcd itself raises a duration below one and a half of
    /// its election timeouts.
    ///
    /// # Errors
    /// No endpoint answers, or etcd refuses.
    pub async fn grant_lease(&self, length: Duration) -> Result<LeaseId, Error> {
        let ttl = i64::try_from(length.as_millis().div_ceil(1000)).unwrap_or(i64::MAX);
        let answer: LeaseGrantResponse = self.unary(GRANT, &LeaseGrantRequest { ttl }).await?;
        Ok(answer.id)
    }

    /// Renews a lease for its whole duration, which is returned.
    ///
    /// # Errors
    /// [`Error::LeaseNotFound`] if it has expired or was revoked; otherwise no endpoint answers, or etcd refuses.
    pub async fn keep_lease_alive(&self, id: LeaseId) -> Result<Duration, Error> {
        let answers: Answers<LeaseKeepAliveResponse> =
            self.stream(KEEP_ALIVE, &LeaseKeepAliveRequest { id }).await?;
        match u64::try_from(answers.first.ttl) {
            Ok(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
            // etcd returns 0 for an unknown lease.
            _ => Err(Error::LeaseNotFound),
        }
    }

    /// Returns the status of a lease and its keys; `None` if it has expired or was revoked.
    ///
    /// # Errors
    /// No endpoint answers, or etcd refuses.
    pub async fn lease_status(&self, id: LeaseId) -> Result<Option<LeaseStatus>, Error> {
        let request = LeaseTimeToLiveRequest { id, keys: true };
        let answer: LeaseTimeToLiveResponse = match self.unary(TIME_TO_LIVE, &request).await {
            Err(Error::LeaseNotFound) => return Ok(None),
            answer => answer?,
        };
        // etcd returns -1 for an unknown lease.
        let (Ok(granted), Ok(remaining)) = (u64::try_from(answer.granted_ttl), u64::try_from(answer.ttl))
        else {
            return Ok(None);
        };
        let status = LeaseStatus {
            granted: Duration::from_secs(granted),
            remaining: Duration::from_secs(remaining),
            keys: answer.keys,
        };
        Ok(Some(status).filter(|_| granted > 0))
    }

    /// Revokes a lease, which deletes all its keys. An expired lease is not an error.
    ///
    /// # Errors
    /// No endpoint answers, or etcd refuses.
    pub async fn revoke_lease(&self, id: LeaseId) -> Result<(), Error> {
        match self.unary::<_, LeaseRevokeResponse>(REVOKE, &LeaseRevokeRequest { id }).await {
            Ok(_) | Err(Error::LeaseNotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
