//! Opens a frontend's ports, and accepts connections from them.
//!
//! Each worker has its own listener on the same port (`SO_REUSEPORT`), so the kernel spreads connections and no
//! worker wakes another. A closing listener first accepts what is already in its queue: to those clients the
//! connection is already established.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::time::Duration;

use longshore_model::{Frontend, Protocol};
use longshore_net::{bind, or_ipv4};
use socket2::Socket;
use tokio::net::{TcpListener, TcpStream};

use crate::client::Client;
use crate::frontend::{FrontendState, ListenerGuard};
use crate::http::{self, UpstreamPool};
use crate::settings::Settings;
use crate::shard::Shard;
use crate::{tcp, udp};

const BACKLOG: i32 = 4096;

/// How long to wait after the first failed accept; doubled by each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest such pause.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// One worker's sockets of a frontend, one for each address.
pub(crate) type Sockets = Vec<Socket>;

/// Opens `frontend` for every worker.
pub(crate) fn open(frontend: Frontend, settings: &Settings) -> io::Result<Vec<Sockets>> {
    let mut workers: Vec<Sockets> = (0..settings.workers.max(1)).map(|_| Sockets::new()).collect();
    for &address in &settings.bind {
        let address = SocketAddr::new(or_ipv4(address), frontend.port);
        let socket = |shared| bind(address, frontend.protocol.transport(), shared, BACKLOG);
        let shared = settings.share_ports || workers.len() > 1;
        if shared && !settings.share_ports {
            // `SO_REUSEPORT` would silently share another program's port.
            drop(socket(false)?);
        }
        for sockets in &mut workers {
            sockets.push(socket(shared)?);
        }
    }
    Ok(workers)
}

/// What serving a frontend's connections needs.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) frontend: Rc<FrontendState>,
    pub(crate) shard: Rc<Shard>,
    pub(crate) upstreams: Rc<UpstreamPool>,
}

impl Server {
    /// Serves these sockets until the frontend closes.
    pub(crate) fn listen(&self, sockets: Sockets) {
        for socket in sockets {
            // From now on, not from the task's first poll: the frontend may close before that.
            let guard = self.frontend.listens();
            match self.frontend.frontend.protocol {
                Protocol::Http | Protocol::Tcp => {
                    drop(tokio::task::spawn_local(self.clone().accept(socket, guard)));
                }
                Protocol::Udp => {
                    let (frontend, shard) = (Rc::clone(&self.frontend), Rc::clone(&self.shard));
                    drop(tokio::task::spawn_local(udp::serve(socket, frontend, shard, guard)));
                }
            }
        }
    }

    /// Accepts connections until the frontend closes. `_guard` is dropped with the socket.
    async fn accept(self, socket: Socket, _guard: ListenerGuard) {
        let (frontend, shard) = (&self.frontend, &self.shard);
        let name = frontend.frontend;
        let listener = match TcpListener::from_std(StdListener::from(socket)) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(frontend = %name, %error, "cannot register a listener with the runtime");
                return;
            }
        };
        let mut pause = FIRST_PAUSE;
        loop {
            let accepted = tokio::select! {
                biased;
                () = frontend.closed() => break,
                accepted = async {
                    shard.room().await;
                    listener.accept().await
                } => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    pause = FIRST_PAUSE;
                    self.serve(stream, peer);
                }
                // The client left while it was in the queue.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::warn!(frontend = %name, %error, "cannot accept connections, retrying");
                    tokio::select! {
                        () = frontend.closed() => break,
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(MAX_PAUSE);
                }
            }
        }
        if let Ok(listener) = listener.into_std() {
            while let Ok((stream, peer)) = listener.accept() {
                if stream.set_nonblocking(true).is_ok()
                    && let Ok(stream) = TcpStream::from_std(stream)
                {
                    self.serve(stream, peer);
                }
            }
        }
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr) {
        let Self { frontend, shard, upstreams } = self.clone();
        // A failure only costs latency.
        let _ = stream.set_nodelay(true);
        let counters = frontend.counters.clone();
        let clock = Rc::clone(&shard.clock);
        let client = Rc::new(Client::new(frontend.frontend, peer, counters, clock, &shard.settings.trusted));
        if frontend.is_closing() {
            client.leave();
        }
        let guard = shard.enter(&client);
        let task = tokio::task::spawn_local({
            let client = Rc::clone(&client);
            async move {
                // Moved in, so that it is dropped when the task ends, for whatever reason.
                let _guard = guard;
                match frontend.frontend.protocol {
                    Protocol::Tcp => tcp::serve(stream, client, &frontend, &shard).await,
                    Protocol::Http | Protocol::Udp => {
                        http::serve(stream, client, frontend, shard, upstreams).await;
                    }
                }
            }
        });
        client.served_by(task.abort_handle());
    }
}
