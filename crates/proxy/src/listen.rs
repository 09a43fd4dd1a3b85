//! Opening a frontend's ports, and taking connections from them.
//!
//! Each worker has a listener of its own on the same port (`SO_REUSEPORT`), so that the kernel
//! spreads connections and no worker wakes another. A listener that closes takes what is already
//! in its queue with it first: those clients have been told that they are connected.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::time::Duration;

use longshore_model::{Frontend, Protocol, Transport};
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use crate::client::Client;
use crate::settings::Settings;
use crate::site::{Listening, Site};

const BACKLOG: i32 = 4096;

/// One worker's sockets of a frontend, one an address.
pub(crate) type Sockets = Vec<Socket>;

/// Opens `frontend` for every worker.
pub(crate) fn open(frontend: Frontend, settings: &Settings) -> io::Result<Vec<Sockets>> {
    let mut workers: Vec<Sockets> = (0..settings.workers.max(1)).map(|_| Sockets::new()).collect();
    for &address in &settings.bind {
        let address = reachable(address);
        let shared = settings.share_ports || workers.len() > 1;
        if shared && !settings.share_ports {
            // `SO_REUSEPORT` would join another program's port in silence.
            drop(socket(frontend, address, false)?);
        }
        for sockets in &mut workers {
            sockets.push(socket(frontend, address, shared)?);
        }
    }
    Ok(workers)
}

/// `::`, or what stands in for it on a host without IPv6.
fn reachable(address: IpAddr) -> IpAddr {
    let fallback = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    if address.is_unspecified() && address.is_ipv6() {
        let probe = Socket::new(Domain::IPV6, Type::DGRAM, None)
            .and_then(|probe| probe.bind(&SocketAddr::new(address, 0).into()));
        if probe.is_err() {
            return fallback;
        }
    }
    address
}

fn socket(frontend: Frontend, address: IpAddr, shared: bool) -> io::Result<Socket> {
    bind(SocketAddr::new(address, frontend.port), frontend.protocol.transport(), shared, BACKLOG)
}

/// Opens a port for a server: over TCP, with room for `backlog` connections that wait to be taken. It may be `shared` with
/// another process that says so too, which a successor needs beside its predecessor.
///
/// # Errors
/// The port is taken, or may not be.
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
        // Connections of an earlier run that linger in TIME_WAIT do not keep the port. On a
        // datagram socket the same option would share it.
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

/// Takes connections until the frontend closes. `_listening` goes with the socket.
pub(crate) async fn accept(socket: Socket, site: Rc<Site>, _listening: Listening) {
    let listener = match TcpListener::from_std(StdListener::from(socket)) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(frontend = %site.frontend, %error, "cannot watch a listener");
            return;
        }
    };
    let mut pause = FIRST_PAUSE;
    loop {
        let taken = tokio::select! {
            biased;
            () = site.closed() => break,
            taken = async {
                site.worker.room().await;
                listener.accept().await
            } => taken,
        };
        match taken {
            Ok((stream, peer)) => {
                pause = FIRST_PAUSE;
                serve(stream, peer, &site);
            }
            // The client left while it was in the queue.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(frontend = %site.frontend, %error, "cannot accept connections for a moment");
                tokio::select! {
                    () = site.closed() => break,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
    if let Ok(listener) = listener.into_std() {
        while let Ok((stream, peer)) = listener.accept() {
            if stream.set_nonblocking(true).is_ok()
                && let Ok(stream) = TcpStream::from_std(stream)
            {
                serve(stream, peer, &site);
            }
        }
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

fn serve(stream: TcpStream, peer: SocketAddr, site: &Rc<Site>) {
    // Only costs latency where it fails.
    let _ = stream.set_nodelay(true);
    let client = Rc::new(Client::new(Rc::clone(site), peer));
    if site.is_closing() {
        client.leave();
    }
    let present = site.worker.enter(&client);
    let task = tokio::task::spawn_local({
        let client = Rc::clone(&client);
        async move {
            // Moved in, so that it goes when the task ends, however that is.
            let _present = present;
            match client.site.frontend.protocol {
                Protocol::Tcp => crate::tcp::serve(stream, client).await,
                Protocol::Http | Protocol::Udp => crate::http::serve(stream, client).await,
            }
        }
    });
    client.served_by(task.abort_handle());
}
