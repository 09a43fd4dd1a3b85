//! A client of one agent.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioExecutor;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client_error::{ClientError, plain};
use crate::connector::Connector;
use crate::container_filter::{ContainerFilter, EventFilter};
use crate::events::Events;
use crate::{
    Affected, Container, Explanation, FailedDelivery, Failure, Follower, Handler, HandlerTest,
    HandlerTestReport, Name, Problem, Route, SILENT_HOSTS, SilentHost, Status,
};

/// How long an answer may take.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);
/// How long the test of a handler may take, as it waits for the handler.
const TEST_TIMEOUT: Duration = Duration::from_secs(600);
/// The largest answer that is read, far above that of the largest host.
const MAX_ANSWER: usize = 64 << 20;

/// Asks one agent. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    address: String,
    /// What requests name as the host.
    authority: String,
    token: Option<String>,
    connector: Connector,
    http: hyper_util::client::legacy::Client<Connector, Full<Bytes>>,
}

impl Client {
    /// Returns a client of the agent at `address` (`host:port`), which sends the token in `token_file`.
    ///
    /// # Errors
    /// [`ClientError::Address`] and [`ClientError::Token`].
    pub fn new(address: &str, token_file: Option<&Path>) -> Result<Self, ClientError> {
        let plain = address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/');
        let authority = plain.parse::<http::uri::Authority>().ok().filter(|a| a.port().is_some());
        let authority = authority.ok_or_else(|| ClientError::Address(address.to_owned()))?;
        let token = match token_file {
            None => None,
            Some(path) => {
                let shown = || path.display().to_string();
                let text = std::fs::read_to_string(path)
                    .map_err(|source| ClientError::Token { path: shown(), source })?;
                Some(text.trim().to_owned())
            }
        };
        let connector = Connector::Port(authority.as_str().into());
        Ok(Self::with(authority.to_string(), authority.to_string(), token, connector))
    }

    /// Returns a client of this host's agent at its socket, which root needs no token for.
    pub fn at_socket(path: PathBuf) -> Self {
        let address = path.display().to_string();
        Self::with(address, "localhost".to_owned(), None, Connector::Socket(Arc::new(path)))
    }

    fn with(address: String, authority: String, token: Option<String>, connector: Connector) -> Self {
        let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector.clone());
        Self { address, authority, token, connector, http }
    }

    pub(crate) fn connector(&self) -> Connector {
        self.connector.clone()
    }

    /// Returns what requests name as the host.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// Returns the agent's address, `host:port` or the path of its socket.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Follows events from now on, or from after the event with the id `after`.
    ///
    /// # Errors
    /// As [`Client::containers`].
    pub async fn events(&self, wanted: &EventFilter, after: Option<&str>) -> Result<Events, ClientError> {
        let headers = Vec::from_iter(after.map(|after| ("last-event-id", after)));
        let path = wanted.query().after("/v1/events");
        let body = self.open(Method::GET, &path, Bytes::new(), &headers, TIMEOUT).await?;
        Ok(Events::new(self.address.clone(), body))
    }

    /// Returns an answer that has begun within `limit`.
    pub(crate) async fn open(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        headers: &[(&'static str, &str)],
        limit: Duration,
    ) -> Result<Incoming, ClientError> {
        let begun = self.send(method, path, body, headers);
        let response = tokio::time::timeout(limit, begun).await.map_err(|_| self.timed_out(limit))??;
        let status = response.status();
        if status.is_success() {
            return Ok(response.into_body());
        }
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        Err(self.refused(status, &body.map(|body| body.to_bytes()).unwrap_or_default()))
    }

    /// Returns the containers of all hosts that match, and the hosts of which they may not be as they are.
    ///
    /// # Errors
    /// Every variant but those of [`Client::new`]; the same holds for the other calls.
    pub async fn containers(
        &self,
        wanted: &ContainerFilter,
    ) -> Result<(Vec<Container>, Vec<SilentHost>), ClientError> {
        let path = wanted.query().after("/v1/containers");
        let (headers, body) = self.answered(Method::GET, &path, Bytes::new(), TIMEOUT).await?;
        let silent = headers.get(SILENT_HOSTS).and_then(|value| value.to_str().ok());
        Ok((self.read(&body)?, silent.map(SilentHost::read).unwrap_or_default()))
    }

    /// Returns the agent's status.
    ///
    /// # Errors
    /// As [`Client::containers`].
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get("/v1/status").await
    }

    /// Returns the followers, and the outcome of each one's last pass.
    ///
    /// # Errors
    /// As [`Client::containers`].
    pub async fn followers(&self) -> Result<Vec<Follower>, ClientError> {
        self.get("/v1/followers").await
    }

    /// Returns all routes.
    ///
    /// # Errors
    /// As [`Client::containers`].
    pub async fn routes(&self) -> Result<Vec<Route>, ClientError> {
        self.get("/v1/routes").await
    }

    /// Returns all names that the DNS server knows.
    ///
    /// # Errors
    /// As [`Client::containers`].
    pub async fn names(&self) -> Result<Vec<Name>, ClientError> {
        self.get("/v1/names").await
    }

    /// Returns all problems.
    ///
    /// # Errors
    /// As [`Client::containers`].
    pub async fn problems(&self) -> Result<Vec<Problem>, ClientError> {
        self.get("/v1/problems").await
    }

    /// Explains where a request goes: `target` is a [`crate::RequestTarget`]; `frontend`, such as `http:80`,
    /// overrides the target's own.
    ///
    /// # Errors
    /// As [`Client::containers`]; refused with 400 where either is invalid.
    pub async fn explain(&self, frontend: Option<&str>, target: &str) -> Result<Explanation, ClientError> {
        let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
        let frontend = frontend.map(|frontend| format!("&frontend={}", encoded(frontend)));
        let path = format!("/v1/explain/route?target={}{}", encoded(target), frontend.unwrap_or_default());
        self.get(&path).await
    }

    /// Returns all handlers.
    ///
    /// # Errors
    /// As [`Client::containers`].
    pub async fn handlers(&self) -> Result<Vec<Handler>, ClientError> {
        self.get("/v1/handlers").await
    }

    /// Returns the deliveries that failed permanently.
    ///
    /// # Errors
    /// As [`Client::containers`].
    pub async fn failed_deliveries(&self) -> Result<Vec<FailedDelivery>, ClientError> {
        self.get("/v1/handlers/failed").await
    }

    /// Retries a delivery that failed permanently, or all of them (`all`).
    ///
    /// # Errors
    /// As [`Client::containers`]; refused with 404 where no delivery has this id.
    pub async fn replay(&self, id: &str) -> Result<Affected, ClientError> {
        let id = utf8_percent_encode(id, NON_ALPHANUMERIC);
        self.post(&format!("/v1/handlers/failed/{id}/replay"), &(), TIMEOUT).await
    }

    /// Discards a delivery that failed permanently, or all of them (`all`).
    ///
    /// # Errors
    /// As [`Client::replay`].
    pub async fn forget(&self, id: &str) -> Result<Affected, ClientError> {
        let id = utf8_percent_encode(id, NON_ALPHANUMERIC);
        self.post(&format!("/v1/handlers/failed/{id}/forget"), &(), TIMEOUT).await
    }

    /// Tests a handler with an event, and waits for the outcome.
    ///
    /// # Errors
    /// As [`Client::containers`]; refused with 404 where there is no such handler or container.
    pub async fn test_handler(
        &self,
        name: &str,
        test: &HandlerTest,
    ) -> Result<HandlerTestReport, ClientError> {
        let name = utf8_percent_encode(name, NON_ALPHANUMERIC);
        self.post(&format!("/v1/handlers/{name}/test"), test, TEST_TIMEOUT).await
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::GET, path, Bytes::new(), TIMEOUT).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        limit: Duration,
    ) -> Result<T, ClientError> {
        let address = self.address.clone();
        let body = serde_json::to_vec(body).map_err(|source| ClientError::Answer { address, source })?;
        self.call(Method::POST, path, body.into(), limit).await
    }

    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        limit: Duration,
    ) -> Result<T, ClientError> {
        let (_, body) = self.answered(method, path, body, limit).await?;
        self.read(&body)
    }

    fn read<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, ClientError> {
        let failed = |source| ClientError::Answer { address: self.address.clone(), source };
        serde_json::from_slice(body).map_err(failed)
    }

    /// Returns the headers and the body of a success.
    async fn answered(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        limit: Duration,
    ) -> Result<(HeaderMap, Bytes), ClientError> {
        let answer = tokio::time::timeout(limit, self.answer(method, path, body)).await;
        let (head, body) = answer.map_err(|_| self.timed_out(limit))??;
        match head.status.is_success() {
            true => Ok((head.headers, body)),
            false => Err(self.refused(head.status, &body)),
        }
    }

    /// Returns the header that has the token, if there is one.
    pub(crate) fn authorization(&self) -> Option<HeaderValue> {
        HeaderValue::try_from(format!("Bearer {}", self.token.as_ref()?)).ok()
    }

    pub(crate) fn timed_out(&self, limit: Duration) -> ClientError {
        ClientError::Timeout { address: self.address.clone(), seconds: limit.as_secs() }
    }

    pub(crate) fn refused(&self, status: StatusCode, body: &[u8]) -> ClientError {
        let address = self.address.clone();
        if status == StatusCode::UNAUTHORIZED {
            return ClientError::Unauthorized { address, sent: self.token.is_some() };
        }
        let failure = serde_json::from_slice::<Failure>(body).map(|failure| failure.error);
        let message = failure.unwrap_or_else(|_| String::from_utf8_lossy(body).trim().to_owned());
        ClientError::Refused { address, status, message }
    }

    async fn answer(&self, method: Method, path: &str, body: Bytes) -> Result<(Parts, Bytes), ClientError> {
        let (head, body) = self.send(method, path, body, &[]).await?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        let body =
            body.map_err(|error| ClientError::Body { address: self.address.clone(), cause: plain(&*error) })?;
        Ok((head, body.to_bytes()))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        headers: &[(&'static str, &str)],
    ) -> Result<Response<Incoming>, ClientError> {
        let address = || self.address.clone();
        let uri = format!("http://{}{path}", self.authority).parse::<Uri>();
        let uri = uri.map_err(|_| ClientError::Address(address()))?;
        let mut request = Request::new(Full::new(body));
        if method != Method::GET {
            let json = HeaderValue::from_static("application/json");
            request.headers_mut().insert(header::CONTENT_TYPE, json);
        }
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        request.headers_mut().extend(self.authorization().map(|value| (header::AUTHORIZATION, value)));
        for (name, value) in headers {
            let value = HeaderValue::try_from(*value).ok();
            request.headers_mut().extend(value.map(|value| (HeaderName::from_static(name), value)));
        }
        let response = self.http.request(request).await;
        response.map_err(|error| ClientError::Unreachable { address: address(), cause: plain(&error) })
    }
}
