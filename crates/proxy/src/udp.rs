//! UDP frontends: sessions, by which each client's datagrams reach one upstream and the replies find their way back.
//!
//! A session is a client's address with the address it sent to. It has its own socket towards its upstream, and
//! expires after silence. When its upstream leaves the table, the client's next datagram begins another session, and
//! the old one only returns late replies. Datagrams are never queued: what the system has no room for is dropped, as
//! a network would.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdSocket};
use std::rc::Rc;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use longshore_model::{Transport, Way};
use longshore_net::relay::datagrams;
use longshore_net::{Datagrams, LocalAddress, MAX_DATAGRAM};
use socket2::{SockRef, Socket};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::backend::{Backend, MAX_RETRIES};
use crate::clock::milliseconds;
use crate::frontend::{FrontendState, ListenerGuard};
use crate::shard::Shard;

/// Maximum number of datagrams read in a row before other tasks run.
const BATCH: usize = 64;

/// Maximum number of datagrams that wait for a connection through an agent.
const AGENT_QUEUE: usize = 64;

type Key = (SocketAddr, LocalAddress);

/// A frontend's socket and its sessions.
struct Hub {
    frontend: Rc<FrontendState>,
    shard: Rc<Shard>,
    socket: Datagrams,
    sessions: RefCell<HashMap<Key, Session>>,
    /// Sessions whose upstream left, or that another one has replaced.
    fading: RefCell<Vec<Session>>,
    /// The buffer for replies; they are handled one datagram at a time, so one is enough.
    buffer: RefCell<Vec<u8>>,
    /// Dropped after the socket, as it signals that the socket is closed.
    _guard: ListenerGuard,
}

/// One client and its upstream.
struct Session {
    frontend: Rc<FrontendState>,
    backend: Rc<Backend>,
    upstream: Flow,
    active: Rc<Cell<u64>>,
    replies: AbortHandle,
}

/// How a session's datagrams reach its upstream.
#[derive(Clone)]
enum Flow {
    /// From a socket of its own.
    Socket(Rc<UdpSocket>),
    /// Over a connection through the agent of the upstream's host.
    Agent(mpsc::Sender<Bytes>),
}

impl Flow {
    fn send(&self, data: &[u8]) -> io::Result<()> {
        match self {
            // Not `try_send`: it fails until the runtime has polled the new socket once.
            Self::Socket(socket) => SockRef::from(&**socket).send(data).map(drop),
            Self::Agent(queue) => match queue.try_send(Bytes::copy_from_slice(data)) {
                Ok(()) => Ok(()),
                Err(mpsc::error::TrySendError::Full(_)) => Err(io::ErrorKind::WouldBlock.into()),
                Err(mpsc::error::TrySendError::Closed(_)) => Err(io::ErrorKind::ConnectionReset.into()),
            },
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.replies.abort();
        self.frontend.counters.closed.add(1);
    }
}

/// Serves one socket until its frontend closes.
pub(crate) async fn serve(
    socket: Socket,
    frontend: Rc<FrontendState>,
    shard: Rc<Shard>,
    guard: ListenerGuard,
) {
    let name = frontend.frontend;
    let socket = match Datagrams::new(socket) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(frontend = %name, %error, "cannot register a UDP socket with the runtime");
            return;
        }
    };
    let hub = Rc::new(Hub {
        frontend: Rc::clone(&frontend),
        shard: Rc::clone(&shard),
        socket,
        sessions: RefCell::default(),
        fading: RefCell::default(),
        buffer: RefCell::new(vec![0; MAX_DATAGRAM]),
        _guard: guard,
    });
    let mut sweep = tokio::time::interval(shard.settings.timeouts.sweep());
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        tokio::select! {
            biased;
            () = frontend.closed() => break,
            _ = sweep.tick() => hub.sweep(),
            ready = hub.socket.readable() => {
                if let Err(error) = ready {
                    tracing::error!(frontend = %name, %error, "UDP socket failed");
                    break;
                }
                hub.take(&mut buffer);
                tokio::task::yield_now().await;
            }
        }
    }
    // Their tasks hold the hub.
    hub.sessions.borrow_mut().clear();
    hub.fading.borrow_mut().clear();
}

impl Hub {
    fn take(self: &Rc<Self>, buffer: &mut [u8]) {
        for _ in 0..BATCH {
            match self.socket.receive(buffer) {
                Ok((length, peer, local)) => {
                    self.frontend.counters.bytes_in.add(length as u64);
                    self.pass((peer, local), buffer.get(..length).unwrap_or_default());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // A client did not accept a reply: an ICMP error for an earlier datagram.
                Err(error) => {
                    tracing::debug!(frontend = %self.frontend.frontend, %error, "datagram lost");
                }
            }
        }
    }

    fn pass(self: &Rc<Self>, key: Key, data: &[u8]) {
        let mut tried = Vec::new();
        while tried.len() <= MAX_RETRIES {
            let Some((backend, upstream)) = self.session(key, &tried) else { return };
            match upstream.send(data) {
                Ok(()) => return,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    self.failed(key, &backend, &error);
                    self.frontend.counters.retries.add(1);
                    tried.push(backend);
                }
            }
        }
    }

    /// Returns the client's session, and creates it if there is none.
    fn session(self: &Rc<Self>, key: Key, tried: &[Rc<Backend>]) -> Option<(Rc<Backend>, Flow)> {
        let mut sessions = self.sessions.borrow_mut();
        if let Some(session) = sessions.get(&key) {
            if !session.backend.is_retired() {
                session.active.set(self.shard.clock.now());
                return Some((Rc::clone(&session.backend), session.upstream.clone()));
            }
            self.fading.borrow_mut().extend(sessions.remove(&key));
        }
        if sessions.len() + self.fading.borrow().len() >= self.shard.settings.sessions {
            return None;
        }
        let backend = self.frontend.only_route()?.pick(tried)?;
        let socket = match backend.way {
            Way::Direct(address) => match towards(address) {
                Ok(socket) => Some(Rc::new(socket)),
                Err(error) => {
                    backend.failed(&error, &self.shard.observer);
                    return None;
                }
            },
            Way::Agent(_) => None,
        };
        let active = Rc::new(Cell::new(self.shard.clock.now()));
        let replies =
            Replies { hub: Rc::clone(self), key, backend: Rc::clone(&backend), active: Rc::clone(&active) };
        let (upstream, replies) = match socket {
            Some(socket) => {
                let replies = tokio::task::spawn_local(replies.bring(Rc::clone(&socket)));
                (Flow::Socket(socket), replies.abort_handle())
            }
            None => {
                let (queue, queued) = mpsc::channel(AGENT_QUEUE);
                (Flow::Agent(queue), tokio::task::spawn_local(replies.relay(queued)).abort_handle())
            }
        };
        self.frontend.counters.opened.add(1);
        let session = Session {
            frontend: Rc::clone(&self.frontend),
            backend: Rc::clone(&backend),
            upstream: upstream.clone(),
            active,
            replies,
        };
        sessions.insert(key, session);
        Some((backend, upstream))
    }

    /// Ends a session whose upstream refused a datagram.
    fn failed(&self, key: Key, backend: &Rc<Backend>, error: &io::Error) {
        self.frontend.counters.upstream_failures.add(1);
        backend.failed(error, &self.shard.observer);
        let mut sessions = self.sessions.borrow_mut();
        if sessions.get(&key).is_some_and(|session| Rc::ptr_eq(&session.backend, backend)) {
            sessions.remove(&key);
        }
    }

    fn sweep(&self) {
        let longest = milliseconds(self.shard.settings.timeouts.session);
        let now = self.shard.clock.now();
        let lives = |session: &Session| now.saturating_sub(session.active.get()) <= longest;
        self.sessions.borrow_mut().retain(|_, session| lives(session));
        self.fading.borrow_mut().retain(lives);
    }
}

fn towards(upstream: SocketAddr) -> io::Result<UdpSocket> {
    let any = if upstream.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = StdSocket::bind(SocketAddr::new(any, 0))?;
    socket.connect(upstream)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

/// The replies of one session.
struct Replies {
    hub: Rc<Hub>,
    key: Key,
    backend: Rc<Backend>,
    active: Rc<Cell<u64>>,
}

impl Replies {
    async fn bring(self, upstream: Rc<UdpSocket>) {
        while upstream.readable().await.is_ok() {
            let mut buffer = self.hub.buffer.borrow_mut();
            match upstream.try_recv(&mut buffer) {
                Ok(length) => self.pass(buffer.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    self.hub.failed(self.key, &self.backend, &error);
                    return;
                }
            }
        }
    }

    /// Carries the session's datagrams, and their replies, over a connection through the agent of the upstream's host.
    async fn relay(self, mut queued: mpsc::Receiver<Bytes>) {
        let settings = &self.hub.shard.settings;
        let connecting = self.backend.relayed(Transport::Udp, settings);
        let connected = match tokio::time::timeout(settings.timeouts.connect, connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        let carried = async {
            let (mut to, mut from) = datagrams(connected?).split();
            let send = async {
                while let Some(data) = queued.recv().await {
                    to.send(data).await?;
                }
                std::future::pending::<io::Result<()>>().await
            };
            let receive = async {
                while let Some(data) = from.next().await {
                    self.pass(&data?);
                }
                Err(io::ErrorKind::ConnectionReset.into())
            };
            tokio::select! {
                result = send => result,
                result = receive => result,
            }
        };
        if let Err(error) = carried.await {
            self.hub.failed(self.key, &self.backend, &error);
        }
    }

    /// Passes a reply on to the client.
    fn pass(&self, data: &[u8]) {
        let (peer, local) = self.key;
        self.backend.answered();
        self.active.set(self.hub.shard.clock.now());
        match self.hub.socket.send(data, peer, local) {
            Ok(()) => self.hub.frontend.counters.bytes_out.add(data.len() as u64),
            Err(error) => tracing::debug!(%peer, %error, "reply dropped"),
        }
    }
}
