//! This host's part in the cluster: membership, the facts that hosts tell each other, and the connections between them.
//!
//! ```text
//! Service ──roster──┬─► problems, /v1/hosts, the addresses for the next start
//!                   └─► peer::follow ──observations──► World
//! World, events ──► OwnFacts ──► peer::serve ──► the other hosts ──► their feeds of events
//! Caller ──► PeerCalls ──► the other hosts' CallServer ──► their Docker
//! ```
//!
//! [`Membership`] is the handle of it all: the agent joins and stops, the API and other hosts' orders reach it.

mod control;
mod keyring_file;
mod membership;
mod orders;
mod parts;
mod rotate;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use longshore_cluster::calls::{CallServer, PeerCalls, PeerPlace};
use longshore_cluster::facts::OwnFacts;
use longshore_cluster::identity::Identity;
use longshore_cluster::members::{MemberState, Roster, Settings};
use longshore_cluster::peer::{self, Member, Members, OnEvent};
use longshore_cluster::service::{DEFAULT_PORT, Service, ServiceConfig};
use longshore_model::{ContainerEvent, HostId, Problem, Subject, Transport};
use longshore_runtime::state::{Observation, PeerObservation, Reader};
use longshore_runtime::{Problems, Source, files, local_addr};
use tokio::net::TcpListener;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use control::Control;
pub(crate) use control::OrderError;
use keyring_file::KeyringFile;
pub(crate) use membership::Membership;
use membership::{Running, Secrets, seeds};
pub use parts::ClusterError;
pub(crate) use parts::ClusterParts;
pub(crate) use rotate::{Absent, RotateError, Rotated};

use crate::peers::{PeerAnswers, peers};

use crate::serve::summary;

use crate::config::ClusterSettings;

/// The file with the addresses of the other hosts, in the data directory: any of them lets this host in again.
const PEERS_FILE: &str = "cluster-peers";

/// How many connections of peers may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Returns the address at which the other hosts reach this one, with the cluster's port.
///
/// # Errors
/// [`ClusterError::Resolve`] and [`ClusterError::NoAddress`].
pub(crate) async fn advertised(settings: &ClusterSettings) -> Result<SocketAddr, ClusterError> {
    let address = match &settings.advertise {
        Some(host) => {
            let failed = |error| ClusterError::Resolve(host.clone(), error);
            host.resolve(DEFAULT_PORT).await.map_err(failed)?.first().copied()
        }
        None => local_addr::addresses().next().map(|ip| SocketAddr::new(ip, DEFAULT_PORT)),
    };
    address.ok_or(ClusterError::NoAddress)
}

impl Membership {
    /// Joins the cluster, unless this host is in it or has left it.
    ///
    /// # Errors
    /// Every variant of [`ClusterError`] but those of [`advertised`].
    pub(crate) async fn join(&self) -> Result<(), ClusterError> {
        self.begin(async |parts| parts.join(self).await).await
    }
}

impl ClusterParts {
    async fn join(&self, membership: &Membership) -> Result<Running, ClusterError> {
        let file = KeyringFile::new(&self.data_dir, self.settings.secret_file.clone());
        let keyring = file.read()?;
        self.problems.set(Source::ClusterSecret, file.problem());
        let identity = Identity::new(self.host, &seeds(&keyring))?;
        let listener = self.listener().map_err(|error| ClusterError::Bind(self.advertise, error))?;
        let name = self.node.parse().map_err(|error| ClusterError::Name(self.node.clone(), error))?;
        let service = Service::start(ServiceConfig {
            cluster: self.settings.name.to_string(),
            host: self.host,
            name,
            advertise: self.advertise,
            join: self.settings.join.clone(),
            multicast: self.settings.multicast,
            remembered: remembered(&self.data_dir),
            keyring: keyring.clone(),
            data_dir: self.data_dir.clone(),
            settings: Settings::default(),
        })?;
        // After a membership that ended, hosts may have gone without anyone here noticing. Those that are there tell
        // everything again.
        for (host, _) in self.world.snapshot().iter().flat_map(|world| world.hosts()) {
            if host != self.host {
                // If nobody wants it any more, the agent ends.
                let _ = self.observations.send(Observation::Peer(host, PeerObservation::Dropped));
            }
        }
        let roster = service.roster();
        let run = roster.borrow().get(self.host).map_or(0, |own| own.epoch.run);
        let facts = OwnFacts::new(self.host, run.into());
        let (members, followed) = watch::channel(Members::new());
        self.relay_client.set_identity(identity.clone());
        let calls = PeerCalls::new(identity.clone(), run.into());
        self.caller.set_peers(Some(Arc::new(calls.clone())));
        let answers = PeerAnswers {
            identity: identity.clone(),
            calls: CallServer::new(self.caller.own(), run.into()),
            relay: self.relay_server.clone(),
        };
        let feed = self.feed.clone();
        let happened: OnEvent = Box::new(move |host, event| feed.told(host, event));
        let tasks = vec![
            spawn(facts.clone().follow(self.world.clone())),
            spawn(tell(self.host, self.events.subscribe(), self.world.clone(), facts.clone())),
            spawn(peer::serve(
                listener,
                identity.clone(),
                facts,
                Control::new(membership, answers),
                followed.clone(),
            )),
            spawn(peer::follow(
                identity.clone(),
                followed,
                self.observations.clone(),
                watch::Sender::default(),
                happened,
            )),
            spawn(watch_roster(
                roster,
                members,
                calls,
                self.observations.clone(),
                self.roster.clone(),
                self.problems.clone(),
                self.data_dir.clone(),
            )),
        ];
        tracing::info!(cluster = %self.settings.name, address = %self.advertise, "joining the cluster");
        Ok(Running { service, identity, secrets: Secrets::new(file, keyring), tasks })
    }

    /// Returns the port of the cluster.
    fn listener(&self) -> io::Result<TcpListener> {
        let port = match self.port.get() {
            Some(port) => port,
            None => {
                let socket = longshore_net::bind(self.advertise, Transport::Tcp, false, BACKLOG)?;
                self.port.get_or_init(|| socket.into())
            }
        };
        let listener = port.try_clone()?;
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    }
}

fn spawn(task: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(task))
}

/// Tells the other hosts what happens on this one, until the agent ends.
async fn tell(host: HostId, mut events: broadcast::Receiver<ContainerEvent>, world: Reader, facts: OwnFacts) {
    loop {
        match events.recv().await {
            Ok(event) => facts.tell(&summary(&event, host, &world)),
            Err(RecvError::Lagged(missed)) => facts.tell_missed(missed),
            Err(RecvError::Closed) => return,
        }
    }
}

/// Returns the addresses of the hosts of the last run.
fn remembered(data_dir: &Path) -> Vec<SocketAddr> {
    let text = std::fs::read_to_string(data_dir.join(PEERS_FILE)).unwrap_or_default();
    text.lines().filter_map(|line| line.trim().parse().ok()).collect()
}

/// Returns whether this host has reason to expect others.
pub(crate) fn expects_others(settings: &ClusterSettings, data_dir: &Path) -> bool {
    !settings.join.is_empty() || !remembered(data_dir).is_empty()
}

fn remember(data_dir: &Path, peers: &BTreeSet<SocketAddr>) -> io::Result<()> {
    let lines: String = peers.iter().map(|peer| format!("{peer}\n")).collect();
    files::replace(&data_dir.join(PEERS_FILE), lines.as_bytes())
}

/// Passes on what the roster says, until the membership ends.
async fn watch_roster(
    mut roster: watch::Receiver<Arc<Roster>>,
    members: watch::Sender<Members>,
    calls: PeerCalls,
    observations: mpsc::UnboundedSender<Observation>,
    shown: watch::Sender<Option<Arc<Roster>>>,
    problems: Problems,
    data_dir: PathBuf,
) {
    let mut known = BTreeSet::new();
    loop {
        let now = Arc::clone(&roster.borrow_and_update());
        // Before what is known of the hosts goes. If nobody wants it any more, the agent ends.
        let _ = observations.send(Observation::Members(peers(&now)));
        let followed = followed(&now);
        let addresses: BTreeSet<SocketAddr> = followed.values().map(|member| member.address).collect();
        members.send_if_modified(|members| {
            let is_other = *members != followed;
            *members = followed;
            is_other
        });
        calls.set(places(&now));
        problems.set(Source::Cluster, found(&now));
        // A host that is alone keeps the addresses that may end that.
        if !addresses.is_empty() && addresses != known {
            if let Err(error) = remember(&data_dir, &addresses) {
                tracing::warn!(%error, "cannot save the addresses of the other hosts");
            }
            known = addresses;
        }
        shown.send_replace(Some(now));
        if roster.changed().await.is_err() {
            break;
        }
    }
    shown.send_replace(None);
}

/// Returns the other hosts whose facts this one follows: those that have a place, and a name of their own.
fn followed(roster: &Roster) -> Members {
    let others = roster.members.iter().filter(|member| member.host != roster.me);
    others
        .filter(|member| member.is_reliable())
        .map(|member| {
            let is_live = member.state == MemberState::Alive;
            (member.host, Member { address: member.address, is_live })
        })
        .collect()
}

/// Returns where the other hosts can be called.
fn places(roster: &Roster) -> BTreeMap<HostId, PeerPlace> {
    let others = roster.members.iter().filter(|member| member.host != roster.me);
    others
        .map(|member| {
            let lost = match member.name_taken_by {
                Some(_) => Some("another host has its name"),
                // Who is silent for a moment may still answer; whoever has no place is not asked.
                None => member.silence().filter(|_| !member.state.has_place()),
            };
            let place = PeerPlace {
                name: member.name.to_string(),
                address: member.address,
                run: member.epoch.run.into(),
                is_cut: member.unreachable_from_here,
                lost: lost.map(str::to_owned),
            };
            (member.host, place)
        })
        .collect()
}

fn found(roster: &Roster) -> Vec<Problem> {
    let name = |host: HostId| {
        roster.get(host).map_or_else(|| host.to_string(), |member| member.name.as_str().to_owned())
    };
    let mut found: Vec<Problem> = roster
        .problems()
        .into_iter()
        .map(|(host, message)| Problem {
            subject: Subject::Host { name: name(host) },
            key: None,
            message,
            hint: None,
        })
        .collect();
    let cut = roster.members.iter().filter(|member| member.unreachable_from_here);
    found.extend(cut.map(|member| Problem {
        subject: Subject::Host { name: member.name.as_str().to_owned() },
        key: None,
        message: format!("alive, but {} does not answer this host", member.address),
        hint: Some("check the link between the two hosts".to_owned()),
    }));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_of_the_last_run_are_read_and_rubbish_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(remembered(dir.path()), []);
        let peers: BTreeSet<SocketAddr> =
            ["192.0.2.1:7052", "[2001:db8::1]:7052"].map(|text| text.parse().unwrap()).into();
        remember(dir.path(), &peers).unwrap();
        assert_eq!(remembered(dir.path()).into_iter().collect::<BTreeSet<_>>(), peers);
        std::fs::write(dir.path().join(PEERS_FILE), "x\n\n192.0.2.9:7052\n").unwrap();
        assert_eq!(remembered(dir.path()), ["192.0.2.9:7052".parse().unwrap()]);
    }
}
