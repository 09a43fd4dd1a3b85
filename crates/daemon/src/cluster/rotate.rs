//! Replaces the secret of the running cluster, as the one who takes all hosts through the steps.
//!
//! The hosts take each step at the same time, this one after the others, and none begins the next before all have
//! taken it. If one does not, the rotation stops there: until then, all hosts understand each other, and another
//! rotation finishes what this one began.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use longshore_cluster::identity::Identity;
use longshore_cluster::members::{MemberState, Roster};
use longshore_cluster::secret::Step;
use longshore_model::HostId;
use longshore_runtime::chain;
use longshore_wire::control::{ControlRow, LookRow, SecretRow};

use super::control::{OrderError, order};
use super::membership::Membership;

/// How long what was sealed and signed with the old secret may be on its way before nobody accepts it any more.
const SETTLING: Duration = Duration::from_millis(500);

/// What to do about hosts that are not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// Do not begin.
    Refuse,
    /// Go on without them: they keep the old secret, and cannot come back with it.
    LeaveOut,
}

/// Why the secret was not rotated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RotateError {
    /// This host is in no cluster.
    #[error("this host is a cluster of one: there is no secret to rotate")]
    Alone,
    /// The system has no random bytes.
    #[error("cannot create a secret: {0}")]
    Random(String),
    /// Some hosts are not reached from here.
    #[error(
        "not begun, as these hosts do not answer this one: {}. They could not come back with the old secret: wait for \
         them, leave those out that are gone for good (--leave-out-absent), or ask another host",
        .0.join(", ")
    )]
    Absent(Vec<String>),
    /// Hosts came or went.
    #[error("stopped, as hosts came or went meanwhile; all hosts understand each other: run it again")]
    Changed,
    /// Hosts did not take a step.
    #[error("stopped, all hosts understand each other: run it again once this is solved. {}", .0.join("; "))]
    Step(Vec<String>),
}

/// What came of a rotation.
#[derive(Debug)]
pub(crate) struct Rotated {
    /// The fingerprint of the new secret.
    pub(crate) fingerprint: String,
    /// The hosts that have it: their names, and the file of each that its operator has to update.
    pub(crate) hosts: Vec<(String, Option<String>)>,
    /// The names of the hosts that were left out.
    pub(crate) left_out: Vec<String>,
}

/// A host that takes part.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    host: HostId,
    name: String,
    address: SocketAddr,
}

/// Who takes part, without this host, and the names of those that cannot.
fn parts(roster: &Roster) -> (Vec<Part>, Vec<String>) {
    let others = roster.members.iter().filter(|member| member.host != roster.me);
    let (here, absent): (Vec<_>, Vec<_>) = others
        .filter(|member| member.state != MemberState::Left)
        .partition(|member| member.state == MemberState::Alive && !member.unreachable_from_here);
    let part = |member: &longshore_cluster::members::Member| Part {
        host: member.host,
        name: member.name.to_string(),
        address: member.address,
    };
    (here.into_iter().map(part).collect(), absent.iter().map(|member| member.name.to_string()).collect())
}

impl Membership {
    /// Replaces the secret on all hosts.
    ///
    /// # Errors
    /// Every variant of [`RotateError`].
    pub(crate) async fn rotate(&self, absent: Absent) -> Result<Rotated, RotateError> {
        let (Some(roster), Some(identity)) = (self.roster(), self.identity().await) else {
            return Err(RotateError::Alone);
        };
        let (others, left_out) = parts(&roster);
        if !left_out.is_empty() && absent == Absent::Refuse {
            return Err(RotateError::Absent(left_out));
        }
        let secret = self.secret_to_come().map_err(|error| RotateError::Random(error.to_string()))?;
        let fingerprint = secret.fingerprint();
        tracing::info!(fingerprint, hosts = others.len() + 1, "rotating the cluster's secret");
        let own_file = self.look().await.secret_file;
        let files = self.files(&identity, &others).await?;
        let steps = [
            Step::Accept(secret.clone()),
            Step::Prefer(fingerprint.clone()),
            Step::Keep(fingerprint.clone()),
        ];
        for step in steps {
            if matches!(step, Step::Keep(_)) {
                tokio::time::sleep(SETTLING).await;
            }
            self.has_same(&others)?;
            self.take_everywhere(&identity, &others, &step).await?;
        }
        self.forget_secret_to_come();
        self.trust_ring().await;
        let mut hosts: Vec<(String, Option<String>)> =
            others.into_iter().map(|part| part.name).zip(files).collect();
        hosts.push((self.parts().node.clone(), own_file));
        hosts.sort();
        Ok(Rotated { fingerprint, hosts, left_out })
    }

    /// Returns the file of each host's secret that its agent does not write.
    async fn files(&self, identity: &Identity, others: &[Part]) -> Result<Vec<Option<String>>, RotateError> {
        let asked = others.iter().map(|part| order(identity, part.host, part.address, &ControlRow::Look));
        let mut files = Vec::new();
        let mut failed = Vec::new();
        for (part, reply) in others.iter().zip(join_all(asked).await) {
            match reply.map(|reply| serde_json::from_slice::<LookRow>(&reply)) {
                Ok(Ok(look)) => files.push(look.secret_file),
                Ok(Err(error)) => failed.push(format!("{}: {error}", part.name)),
                Err(error) => failed.push(format!("{}: {}", part.name, chain(&error))),
            }
        }
        if failed.is_empty() { Ok(files) } else { Err(RotateError::Step(failed)) }
    }

    /// Checks that the cluster has still the same hosts: one that came meanwhile has the old secret only.
    fn has_same(&self, others: &[Part]) -> Result<(), RotateError> {
        let roster: Arc<Roster> = self.roster().ok_or(RotateError::Changed)?;
        let (now, _) = parts(&roster);
        let (now, before): (BTreeSet<_>, BTreeSet<_>) = (now.iter().collect(), others.iter().collect());
        // One that is suspect for a moment answers the step or does not.
        if now.is_subset(&before) { Ok(()) } else { Err(RotateError::Changed) }
    }

    async fn take_everywhere(
        &self,
        identity: &Identity,
        others: &[Part],
        step: &Step,
    ) -> Result<(), RotateError> {
        let row = row(step);
        let ask = async |part: &Part| {
            let first = order(identity, part.host, part.address, &row).await;
            match first {
                // A step may be repeated: a connection may break.
                Err(OrderError::Unreachable(_) | OrderError::Silent(_)) => {
                    order(identity, part.host, part.address, &row).await
                }
                other => other,
            }
        };
        let replies = join_all(others.iter().map(ask)).await;
        let failed = others
            .iter()
            .zip(replies)
            .filter_map(|(part, reply)| Some(format!("{}: {}", part.name, chain(&reply.err()?))));
        let mut failed: Vec<String> = failed.collect();
        if failed.is_empty()
            && let Err(error) = self.take_step(step, Instant::now()).await
        {
            failed.push(format!("{}: {}", self.parts().node, chain(&error)));
        }
        if failed.is_empty() { Ok(()) } else { Err(RotateError::Step(failed)) }
    }
}

fn row(step: &Step) -> ControlRow {
    match step {
        Step::Accept(secret) => ControlRow::Accept { secret: SecretRow(secret.text()) },
        Step::Prefer(fingerprint) => ControlRow::Prefer { fingerprint: fingerprint.clone() },
        Step::Keep(fingerprint) => ControlRow::Keep { fingerprint: fingerprint.clone() },
    }
}
