use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, UdpSocket};
use std::os::fd::OwnedFd;

use longshore_model::Transport;
use longshore_net::{Datagrams, bind};
use tokio::net::TcpListener;

/// Number of connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// The open ports of a DNS server. They outlive an agent that is replaced: requests queue in them until the successor
/// takes over.
#[derive(Debug)]
pub struct DnsPorts {
    datagrams: UdpSocket,
    connections: StdListener,
}

impl DnsPorts {
    /// Wraps ports that a predecessor opened.
    pub fn new(datagrams: UdpSocket, connections: StdListener) -> Self {
        Self { datagrams, connections }
    }

    /// Opens an address over UDP and TCP.
    pub(super) fn open(address: SocketAddr) -> io::Result<Self> {
        let datagrams = bind(address, Transport::Udp, false, BACKLOG)?.into();
        let connections = bind(address, Transport::Tcp, false, BACKLOG)?.into();
        Ok(Self { datagrams, connections })
    }

    /// Returns whether the ports are bound to this address.
    pub(super) fn are_at(&self, address: SocketAddr) -> bool {
        let is_it = |found: io::Result<SocketAddr>| found.is_ok_and(|found| found == address);
        is_it(self.datagrams.local_addr()) && is_it(self.connections.local_addr())
    }

    /// Duplicates the ports for another owner.
    pub fn share(&self) -> io::Result<Self> {
        Ok(Self { datagrams: self.datagrams.try_clone()?, connections: self.connections.try_clone()? })
    }

    /// Duplicates the ports and registers them with the runtime.
    pub(super) fn watch(&self) -> io::Result<(Datagrams, TcpListener)> {
        let Self { datagrams, connections } = self.share()?;
        datagrams.set_nonblocking(true)?;
        connections.set_nonblocking(true)?;
        Ok((Datagrams::new(datagrams.into())?, TcpListener::from_std(connections)?))
    }
}

impl From<DnsPorts> for [OwnedFd; 2] {
    /// Splits the ports into the datagram socket and the listener.
    fn from(ports: DnsPorts) -> Self {
        [ports.datagrams.into(), ports.connections.into()]
    }
}
