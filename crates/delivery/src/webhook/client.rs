//! The connection to a receiver: direct, or through the proxy from the environment.

use std::io;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::uri::{Scheme, Uri};
use http::{Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::builderstates::WantsSchemes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::legacy::{self, Builder};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use longshore_runtime::chain;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::attempt::Failure;

/// How long an idle connection is kept for the next event.
const IDLE: Duration = Duration::from_secs(30);

/// Sends requests to one URL.
#[derive(Debug)]
pub(super) struct Client {
    dial: Dial,
    plain: legacy::Client<Dial, Full<Bytes>>,
    /// Created when first needed: that reads every certificate that this machine trusts.
    tls: OnceLock<legacy::Client<HttpsConnector<Dial>, Full<Bytes>>>,
}

impl Client {
    /// Creates a client for this URL, through the proxy that `proxies` selects.
    pub(super) fn new(url: &str, proxies: &Matcher) -> Self {
        let mut tcp = HttpConnector::new();
        // It makes the connection, whatever the scheme.
        tcp.enforce_http(false);
        let proxy = url.parse().ok().and_then(|url| proxies.intercept(&url));
        let dial = Dial { tcp, proxy };
        Self { plain: builder().build(dial.clone()), tls: OnceLock::new(), dial }
    }

    /// Returns the proxy, if one is used: `http://10.0.0.1:3128/`, without a password.
    pub(super) fn proxy(&self) -> Option<&Uri> {
        self.dial.proxy.as_ref().map(Intercept::uri)
    }

    pub(super) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Failure> {
        if let Some(proxy) = self.proxy().filter(|proxy| proxy.scheme() != Some(&Scheme::HTTP)) {
            let why = format!("unsupported proxy {proxy}");
            return Err(Failure::passing(format!("{why} (expected http://HOST:PORT)")));
        }
        let answer = if request.uri().scheme() == Some(&Scheme::HTTPS) {
            self.tls()?.request(request).await
        } else {
            if let Some(secret) = self.dial.proxy.as_ref().and_then(Intercept::basic_auth) {
                request.headers_mut().insert(header::PROXY_AUTHORIZATION, secret.clone());
            }
            self.plain.request(request).await
        };
        answer.map_err(|error| {
            let way = self.proxy().map(|proxy| format!("through the proxy {proxy}: ")).unwrap_or_default();
            Failure::passing(format!("{way}{}", chain(&error)))
        })
    }

    fn tls(&self) -> Result<&legacy::Client<HttpsConnector<Dial>, Full<Bytes>>, Failure> {
        if let Some(tls) = self.tls.get() {
            return Ok(tls);
        }
        let connector = trusting_machine().map_err(|error| {
            let why = format!("cannot read the certificates that this machine trusts: {error}");
            Failure::passing(format!("{why} (install ca-certificates, or name a file in SSL_CERT_FILE)"))
        })?;
        let connector = connector.https_only();
        let connector = connector.enable_http1().enable_http2().wrap_connector(self.dial.clone());
        Ok(self.tls.get_or_init(|| builder().build(connector)))
    }
}

/// Trusts the machine's certificate authorities, or Mozilla's if it has none, as in an empty container image. A list
/// that the environment names applies even if it cannot be read.
fn trusting_machine() -> io::Result<HttpsConnectorBuilder<WantsSchemes>> {
    let is_named = ["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().any(|name| std::env::var_os(name).is_some());
    match HttpsConnectorBuilder::new().with_native_roots() {
        Err(_) if !is_named => Ok(HttpsConnectorBuilder::new().with_webpki_roots()),
        native => native,
    }
}

fn builder() -> Builder {
    let mut builder = legacy::Client::builder(TokioExecutor::new());
    builder.pool_idle_timeout(IDLE).pool_timer(TokioTimer::new());
    builder
}

/// Connects to the receiver directly, through a proxy's tunnel for TLS, or to the proxy, which receives the whole
/// URL.
#[derive(Clone, Debug)]
struct Dial {
    tcp: HttpConnector,
    proxy: Option<Intercept>,
}

type Fault = Box<dyn std::error::Error + Send + Sync>;

impl Service<Uri> for Dial {
    type Response = Line;
    type Error = Fault;
    type Future = BoxFuture<'static, Result<Line, Fault>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let Self { mut tcp, proxy } = self.clone();
        Box::pin(async move {
            let Some(proxy) = proxy else {
                return Ok(Line { stream: tcp.call(to).await?, takes_whole_urls: false });
            };
            if to.scheme() != Some(&Scheme::HTTPS) {
                return Ok(Line { stream: tcp.call(proxy.uri().clone()).await?, takes_whole_urls: true });
            }
            let mut tunnel = Tunnel::new(proxy.uri().clone(), tcp);
            if let Some(secret) = proxy.basic_auth() {
                tunnel = tunnel.with_auth(secret.clone());
            }
            Ok(Line { stream: tunnel.call(to).await?, takes_whole_urls: false })
        })
    }
}

/// A connection.
#[derive(Debug)]
struct Line {
    stream: TokioIo<TcpStream>,
    takes_whole_urls: bool,
}

impl Connection for Line {
    fn connected(&self) -> Connected {
        self.stream.connected().proxy(self.takes_whole_urls)
    }
}

impl Read for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
