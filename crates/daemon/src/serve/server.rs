//! The API's connections: limited in number and time, so that silent clients cost the traffic nothing.
//!
//! At the limit, the oldest connection that waits for its client's next request is closed. If all of them are
//! busy, a further client gets an error at once.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use longshore_api::Failure;
use rustix::io::Errno;
use rustix::net::sockopt::set_tcp_user_timeout;
use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tower_service::Service;

use super::local_user::{Ends, LocalRoot};
use super::socket::RootSocket;

/// The maximum number of connections, whatever the process's descriptor limit.
const MAX_CONNECTIONS: u64 = 512;
/// The API's share of the process's descriptors, one in this many; the rest serve the traffic.
const SHARE: u64 = 8;
/// How long the accept loop pauses when the process has no descriptor left.
const NO_DESCRIPTOR_PAUSE: Duration = Duration::from_millis(200);
/// The error for a client when every connection is in use.
const FULL: &str = "too many API connections are in use: retry later";

/// How many connections may be open, and how long each may keep the agent waiting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Open connections at once.
    connections: usize,
    /// How long a client may take to send the head of each request.
    head: Duration,
    /// How long sent data may stay unacknowledged, or the client's window closed.
    unread: Duration,
}

impl Limits {
    /// Creates the limits for this process's limit of open files.
    pub(super) fn of_process() -> Self {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let connections = (descriptors / SHARE).clamp(16, MAX_CONNECTIONS);
        Self {
            connections: usize::try_from(connections).unwrap_or(16),
            head: Duration::from_secs(10),
            unread: Duration::from_secs(30),
        }
    }
}

/// Where clients connect.
#[derive(Debug)]
pub(crate) enum Listener {
    /// A port.
    Port(TcpListener),
    /// The socket for root.
    Root(RootSocket),
}

enum Accepted {
    Port(TcpStream),
    Root(UnixStream),
}

impl Listener {
    /// Accepts a connection; `None` if the client may not have one.
    async fn accept(&self) -> std::io::Result<Option<Accepted>> {
        match self {
            Self::Port(listener) => listener.accept().await.map(|(stream, _)| Some(Accepted::Port(stream))),
            Self::Root(socket) => socket.accept().await.map(|stream| stream.map(Accepted::Root)),
        }
    }
}

impl Accepted {
    /// Tells the client that there is no place. Not worth a wait if it does not fit into the socket's empty buffer.
    fn refuse(&self) {
        let _ = match self {
            Self::Port(stream) => stream.try_write(full().as_bytes()),
            Self::Root(stream) => stream.try_write(full().as_bytes()),
        };
    }
}

/// One open connection.
struct Connection {
    task: AbortOnDropHandle<()>,
    /// Set while a request is answered; an event stream is one long answer.
    is_busy: Arc<AtomicBool>,
}

/// Answers the listener's clients until `stop`, then drains open answers.
pub(super) async fn serve(listener: Listener, router: Router, limits: Limits, stop: CancellationToken) {
    let mut connections: Vec<Connection> = Vec::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(None) => {}
            Ok(Some(accepted)) => {
                connections.retain(|connection| !connection.task.is_finished());
                if make_room(&mut connections, limits.connections) {
                    connections.push(begin(accepted, router.clone(), limits, stop.clone()));
                } else {
                    accepted.refuse();
                }
            }
            Err(error) if is_out_of_descriptors(&error) => {
                tracing::warn!(%error, "the API cannot accept connections; retrying");
                tokio::time::sleep(NO_DESCRIPTOR_PAUSE).await;
            }
            Err(error) => tracing::debug!(%error, "an API connection ended before it was accepted"),
        }
    }
    drop(listener);
    for connection in connections {
        let _ = connection.task.await;
    }
}

fn is_out_of_descriptors(error: &std::io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    errno == Some(Errno::MFILE) || errno == Some(Errno::NFILE)
}

fn full() -> String {
    let body = serde_json::to_string(&Failure { error: FULL.to_owned() }).unwrap_or_default();
    format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Closes the oldest idle connection if there are `most`; returns whether there is room for another.
fn make_room(connections: &mut Vec<Connection>, most: usize) -> bool {
    if connections.len() < most {
        return true;
    }
    let idle = connections.iter().position(|connection| !connection.is_busy.load(Relaxed));
    idle.map(|index| connections.remove(index)).is_some()
}

fn begin(accepted: Accepted, router: Router, limits: Limits, stop: CancellationToken) -> Connection {
    match accepted {
        Accepted::Root(stream) => begin_with(stream, Some(LocalRoot), router, limits, stop),
        Accepted::Port(stream) => {
            let _ = stream.set_nodelay(true);
            let unread = u32::try_from(limits.unread.as_millis()).unwrap_or(u32::MAX);
            let _ = set_tcp_user_timeout(&stream, unread);
            let agent = stream.local_addr();
            let ends = stream.peer_addr().and_then(|client| Ok(Ends { client, agent: agent? })).ok();
            begin_with(stream, ends, router, limits, stop)
        }
    }
}

/// Answers one client. `who` tells the router who it is.
fn begin_with(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    who: Option<impl Clone + Send + Sync + 'static>,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) -> Connection {
    let is_busy = Arc::new(AtomicBool::new(false));
    let service = {
        let is_busy = Arc::clone(&is_busy);
        service_fn(move |mut request: Request<Incoming>| {
            if let Some(who) = who.clone() {
                request.extensions_mut().insert(who);
            }
            answer(router.clone(), request, Busy::new(&is_busy))
        })
    };
    let task = async move {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let outcome = tokio::select! {
            outcome = connection.as_mut() => outcome,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, "an API connection failed");
        }
    };
    Connection { task: AbortOnDropHandle::new(tokio::spawn(task)), is_busy }
}

async fn answer(
    mut router: Router,
    request: Request<Incoming>,
    busy: Busy,
) -> Result<Response<Body>, Infallible> {
    let response = router.call(request.map(Body::new)).await?;
    // The answer lasts until its body is sent or dropped.
    Ok(response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _until_sent = &busy;
            frame
        }))
    }))
}

/// Marks a connection as busy for as long as it lives.
struct Busy(Arc<AtomicBool>);

impl Busy {
    fn new(is_busy: &Arc<AtomicBool>) -> Self {
        is_busy.store(true, Relaxed);
        Self(Arc::clone(is_busy))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(false, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::mpsc;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    struct Served {
        address: SocketAddr,
        stop: CancellationToken,
        task: AbortOnDropHandle<()>,
        /// Receives one message for each request of `/never` that is being answered.
        begun: mpsc::UnboundedReceiver<()>,
    }

    async fn served(connections: usize, head: Duration) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (begin, begun) = mpsc::unbounded_channel();
        let never = move || {
            let _ = begin.send(());
            std::future::pending::<&str>()
        };
        let router = Router::new().route("/", get(async || "ok")).route("/never", get(never));
        let limits = Limits { connections, head, unread: SOON };
        let stop = CancellationToken::new();
        let task = AbortOnDropHandle::new(tokio::spawn(serve(
            Listener::Port(listener),
            router,
            limits,
            stop.clone(),
        )));
        Served { address, stop, task, begun }
    }

    async fn ask(address: SocketAddr, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    /// Reads until the other side closes.
    async fn rest(mut stream: TcpStream) -> String {
        let mut text = Vec::new();
        let read = tokio::time::timeout(SOON, stream.read_to_end(&mut text)).await;
        // A reset is as good as an end.
        let _ = read.expect("the connection was closed");
        String::from_utf8_lossy(&text).into_owned()
    }

    #[tokio::test]
    async fn a_client_that_says_nothing_or_stops_in_a_head_is_disconnected() {
        let served = served(8, Duration::from_millis(50)).await;
        let silent = TcpStream::connect(served.address).await.unwrap();
        let mut halting = TcpStream::connect(served.address).await.unwrap();
        halting.write_all(b"GET / HTTP/1.1\r\nhost: lo").await.unwrap();
        assert_eq!(rest(silent).await, "");
        assert!(!rest(halting).await.contains("200"));
    }

    #[tokio::test]
    async fn a_kept_connection_ends_when_it_has_been_idle() {
        let served = served(8, Duration::from_millis(50)).await;
        let mut kept = TcpStream::connect(served.address).await.unwrap();
        kept.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        assert!(rest(kept).await.ends_with("ok"));
    }

    #[tokio::test]
    async fn silent_connections_make_room_for_one_that_asks() {
        let served = served(4, SOON * 10).await;
        let mut silent = Vec::new();
        for _ in 0..40 {
            silent.push(TcpStream::connect(served.address).await.unwrap());
        }
        assert!(rest(ask(served.address, "/").await).await.ends_with("ok"));
        assert_eq!(rest(silent.swap_remove(0)).await, "", "the oldest one made room");
    }

    #[tokio::test]
    async fn a_client_is_told_when_all_connections_are_being_answered() {
        let mut served = served(2, SOON * 10).await;
        let mut answered = Vec::new();
        for _ in 0..2 {
            answered.push(ask(served.address, "/never").await);
            served.begun.recv().await.unwrap();
        }
        let told = rest(TcpStream::connect(served.address).await.unwrap()).await;
        assert!(told.starts_with("HTTP/1.1 503 "), "{told}");
        let (head, body) = told.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{told}");
        assert!(serde_json::from_str::<Failure>(body).unwrap().error.contains("retry later"));
    }

    #[tokio::test]
    async fn the_end_waits_for_open_answers_only() {
        let served = served(4, SOON * 10).await;
        let idle = TcpStream::connect(served.address).await.unwrap();
        assert!(rest(ask(served.address, "/").await).await.ends_with("ok"));
        served.stop.cancel();
        tokio::time::timeout(SOON, served.task).await.expect("it ended").unwrap();
        assert_eq!(rest(idle).await, "");
    }
}
