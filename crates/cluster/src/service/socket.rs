use std::io;
use std::net::{SocketAddr, UdpSocket};

/// How much may lie unread: at 500 hosts a whole cluster's greetings.
const BUFFER_BYTES: usize = 1024 * 1024;

/// Opens a socket that never blocks.
pub(super) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    // The system may grant less.
    let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, BUFFER_BYTES);
    Ok(socket)
}
