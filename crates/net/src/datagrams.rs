//! A socket that knows which of the host's addresses a datagram was sent to, and answers from that one.
//! Without it, a host with several addresses may answer from another one, and the client drops the answer.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddr, UdpSocket as StdSocket};
use std::os::fd::AsRawFd;

use nix::libc;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
};
use socket2::Socket;
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// The largest datagram, in bytes.
pub const MAX_DATAGRAM: usize = 65_535;

/// The address of this host that a client sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LocalAddress {
    /// The system did not report it.
    Unknown,
    /// In network byte order.
    V4(u32),
    /// With the interface, if the address alone is ambiguous.
    V6([u8; 16], u32),
}

/// A UDP socket that answers from the address that received the request.
#[derive(Debug)]
pub struct Datagrams(UdpSocket);

impl Datagrams {
    /// Registers `socket`, which is bound and non-blocking, with the runtime.
    ///
    /// # Errors
    /// The system cannot report destination addresses of datagrams.
    pub fn new(socket: Socket) -> io::Result<Self> {
        if socket.local_addr()?.is_ipv6() {
            // For IPv4 datagrams it reports the mapped address, and accepts it back.
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        } else {
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        }
        UdpSocket::from_std(StdSocket::from(socket)).map(Self)
    }

    /// Waits until a datagram may be there.
    ///
    /// # Errors
    /// The runtime shuts down.
    pub async fn readable(&self) -> io::Result<()> {
        self.0.readable().await
    }

    /// Reads one datagram and returns its length, its sender, and the address it was sent to.
    ///
    /// # Errors
    /// `WouldBlock` if there is none.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr, LocalAddress)> {
        self.0.try_io(Interest::READABLE, || {
            let mut control = nix::cmsg_space!(libc::in6_pktinfo, libc::in_pktinfo);
            let mut slices = [IoSliceMut::new(buffer)];
            let message = recvmsg::<SockaddrStorage>(
                self.0.as_raw_fd(),
                &mut slices,
                Some(&mut control),
                MsgFlags::empty(),
            )?;
            let local = message.cmsgs()?.find_map(|control| match control {
                ControlMessageOwned::Ipv4PacketInfo(info) => Some(LocalAddress::V4(info.ipi_spec_dst.s_addr)),
                ControlMessageOwned::Ipv6PacketInfo(info) => {
                    let bytes = info.ipi6_addr.s6_addr;
                    let scoped = Ipv6Addr::from(bytes).is_unicast_link_local();
                    Some(LocalAddress::V6(bytes, if scoped { info.ipi6_ifindex } else { 0 }))
                }
                _ => None,
            });
            let peer = message.address.as_ref().and_then(address).ok_or(io::ErrorKind::InvalidData)?;
            Ok((message.bytes, peer, local.unwrap_or(LocalAddress::Unknown)))
        })
    }

    /// Sends one datagram from `local`.
    ///
    /// # Errors
    /// `WouldBlock` if the system has no room for it.
    pub fn send(&self, data: &[u8], peer: SocketAddr, local: LocalAddress) -> io::Result<()> {
        // Calls the system directly: a datagram is sent or dropped, and nothing waits for room.
        let fd = self.0.as_raw_fd();
        let slices = [IoSlice::new(data)];
        let peer = SockaddrStorage::from(peer);
        let flags = MsgFlags::empty();
        let any = libc::in_addr { s_addr: 0 };
        match local {
            LocalAddress::Unknown => sendmsg(fd, &slices, &[], flags, Some(&peer)),
            LocalAddress::V4(address) => {
                let from = libc::in_addr { s_addr: address };
                let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: from, ipi_addr: any };
                sendmsg(fd, &slices, &[ControlMessage::Ipv4PacketInfo(&info)], flags, Some(&peer))
            }
            LocalAddress::V6(address, interface) => {
                let from = libc::in6_addr { s6_addr: address };
                let info = libc::in6_pktinfo { ipi6_addr: from, ipi6_ifindex: interface };
                sendmsg(fd, &slices, &[ControlMessage::Ipv6PacketInfo(&info)], flags, Some(&peer))
            }
        }?;
        Ok(())
    }
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage.as_sockaddr_in().map(|v4| SocketAddr::from(*v4));
    v4.or_else(|| storage.as_sockaddr_in6().map(|v6| SocketAddr::from(*v6)))
}
