//! Publishing to etcd: running containers as keys under one lease.
//!
//! The lease determines which keys are ours, and [`Ledger`] what they should be. The two are compared at
//! intervals of half the lease's length, so that a key that someone deleted, or wrote under another lease, is
//! back before either lease ends. The lease's id is kept in the data directory: the next agent continues with
//! the same lease, so no key is ever missing, and the keys of containers that ended in between are found under
//! it. No key is deleted that is not under it.

mod lease;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use longshore_docker::{InspectionCache, InspectionError};
use longshore_model::{Change, ContainerId, DomainName, Host, Problem, PublishJob, Subject, World};
use longshore_plan::{KeyChange, Ledger, RecordSettings, container_key, records};
use longshore_runtime::{Follower, FollowerContext, Passed, Reached, chain, local_addr};
use serde_json::Value;
use tokio::time::Instant;

use self::lease::{LeaseKeeper, Remembered};
use crate::act::etcd::{Etcd, EtcdError, LeaseId, MAX_VALUE};
use crate::config::DnsSettings;
use crate::reconcile::{FollowerParts, HandlerFollower};

/// The name of the publisher that the settings request, rather than a handler's file.
const OWN: &str = "publish";

/// The domain of DNS records if no DNS server with another is configured.
const DOMAIN: &str = "longshore.internal";

/// The TTL of answers if no DNS server with another is configured.
const TTL: Duration = Duration::from_secs(5);

/// How many inspections run at once.
const INSPECTIONS: usize = 8;

/// Why etcd does not accept keys.
struct Cause {
    /// Whether the cause is that no member responds.
    unreachable: bool,
    why: String,
}

/// Keeps keys in etcd in line with World.
pub(crate) struct Publisher {
    name: String,
    is_own: bool,
    inspections: InspectionCache,
    prefix: String,
    /// Whether the values of variables are published.
    env: bool,
    records: Option<RecordSettings>,
    length: Duration,
    etcd: Etcd,
    remembered: Remembered,
    keeper: Option<LeaseKeeper>,
    /// A lease of another length that keys may still be under. It ends once they have all moved to the current
    /// one.
    previous: Option<LeaseId>,
    ledger: Ledger,
    /// Whether every container has been inspected since the lease was acquired.
    complete: bool,
    /// When lease and ledger were last compared.
    compared: Option<Instant>,
    /// Why etcd does not accept the keys. The connection error may differ between attempts; the first one is
    /// reported.
    away: Option<Cause>,
    /// Problems of containers that are not published because of their names or sizes.
    unpublished: BTreeMap<ContainerId, Vec<Problem>>,
}

impl Publisher {
    /// Creates the publisher of the handler with this name; without a name, that of the settings. Stores its
    /// lease below `data_dir`.
    pub(crate) fn new(
        context: &FollowerContext,
        inspections: InspectionCache,
        data_dir: &Path,
        dns: Option<&DnsSettings>,
        name: Option<&str>,
        job: &PublishJob,
    ) -> Self {
        let etcd = Etcd::new(job);
        let node = context.node.parse::<DomainName>().ok();
        let records = record_settings(job, dns, node, Vec::new());
        let prefix = container_prefix(job, &context.node);
        let who = name.unwrap_or(OWN);
        Self {
            name: who.to_owned(),
            is_own: name.is_none(),
            inspections,
            prefix,
            env: job.env,
            records,
            length: job.lease,
            etcd,
            remembered: Remembered::new(data_dir, name, &context.node),
            keeper: None,
            previous: None,
            ledger: Ledger::default(),
            complete: false,
            compared: None,
            away: None,
            unpublished: BTreeMap::new(),
        }
    }

    fn count(&self) {
        let keys = self.ledger.len() as f64;
        metrics::gauge!("longshore_publish_keys", "publisher" => self.name.clone()).set(keys);
    }

    /// Makes one pass; returns whether Docker could inspect every container.
    async fn publish(&mut self, world: &World, changed: &BTreeSet<Change>) -> Result<bool, EtcdError> {
        if self.keeper.as_ref().is_some_and(LeaseKeeper::is_lost) {
            self.let_go();
        }
        let lease = self.hold().await?;
        let host = world.own();
        // No published data belongs to a network itself: a container that joins or leaves one changes.
        let changed =
            changed.iter().filter(|change| !matches!(change, Change::Networks(_))).cloned().collect();
        let named = Change::containers_of(&changed, world.me()).filter(|_| self.complete);
        let everything = named.is_none();
        let mut looked_at = named.unwrap_or_else(|| {
            self.unpublished.retain(|id, _| host.containers.contains_key(id));
            host.containers.keys().chain(self.ledger.containers()).cloned().collect()
        });
        let since = self.compared.map(|compared| compared.elapsed());
        let due = self.away.is_some() || !self.complete || since.is_none_or(|since| since >= self.length / 2);
        let attached = if due { Some(self.attached(lease).await?) } else { None };
        if let Some(attached) = &attached {
            looked_at.extend(self.ledger.missing(attached));
        }
        let (wanted, is_whole) = self.look(host, looked_at).await;
        let changes = self.ledger.changes(wanted);
        self.apply(lease, changes).await?;
        if is_whole {
            self.complete |= everything;
            if let Some(attached) = attached {
                let surplus = self.ledger.surplus(&attached);
                self.apply(lease, surplus).await?;
                self.compared = Some(Instant::now());
            }
            if let Some(previous) = self.previous.take() {
                self.etcd.revoke(previous).await?;
            }
        }
        Ok(is_whole)
    }

    async fn attached(&self, lease: LeaseId) -> Result<BTreeSet<String>, EtcdError> {
        let found = self.etcd.attached(lease).await?;
        found.map(|(_, keys)| keys).ok_or(EtcdError::LeaseNotFound)
    }

    /// Makes the changes. Inspections and records go separately: a user may have write access to only one of
    /// them.
    async fn apply(&mut self, lease: LeaseId, changes: Vec<KeyChange>) -> Result<(), EtcdError> {
        let own = format!("{}/", self.prefix.trim_end_matches('/'));
        let (inspections, records) = changes.into_iter().partition(|change| change.key().starts_with(&own));
        let mut outcome = Ok(());
        for changes in [inspections, records] {
            let ledger = &mut self.ledger;
            let made = self.etcd.apply(lease, changes, |change| ledger.made(change)).await;
            outcome = outcome.and(made);
        }
        outcome
    }

    /// Acquires the lease: the previous agent's if etcd still has it.
    async fn hold(&mut self) -> Result<LeaseId, EtcdError> {
        if let Some(keeper) = &self.keeper {
            return Ok(keeper.id);
        }
        let mut known = None;
        if let Some(lease) = self.remembered.lease() {
            known = self.etcd.attached(lease).await?.map(|(length, _)| (lease, length));
        }
        let wanted = Duration::from_secs(self.length.as_millis().div_ceil(1000) as u64);
        let taken_over = match known {
            Some((lease, length)) if length == wanted => {
                self.etcd.keep_alive(lease).await?;
                Some(lease)
            }
            other => {
                self.previous = other.map(|(lease, _)| lease);
                None
            }
        };
        let id = match taken_over {
            Some(lease) => lease,
            None => {
                let lease = self.etcd.grant(self.length).await?;
                self.remembered.remember(lease);
                lease
            }
        };
        self.keeper = Some(LeaseKeeper::keep(self.etcd.clone(), id, self.length));
        Ok(id)
    }

    /// Forgets the lease, which has ended, and everything that was under it.
    fn let_go(&mut self) {
        self.keeper = None;
        self.remembered.forget();
        self.ledger = Ledger::default();
        self.complete = false;
        self.compared = None;
    }

    /// Returns the keys that these containers should have, and whether Docker could inspect all of them. The
    /// keys of the others stay.
    async fn look(
        &mut self,
        host: &Host,
        containers: BTreeSet<ContainerId>,
    ) -> (BTreeMap<ContainerId, BTreeMap<String, String>>, bool) {
        if let Some(settings) = &mut self.records {
            settings.host = own_addresses();
        }
        let (inspections, env) = (&self.inspections, self.env);
        let looks = containers.into_iter().map(async |id| {
            let alive = host.containers.get(&id).filter(|container| container.state.is_alive());
            let inspection = match alive {
                Some(_) => inspect(inspections, &id, env).await,
                None => Ok(None),
            };
            (id, inspection)
        });
        let looks: Vec<_> = looks.collect();
        let looks: Vec<_> = stream::iter(looks).buffer_unordered(INSPECTIONS).collect().await;
        let (mut wanted, mut is_whole) = (BTreeMap::new(), true);
        for (id, inspection) in looks {
            match (inspection, host.containers.get(&id)) {
                (Ok(Some(inspection)), Some(container)) => {
                    let (keys, problems) = self.keys(host, container, inspection);
                    self.tell(&id, problems);
                    wanted.insert(id, keys);
                }
                (Ok(_), _) => {
                    self.tell(&id, Vec::new());
                    wanted.insert(id, BTreeMap::new());
                }
                (Err(error), container) => {
                    let name = container.map(|container| container.name.clone()).unwrap_or_default();
                    let why = chain(&error);
                    let problem = Problem {
                        subject: Subject::Container { id: id.clone(), name },
                        key: None,
                        message: format!(
                            "Docker does not show it; its published keys stay as they are: {why}"
                        ),
                        hint: Some("retrying".to_owned()),
                    };
                    self.tell(&id, vec![problem]);
                    is_whole = false;
                }
            }
        }
        (wanted, is_whole)
    }

    fn keys(
        &self,
        host: &Host,
        container: &longshore_model::Container,
        inspection: String,
    ) -> (BTreeMap<String, String>, Vec<Problem>) {
        let (mut keys, mut problems) = match &self.records {
            Some(settings) => records(host, container, settings),
            None => (BTreeMap::new(), Vec::new()),
        };
        if inspection.len() > MAX_VALUE {
            let bytes = inspection.len();
            problems.push(Problem {
                subject: container.into(),
                key: None,
                message: format!(
                    "its inspection has {bytes} bytes, more than {MAX_VALUE}: it is not published"
                ),
                hint: Some("give it fewer or shorter labels and environment variables".to_owned()),
            });
        } else {
            keys.insert(container_key(&self.prefix, &container.id), inspection);
        }
        (keys, problems)
    }

    fn tell(&mut self, id: &ContainerId, problems: Vec<Problem>) {
        if problems.is_empty() {
            self.unpublished.remove(id);
        } else {
            self.unpublished.insert(id.clone(), problems);
        }
    }

    fn problem_of_etcd(&self, why: &str) -> Problem {
        let lease = self.length;
        Problem {
            subject: Subject::Handler { name: self.name.clone() },
            key: self.is_own.then(|| "publish-etcd".to_owned()),
            message: format!(
                "cannot publish to etcd; published keys stay until their lease of {lease:?} expires: {why}"
            ),
            hint: Some("retrying".to_owned()),
        }
    }
}

impl HandlerFollower for Publisher {
    type Settings = PublishJob;

    fn of_handler(parts: &FollowerParts<'_>, settings: &PublishJob) -> Self {
        let FollowerParts { context, docker, data_dir, dns, handler, .. } = parts;
        Self::new(context, docker.inspections().clone(), data_dir, *dns, Some(*handler), settings)
    }

    /// Revokes the lease, and with it the keys. If etcd is unreachable, they expire with the lease.
    async fn withdraw(mut self) {
        let lease = self.keeper.take().map(|keeper| keeper.id).or_else(|| self.remembered.lease());
        for lease in lease.into_iter().chain(self.previous) {
            if let Err(error) = self.etcd.revoke(lease).await {
                let why = chain(&error);
                tracing::warn!(
                    publisher = self.name,
                    "cannot revoke the lease: its keys stay until it expires: {why}"
                );
            }
        }
        self.remembered.forget();
        self.ledger = Ledger::default();
        self.count();
    }
}

impl Follower for Publisher {
    const NAME: &'static str = "publisher";

    async fn pass(&mut self, world: &World, changed: &BTreeSet<Change>) -> Passed {
        let mut outcome = self.publish(world, changed).await;
        if matches!(outcome, Err(EtcdError::LeaseNotFound)) {
            self.let_go();
            outcome = self.publish(world, changed).await;
        }
        let mut problems: Vec<Problem> = self.unpublished.values().flatten().cloned().collect();
        let reached = match outcome {
            Ok(is_whole) => {
                self.away = None;
                if is_whole { Reached::All } else { Reached::Part }
            }
            Err(error) => {
                let unreachable = error.is_unreachable();
                let known = self.away.take().filter(|cause| cause.unreachable && unreachable);
                let cause = known.unwrap_or_else(|| Cause { unreachable, why: chain(&error) });
                problems.push(self.problem_of_etcd(&cause.why));
                self.away = Some(cause);
                Reached::Nothing
            }
        };
        self.count();
        Passed { problems, reached, due: Some(Instant::now() + self.length / 3), busy: false }
    }

    async fn disturbed(&mut self) -> BTreeSet<Change> {
        match &mut self.keeper {
            Some(keeper) => keeper.lost().await,
            None => std::future::pending().await,
        }
        BTreeSet::from([Change::All])
    }
}

/// Returns a container's inspection as JSON with sorted keys, and the values of its variables only if `env`
/// requests them; nothing if the container is gone or has ended.
async fn inspect(
    inspections: &InspectionCache,
    id: &ContainerId,
    env: bool,
) -> Result<Option<String>, InspectionError> {
    let Some(inspection) = inspections.get(id).await? else { return Ok(None) };
    // Parsing into a value sorts its maps: the same inspection always gives the same text.
    let Ok(mut inspection) = serde_json::from_str::<Value>(inspection.get()) else { return Ok(None) };
    if inspection.pointer("/State/Running") == Some(&Value::Bool(false)) {
        return Ok(None);
    }
    let variables = inspection.pointer_mut("/Config/Env").and_then(Value::as_array_mut).filter(|_| !env);
    for variable in variables.into_iter().flatten() {
        let name = variable.as_str().and_then(|pair| pair.split('=').next()).unwrap_or_default();
        *variable = name.into();
    }
    Ok(Some(inspection.to_string()))
}

/// Returns the addresses of containers on the host's network.
pub(crate) fn own_addresses() -> Vec<IpAddr> {
    local_addr::addresses().filter(|ip| !ip.is_loopback() && !ip.is_unspecified()).collect()
}

/// Returns the key prefix of containers.
pub(crate) fn container_prefix(job: &PublishJob, node: &str) -> String {
    job.prefix.clone().unwrap_or_else(|| format!("/longshore/containers/{node}"))
}

/// Returns the settings of DNS records, if the job requests them and the host has a name.
pub(crate) fn record_settings(
    job: &PublishJob,
    dns: Option<&DnsSettings>,
    node: Option<DomainName>,
    host: Vec<IpAddr>,
) -> Option<RecordSettings> {
    let domain = dns.map(|dns| dns.domain.clone()).or_else(|| DOMAIN.parse().ok())?;
    let ttl = dns.map_or(TTL, |dns| dns.ttl).as_secs().max(1);
    Some(RecordSettings { prefix: job.skydns.clone()?, domain, node: node?, ttl, host })
}
