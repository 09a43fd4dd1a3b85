//! Orders about one host, from this one or for another.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::join_all;
use longshore_cluster::members::{Member, MemberState, Roster};
use longshore_model::HostId;
use longshore_wire::control::{ControlRow, LookRow};

use super::control::{OrderError, order};
use super::membership::Membership;
use crate::host_labels::{LabelChanges, Labels};

impl Membership {
    /// Has a host give up its place.
    ///
    /// # Errors
    /// Every variant of [`OrderError`].
    pub(crate) async fn have_leave(&self, host: HostId) -> Result<(), OrderError> {
        if host == self.host() {
            let own = self.clone();
            // A client that goes must not leave the host between two states.
            let left = tokio::spawn(async move { own.leave().await });
            return left.await.map_err(|error| OrderError::Refused(error.to_string()));
        }
        self.order(host, &ControlRow::Leave).await.map(drop)
    }

    /// Changes the labels of a host, and returns all of them.
    ///
    /// # Errors
    /// Every variant of [`OrderError`].
    pub(crate) async fn label(&self, host: HostId, changes: LabelChanges) -> Result<Labels, OrderError> {
        let refused = |error: &dyn std::error::Error| OrderError::Refused(longshore_runtime::chain(error));
        if host == self.host() {
            return self.labels().change(&changes).map_err(|error| refused(&error));
        }
        let reply = self.order(host, &ControlRow::Label { changes }).await?;
        serde_json::from_slice(&reply).map_err(|error| refused(&error))
    }

    /// Asks all hosts that are alive how the cluster looks from there. Who does not answer has `None`.
    pub(crate) async fn looks(&self) -> Vec<(Member, Option<LookRow>)> {
        let roster: Option<Arc<Roster>> = self.roster();
        let members = roster.iter().flat_map(|roster| roster.members.clone());
        let looks = members.map(async |member| {
            let look = match member.state {
                _ if member.host == self.host() => Some(self.look().await),
                MemberState::Alive | MemberState::Suspect => {
                    let reply = self.order(member.host, &ControlRow::Look).await.ok();
                    reply.and_then(|reply| serde_json::from_slice(&reply).ok())
                }
                MemberState::Restarting | MemberState::Dead | MemberState::Left => None,
            };
            (member, look)
        });
        join_all(looks).await
    }

    async fn order(&self, host: HostId, row: &ControlRow) -> Result<bytes::Bytes, OrderError> {
        let roster = self.roster();
        let address: Option<SocketAddr> = roster.as_ref().and_then(|roster| Some(roster.get(host)?.address));
        let (Some(address), Some(identity)) = (address, self.identity().await) else {
            return Err(OrderError::Unknown);
        };
        order(&identity, host, address, row).await
    }
}
