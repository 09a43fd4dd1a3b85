//! The thread that drives the membership's core with a real socket and real clocks.
//!
//! It has a thread of its own, with raised priority where the system permits: a membership that waits behind other work
//! is suspected by all others. In each round it reads the socket until nothing is left, obeys commands, then does what
//! is due; it never runs a timer while datagrams lie unread (see [`members`](crate::members)).
//!
//! Host names to join through are resolved on the caller's runtime, again and again while this host misses others: a
//! name may get its addresses later than the agent starts. They are resolved by the system, and a name stands for all
//! of its addresses.
//!
//! The run is persisted before the first datagram leaves: a file in the data directory counts the starts.

mod address;
mod join;
mod multicast;
mod run_file;
mod socket;
mod thread;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use longshore_model::HostId;
use tokio::sync::{oneshot, watch};
use tokio_util::task::AbortOnDropHandle;

use crate::members::{Command, Departure, HostName, Roster, Settings};
use crate::secret::Keyring;
use multicast::Multicast;
use thread::Control;

pub use address::{HostAddress, HostAddressError};
pub use join::{DEFAULT_PORT, JoinAddress, JoinAddressError};

/// What a membership needs.
#[derive(Clone, Debug)]
pub struct ServiceConfig {
    /// The name of the cluster.
    pub cluster: String,
    /// This host.
    pub host: HostId,
    /// Its name, unique in the cluster.
    pub name: HostName,
    /// Where the others reach its agent; the socket is bound to this address.
    pub advertise: SocketAddr,
    /// Hosts to join through. None are needed by the first host of a cluster.
    pub join: Vec<JoinAddress>,
    /// Whether hosts on the local network are found by multicast DNS.
    pub multicast: bool,
    /// Addresses of the members of the last run.
    pub remembered: Vec<SocketAddr>,
    /// The cluster's secrets.
    pub keyring: Keyring,
    /// The agent's data directory.
    pub data_dir: PathBuf,
    /// How fast members notice each other's silence.
    pub settings: Settings,
}

/// Why there is no membership.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The socket cannot be opened.
    #[error("cannot listen on {0}/udp for the cluster")]
    Bind(SocketAddr, #[source] io::Error),
    /// The count of starts cannot be read or written.
    #[error("cannot count this start in {}", .0.display())]
    Run(PathBuf, #[source] io::Error),
    /// The operating system provides no random bytes.
    #[error("the system provides no random bytes")]
    Random(#[source] getrandom::Error),
    /// The thread cannot be started.
    #[error("cannot start the cluster's thread")]
    Thread(#[source] io::Error),
}

/// A running membership. It ends without a goodbye when it is dropped.
#[derive(Debug)]
pub struct Service {
    control: Control,
    roster: watch::Receiver<Arc<Roster>>,
    keyring: watch::Sender<Keyring>,
    _joining: AbortOnDropHandle<()>,
}

impl Service {
    /// Becomes a member. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Every variant of [`ServiceError`].
    pub fn start(config: ServiceConfig) -> Result<Self, ServiceError> {
        let socket =
            socket::bind(config.advertise).map_err(|source| ServiceError::Bind(config.advertise, source))?;
        let run = run_file::begin(&config.data_dir)
            .map_err(|source| ServiceError::Run(config.data_dir.clone(), source))?;
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(ServiceError::Random)?;
        let join = config.join.clone();
        let keyring = watch::Sender::new(config.keyring.clone());
        let multicast = config.multicast.then(|| Multicast {
            cluster: config.cluster.clone(),
            advertise: config.advertise,
            keyring: keyring.subscribe(),
        });
        let (control, roster) = thread::start(config, run, seed, socket).map_err(ServiceError::Thread)?;
        let joining = join::keep(join, multicast, control.clone(), roster.clone());
        let joining = AbortOnDropHandle::new(tokio::spawn(joining));
        Ok(Self { control, roster, keyring, _joining: joining })
    }

    /// Returns the hosts of the cluster, this one among them, as they change.
    pub fn roster(&self) -> watch::Receiver<Arc<Roster>> {
        self.roster.clone()
    }

    /// Replaces the secrets without a gap.
    pub fn set_keyring(&self, keyring: Keyring) {
        self.control.command(Command::Keyring(keyring.clone()));
        self.keyring.send_replace(keyring);
    }

    /// Says goodbye, which takes a quarter of a second, and ends.
    pub async fn stop(&self, departure: Departure) {
        let (done, stopped) = oneshot::channel();
        self.control.stop(departure, done);
        let _ = stopped.await;
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.control.end();
    }
}
