//! A single request on its own connection.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::runtime::Handle;

use super::Answer;

/// The default timeout of a request.
const USUAL: Duration = Duration::from_secs(10);

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The request is invalid: its URL has no address, or a header has an invalid value.
    #[error("no request: {0}")]
    Request(String),
    /// Nobody accepted the connection.
    #[error("connection refused or lost at once")]
    Connect(#[source] std::io::Error),
    /// The connection ended before the answer did.
    #[error("connection broke")]
    Broken(#[source] hyper::Error),
    /// The answer was not complete in time.
    #[error("no whole answer within {0:?}")]
    Timeout(Duration),
    /// The thread inside the namespace ended.
    #[error("the namespace is gone")]
    Gone,
}

/// A request to be sent.
#[derive(Clone, Debug)]
pub struct RequestBuilder {
    runtime: Handle,
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Bytes,
    timeout: Duration,
    http2: bool,
}

impl RequestBuilder {
    /// Returns a request from the machine's own namespace.
    ///
    /// # Panics
    /// Panics outside a tokio runtime.
    pub fn from_here(method: &str, url: impl Into<String>) -> Self {
        Self::from(Handle::current(), method, url.into())
    }

    pub(crate) fn from(runtime: Handle, method: &str, url: String) -> Self {
        Self {
            runtime,
            method: method.into(),
            url,
            headers: Vec::new(),
            body: Bytes::new(),
            timeout: USUAL,
            http2: false,
        }
    }

    /// Adds a header; `host` replaces the URL's address.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the Host header.
    pub fn host(self, name: &str) -> Self {
        self.header("host", name)
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the timeout, until the answer's last byte; 10 seconds by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Uses HTTP/2 with prior knowledge, without TLS.
    pub fn http2(mut self) -> Self {
        self.http2 = true;
        self
    }

    /// Sends it on its own connection, and reads the whole answer.
    ///
    /// # Errors
    /// Fails without a complete answer. Any status counts as an answer.
    pub async fn send(self) -> Result<Answer, HttpError> {
        let Self { runtime, timeout, http2, .. } = self.clone();
        let (address, request) = self.build()?;
        let exchange = async move {
            tokio::time::timeout(timeout, exchange(address, request, http2))
                .await
                .unwrap_or(Err(HttpError::Timeout(timeout)))
        };
        runtime.spawn(exchange).await.unwrap_or(Err(HttpError::Gone))
    }

    /// Returns the address to connect to, and the request to send.
    pub(crate) fn build(self) -> Result<(SocketAddr, Request<Full<Bytes>>), HttpError> {
        let (address, uri) = resolve(&self.url)?;
        let bad = |e: &dyn std::fmt::Display| HttpError::Request(e.to_string());
        let method: Method = self.method.parse().map_err(|e| bad(&e))?;
        let mut request = Request::new(Full::new(self.body));
        *request.method_mut() = method;
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        let host = self.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host")).map(|(_, v)| v);
        let host = host.cloned().unwrap_or(authority);
        *request.uri_mut() = match uri.path_and_query() {
            // HTTP/2 carries the host in its URI; HTTP/1.1 has only the path on its request line.
            Some(path) if self.http2 => format!("http://{host}{path}").parse().map_err(|e| bad(&e))?,
            Some(path) => Uri::from(path.clone()),
            None => Uri::from_static("/"),
        };
        let headers = request.headers_mut();
        if !self.http2 {
            headers.insert(header::HOST, HeaderValue::from_str(&host).map_err(|e| bad(&e))?);
        }
        for (name, value) in self.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("host")) {
            let name: HeaderName = name.parse().map_err(|e| bad(&e))?;
            headers.append(name, HeaderValue::from_str(value).map_err(|e| bad(&e))?);
        }
        Ok((address, request))
    }
}

/// Returns the address of a URL whose host is an address; the default port is 80.
pub(crate) fn resolve(url: &str) -> Result<(SocketAddr, Uri), HttpError> {
    let with_scheme = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let bad = || HttpError::Request(format!("{url:?} is no http://ADDRESS[:PORT]/PATH"));
    let uri: Uri = with_scheme.parse().map_err(|_| bad())?;
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let ip = host.parse().map_err(|_| bad())?;
    Ok((SocketAddr::new(ip, uri.port_u16().unwrap_or(80)), uri))
}

async fn exchange(
    address: SocketAddr,
    request: Request<Full<Bytes>>,
    http2: bool,
) -> Result<Answer, HttpError> {
    let stream = TcpStream::connect(address).await.map_err(HttpError::Connect)?;
    let io = TokioIo::new(stream);
    let response = if http2 {
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), io).await.map_err(HttpError::Broken)?;
        tokio::spawn(connection);
        sender.send_request(request).await
    } else {
        let (mut sender, connection) = http1::handshake(io).await.map_err(HttpError::Broken)?;
        tokio::spawn(connection);
        sender.send_request(request).await
    };
    let (parts, body) = response.map_err(HttpError::Broken)?.into_parts();
    let body = body.collect().await.map_err(HttpError::Broken)?.to_bytes();
    Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_an_address_and_80_is_its_usual_port() {
        assert_eq!(resolve("http://10.0.0.1/x").unwrap().0, "10.0.0.1:80".parse().unwrap());
        assert_eq!(resolve("[::1]:8080").unwrap().0, "[::1]:8080".parse().unwrap());
        assert!(resolve("http://example.com/").is_err());
    }

    #[tokio::test]
    async fn the_host_header_takes_the_place_of_the_address() {
        let request = RequestBuilder::from(Handle::current(), "GET", "127.0.0.1:1/a?b".into()).host("a.test");
        let (_, built) = request.build().unwrap();
        assert_eq!(built.headers().get_all("host").iter().collect::<Vec<_>>(), ["a.test"]);
        assert_eq!(built.uri(), "/a?b");
    }
}
