//! A client of one agent.

use std::path::Path;
use std::time::Duration;

use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{
    Affected, Container, Explanation, FailedDelivery, Failure, Follower, Handler, HandlerTest,
    HandlerTestReport, Name, Problem, Route, Status,
};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long the test of a handler may take, which waits for the handler.
const TEST_TIMEOUT: Duration = Duration::from_secs(600);
/// The largest answer that is read: far over what the largest host has to say.
const MAX_ANSWER: usize = 64 << 20;

/// Why an agent gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The agent's address is no `host:port`.
    #[error("{0:?} is no address of an agent: write host:port")]
    Address(String),
    /// The token file cannot be used.
    #[error("cannot read the token file {path}")]
    Token {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Nothing answers there.
    #[error("no agent answers at {address}: is `longshore run` running there?")]
    Unreachable {
        /// Where it was looked for.
        address: String,
        /// Why.
        source: hyper_util::client::legacy::Error,
    },
    /// It took too long.
    #[error("the agent at {address} gave no answer within {seconds} s")]
    Timeout {
        /// Where it was asked.
        address: String,
        /// How long it had.
        seconds: u64,
    },
    /// The answer broke off, or is longer than 64 MiB.
    #[error("the answer of the agent at {address} broke off")]
    Body {
        /// Where it was asked.
        address: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It refused.
    #[error("the agent at {address} refused ({status}): {message}")]
    Refused {
        /// Where it was asked.
        address: String,
        /// With what status.
        status: StatusCode,
        /// In what words.
        message: String,
    },
    /// The answer is not what this program knows.
    #[error("the agent at {address} gave an answer that this version does not understand")]
    Answer {
        /// Where it was asked.
        address: String,
        /// Why.
        source: serde_json::Error,
    },
}

/// Asks one agent. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    address: String,
    token: Option<String>,
    http: hyper_util::client::legacy::Client<HttpConnector, Full<Bytes>>,
}

impl Client {
    /// A client of the agent at `address` (`host:port`), with the token in `token_file` where it wants one.
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
        let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build_http();
        Ok(Self { address: authority.to_string(), token, http })
    }

    /// All containers of the agent's host.
    ///
    /// # Errors
    /// Every variant but those of [`Client::new`]; the same holds for the other questions.
    pub async fn containers(&self) -> Result<Vec<Container>, ClientError> {
        self.get("/v1/containers").await
    }

    /// Returns the agent's status.
    ///
    /// # Errors
    /// As [`Client::containers`].
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get("/v1/status").await
    }

    /// Returns what the agent keeps like the containers, and how the last pass over each went.
    ///
    /// # Errors
    /// As [`Client::containers`].
    pub async fn followers(&self) -> Result<Vec<Follower>, ClientError> {
        self.get("/v1/followers").await
    }

    /// All routes.
    ///
    /// # Errors
    /// As [`Client::containers`].
    pub async fn routes(&self) -> Result<Vec<Route>, ClientError> {
        self.get("/v1/routes").await
    }

    /// All names that its DNS server has.
    ///
    /// # Errors
    /// As [`Client::containers`].
    pub async fn names(&self) -> Result<Vec<Name>, ClientError> {
        self.get("/v1/names").await
    }

    /// All problems.
    ///
    /// # Errors
    /// As [`Client::containers`].
    pub async fn problems(&self) -> Result<Vec<Problem>, ClientError> {
        self.get("/v1/problems").await
    }

    /// Where a request goes: `target` is `host/path`, `frontend` `http:80` and the like.
    ///
    /// # Errors
    /// As [`Client::containers`].
    pub async fn explain(&self, frontend: &str, target: &str) -> Result<Explanation, ClientError> {
        let (frontend, target) =
            (utf8_percent_encode(frontend, NON_ALPHANUMERIC), utf8_percent_encode(target, NON_ALPHANUMERIC));
        self.get(&format!("/v1/explain/route?frontend={frontend}&target={target}")).await
    }

    /// All handlers.
    ///
    /// # Errors
    /// As [`Client::containers`].
    pub async fn handlers(&self) -> Result<Vec<Handler>, ClientError> {
        self.get("/v1/handlers").await
    }

    /// The deliveries that were given up.
    ///
    /// # Errors
    /// As [`Client::containers`].
    pub async fn failed_deliveries(&self) -> Result<Vec<FailedDelivery>, ClientError> {
        self.get("/v1/handlers/failed").await
    }

    /// Delivers one again that was given up, or all (`all`).
    ///
    /// # Errors
    /// As [`Client::containers`]; refused with 404 where there is none of this id.
    pub async fn replay(&self, id: &str) -> Result<Affected, ClientError> {
        let id = utf8_percent_encode(id, NON_ALPHANUMERIC);
        self.post(&format!("/v1/handlers/failed/{id}/replay"), &(), TIMEOUT).await
    }

    /// Forgets one that was given up, or all (`all`).
    ///
    /// # Errors
    /// As [`Client::replay`].
    pub async fn forget(&self, id: &str) -> Result<Affected, ClientError> {
        let id = utf8_percent_encode(id, NON_ALPHANUMERIC);
        self.post(&format!("/v1/handlers/failed/{id}/forget"), &(), TIMEOUT).await
    }

    /// Tries an event on a handler, and waits for how that goes.
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

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::GET, path, Bytes::new(), TIMEOUT).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        limit: Duration,
    ) -> Result<T, ClientError> {
        let address = self.address.clone();
        let body = serde_json::to_vec(body).map_err(|source| ClientError::Answer { address, source })?;
        self.call(Method::POST, path, body.into(), limit).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        limit: Duration,
    ) -> Result<T, ClientError> {
        let address = self.address.clone();
        let answer = tokio::time::timeout(limit, self.answer(method, path, body)).await;
        let timeout = |_| ClientError::Timeout { address: address.clone(), seconds: limit.as_secs() };
        let (status, body) = answer.map_err(timeout)??;
        if !status.is_success() {
            let told = serde_json::from_slice::<Failure>(&body).map(|failure| failure.error);
            let message = told.unwrap_or_else(|_| String::from_utf8_lossy(&body).trim().to_owned());
            return Err(ClientError::Refused { address, status, message });
        }
        serde_json::from_slice(&body).map_err(|source| ClientError::Answer { address, source })
    }

    async fn answer(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let address = || self.address.clone();
        let uri = format!("http://{}{path}", self.address).parse::<Uri>();
        let uri = uri.map_err(|_| ClientError::Address(address()))?;
        let mut request = Request::new(Full::new(body));
        if method != Method::GET {
            let json = header::HeaderValue::from_static("application/json");
            request.headers_mut().insert(header::CONTENT_TYPE, json);
        }
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        if let Some(token) = &self.token {
            let value = header::HeaderValue::try_from(format!("Bearer {token}"));
            request.headers_mut().extend(value.ok().map(|value| (header::AUTHORIZATION, value)));
        }
        let response = self.http.request(request).await;
        let response = response.map_err(|source| ClientError::Unreachable { address: address(), source })?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|source| ClientError::Body { address: address(), source })?;
        Ok((status, body.to_bytes()))
    }
}
