use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};

use longshore_model::Transport;
use longshore_proxy::{Datagrams, bind};
use tokio::net::TcpListener;

const BACKLOG: i32 = 128;

/// Opens the address over UDP and TCP. One whose predecessor may still have it `joins` that one.
pub(super) fn open(address: SocketAddr, joins: bool) -> io::Result<(Datagrams, TcpListener)> {
    if !joins {
        // `SO_REUSEPORT` would join another program's port in silence.
        drop((
            bind(address, Transport::Udp, false, BACKLOG)?,
            bind(address, Transport::Tcp, false, BACKLOG)?,
        ));
    }
    let datagrams = Datagrams::new(bind(address, Transport::Udp, true, BACKLOG)?)?;
    let connections =
        TcpListener::from_std(StdListener::from(bind(address, Transport::Tcp, true, BACKLOG)?))?;
    Ok((datagrams, connections))
}
