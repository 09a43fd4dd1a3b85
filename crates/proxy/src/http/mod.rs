//! HTTP frontends.
//!
//! One task per client connection. It detects the HTTP version, and for each request finds the route ([`target`]),
//! edits the headers ([`headers`]), and drives the upstream connection ([`upstream`]) itself ([`forward`], [`body`]):
//! a request crosses no task boundary.

mod body;
mod conn;
mod forward;
mod headers;
mod pool;
mod target;
mod upgrade;
mod upstream;

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::client::Client;
use crate::frontend::FrontendState;
use crate::io::ClientIo;
use crate::request::RequestGuard;
use crate::shard::Shard;
use conn::ClientConn;

pub(crate) use conn::UpstreamPool;

/// The first bytes of an HTTP/2 client with prior knowledge (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Maximum size of request line and headers together, in bytes.
const MAX_HEAD: usize = 64 * 1024;
/// Maximum number of buffered bytes of a message that is passed on.
const BUFFER: usize = 64 * 1024;
/// Maximum number of concurrent requests of one HTTP/2 client.
const MAX_STREAMS: u32 = 128;
/// Maximum number of buffered response bytes that an HTTP/2 client does not take, per stream.
const SEND_BUFFER: usize = 64 * 1024;
/// How long to keep reading from a client that still sends a body after its response: closing at once would reset the
/// connection, and the client might lose the response.
const LINGER: Duration = Duration::from_secs(1);
/// How long a connection without a request yet is kept once it is asked to leave.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_millis(50);
/// How long a connection that is asked to leave may send one more request, which is answered with
/// `Connection: close`. Closing at once could hit a request that is already on its way.
const LAST_REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves one connection of a frontend.
pub(crate) async fn serve(
    stream: TcpStream,
    client: Rc<Client>,
    frontend: Rc<FrontendState>,
    shard: Rc<Shard>,
    upstreams: Rc<UpstreamPool>,
) {
    let mut io = ClientIo::new(stream, Rc::clone(&client));
    let Some(is_http2) = begins_as_http2(&mut io, &client).await else { return };
    let conn = Rc::new(ClientConn { client, frontend, shard, upstreams, upgraded: RefCell::new(None) });
    if is_http2 {
        serve_http2(io, &conn).await;
    } else {
        serve_http1(io, &conn).await;
    }
}

/// Returns whether the client's first bytes are those of HTTP/2; `None` if it has gone, or was asked to leave and
/// sends nothing.
async fn begins_as_http2(io: &mut ClientIo, client: &Client) -> Option<bool> {
    // No buffer is held for a client that sends nothing.
    tokio::select! {
        biased;
        readable = io.readable() => readable.ok()?,
        () = has_to_leave(client) => return None,
    }
    let mut start = BytesMut::with_capacity(8 * 1024);
    let is_http2 = loop {
        let count = tokio::select! {
            biased;
            read = io.read_buf(&mut start) => read.ok()?,
            () = has_to_leave(client) => return None,
        };
        if count == 0 {
            return None;
        }
        if start.starts_with(PREFACE) {
            break true;
        }
        if !PREFACE.starts_with(&start) {
            break false;
        }
    };
    io.put_back(start.freeze());
    Some(is_http2)
}

/// Waits until the client is asked to leave, and a moment longer: its request may have arrived without having been
/// read yet.
async fn has_to_leave(client: &Client) {
    let asked = |cx: &mut Context<'_>| {
        client.watch(cx.waker());
        if client.is_leaving() { Poll::Ready(()) } else { Poll::Pending }
    };
    poll_fn(asked).await;
    tokio::time::sleep(FIRST_REQUEST_TIMEOUT).await;
}

async fn serve_http1(io: ClientIo, conn: &Rc<ClientConn>) {
    let client = &conn.client;
    let service = service_fn(|request| {
        let conn = Rc::clone(conn);
        // Open from now on, not from the first poll: the client's next bytes are processed before that.
        let guard = RequestGuard::begin(&conn.client);
        async move { Ok::<_, Infallible>(forward::forward(&conn, request, guard).await) }
    });
    let mut connection = http1::Builder::new()
        // The worker's sweep keeps the time.
        .header_read_timeout(None)
        .max_header_size(MAX_HEAD)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(io), service);
    let mut announced = false;
    let mut last_request = None;
    let result = poll_fn(|cx| {
        client.watch(cx.waker());
        loop {
            if let Poll::Ready(result) = Pin::new(&mut connection).poll(cx) {
                return Poll::Ready(result);
            }
            if announced || !client.is_leaving() {
                return Poll::Pending;
            }
            let last_request =
                last_request.get_or_insert_with(|| Box::pin(tokio::time::sleep(LAST_REQUEST_TIMEOUT)));
            ready!(last_request.as_mut().poll(cx));
            announced = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
    });
    if let Err(error) = result.await {
        tracing::debug!(peer = %client.peer, %error, "HTTP/1 connection ended with an error");
    }
    let parts = connection.into_parts();
    let mut io = parts.io.into_inner();
    let upgraded = conn.upgraded.take();
    if let Some(upstream) = upgraded {
        io.put_back(parts.read_buf);
        upgrade::relay(io, client, upstream).await;
    } else if client.unread.get() {
        // The connection ends in either case.
        let _ = tokio::time::timeout(LINGER, discard(io)).await;
    }
}

async fn discard(mut io: ClientIo) -> io::Result<()> {
    let mut chunk = [0; 8 * 1024];
    while io.read(&mut chunk).await? > 0 {}
    Ok(())
}

async fn serve_http2(io: ClientIo, conn: &Rc<ClientConn>) {
    let client = &conn.client;
    client.multiplexes();
    let service = service_fn(|request| {
        let conn = Rc::clone(conn);
        async move {
            let guard = RequestGuard::begin_stream(&conn.client);
            Ok::<_, Infallible>(forward::forward(&conn, request, guard).await)
        }
    });
    let connection = http2::Builder::new(StreamTasks(Rc::clone(client)))
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(MAX_HEAD as u32)
        .max_concurrent_streams(MAX_STREAMS)
        .serve_connection(TokioIo::new(io), service);
    let mut connection = pin!(connection);
    let mut announced = false;
    let result = poll_fn(|cx: &mut Context<'_>| {
        client.watch(cx.waker());
        if !announced && client.is_leaving() {
            announced = true;
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(cx)
    });
    if let Err(error) = result.await {
        tracing::debug!(peer = %client.peer, %error, "HTTP/2 connection ended with an error");
    }
}

/// Runs the streams of an HTTP/2 connection on its worker's thread, so that each can be ended alone.
#[derive(Clone)]
struct StreamTasks(Rc<Client>);

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for StreamTasks {
    fn execute(&self, task: F) {
        self.0.stream_task(tokio::task::spawn_local(task).abort_handle());
    }
}
