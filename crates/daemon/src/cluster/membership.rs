//! This host's membership, as the agent, the API and other hosts handle it: join, stop, leave, and the secrets.

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use longshore_cluster::identity::Identity;
use longshore_cluster::members::{Departure, Roster};
use longshore_cluster::secret::{Keyring, Rotating, Secret, Step, StepError};
use longshore_cluster::service::Service;
use longshore_model::HostId;
use longshore_runtime::Source;
use longshore_runtime::state::{Observation, PeerObservation};
use longshore_wire::control::LookRow;
use tokio_util::task::AbortOnDropHandle;

use super::keyring_file::KeyringFile;
use super::parts::{ClusterParts, left_problem};
use crate::host_labels::HostLabels;

/// Why a step of a rotation is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TakeError {
    /// This host is in no cluster.
    #[error("this host is in no cluster")]
    Alone,
    /// The step does not fit.
    #[error(transparent)]
    Step(#[from] StepError),
    /// The secrets cannot be saved.
    #[error("cannot save the cluster's secrets")]
    Save(#[source] std::io::Error),
}

/// The membership of this host, while it lasts and after. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Membership(Arc<Inner>);

/// A membership that does not keep the agent's parts alive.
pub(super) struct WeakMembership(Weak<Inner>);

impl WeakMembership {
    pub(super) fn upgrade(&self) -> Option<Membership> {
        self.0.upgrade().map(Membership)
    }
}

struct Inner {
    parts: ClusterParts,
    running: tokio::sync::Mutex<Option<Running>>,
    has_left: AtomicBool,
    /// The new secret of a rotation that this host has begun and not finished. Another try takes it up, since each
    /// further one would take a place in the rings of all hosts.
    to_come: Mutex<Option<Secret>>,
}

/// A running membership.
pub(super) struct Running {
    pub(super) service: Service,
    pub(super) identity: Identity,
    pub(super) secrets: Secrets,
    pub(super) tasks: Vec<AbortOnDropHandle<()>>,
}

/// The secrets in use, and where they are kept.
pub(super) struct Secrets {
    file: KeyringFile,
    rotating: Mutex<Rotating>,
}

impl Secrets {
    pub(super) fn new(file: KeyringFile, ring: Keyring) -> Self {
        Self { file, rotating: Mutex::new(Rotating::new(ring)) }
    }

    fn ring(&self) -> Keyring {
        self.rotating.lock().unwrap_or_else(PoisonError::into_inner).ring().clone()
    }
}

/// Returns the seeds of the authorities of a ring.
pub(super) fn seeds(ring: &Keyring) -> Vec<[u8; 32]> {
    ring.secrets().map(|secret| *secret.ca_seed()).collect()
}

impl Membership {
    /// Prepares a membership, which begins with [`Membership::join`].
    pub(crate) fn new(parts: ClusterParts) -> Self {
        let (running, has_left) = (tokio::sync::Mutex::new(None), AtomicBool::new(false));
        Self(Arc::new(Inner { parts, running, has_left, to_come: Mutex::default() }))
    }

    /// Returns the port of the cluster, for a successor, if it is open.
    pub(crate) fn port(&self) -> Option<TcpListener> {
        self.0.parts.port.get()?.try_clone().ok()
    }

    pub(super) fn downgrade(&self) -> WeakMembership {
        WeakMembership(Arc::downgrade(&self.0))
    }

    pub(super) fn parts(&self) -> &ClusterParts {
        &self.0.parts
    }

    /// Returns the cluster's name.
    pub(crate) fn cluster_name(&self) -> String {
        self.0.parts.settings.name.to_string()
    }

    /// Returns this host's labels.
    pub(crate) fn labels(&self) -> &HostLabels {
        &self.0.parts.labels
    }

    /// Returns the hosts as this one sees them; `None` while it is in no cluster.
    pub(crate) fn roster(&self) -> Option<Arc<Roster>> {
        self.0.parts.roster.borrow().clone()
    }

    /// Begins what `join` makes of the parts, unless this host is in the cluster or has left it.
    pub(super) async fn begin<E>(
        &self,
        join: impl AsyncFnOnce(&ClusterParts) -> Result<Running, E>,
    ) -> Result<(), E> {
        let mut running = self.0.running.lock().await;
        if running.is_none() && !self.0.has_left.load(Relaxed) {
            *running = Some(join(&self.0.parts).await?);
        }
        Ok(())
    }

    /// Tells the others that this agent ends and comes back, and ends the membership.
    pub(crate) async fn stop(&self) {
        let running = self.0.running.lock().await.take();
        if let Some(Running { service, tasks, .. }) = running {
            self.0.parts.caller.set_peers(None);
            service.stop(Departure::Restarting).await;
            drop(tasks);
        }
    }

    /// Gives up this host's place at once. The agent runs on as a cluster of one until it is started again.
    pub(crate) async fn leave(&self) {
        self.0.has_left.store(true, Relaxed);
        let running = self.0.running.lock().await.take();
        let Some(Running { service, tasks, .. }) = running else { return };
        let Inner { parts, .. } = &*self.0;
        parts.caller.set_peers(None);
        let roster = service.roster().borrow().clone();
        service.stop(Departure::Left).await;
        for task in tasks {
            task.abort();
            // What it observed comes before what follows.
            let _ = task.await;
        }
        // If nobody listens any more, the agent ends.
        let _ = parts.observations.send(Observation::Members(BTreeMap::new()));
        for member in roster.members.iter().filter(|member| member.host != parts.host) {
            let _ = parts.observations.send(Observation::Peer(member.host, PeerObservation::Dropped));
        }
        parts.roster.send_replace(None);
        parts.problems.set(Source::Cluster, [left_problem(&parts.node, &parts.settings.name)]);
        tracing::info!(cluster = %parts.settings.name, "left the cluster; this host is a cluster of one");
    }

    /// Returns how the cluster looks from here.
    pub(crate) async fn look(&self) -> LookRow {
        let running = self.0.running.lock().await;
        let secrets = running.as_ref().map(|running| &running.secrets);
        let ring = secrets.map(Secrets::ring);
        let file = secrets.and_then(|secrets| secrets.file.operators());
        let roster = self.roster();
        let cut = roster.iter().flat_map(|roster| &roster.members).filter(|one| one.unreachable_from_here);
        LookRow {
            secrets: ring.map(|ring| ring.fingerprints()).unwrap_or_default(),
            secret_file: file.map(|path| path.display().to_string()),
            unreachable: cut.map(|member| member.host.to_string()).collect(),
        }
    }

    /// Returns this host's identity; `None` while it is in no cluster.
    pub(super) async fn identity(&self) -> Option<Identity> {
        self.0.running.lock().await.as_ref().map(|running| running.identity.clone())
    }

    /// Takes a step of a rotation: saves the ring that it leads to, then uses it. After [`Step::Keep`], connections
    /// under the removed keys live on until [`Membership::trust_ring`].
    ///
    /// # Errors
    /// Every variant of [`TakeError`]; nothing changes then.
    pub(super) async fn take_step(&self, step: &Step, now: Instant) -> Result<(), TakeError> {
        {
            let running = self.0.running.lock().await;
            let Some(Running { service, secrets, .. }) = running.as_ref() else {
                return Err(TakeError::Alone);
            };
            let mut rotating = secrets.rotating.lock().unwrap_or_else(PoisonError::into_inner);
            let ring = rotating.plan(step, now)?;
            // A small file: faster than the way to another thread.
            secrets.file.write(&ring).map_err(TakeError::Save)?;
            rotating.taken(step, ring.clone(), now);
            service.set_keyring(ring.clone());
            tracing::info!(secrets = ?ring.fingerprints(), "the cluster's secrets changed");
        }
        if !matches!(step, Step::Keep(_)) {
            self.trust_ring().await;
        }
        self.show_file_problem().await;
        Ok(())
    }

    /// Returns the secret for a rotation that this host begins, or takes up again.
    ///
    /// # Errors
    /// The operating system provides no random bytes.
    pub(super) fn secret_to_come(&self) -> io::Result<Secret> {
        let mut to_come = self.0.to_come.lock().unwrap_or_else(PoisonError::into_inner);
        let secret = match to_come.take() {
            Some(secret) => secret,
            None => Secret::generate().map_err(io::Error::other)?,
        };
        Ok(to_come.insert(secret).clone())
    }

    /// Ends a rotation that this host began.
    pub(super) fn forget_secret_to_come(&self) {
        *self.0.to_come.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Accepts and shows certificates under the secrets in use, and no others.
    pub(super) async fn trust_ring(&self) {
        if let Some(running) = &*self.0.running.lock().await
            && let Err(error) = running.identity.set_ring(&seeds(&running.secrets.ring()))
        {
            tracing::error!(%error, "this host's certificates are still under the old secrets");
        }
    }

    /// Reads the secrets again, which their operator may have changed.
    pub(crate) async fn reload(&self) {
        let changed = match &*self.0.running.lock().await {
            Some(Running { service, secrets, .. }) => {
                let mut rotating = secrets.rotating.lock().unwrap_or_else(PoisonError::into_inner);
                match secrets.file.read() {
                    Ok(ring) if ring.fingerprints() != rotating.ring().fingerprints() => {
                        tracing::info!(secrets = ?ring.fingerprints(), "the cluster's secrets changed");
                        rotating.replace(ring.clone());
                        service.set_keyring(ring);
                        true
                    }
                    Ok(_) => false,
                    Err(error) => {
                        let error: &dyn std::error::Error = &error;
                        tracing::error!(error, "cannot read the cluster's secrets; the old ones stay in use");
                        false
                    }
                }
            }
            None => false,
        };
        if changed {
            self.trust_ring().await;
        }
        self.show_file_problem().await;
    }

    /// Shows what the operator has to do about the file of the secrets.
    pub(super) async fn show_file_problem(&self) {
        if let Some(running) = &*self.0.running.lock().await {
            let file = &running.secrets.file;
            if let Err(error) = file.forget_overtaken() {
                tracing::debug!(%error, "cannot remove the file of a secret that is not needed any more");
            }
            self.0.parts.problems.set(Source::ClusterSecret, file.problem());
        }
    }

    /// Returns this host's id.
    pub(super) fn host(&self) -> HostId {
        self.0.parts.host
    }
}
