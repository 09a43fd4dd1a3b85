//! What goes into the core, and what comes out.

use std::net::SocketAddr;
use std::time::Instant;

use longshore_model::HostId;

use super::identity::HostName;
use super::settings::Settings;
use crate::secret::Keyring;

/// The time of an input.
#[derive(Clone, Copy, Debug)]
pub struct At {
    /// The monotonic clock, which decides.
    pub now: Instant,
    /// The wall clock in seconds since 1970, which is only compared with other hosts'.
    pub unix: u32,
}

/// What an agent says of itself, and how it joins.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name of the cluster: others' datagrams do not open.
    pub cluster: String,
    /// This host.
    pub host: HostId,
    /// Its name.
    pub name: HostName,
    /// Where the others reach its agent.
    pub address: SocketAddr,
    /// This run of the agent, higher than every one before.
    pub run: u32,
    /// The cluster's secrets.
    pub keyring: Keyring,
    /// Addresses of hosts that were members in the last run: asked while this host is alone.
    pub remembered: Vec<SocketAddr>,
    /// How fast members notice each other's silence.
    pub settings: Settings,
}

/// What the agent orders.
#[derive(Clone, Debug)]
pub enum Command {
    /// Replaces the addresses through which the cluster is joined.
    Join(Vec<SocketAddr>),
    /// Replaces the secrets.
    Keyring(Keyring),
    /// Says goodbye; [`Output::Stopped`] follows.
    Stop(Departure),
}

/// How an agent goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// It comes back soon, and its containers run on.
    Restarting,
    /// It gives up its place.
    Left,
}

/// What the core wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a datagram.
    Send {
        /// To whom.
        to: SocketAddr,
        /// What.
        datagram: Vec<u8>,
    },
    /// Persist a higher run: the next start must use one above it.
    SaveRun(u32),
    /// The goodbye has been said.
    Stopped,
}
