//! This host's part in the cluster: membership, the facts that hosts tell each other, and the connections between them.
//!
//! ```text
//! Service ──roster──┬─► problems, /v1/hosts, the addresses for the next start
//!                   └─► peer::follow ──observations──► World
//! World ──► OwnFacts ──► peer::serve ──► the other hosts
//! ```

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use longshore_cluster::facts::OwnFacts;
use longshore_cluster::identity::{Identity, IdentityError};
use longshore_cluster::members::{Departure, MemberState, Roster, Settings};
use longshore_cluster::peer::{self, Member, Members};
use longshore_cluster::relay::{RelayClient, RelayServer};
use longshore_cluster::secret::{Keyring, KeyringError, Secret};
use longshore_cluster::service::{DEFAULT_PORT, Service, ServiceConfig, ServiceError};
use longshore_model::{HostId, Problem, Subject, TextError, Transport};
use longshore_runtime::state::{Observation, Reader};
use longshore_runtime::{Problems, Source, local_addr};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use crate::config::{Advertise, ClusterSettings};
use crate::peers::{PeerAnswers, peers};

/// The file of the cluster's secret in the data directory, unless the settings name another.
const SECRET_FILE: &str = "cluster-secret";

/// The file with the addresses of the other hosts, in the data directory: any of them lets this host in again.
const PEERS_FILE: &str = "cluster-peers";

/// How many connections of peers may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Why a host cannot be part of its cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The cluster's secret cannot be read.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The cluster's secret cannot be created.
    #[error("cannot create a cluster secret in {}", .0.display())]
    CreateSecret(PathBuf, #[source] io::Error),
    /// The host's name is none that a cluster takes.
    #[error("invalid host name {0:?}: give this host another with --node")]
    Name(String, #[source] TextError),
    /// The name at which the others reach this host cannot be resolved.
    #[error("cannot resolve {0:?}, at which the other hosts are to reach this one")]
    Resolve(String, #[source] io::Error),
    /// No address is given, and this host has none that others reach.
    #[error("this host has no address that others reach: give it one with --advertise")]
    NoAddress,
    /// The port of the cluster is taken.
    #[error("cannot listen on {0}/tcp for the cluster")]
    Bind(SocketAddr, #[source] io::Error),
    /// This host's certificate cannot be issued.
    #[error("cannot prove this host's identity to others")]
    Identity(#[from] IdentityError),
    /// The membership cannot start.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// Returns the address at which the other hosts reach this one, with the cluster's port.
///
/// # Errors
/// [`ClusterError::Resolve`] and [`ClusterError::NoAddress`].
pub(crate) async fn advertised(settings: &ClusterSettings) -> Result<SocketAddr, ClusterError> {
    let ip = match &settings.advertise {
        Some(Advertise::Address(ip)) => Some(*ip),
        Some(Advertise::Name(name)) => {
            let failed = |error| ClusterError::Resolve(name.as_str().to_owned(), error);
            let mut found = tokio::net::lookup_host((name.as_str(), 0)).await.map_err(failed)?;
            found.next().map(|address| address.ip())
        }
        None => local_addr::addresses().next(),
    };
    ip.map(|ip| SocketAddr::new(ip, DEFAULT_PORT)).ok_or(ClusterError::NoAddress)
}

/// What a membership is made of, each time that this agent joins.
pub(crate) struct ClusterParts {
    pub(crate) settings: ClusterSettings,
    pub(crate) advertise: SocketAddr,
    pub(crate) host: HostId,
    pub(crate) node: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) world: Reader,
    pub(crate) observations: mpsc::UnboundedSender<Observation>,
    pub(crate) problems: Problems,
    /// The port of the cluster, open from the first membership on: while an agent hands over to its successor, the other
    /// hosts' connections wait in it.
    pub(crate) port: OnceLock<StdListener>,
    /// Leads to containers of the other hosts.
    pub(crate) relay_client: RelayClient,
    /// Leads the other hosts to this one's containers.
    pub(crate) relay_server: RelayServer,
    /// The hosts as this one sees them; `None` while it is no member.
    pub(crate) roster: watch::Sender<Option<Arc<Roster>>>,
}

/// A running membership.
pub(crate) struct Cluster {
    service: Service,
    tasks: Vec<AbortOnDropHandle<()>>,
}

impl ClusterParts {
    /// Joins the cluster.
    ///
    /// # Errors
    /// Every variant of [`ClusterError`] but those of [`advertised`].
    pub(crate) async fn join(&self) -> Result<Cluster, ClusterError> {
        let keyring = self.keyring()?;
        let seeds: Vec<[u8; 32]> = keyring.secrets().map(|secret| *secret.ca_seed()).collect();
        let identity = Identity::new(self.host, &seeds)?;
        let listener = self.listener().map_err(|error| ClusterError::Bind(self.advertise, error))?;
        let name = self.node.parse().map_err(|error| ClusterError::Name(self.node.clone(), error))?;
        let service = Service::start(ServiceConfig {
            cluster: self.settings.name.to_string(),
            host: self.host,
            name,
            advertise: self.advertise,
            join: self.settings.join.clone(),
            remembered: remembered(&self.data_dir),
            keyring,
            data_dir: self.data_dir.clone(),
            settings: Settings::default(),
        })?;
        let roster = service.roster();
        let run = roster.borrow().get(self.host).map_or(0, |own| own.epoch.run);
        let facts = OwnFacts::new(self.host, run.into());
        let (members, followed) = watch::channel(Members::new());
        self.relay_client.set_identity(identity.clone());
        let answers = PeerAnswers { identity: identity.clone(), relay: self.relay_server.clone() };
        let tasks = vec![
            spawn(facts.clone().follow(self.world.clone())),
            spawn(peer::serve(listener, identity.clone(), facts, answers)),
            spawn(peer::follow(identity, followed, self.observations.clone(), watch::Sender::default())),
            spawn(watch_roster(
                roster,
                members,
                self.observations.clone(),
                self.roster.clone(),
                self.problems.clone(),
                self.data_dir.clone(),
            )),
        ];
        tracing::info!(cluster = %self.settings.name, address = %self.advertise, "joining the cluster");
        Ok(Cluster { service, tasks })
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

    /// Reads the cluster's secrets. A host that is given none makes one at its first start.
    fn keyring(&self) -> Result<Keyring, ClusterError> {
        if let Some(file) = &self.settings.secret_file {
            return Ok(Keyring::read(file)?);
        }
        let file = self.data_dir.join(SECRET_FILE);
        if !file.exists() {
            match create_secret(&self.data_dir, &file) {
                Ok(()) => tracing::info!(
                    file = %file.display(),
                    "created a cluster secret: the other hosts need a copy of this file"
                ),
                // Another start was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(ClusterError::CreateSecret(file, error)),
            }
        }
        Ok(Keyring::read(&file)?)
    }
}

impl Cluster {
    /// Tells the others that this agent ends and comes back, and ends.
    pub(crate) async fn stop(self) {
        self.service.stop(Departure::Restarting).await;
        drop(self.tasks);
    }
}

fn spawn(task: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(task))
}

/// Writes a new secret to a file that does not exist yet.
fn create_secret(data_dir: &Path, path: &Path) -> io::Result<()> {
    let secret = Secret::generate().map_err(io::Error::other)?;
    let mut file = private_file(data_dir)?;
    writeln!(file, "{}", &**secret.text())?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map(drop).map_err(|error| error.error)
}

fn private_file(data_dir: &Path) -> io::Result<tempfile::NamedTempFile> {
    tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o600)).tempfile_in(data_dir)
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
    let mut file = private_file(data_dir)?;
    for peer in peers {
        writeln!(file, "{peer}")?;
    }
    file.persist(data_dir.join(PEERS_FILE)).map(drop).map_err(|error| error.error)
}

/// Passes on what the roster says, until the membership ends.
async fn watch_roster(
    mut roster: watch::Receiver<Arc<Roster>>,
    members: watch::Sender<Members>,
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
        members.send_if_modified(|members| {
            let followed = followed(&now);
            let is_other = *members != followed;
            *members = followed;
            is_other
        });
        problems.set(Source::Cluster, found(&now));
        let peers: BTreeSet<SocketAddr> = followed(&now).values().map(|member| member.address).collect();
        // A host that is alone keeps the addresses that may end that.
        if !peers.is_empty() && peers != known {
            if let Err(error) = remember(&data_dir, &peers) {
                tracing::warn!(%error, "cannot save the addresses of the other hosts");
            }
            known = peers;
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
        .filter(|member| member.state.has_place() && member.name_taken_by.is_none())
        .map(|member| {
            let is_live = member.state == MemberState::Alive;
            (member.host, Member { address: member.address, is_live })
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
    fn a_secret_is_made_once_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(SECRET_FILE);
        create_secret(dir.path(), &file).unwrap();
        let first = std::fs::read_to_string(&file).unwrap();
        assert_eq!(create_secret(dir.path(), &file).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), first);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        Keyring::read(&file).unwrap();
    }

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
