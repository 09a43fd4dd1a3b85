//! One request to Docker, on a connection of its own.

use std::fmt::Display;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use longshore_model::CallError;
use longshore_runtime::{Reply, chain};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::{DockerAddress, DockerClient, DockerSettings, client};

/// The largest whole answer, in bytes: far above the list of the largest host.
const MAX_ANSWER: usize = 64 << 20;
/// The longest error that is read, in bytes.
const MAX_ERROR: usize = 64 << 10;

trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Connection for T {}

/// A Docker Engine, in the API version that was agreed on.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    settings: DockerSettings,
    /// What each path begins with: `/v1.44`.
    prefix: String,
}

impl Engine {
    pub(super) async fn of(client: &DockerClient) -> Result<Self, CallError> {
        let docker = client.ready().await.map_err(|error| CallError::Away(chain(&error)))?;
        Ok(Self { settings: client.settings().clone(), prefix: format!("/v{}", client::version(&docker)) })
    }

    /// Gives an order, whose answer has no body.
    pub(super) async fn order(&self, method: Method, path: &str) -> Result<Reply, CallError> {
        let response = self.send(method, path, Full::default(), &[]).await?;
        Ok(if response.status() == StatusCode::NOT_MODIFIED { Reply::Already } else { Reply::Done })
    }

    /// Returns a JSON answer.
    pub(super) async fn json(&self, path: &str) -> Result<Reply, CallError> {
        Ok(Reply::Json(whole(self.get(path).await?).await?))
    }

    /// Reads a JSON answer.
    pub(super) async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        parse(&whole(self.get(path).await?).await?)
    }

    /// Returns an answer that has begun.
    pub(super) async fn get(&self, path: &str) -> Result<Incoming, CallError> {
        Ok(self.send(Method::GET, path, Full::default(), &[]).await?.into_body())
    }

    /// Sends JSON, and returns an answer that has begun.
    pub(super) async fn post(
        &self,
        path: &str,
        json: Bytes,
        headers: &[(&'static str, String)],
    ) -> Result<Response<Incoming>, CallError> {
        self.send(Method::POST, path, Full::new(json), headers).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Full<Bytes>,
        headers: &[(&'static str, String)],
    ) -> Result<Response<Incoming>, CallError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.prefix))
            .header(header::HOST, "docker")
            .header(header::CONTENT_TYPE, "application/json");
        for (name, value) in headers {
            let value = HeaderValue::from_str(value);
            request = request.header(*name, value.map_err(|error| CallError::Invalid(error.to_string()))?);
        }
        let request = request.body(body).map_err(|error| CallError::Invalid(error.to_string()))?;
        let stream = self.connect().await.map_err(|error| CallError::Away(chain(&*error)))?;
        let away = |error: hyper::Error| CallError::Away(chain(&error));
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(away)?;
        // It ends when the answer has been read, or is dropped.
        tokio::spawn(connection.with_upgrades());
        let response = sender.send_request(request).await.map_err(away)?;
        let status = response.status();
        let is_good = status.is_success()
            || matches!(status, StatusCode::NOT_MODIFIED | StatusCode::SWITCHING_PROTOCOLS);
        if is_good { Ok(response) } else { Err(refusal(response).await) }
    }

    async fn connect(&self) -> Result<Box<dyn Connection>, Box<dyn std::error::Error + Send + Sync>> {
        match &self.settings.address {
            DockerAddress::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
            DockerAddress::Tcp { host, port } => {
                let tls = self.tls()?;
                let usual = if tls.is_some() { 2376 } else { 2375 };
                let stream = TcpStream::connect((host.as_str(), port.unwrap_or(usual))).await?;
                stream.set_nodelay(true)?;
                Ok(match tls {
                    None => Box::new(stream),
                    Some(config) => {
                        let name = ServerName::try_from(host.clone())?;
                        Box::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await?)
                    }
                })
            }
        }
    }

    /// Returns how to encrypt the connection, if the settings have certificates.
    fn tls(&self) -> Result<Option<ClientConfig>, Box<dyn std::error::Error + Send + Sync>> {
        let file = |name| self.settings.cert_file(name);
        let (Some(key), Some(cert), Some(ca)) = (file("key.pem"), file("cert.pem"), file("ca.pem")) else {
            return Ok(None);
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        for authority in CertificateDer::pem_file_iter(ca)? {
            roots.add(authority?)?;
        }
        let own = CertificateDer::pem_file_iter(cert)?.collect::<Result<Vec<_>, _>>()?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = config.with_root_certificates(roots);
        Ok(Some(config.with_client_auth_cert(own, PrivateKeyDer::from_pem_file(key)?)?))
    }
}

/// Reads a whole answer.
pub(super) async fn whole(body: Incoming) -> Result<Bytes, CallError> {
    let body = Limited::new(body, MAX_ANSWER).collect().await;
    Ok(body.map_err(|error| CallError::Broken(chain(&*error)))?.to_bytes())
}

/// Reads JSON.
pub(super) fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, CallError> {
    serde_json::from_slice(json).map_err(|error| CallError::Broken(chain(&error)))
}

async fn refusal(response: Response<Incoming>) -> CallError {
    #[derive(serde::Deserialize)]
    struct Refusal {
        message: String,
    }
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ERROR).collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let message = match serde_json::from_slice::<Refusal>(&body) {
        Ok(refusal) => refusal.message,
        Err(_) => String::from_utf8_lossy(&body).trim().to_owned(),
    };
    let unnamed = || format!("Docker answered {status}");
    let message = if message.is_empty() { unnamed() } else { message };
    CallError::Docker { status: status.as_u16(), message }
}

/// Returns a text as one segment of a path, whatever it contains.
pub(super) fn segment(text: &str) -> impl Display {
    utf8_percent_encode(text, NON_ALPHANUMERIC)
}

/// The parameters of a request.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<String>);

impl Query {
    pub(super) fn with(mut self, key: &str, value: impl Display) -> Self {
        self.0.push(format!("{key}={}", segment(&value.to_string())));
        self
    }

    pub(super) fn option(self, key: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// Returns a path with these parameters.
    pub(super) fn after(&self, path: &str) -> String {
        if self.0.is_empty() { path.to_owned() } else { format!("{path}?{}", self.0.join("&")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_leaves_its_place_in_a_path() {
        assert_eq!(segment("../images?x#y").to_string(), "%2E%2E%2Fimages%3Fx%23y");
        let query = Query::default().with("signal", "TERM&force=true").option("t", None::<i32>);
        assert_eq!(query.after("/kill"), "/kill?signal=TERM%26force%3Dtrue");
        assert_eq!(Query::default().after("/start"), "/start");
    }
}
