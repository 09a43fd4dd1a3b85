use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, UdpSocket};
use std::os::fd::OwnedFd;

use longshore_model::Transport;
use longshore_net::{Datagrams, bind};
use tokio::net::TcpListener;

/// How many connections wait to be taken.
const BACKLOG: i32 = 128;

/// The open ports of a DNS server. They outlive an agent that is replaced: what is asked meanwhile waits in them for the one
/// that they are handed to.
#[derive(Debug)]
pub struct DnsPorts {
    datagrams: UdpSocket,
    connections: StdListener,
}

impl DnsPorts {
    /// Ports that a predecessor opened.
    pub fn new(datagrams: UdpSocket, connections: StdListener) -> Self {
        Self { datagrams, connections }
    }

    /// Opens an address over UDP and TCP.
    pub(super) fn open(address: SocketAddr) -> io::Result<Self> {
        let datagrams = bind(address, Transport::Udp, false, BACKLOG)?.into();
        let connections = bind(address, Transport::Tcp, false, BACKLOG)?.into();
        Ok(Self { datagrams, connections })
    }

    /// Returns whether they are open at this address.
    pub(super) fn are_at(&self, address: SocketAddr) -> bool {
        let is_it = |found: io::Result<SocketAddr>| found.is_ok_and(|found| found == address);
        is_it(self.datagrams.local_addr()) && is_it(self.connections.local_addr())
    }

    /// Returns the same ports, for another to hold.
    pub fn share(&self) -> io::Result<Self> {
        Ok(Self { datagrams: self.datagrams.try_clone()?, connections: self.connections.try_clone()? })
    }

    /// Returns the same ports, watched by the runtime.
    pub(super) fn watch(&self) -> io::Result<(Datagrams, TcpListener)> {
        let Self { datagrams, connections } = self.share()?;
        datagrams.set_nonblocking(true)?;
        connections.set_nonblocking(true)?;
        Ok((Datagrams::new(datagrams.into())?, TcpListener::from_std(connections)?))
    }
}

impl From<DnsPorts> for [OwnedFd; 2] {
    /// For datagrams, and for connections.
    fn from(ports: DnsPorts) -> Self {
        [ports.datagrams.into(), ports.connections.into()]
    }
}
