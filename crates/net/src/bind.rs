use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use longshore_model::Transport;
use socket2::{Domain, Socket, Type};

/// Opens a port for a server. A TCP socket listens at once, with room for `backlog` connections that wait to
/// be accepted. The port may be `shared` with another process that also sets this, as a successor and its
/// predecessor do.
///
/// `[::]` also accepts IPv4. The socket is non-blocking.
///
/// # Errors
/// The port is in use, or the address does not belong to this host.
pub fn bind(address: SocketAddr, transport: Transport, shared: bool, backlog: i32) -> io::Result<Socket> {
    let kind = match transport {
        Transport::Tcp => Type::STREAM,
        Transport::Udp => Type::DGRAM,
    };
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    if kind == Type::STREAM {
        // Connections of an earlier run in TIME_WAIT must not block the port. On a datagram socket, this
        // option would share it.
        socket.set_reuse_address(true)?;
    }
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    if kind == Type::STREAM {
        socket.listen(backlog)?;
    }
    Ok(socket)
}

/// Returns `address`, or `0.0.0.0` in place of `::` on a host without IPv6.
pub fn or_ipv4(address: IpAddr) -> IpAddr {
    if address.is_unspecified() && address.is_ipv6() {
        let probe = Socket::new(Domain::IPV6, Type::DGRAM, None)
            .and_then(|probe| probe.bind(&SocketAddr::new(address, 0).into()));
        if probe.is_err() {
            return IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        }
    }
    address
}
