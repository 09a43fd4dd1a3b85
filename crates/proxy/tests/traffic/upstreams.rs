//! Upstreams that report what they were asked.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// An HTTP/1.1 server.
pub(crate) struct Echo {
    pub(crate) address: SocketAddr,
    /// How many requests were received.
    pub(crate) requests: Arc<AtomicUsize>,
    /// How many connections were opened, and closed.
    pub(crate) opened: Arc<AtomicUsize>,
    pub(crate) closed: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Echo {
    /// Starts a server that answers with the request's line, headers and body. Special paths: `/wait/MS` answers
    /// later, `/big/BYTES` sends that many bytes, `/trailers` ends with a trailer, `/upgrade` echoes bytes.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let opened = Arc::new(AtomicUsize::new(0));
        let closed = Arc::new(AtomicUsize::new(0));
        let counts = (Arc::clone(&requests), Arc::clone(&opened), Arc::clone(&closed));
        let accepting = tokio::spawn(async move {
            let (requests, opened, closed) = counts;
            while let Ok((stream, _)) = listener.accept().await {
                opened.fetch_add(1, SeqCst);
                let requests = Arc::clone(&requests);
                let closed = Arc::clone(&closed);
                tokio::spawn(async move {
                    let service = service_fn(|request| {
                        requests.fetch_add(1, SeqCst);
                        answer(request, address.port())
                    });
                    let connection = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .with_upgrades();
                    // The balancer may close it at any time.
                    let _ = connection.await;
                    closed.fetch_add(1, SeqCst);
                });
            }
        });
        Self { address, requests, opened, closed, accepting }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn count(&self) -> usize {
        self.requests.load(SeqCst)
    }

    /// Refuses connections from now on; open ones stay.
    pub(crate) async fn stop_listening(&mut self) {
        self.accepting.abort();
        // Awaiting its end closes the listener; that it was aborted is not an error.
        let _ = (&mut self.accepting).await;
    }
}

async fn answer(
    request: Request<Incoming>,
    port: u16,
) -> Result<Response<BoxBody<Bytes, Infallible>>, hyper::Error> {
    let path = request.uri().path().to_owned();
    let number = |prefix: &str| path.strip_prefix(prefix).map(|n| n.parse::<u64>().unwrap());
    if let Some(milliseconds) = number("/wait/") {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
    let mut text = format!("{} {}\n", request.method(), request.uri());
    for (name, value) in request.headers() {
        text.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
    }
    let mut response = Response::builder().header("x-upstream", port);
    if path == "/upgrade" {
        let upgraded = hyper::upgrade::on(request);
        tokio::spawn(async move {
            let mut io = TokioIo::new(upgraded.await.unwrap());
            let mut chunk = [0; 1024];
            while let Ok(count @ 1..) = io.read(&mut chunk).await {
                io.write_all(&chunk[..count]).await.unwrap();
            }
        });
        return Ok(response
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header("connection", "upgrade")
            .header("upgrade", "echo")
            .body(BoxBody::default())
            .unwrap());
    }
    let length = request.body().size_hint().exact();
    let body = request.into_body().collect().await?;
    text.push_str(&format!("body of {length:?}: "));
    text.push_str(&String::from_utf8_lossy(&body.to_bytes()));
    let body = if let Some(bytes) = number("/big/") {
        let chunks = (0..bytes / 1000).map(|_| Ok(Frame::data(Bytes::from(vec![b'x'; 1000]))));
        StreamBody::new(futures_util::stream::iter(chunks)).boxed()
    } else if path == "/trailers" {
        response = response.header("trailer", "x-sum");
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "7".parse().unwrap());
        let frames = [Ok(Frame::data(Bytes::from(text))), Ok(Frame::trailers(trailers))];
        StreamBody::new(futures_util::stream::iter(frames)).boxed()
    } else {
        Full::from(text).boxed()
    };
    Ok(response.header("keep-alive", "timeout=5").body(body).unwrap())
}

/// Returns the address of a server that gives each connection to `serve`.
pub(crate) async fn raw<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// Reads until the end of a message's headers.
pub(crate) async fn read_head(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).await.unwrap_or(0) == 0 {
            break;
        }
        text.push(byte[0]);
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Returns an address that refuses connections.
pub(crate) async fn refusing() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}
