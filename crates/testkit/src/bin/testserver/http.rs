//! The HTTP side.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, stream};
use http::header::{CONNECTION, CONTENT_TYPE, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role};

use crate::{Server, pause};

type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// Accepts connections until it is stopped, then drains the open ones.
pub(crate) async fn serve(
    server: Arc<Server>,
    listener: TcpListener,
    port: u16,
    mut stopping: watch::Receiver<bool>,
) {
    let open = GracefulShutdown::new();
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(_) => continue,
            },
            _ = stopping.wait_for(|stop| *stop) => break,
        };
        // Without it, small answers wait until earlier ones are acknowledged.
        let _ = stream.set_nodelay(true);
        let server = Arc::clone(&server);
        let service = service_fn(move |request| {
            let server = Arc::clone(&server);
            async move { Ok::<_, Infallible>(answer(&server, request, peer, port).await) }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).keep_alive(true);
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        tokio::spawn(open.watch(connection));
    }
    drop(listener);
    open.shutdown().await;
}

async fn answer(
    server: &Server,
    mut request: Request<Incoming>,
    peer: SocketAddr,
    port: u16,
) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let number = |key: &str| query_number(request.uri().query().unwrap_or_default(), key);
    let mut response = match (request.method(), path.as_str()) {
        (_, "/ws") => websocket(server, &mut request),
        (&Method::POST, "/echo") => Response::new(request.into_body().boxed_unsync()),
        (_, "/health") => plain(if server.healthy.load(Ordering::Relaxed) { 200 } else { 503 }),
        (&Method::POST, "/health/fail") => health(server, false),
        (&Method::POST, "/health/pass") => health(server, true),
        (_, "/stream") => stream(number("chunks"), number("bytes"), number("ms")),
        (_, "/slow") => {
            pause(number("ms")).await;
            echo(server, &request, peer, port)
        }
        (_, path) => {
            let mut response = echo(server, &request, peer, port);
            if let Some(code) = path.strip_prefix("/status/").and_then(|code| code.parse().ok()) {
                *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_REQUEST);
            }
            response
        }
    };
    if let Ok(name) = HeaderValue::from_str(&server.settings.name) {
        response.headers_mut().insert("x-container", name);
    }
    response
}

fn query_number(query: &str, key: &str) -> u64 {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(name, _)| *name == key).find_map(|(_, value)| value.parse().ok()).unwrap_or_default()
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

fn plain(status: u16) -> Response<Body> {
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

fn health(server: &Server, healthy: bool) -> Response<Body> {
    server.healthy.store(healthy, Ordering::Relaxed);
    plain(204)
}

fn echo(server: &Server, request: &Request<Incoming>, peer: SocketAddr, port: u16) -> Response<Body> {
    let mut headers = serde_json::Map::new();
    for name in request.headers().keys() {
        let values = request.headers().get_all(name).iter();
        let values: Vec<_> = values.map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned()).collect();
        headers.insert(name.as_str().to_owned(), values.into());
    }
    if let Some(authority) = request.uri().authority() {
        headers.entry(":authority").or_insert_with(|| vec![authority.to_string()].into());
    }
    let said = serde_json::json!({
        "name": server.settings.name,
        "method": request.method().as_str(),
        "path": request.uri().path(),
        "query": request.uri().query().unwrap_or_default(),
        "version": format!("{:?}", request.version()),
        "peer": SocketAddr::new(peer.ip().to_canonical(), peer.port()).to_string(),
        "port": port,
        "headers": headers,
    });
    let mut response = Response::new(full(said.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn stream(chunks: u64, bytes: u64, ms: u64) -> Response<Body> {
    let chunk = Bytes::from(vec![b'.'; usize::try_from(bytes.clamp(1, 16 * 1024 * 1024)).unwrap_or(1)]);
    let frames = stream::iter(0..chunks).then(move |count| {
        let chunk = chunk.clone();
        async move {
            if count > 0 {
                pause(ms).await;
            }
            Ok(Frame::data(chunk))
        }
    });
    Response::new(StreamBody::new(frames).boxed_unsync())
}

fn websocket(server: &Server, request: &mut Request<Incoming>) -> Response<Body> {
    let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY) else { return plain(426) };
    let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) else { return plain(400) };
    let name = server.settings.name.clone();
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Text(text) = message
                && socket.send(Message::text(format!("{name}: {text}"))).await.is_err()
            {
                return;
            }
        }
    });
    let mut response = plain(101);
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    response
}
