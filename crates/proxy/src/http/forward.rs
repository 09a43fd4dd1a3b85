//! One request: its route, its upstream, its response.
//!
//! What is retried, and where: an upstream that refused the connection has seen nothing, so the next one is tried. A
//! connection that ended without a byte of a response may have carried the request to a program that acted on it, so
//! the request is retried only if its method is safe (RFC 9110, 9.2.1) and none of its body is gone. Other requests
//! reuse a connection only if the upstream keeps such connections long enough ([`Pool::take_lasting`]).

use std::rc::Rc;
use std::time::Instant;

use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, HOST, RETRY_AFTER, TRANSFER_ENCODING};
use http::uri::Authority;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::{Bytes, Incoming};
use longshore_model::BadEscape;

use super::body::{RequestBody, ResponseBody, UpstreamBody};
use super::conn::ClientConn;
use super::target::Target;
use super::upstream::{Failure, UpstreamConn};
use super::{headers, target};
use crate::backend::{Backend, MAX_RETRIES};
use crate::request::RequestGuard;
use crate::route::LocalRoute;

/// Why the balancer answers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    BadHost,
    BadPath,
    BadBody,
    Connect,
    NoRoute,
    NoUpstream,
    Unreachable,
    Late,
}

impl Refusal {
    fn response(self) -> Response<ResponseBody> {
        let (status, text) = match self {
            Self::BadHost => (StatusCode::BAD_REQUEST, "the request must name one host\n"),
            Self::BadPath => (StatusCode::BAD_REQUEST, "the path has a broken percent escape\n"),
            Self::BadBody => (StatusCode::BAD_REQUEST, "the request's body cannot be read\n"),
            Self::Connect => (StatusCode::METHOD_NOT_ALLOWED, "not a forward proxy\n"),
            Self::NoRoute => (StatusCode::NOT_FOUND, "no route for this host and path\n"),
            Self::NoUpstream => (StatusCode::SERVICE_UNAVAILABLE, "no upstream is available\n"),
            Self::Unreachable => (StatusCode::BAD_GATEWAY, "no upstream answered\n"),
            Self::Late => (StatusCode::GATEWAY_TIMEOUT, "the upstream did not answer in time\n"),
        };
        let mut response = Response::new(ResponseBody::Own(Bytes::from_static(text.as_bytes()).into()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        match self {
            Self::NoUpstream => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Self::Connect => {
                headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE"));
            }
            _ => {}
        }
        response
    }
}

/// Answers one request of `conn`.
pub(super) async fn forward(
    conn: &ClientConn,
    request: Request<Incoming>,
    guard: RequestGuard,
) -> Response<ResponseBody> {
    let client = &conn.client;
    let began = Instant::now();
    let mut response = match carry(conn, request, guard).await {
        Ok(response) => response,
        Err(refusal) => refusal.response(),
    };
    if client.is_leaving() && !client.is_multiplexed() && response.status() != StatusCode::SWITCHING_PROTOCOLS
    {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    client.counters.response(response.status(), began.elapsed());
    response
}

async fn carry(
    conn: &ClientConn,
    request: Request<Incoming>,
    guard: RequestGuard,
) -> Result<Response<ResponseBody>, Refusal> {
    let (mut head, incoming) = request.into_parts();
    let body = RequestBody::of(incoming, &guard, &conn.shard);
    if head.method == Method::CONNECT {
        return Err(Refusal::Connect);
    }
    let target = Target::of(&head.uri).map_err(|BadEscape| Refusal::BadPath)?;
    let route = {
        let host = target::host(head.version, &head.uri, &head.headers).map_err(|_| Refusal::BadHost)?;
        conn.frontend.find(&host, &target.matched()).ok_or(Refusal::NoRoute)?
    };
    let uri = target.for_upstream(route.strips().then_some(&route.prefix)).ok_or(Refusal::BadPath)?;
    if let Some(authority) = head.uri.authority().map(Authority::as_str)
        && let Ok(host) = HeaderValue::from_str(authority)
    {
        head.headers.insert(HOST, host);
    }
    let upgrade = if head.version == Version::HTTP_11 { headers::upgrade(&head.headers) } else { None };
    let upgrades = upgrade.is_some();
    headers::to_upstream(&mut head.headers, &conn.client, &conn.frontend.port_text, upgrade);
    if body.is_unbounded() {
        // By default, hyper sends a GET without its body.
        head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let mut request = Request::new(body.clone());
    *request.method_mut() = head.method;
    *request.uri_mut() = uri;
    *request.headers_mut() = head.headers;
    let (mut response, upstream, backend) = send(conn, &route, request, &body).await?;
    let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    headers::to_client(response.headers_mut(), upgraded);
    *response.version_mut() = Version::HTTP_11;
    let (head, incoming) = response.into_parts();
    let body = if upgraded {
        if !upgrades {
            return Err(Refusal::Unreachable);
        }
        *conn.upgraded.borrow_mut() = Some(upstream.into_upgraded().await.ok_or(Refusal::Unreachable)?);
        ResponseBody::empty()
    } else {
        UpstreamBody::passed_on(incoming, upstream, backend, &conn.upstreams, guard)
    };
    Ok(Response::from_parts(head, body))
}

/// Returns whether a request may be sent twice, judging by its method. A PUT or DELETE, idempotent by definition, may
/// still be answered 404 or 409 the second time.
fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// A copy of a request, for a retry. A list costs a fraction of a map of headers, and most copies are never used.
struct RequestCopy {
    method: Method,
    uri: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl RequestCopy {
    fn of(request: &Request<RequestBody>) -> Self {
        let headers = request.headers();
        let mut copy = Vec::with_capacity(headers.len());
        copy.extend(headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        Self { method: request.method().clone(), uri: request.uri().clone(), headers: copy }
    }

    fn again(&self, body: &RequestBody) -> Request<RequestBody> {
        let mut request = Request::new(body.clone());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        for (name, value) in &self.headers {
            request.headers_mut().append(name, value.clone());
        }
        request
    }
}

type Sent = (Response<Incoming>, Box<UpstreamConn<RequestBody>>, Rc<Backend>);

/// Sends a request to one upstream after another until one responds, as far as retries are allowed.
async fn send(
    conn: &ClientConn,
    route: &LocalRoute,
    mut request: Request<RequestBody>,
    body: &RequestBody,
) -> Result<Sent, Refusal> {
    let spare = is_safe(request.method()).then(|| RequestCopy::of(&request));
    let mut tried: Vec<Rc<Backend>> = Vec::new();
    // An upstream that closed one idle connection has probably closed them all.
    let mut reuse = true;
    let mut attempts = 0;
    while attempts <= MAX_RETRIES {
        let Some(backend) = route.pick(&tried) else {
            return Err(if route.is_empty() { Refusal::NoUpstream } else { Refusal::Unreachable });
        };
        if attempts > 0 {
            conn.client.counters.retries.add(1);
        }
        attempts += 1;
        let idle = match &spare {
            _ if !reuse => None,
            Some(_) => conn.upstreams.take(&backend),
            None => conn.upstreams.take_lasting(&backend, &conn.shard),
        };
        let reused = idle.is_some();
        let opened = match idle {
            Some(upstream) => Some(upstream),
            None => connect(conn, &backend).await,
        };
        let Some(mut upstream) = opened else {
            tried.push(backend);
            continue;
        };
        body.goes_to(upstream.deadline());
        match upstream.exchange(request).await {
            Ok(response) => return Ok((response, upstream, backend)),
            Err(Failure::Unsent(unsent)) => request = *unsent,
            Err(_) if body.is_broken() => return Err(Refusal::BadBody),
            Err(Failure::Silent) => match &spare {
                Some(spare) if body.is_whole() => request = spare.again(body),
                _ => {
                    backend.log("upstream closed the connection without a response", &"not repeated");
                    return Err(Refusal::Unreachable);
                }
            },
            Err(Failure::Late) => {
                backend.log("upstream did not respond in time", &"timed out");
                return Err(Refusal::Late);
            }
            Err(Failure::Broken(error)) => {
                backend.log("invalid response from upstream", &error);
                return Err(Refusal::Unreachable);
            }
        }
        if reused {
            reuse = false;
        } else {
            tried.push(backend);
        }
    }
    Err(Refusal::Unreachable)
}

async fn connect(conn: &ClientConn, backend: &Backend) -> Option<Box<UpstreamConn<RequestBody>>> {
    let shard = &conn.shard;
    match backend.connect(&shard.settings, &shard.observer).await {
        Ok(stream) => UpstreamConn::over(stream, shard).await.ok(),
        Err(_) => {
            conn.client.counters.upstream_failures.add(1);
            None
        }
    }
}
